"""Read further fields of a request for log lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from reprlib import repr as short_repr
from typing import Any
from typing import TypeAlias

from .._options import checked_strings
from ..exchange import Exchange
from .clients import ClientReader
from .formats import Field
from .lines import logfmt_value
from .lines import LONGEST_FIELD
from .lines import truncated

__all__ = ["RequestFields", "text_of_fields"]

LONGEST_USER_AGENT = 200
"""The most characters that a user agent takes."""

_Read: TypeAlias = Callable[[Exchange], Field]

_is_name = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*").fullmatch


class RequestFields:
    """Fields of a line, read when an exchange closes.

    :param names: ``"request_id"``, ``"client"``, ``"host"``, ``"user_agent"``; any
        other is a key of :attr:`.Exchange.state`.
    :param clients: Reads the address of the client.
    :param taken: The names that the line uses itself.
    :raises TypeError: If ``names`` is not a list of strings.
    :raises ValueError: If a name is taken, or is not a name.
    """

    def __init__(
        self, names: Sequence[str], clients: ClientReader, taken: Collection[str]
    ) -> None:
        chosen = checked_strings(
            "fields", names, "names", '["client", "user"]', is_ordered=True
        )
        known: Mapping[str, _Read] = {
            "request_id": lambda exchange: exchange.id,
            "client": lambda exchange: clients.read(exchange.environ),
            "host": _host_of,
            "user_agent": _user_agent_of,
        }
        self._readers: list[tuple[str, _Read]] = []
        for name in dict.fromkeys(chosen):
            if not _is_name(name):
                raise ValueError(
                    "a name in fields must be of letters, digits and . _ -, got"
                    f' {short_repr(name)}; write "client"'
                )
            if name in taken:
                raise ValueError(
                    f"a name in fields must be none of the line's own, got {name!r};"
                    " keep the value by another name in exchange.state"
                )
            self._readers.append((name, known.get(name) or _state_reader(name)))

    def of(self, exchange: Exchange) -> tuple[tuple[str, Field], ...]:
        """Return the fields of an exchange; ``None`` for what it does not have."""
        return tuple((name, _read(read, exchange)) for name, read in self._readers)


def text_of_fields(fields: tuple[tuple[str, Field], ...]) -> str:
    """Return fields as they are written in plain text, with a space before each."""
    return "".join(
        f" {name}={'-' if value is None else logfmt_value(str(value))}"
        for name, value in fields
        if name != "request_id"  # which is there by another name
    )


def _read(read: _Read, exchange: Exchange) -> Field:
    try:
        return read(exchange)
    except Exception:  # noqa: BLE001  # of a value that an application has kept
        return None


def _host_of(exchange: Exchange) -> Field:
    environ = exchange.environ
    return _cut(environ.get("HTTP_HOST") or environ.get("SERVER_NAME"))


def _user_agent_of(exchange: Exchange) -> Field:
    return _cut(exchange.environ.get("HTTP_USER_AGENT"), LONGEST_USER_AGENT)


def _state_reader(key: str) -> _Read:
    def read(exchange: Exchange) -> Field:
        # Not by exchange.state, which would make a dict for each exchange without any.
        return _cut(None if exchange._state is None else exchange._state.get(key))

    return read


def _cut(value: Any, longest: int = LONGEST_FIELD) -> Field:
    if value is None:
        return None
    text = str(value)  # of a number, too: it may have too many digits
    if isinstance(value, (bool, int, float)) and len(text) <= longest:
        return value
    return truncated(text, longest)
