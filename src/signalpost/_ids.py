"""The id of a request: the one that the server in front sent, or a new one."""

from __future__ import annotations

import os
import re
import time
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from reprlib import repr as short_repr

from ._by_sender import ValuesBySender
from ._options import checked_strings

__all__ = [
    "ID_HEADERS",
    "IdHeaders",
    "id_headers_of",
    "is_header_name",
    "is_id",
    "is_traceparent",
    "known_keys",
    "new_id",
    "set_id_headers",
]

ID_HEADERS: t.Final = (
    "X-Request-ID",
    "X-Correlation-ID",
    "X-Amzn-Trace-Id",
    "traceparent",
)
"""The headers that may have the id of a request, unless others are configured."""

is_id = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch
"""Matches an id that is fit for a log line and a header.

The characters are those of a ``token68`` (RFC 9110, 11.2), in which base64 and UUIDs
are written, and two that HAProxy and Apache use."""

is_header_name = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*").fullmatch
"""Matches the name of a header that a WSGI environment can hold."""

# As long as the ids of common proxies; a longer search would take time.
_LONGEST_HEADER = 512

# A trace that began at the load balancer, or that it was given.
_find_root = re.compile(r"(?:^|; ?)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)").search

# W3C Trace Context, 3.2: a later version may have more after another hyphen.
_match_traceparent = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?",
    re.ASCII,
).fullmatch


def is_traceparent(value: str) -> bool:
    """Return whether a value is one that ``traceparent`` may have."""
    return len(value) <= _LONGEST_HEADER and _trace_id_of(value) is not None


def _plain_id(value: str) -> str | None:
    return value if is_id(value) else None


def _root_of(value: str) -> str | None:
    found = _find_root(value)
    # Some other server's id by that name.
    return _plain_id(value) if found is None else found[1]


def _trace_id_of(value: str) -> str | None:
    found = _match_traceparent(value)
    if found is None or (found[1] == "00" and found[3] is not None):
        return None
    return found[2]


_READERS: Mapping[str, Callable[[str], str | None]] = {
    "traceparent": _trace_id_of,
    "x-amzn-trace-id": _root_of,
}


class IdHeaders:
    """The headers that may have the id of a request, in order.

    :param names: Their names; none for an id that is always new.
    :raises TypeError: If ``names`` is not a list of strings.
    :raises ValueError: If one cannot be the name of a header.
    """

    __slots__ = ("_readers", "keys", "names")

    keys: frozenset[str]
    """Their keys in a WSGI environment."""
    names: tuple[str, ...]
    """Their names."""

    def __init__(self, names: Sequence[str]) -> None:
        found = checked_strings(
            "id_headers",
            names,
            "names of headers",
            '["X-Request-ID"]',
            is_ordered=True,
        )
        for name in found:
            if not is_header_name(name):
                raise ValueError(
                    "id_headers must be names of headers, of letters, digits and"
                    f' hyphens, got {short_repr(name)}; write "X-Request-ID"'
                )
        self.names = found
        self._readers = tuple(
            (
                "HTTP_" + name.upper().replace("-", "_"),
                _READERS.get(name.lower(), _plain_id),
            )
            for name in found
        )
        self.keys = frozenset(key for key, _ in self._readers)

    def find(self, environ: Mapping[str, t.Any]) -> str | None:
        """Return the first well-formed id in the headers of a request.

        A value that is not well-formed is ignored: it comes from the client, not from a
        server in front.
        """
        for key, read in self._readers:
            if key not in environ:
                continue
            value = environ[key]
            if type(value) is str:
                found = read(value) if len(value) <= _LONGEST_HEADER else None
                if found is not None:
                    return found
        return None


_BY_DEFAULT: t.Final = IdHeaders(ID_HEADERS)

known_keys: set[str] = {*_BY_DEFAULT.keys}
"""The keys of the headers that the ids of any sender are read from."""

_of_senders: ValuesBySender[IdHeaders] = ValuesBySender()


def set_id_headers(sender: object, headers: IdHeaders) -> None:
    """Set the headers that may have the id of a sender's requests."""
    known_keys.update(headers.keys)
    _of_senders.set(sender, headers)


def id_headers_of(sender: object) -> IdHeaders:
    """Return the headers that may have the id of a sender's requests."""
    return _of_senders.of(sender, _BY_DEFAULT)


_RANDOM_BITS = 62
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1


def new_id() -> str:
    """Return a new id: a UUID of version 7 (RFC 9562, 5.7), which sorts by time."""
    milliseconds = (time.time_ns() // 1_000_000) & 0xFFFF_FFFF_FFFF
    # The system's own, so that a forked process makes others.
    bits = int.from_bytes(os.urandom(10))
    value = (
        (milliseconds << 80)
        | (0x7 << 76)
        | ((bits >> 68) << 64)
        | (0b10 << _RANDOM_BITS)
        | (bits & _RANDOM_MASK)
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
