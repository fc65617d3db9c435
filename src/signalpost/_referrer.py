"""The part of a Referer header that holds no secret."""

from __future__ import annotations

import re

__all__ = ["shown_referrer"]

_HIDDEN = "…"
"""The replacement of a part that may be a secret."""

# The schemes that are shown if nothing else is: any other may be a user's name.
_SCHEMES = frozenset(
    (
        *("about", "android-app", "blob", "chrome", "chrome-extension", "content"),
        *("data", "file", "filesystem", "ftp", "http", "https", "ios-app"),
        *("javascript", "mailto", "moz-extension", "safari-web-extension", "sms"),
        *("tel", "urn", "view-source", "ws", "wss"),
    )
)
_BLANKS = "".join(map(chr, range(0x21))) + "\x7f\x85\xa0\ufeff\u2028\u2029"

_is_ordinary = re.compile(
    r"https?://[A-Za-z0-9.-]{1,255}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$'()*+,=:/-]*)?"
).fullmatch
_scheme = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):").match
_is_authority = re.compile(
    r"(?:[\w.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}(?:%(?:25)?[\w.~-]{1,32})?\])"
    r"(?::[0-9]{0,5})?"
).fullmatch
_is_host = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\.?").fullmatch

# Percent-encoded once or several times, as in a path that was a parameter.
_parameters = re.compile(r"(?:;|%(?:25)*3[Bb])[^/]*")
# Also of a query that lacks its question mark.
_query = re.compile(
    r"[?#]|%(?:25)*(?:3[Ff]|23)"
    r"|(?:&|%(?:25)*26)[\w.\[\]-]{1,64}(?:=|%(?:25)*3[Dd])"
)
_at = re.compile(r"@|%(?:25)*40")


def shown_referrer(header: str) -> str:
    """Return the part of a Referer header that can be logged: origin and path.

    If a URL has an authority (``//``), its user name, password, query and fragment are
    dropped, and so are parameters of a segment of the path (``;jsessionid=…``) and the
    user of a URL within the path. If it is not certain where a part ends, as with
    backslashes, an encoded ``@``, or a port that is not a number, only the scheme is
    left: ``"https:…"``. So it is for all that has no authority, as ``mailto:`` and
    ``data:``, but ``about:blank``. A path, and a host name without a scheme, are kept;
    all else is ``"…"``.

    By hand: :func:`urllib.parse.urlsplit` raises for some of what clients send and
    removes characters from the rest. The time is linear in the length.

    :param header: The decoded header; ``""`` for none.
    :returns: ``""`` if nothing, or only a query or a fragment, was sent.
    """
    if _is_ordinary(header):
        return header
    url = header.lstrip(_BLANKS)
    cut = _query.search(url)
    dropped = "" if cut is None else url[cut.start() :]
    if cut is not None:
        url = url[: cut.start()]
    found = _scheme(url)
    scheme, rest = (found[0], url[found.end() :]) if found else ("", url)
    if rest.startswith("//"):
        return scheme + _with_authority(scheme, rest[2:], dropped)
    if not scheme:
        return _without_scheme(url)
    if scheme.lower() == "about:" and rest in ("blank", "srcdoc"):
        return url
    return f"{scheme}{_HIDDEN}" if scheme[:-1].lower() in _SCHEMES else _HIDDEN


def _with_authority(scheme: str, rest: str, dropped: str) -> str:
    """Return authority and path, with the two slashes before them."""
    authority, slash, path = rest.partition("/")
    # Browsers read a backslash as a slash, others as a part of the user's name.
    if "\\" in authority:
        return _HIDDEN
    # A query that begins here and holds an @ may be a password with a mark in it.
    if not slash and _at.search(dropped.partition("/")[0]):
        return _HIDDEN
    host = authority.rpartition("@")[2]
    if not host:
        is_local = scheme.lower() == "file:" and not _at.search(rest)
        return f"//{slash}{_shown_path(path)}" if is_local else _HIDDEN
    if not _is_authority(host):
        return _HIDDEN
    # For example https://user:12/34@host: the password has a slash.
    if host == authority and ":" in host and _has_user(path):
        return _HIDDEN
    return f"//{host}{slash}{_shown_path(path)}"


def _without_scheme(url: str) -> str:
    if not url:
        return ""
    if url.startswith("/"):
        return "/" + _shown_path(url[1:])
    host, slash, path = url.partition("/")
    if not _is_host(_parameters.sub("", host)) or _has_user(path):
        return _HIDDEN
    return _parameters.sub("", host) + slash + _shown_path(path)


def _has_user(path: str) -> bool:
    """Return whether an ``@`` has something before it in its segment."""
    return any(
        found.start() > 0 and path[found.start() - 1] != "/"
        for found in _at.finditer(path)
    )


def _shown_path(path: str) -> str:
    """Return a path without parameters and without the users of URLs in it."""
    if ";" in path or "%" in path:
        path = _parameters.sub("", path)
    if "@" not in path and "%" not in path:
        return path
    if "\\" in path and _at.search(path):
        return _HIDDEN
    shown: list[str] = []
    before = "-"
    for segment in path.split("/"):
        shown.append(_without_user(segment, before))
        before = segment
    return "/".join(shown)


def _without_user(segment: str, before: str) -> str:
    """Return a segment of a path, without a user if one is before an ``@``.

    ``/@ada`` and ``/ada@a.example`` are paths, but not ``//ada@a.example``.
    """
    found = [*_at.finditer(segment)]
    if not found or found[-1].start() == 0:
        return segment
    last = found[-1]
    user = segment[: last.start()]
    is_user = last[0] != "@" or ":" in user or "%" in user
    if is_user or not before or before.endswith(":"):
        return segment[last.end() :]
    return segment
