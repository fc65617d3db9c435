"""Values and names of a configuration, made fit to be shown."""

from __future__ import annotations

import datetime
import logging
import os
import re
import types
import typing as t
from collections.abc import Iterator
from collections.abc import Mapping
from itertools import islice
from typing import Any

from ..receivers.lines import capped
from ..receivers.lines import one_line

__all__ = ["is_secret", "quoted", "scrubbed", "shown", "shown_name", "shown_value"]

_LONGEST_NAME = 120
_LONGEST_TEXT = 200
_LONGEST_CHECKED = 2000
_MOST_ITEMS = 20
_MOST_LEVELS = 4
_MOST_BITS = 128
_SHORTEST_SECRET = 3


class _Mark(str):
    """A text that stands for a value, and has no quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_HIDDEN: t.Final = _Mark("…")

# What a name is written in: "apiKey", "API-KEY" and "api_key" are words of one kind.
_words_of = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+").findall

# Compared with a mark at both ends.
_HIDING_WORDS = (
    " apikey auth authentication authorization basic bearer cert certificate "
    "cookie cookies credential credentials creds dsn header headers hook jwt key "
    "keys login nonce otp pass passcode passphrase passwd password passwords pat "
    "pin private pwd salt secret secrets session signature sig token tokens webhook "
    "webhooks "
)
# Names that would be hidden by a word, and whose value is a name itself.
_PUBLIC_NAMES = frozenset(("forwarded_header", "id-headers", "token_file"))

_secret_parts = re.compile(
    r"(?:api|access|private|secret|signing)key|passw|passphrase|secret|token|credential"
    r"|webhook|authoriz"
).search

_has_assignment = re.compile(
    r"(?:key|pass|passwd|password|pwd|secret|token|auth|authorization|signature|sig)"
    r"[\"']?\s?[=:]",
    re.IGNORECASE,
).search
_has_known_form = re.compile(
    r"\b(?:bearer|basic|digest|token)\s\S|-----BEGIN |\beyJ[\w-]{8}"
    r"|\b(?:gh[opsru]|github_pat|glpat|xox[a-z]|sk|pk|rk|pypi|npm|hf)[-_]\w{6}"
    r"|\b(?:AKIA|ASIA|AIza)\w{8}",
    re.IGNORECASE,
).search
_has_login = re.compile(r"[^\s/@:]:[^\s/@]+@").search
_url = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]{1,30}):/{1,3}([^/?#\\]*)(.*)", re.DOTALL)
_runs_of = re.compile(r"[A-Za-z0-9+=_-]{20,}").findall


def is_secret(key: str) -> bool:
    """Return whether an option of that name may hold a secret.

    >>> is_secret("api_key"), is_secret("webhook_url"), is_secret("slow_seconds")
    (True, True, False)
    """
    if key in _PUBLIC_NAMES:
        return False
    key = capped(key, _LONGEST_NAME)
    if any(f" {word.lower()} " in _HIDING_WORDS for word in _words_of(key)):
        return True
    joined = "".join(one for one in key.lower() if one.isalnum())
    return _secret_parts(joined) is not None


def shown(key: str, value: Any) -> Any:
    """Return an option's value with ``…`` for what may be a secret.

    By the option's name, those of mappings in it, and the form of its texts. Plain
    values stay as they are; others are named by their type. Large ones are cut.
    """
    return _shown(key, value, 0)


def shown_value(value: Any) -> str:
    """Return a short ``repr`` of any value for a message, without secrets."""
    return capped(one_line(repr(_shown("", value, 0))), _LONGEST_TEXT)


def shown_name(text: object) -> str:
    """Return a name of a file as a part of one line, not too long."""
    return one_line(capped(str(text), _LONGEST_NAME))


def quoted(name: str) -> str:
    """Return a name of a file in quotation marks, escaped and not too long."""
    return repr(capped(name, _LONGEST_NAME))


def scrubbed(message: str, options: Mapping[str, Any]) -> str:
    """Return a message of another's without the secrets of these options."""
    for secret in _secrets_in("", options, 0):
        message = message.replace(secret, _HIDDEN)
    return message


def _secrets_in(key: str, value: Any, level: int) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) > _SHORTEST_SECRET and _shown(key, value, 0) != value:
            yield value
    elif level < _MOST_LEVELS and isinstance(value, Mapping):
        for name, one in islice(value.items(), _MOST_ITEMS):
            inner = key if is_secret(key) else str(name)
            yield from _secrets_in(inner, one, level + 1)
    elif level < _MOST_LEVELS and isinstance(value, (list, tuple, set, frozenset)):
        for one in islice(value, _MOST_ITEMS):
            yield from _secrets_in(key, one, level + 1)


def _shown(key: str, value: Any, level: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if is_secret(key):
        return _HIDDEN
    if isinstance(value, (str, os.PathLike)):
        return _shown_text(str(value))
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _shown_items(key, value, level)
    return _shown_plain(value)


def _shown_plain(value: Any) -> Any:
    if type(value) is float:
        return value
    if type(value) is int:
        return value if value.bit_length() <= _MOST_BITS else _Mark("<a huge number>")
    if type(value) in (datetime.date, datetime.time, datetime.datetime):
        return _Mark(str(value))
    return _named(value)


def _shown_items(key: str, value: Any, level: int) -> Any:
    if level >= _MOST_LEVELS:
        return _HIDDEN
    more = {_HIDDEN: _HIDDEN} if len(value) > _MOST_ITEMS else {}
    if isinstance(value, Mapping):
        items = islice(value.items(), _MOST_ITEMS)
        return {
            _shown_text(str(name)): _shown(str(name), one, level + 1)
            for name, one in items
        } | more
    found = [_shown(key, one, level + 1) for one in islice(value, _MOST_ITEMS)]
    found += more
    return tuple(found) if isinstance(value, tuple) else found


def _shown_text(text: str) -> str:
    text = text[:_LONGEST_CHECKED]
    url = _url.match(text)
    if url is not None:
        scheme, place, rest = url.groups()
        host = place.rpartition("@")[2]
        if _looks_secret(host):
            return _HIDDEN
        if host != place or rest.strip("/"):
            text = f"{scheme}://{host}/…"
    elif _looks_secret(text):
        return _HIDDEN
    return capped(text, _LONGEST_TEXT)


def _looks_secret(text: str) -> bool:
    if _has_assignment(text) or _has_known_form(text) or _has_login(text):
        return True
    # Words have no digits between their letters, as keys and hashes have.
    return any(
        sum(map(str.isdigit, run)) > 2 and not run.isdigit() for run in _runs_of(text)
    )


def _named(value: object) -> str:
    """Return what an object is, without its ``repr``, which may show anything."""
    if isinstance(value, logging.Logger):
        return _Mark(f"<logger {shown_name(value.name)}>")
    kinds = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    named = value if isinstance(value, kinds) else type(value)
    return _Mark(f"<{shown_name(named.__qualname__)}>")
