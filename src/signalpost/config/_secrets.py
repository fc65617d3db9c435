"""Recognise secrets by the name of a value or its form; in doubt, it is one."""

from __future__ import annotations

import re
import typing as t

from ..receivers.lines import truncated

__all__ = ["is_secret", "looks_secret", "names_secret"]

_LONGEST_NAME = 120

# "apiKey", "API-KEY" and "api_key" have the same words.
_words_of = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+").findall

# With a space at both ends, so that only whole words match.
_WORDS = (
    " auth authn authz basic bearer cert certificate certificates cookie cookies cred"
    " creds csrf cvc cvv dsn header headers hmac hook jwe jwk jwks jws jwt key keys"
    " login mfa nonce oauth otp pass passcode passphrase pat pem pfx pin pins private"
    " psk pw pws salt seed session sid sig sigs signature xsrf "
)
# These match anywhere in a name.
_has_part = re.compile(
    r"(?:api|access|private|secret|signing)key|passw|pwd|pswd|passphrase|passcode|pincode"
    r"|secret|token|credential|webhook|authoriz|authent|oauth|bearer|cookie|signature"
    r"|csrf|xsrf|hmac|jwt|sessionid|sessid"
).search
# At the end of a word, as in "authkey" and "dbpass".
_ends_secret = re.compile(
    r"(?:keys?|pass|pws?|psk|pins?|otp|auth|salt|seed|sid|sig|dsn|pem|nonce|login|certs?"
    r"|hook|session)$"
).search
_WORDS_OF_OTHERS = (
    " bandpass basalt bypass compass concert donkey encompass hairpin highpass hockey"
    " jockey lackey linseed lowpass monkey overpass pushpin spin surpass trespass"
    " turkey turnkey underpass unpin whiskey "
)

# By its last word, a name may mean where a secret is, or how much of it there may be.
# The value is looked at even so.
_PLACES = (
    " callback class column dir directory env environ environment factory field file"
    " filename folder func function name names path var variable "
)
_AMOUNTS = (
    " age bits bytes count days hours iterations len length lifetime limit max maximum"
    " min minimum minutes rounds seconds size timeout ttl "
)
# Their places are secrets themselves.
_ADDRESSES = " dsn hook hooks url urls webhook webhooks "
# Names of others: of a header, of parameters in a query.
_PUBLIC_NAMES = frozenset(("forwarded_header", "id-headers", "query_keys"))


def is_secret(name: str) -> bool:
    """Return whether the value of a name may be a secret.

    >>> is_secret("api_key"), is_secret("webhook_url"), is_secret("slow_seconds")
    (True, True, False)
    >>> is_secret("dbpass"), is_secret("compass"), is_secret("token_env")
    (True, False, False)
    """
    if name in _PUBLIC_NAMES:
        return False
    name = truncated(name, _LONGEST_NAME)
    words = [word.lower() for word in _words_of(name)]
    if words and _is_about(words):
        return False
    joined = "".join(one for one in name.lower() if one.isalnum())
    return _has_part(joined) is not None or any(map(_is_secret_word, words))


def _is_about(words: list[str]) -> bool:
    """Return whether a name is that of a place or an amount, as in "keys_max"."""
    if words[0] in {"max", "min"} or _is_in(_AMOUNTS, words[-1]):
        return True
    is_address = any(_is_in(_ADDRESSES, word) for word in words)
    return _is_in(_PLACES, words[-1]) and not is_address


def _is_secret_word(word: str) -> bool:
    if _is_in(_WORDS_OF_OTHERS, word) or _is_in(
        _WORDS_OF_OTHERS, word.removesuffix("s")
    ):
        return False
    return _is_in(_WORDS, word) or _ends_secret(word) is not None


def _is_in(words: str, word: str) -> bool:
    return f" {word} " in words


# A name, and what is between it and its value.
_assignments_in = re.compile(
    r"(?<![\w.-])(?P<dashes>-{0,2})(?P<name>[A-Za-z][\w.-]*+)[\"']?"
    r"(?P<sign>\s*[=:]|\s)\s*(?=\S)"
).finditer
# The word after one of these is a secret, even without a sign between.
_names_password = re.compile(r"passw|pwd|pswd|secret|pass$", re.IGNORECASE).search
_has_short_flag = re.compile(r"(?:^|\s)-[auwpPU](?:\s+|=)?[^\s-]").search
_is_short_flag = re.compile(r"-[auwpPU]").fullmatch
_is_name = re.compile(r"-{0,2}([A-Za-z][\w.-]*+):?").fullmatch

_has_known_form = re.compile(
    r"\b(?:bearer|basic|digest|token|identified by)\s\S|-{4,5} ?BEGIN "
    r"|(?<![A-Za-z0-9])(?:(?-i:eyJ)(?:[\w-]{8}|[\w-]*\.)"
    r"|(?:gh[opsru]|github_pat|glpat|xox[a-z]|xapp|sk|pk|rk|pypi|npm|hf|whsec|hvs"
    r"|shp[a-z]{2}|dop_v1)[-_.]\w{6}"
    r"|(?-i:AKIA|ASIA|AROA|AIDA|ABIA|ACCA|AIza)\w{8}|SG\.[\w-]{8})",
    re.IGNORECASE,
).search
_has_login = re.compile(r"[^\s/@:]:[^\s/@]+@").search
_runs_of = re.compile(r"[A-Za-z0-9+=_-]{20,}").findall
_long_runs_of = re.compile(r"(?<![\w+/=])[A-Za-z0-9+][A-Za-z0-9+/]{31,}").findall
_is_of_letters = re.compile(r"[A-Za-z]+").fullmatch


def looks_secret(text: str) -> bool:
    """Return whether a text may be a secret, or have one in it, by its form.

    :param text: At most some thousand characters.
    """
    if _has_known_form(text) or _has_login(text) or _has_short_flag(text):
        return True
    if any(map(_is_assigned, _assignments_in(text))):
        return True
    return any(map(_is_random, _runs_of(text))) or any(
        map(_is_mixed, _long_runs_of(text))
    )


def names_secret(text: object) -> bool:
    """Return whether the text is a name whose value, the next word, may be secret.

    >>> names_secret("DB_PASS"), names_secret("--password"), names_secret("-p")
    (True, True, True)
    """
    if not isinstance(text, str) or len(text) > _LONGEST_NAME:
        return False
    found = _is_name(text)
    if found is None:
        return False
    return _is_short_flag(text) is not None or is_secret(found[1])


def _is_assigned(found: re.Match[str]) -> bool:
    name = found["name"]
    if found["sign"].isspace() and not found["dashes"] and not _names_password(name):
        return False
    return is_secret(name)


_FEW_DIGITS: t.Final = 2
_LEAST_SHARE: t.Final = 0.25
"""The share of capitals in a random text without digits: words have fewer."""


def _is_random(run: str) -> bool:
    """Return whether a text of letters and digits does not consist of words."""
    if _is_of_letters(run):
        capitals = sum(map(str.isupper, run)) / len(run)
        return _LEAST_SHARE < capitals < 1 - _LEAST_SHARE
    # Words have no digits between their letters, as keys and hashes have.
    return sum(map(str.isdigit, run)) > _FEW_DIGITS and not run.isdigit()


def _is_mixed(run: str) -> bool:
    """Return whether a text is of small and large letters and digits."""
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(map(kind, run)) for kind in kinds)
