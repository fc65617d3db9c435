"""The address of a client, from behind proxies that are trusted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from reprlib import repr as short_repr
from typing import Any
from typing import Final

from .._options import checked_whole_number

__all__ = ["FORWARDED_HEADERS", "ClientReader"]

FORWARDED_HEADERS: Final = ("X-Forwarded-For", "Forwarded")
"""The headers in which proxies can send the address."""

# Longer than an address with brackets and port.
_LONGEST_ADDRESS = 60


class ClientReader:
    """Reads the address of the client of a request.

    Each proxy adds the address that it was called from at the end of a header. So with
    two trusted proxies, the second address from the right is the client's; what is
    before it was sent by the client itself.

    :param trusted_proxies: How many proxies of your own are in front. With 0, the
        client is what has called the server.
    :param header: ``"X-Forwarded-For"``, or ``"Forwarded"`` (:rfc:`7239`): what they
        send.
    :raises TypeError: If ``trusted_proxies`` is not a whole number.
    :raises ValueError: If it is below 0, or the header is another.
    """

    def __init__(
        self, trusted_proxies: int = 0, header: str = "X-Forwarded-For"
    ) -> None:
        checked_whole_number(
            "trusted_proxies",
            trusted_proxies,
            "write 1 for one proxy of your own",
            least=0,
        )
        if header not in FORWARDED_HEADERS:
            raise ValueError(
                f"forwarded_header must be one of {', '.join(FORWARDED_HEADERS)}, got"
                f" {short_repr(header)}; write the one that your proxies set"
            )
        self._trusted_proxies = trusted_proxies
        self._is_standard = header == "Forwarded"
        self._key = "HTTP_" + header.upper().replace("-", "_")

    def read(self, environ: Mapping[str, Any]) -> str | None:
        """Return the address, without a port and in its shortest form.

        :returns: ``None`` where no address is an IP address, or there is none. Where
            fewer proxies have added one than are trusted, that of what has called the
            server.
        """
        count = self._trusted_proxies
        sent = environ.get(self._key) if count else None
        if isinstance(sent, str) and sent:
            elements = (
                _from_right(sent, ",", count)
                if self._is_standard
                else sent.rsplit(",", count)[: -count - 1 : -1]
            )
            if len(elements) == count:
                element = elements[-1]
                return _address_in(
                    _forwarded_for(element) if self._is_standard else element
                )
        remote = environ.get("REMOTE_ADDR")
        return _address_in(remote) if isinstance(remote, str) else None


def _forwarded_for(element: str) -> str:
    """Return the address in an element of ``Forwarded`` (:rfc:`7239`, section 4)."""
    for pair in _from_right(element, ";"):
        name, _, value = pair.partition("=")
        if name.strip(" \t").lower() == "for":
            value = value.strip(" \t")
            is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
            return _escaped.sub(r"\1", value[1:-1]) if is_quoted else value
    return ""


def _from_right(text: str, separator: str, count: int | None = None) -> list[str]:
    """Return what is between separators, the last first.

    Separators in quoted strings are none. The search begins at the right, where the
    own proxies have written: what is before that may be a quoted string with no end.

    :param count: How many, at most.
    """
    found: list[str] = []
    end = len(text)
    is_quoted = False
    for place in range(end - 1, -1, -1):
        character = text[place]
        if character == '"':
            is_quoted = not is_quoted or _is_escaped(text, place)
        elif character == separator and not is_quoted:
            found.append(text[place + 1 : end])
            end = place
            if len(found) == count:
                return found
    return [*found, text[:end]]


def _is_escaped(text: str, place: int) -> bool:
    start = place
    while start and text[start - 1] == "\\":
        start -= 1
    return (place - start) % 2 == 1


_escaped = re.compile(r"\\(.)")

# IPv4 with a port; IPv6 in brackets, with or without.
_match_with_port = re.compile(r"([0-9.]+):[0-9]{1,5}", re.ASCII).fullmatch
_match_bracketed = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?").fullmatch


# A client sends many requests.
@lru_cache(maxsize=1024)
def _address_in(text: str) -> str | None:
    text = text.strip(" \t")
    if len(text) > _LONGEST_ADDRESS:
        return None
    found = _match_with_port(text) or _match_bracketed(text)
    if found is not None:
        text = found[1]
    # The zone after it can be any text.
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # a name, "unknown", or something that a client has made up
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(address if mapped is None else mapped)
