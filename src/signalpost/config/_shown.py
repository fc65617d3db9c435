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

from ..receivers.lines import single_line
from ..receivers.lines import truncated
from ._secrets import is_secret
from ._secrets import looks_secret
from ._secrets import names_secret

__all__ = [
    "quoted",
    "scrubbed",
    "shown",
    "shown_name",
    "shown_options",
    "shown_value",
]

_LONGEST_NAME = 120
_LONGEST_TEXT = 200
_LONGEST_CHECKED = 2000
_MOST_ITEMS = 20
_MOST_LEVELS = 4
_MOST_BITS = 128
_SHORTEST_SECRET = 3


class _Mark(str):
    """A text that replaces a value, without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_HIDDEN: t.Final = _Mark("…")

_url = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]{1,30}):/{1,3}([^/?#\\]*)(.*)", re.DOTALL)
_urls_within = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{1,30}+):/{1,3}([^/?#\\\s]*+)([/?#\\]\S*+)"
)
_queries = re.compile(r"[?#][^\s?#=]*+=\S*+")

# Keys by which a table names what it describes: {"name": "DB_PASS", "value": …}
_NAMING = (
    " env field header id k key kind name option param parameter setting title type var"
    " variable "
)
# A value that is hidden whatever its own name is.
_BESIDE_NAME: t.Final = "secret"


def shown(key: str, value: Any) -> Any:
    """Return an option's value with ``…`` for possible secrets.

    By the option's name, those of mappings in it, and the form of its texts. Plain
    values are unchanged; others are named by their type. Large ones are cut.
    """
    return _shown(key, value, 0)


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with ``…`` for possible secrets; see :func:`shown`."""
    pairs = zip(options, _items_of("", options, None), strict=True)
    return {name: _shown(deciding, one, 0) for name, (deciding, one) in pairs}


def shown_value(value: Any) -> str:
    """Return a short ``repr`` of any value for a message, without secrets."""
    return truncated(single_line(repr(_shown("", value, 0))), _LONGEST_TEXT)


def shown_name(text: object) -> str:
    """Return a name of a file as a part of one line, not too long."""
    return single_line(truncated(str(text), _LONGEST_NAME))


def quoted(name: str) -> str:
    """Return a name of a file in quotation marks, escaped and not too long."""
    return repr(truncated(name, _LONGEST_NAME))


def scrubbed(message: str, options: Mapping[str, Any]) -> str:
    """Return a message of another's without the secrets of these options."""
    for secret in _secrets_in("", options, 0):
        message = message.replace(secret, _HIDDEN)
    return message


def _secrets_in(key: str, value: Any, level: int) -> Iterator[str]:
    if isinstance(value, (str, int)):
        text = str(value) if _is_short(value) else ""
        if len(text) > _SHORTEST_SECRET and _shown(key, value, 0) != value:
            yield text
    elif level < _MOST_LEVELS and isinstance(value, _CONTAINERS):
        for name, one in _items_of(key, value):
            inner = key if is_secret(key) else name
            yield from _secrets_in(inner, one, level + 1)


def _is_short(value: str | int) -> bool:
    return isinstance(value, str) or value.bit_length() <= _MOST_BITS


_CONTAINERS = (Mapping, list, tuple, set, frozenset)


def _items_of(
    key: str, value: Any, most: int | None = _MOST_ITEMS
) -> Iterator[tuple[str, Any]]:
    """Yield the first items of a container, each with the name that it is judged by.

    A value after the name of a secret is a secret, as in ``["--password", "x"]``.
    """
    if isinstance(value, Mapping):
        items = [*islice(value.items(), most)]
        names = {name for name, one in items if _is_naming(name, one)}
        for name, one in items:
            is_hidden = names and name not in names
            yield (_BESIDE_NAME if is_hidden else str(name)), one
        return
    is_next = False
    for one in islice(value, most):
        yield (_BESIDE_NAME if is_next else key), one
        is_next = isinstance(value, (list, tuple)) and names_secret(one)


def _is_naming(name: object, value: object) -> bool:
    return f" {name} ".lower() in _NAMING and names_secret(value)


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
        # Names are never hidden, only their values.
        pairs = zip(value, _items_of(key, value), strict=False)
        return {
            _shown_text(str(name)): _shown(deciding, one, level + 1)
            for name, (deciding, one) in pairs
        } | more
    found = [_shown(name, one, level + 1) for name, one in _items_of(key, value)]
    found += more
    return tuple(found) if isinstance(value, tuple) else found


def _shown_text(text: str) -> str:
    text = text[:_LONGEST_CHECKED]
    url = _url.match(text)
    if url is not None:
        scheme, location, rest = url.groups()
        host = location.rpartition("@")[2]
        if looks_secret(host):
            return _HIDDEN
        if host != location or rest.strip("/"):
            text = f"{scheme}://{host}/…"
    elif looks_secret(text):
        return _HIDDEN
    else:
        text = _urls_within.sub(r"\1://\2/…", text)
        text = _queries.sub("?…", text)
    return truncated(text, _LONGEST_TEXT)


def _named(value: object) -> str:
    """Return the type or the name of an object: its ``repr`` may show secrets."""
    if isinstance(value, logging.Logger):
        return _Mark(f"<logger {shown_name(value.name)}>")
    kinds = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    named = value if isinstance(value, kinds) else type(value)
    return _Mark(f"<{shown_name(named.__qualname__)}>")
