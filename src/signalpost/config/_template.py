"""A configuration file to begin with: what is installed, commented out."""

from __future__ import annotations

import json
import re
import textwrap
import typing as t
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from .._ids import ID_HEADERS
from ..receivers.lines import single_line
from ._available import available_receivers
from ._available import AvailableReceiver

__all__ = ["template"]

_WIDTH = 79
_HEAD = """\
# The configuration of signalpost: which receivers run, and with which options.
#
# A line that begins with # and no space is a setting with its default: take the
# # away to use it. Any line of a receiver enables the receiver. Check the file by
#
#     signalpost check FILE

[signalpost]
# What the receivers log goes to standard error, as "text", "json" or "logfmt".
format = "text"
# Modules to import before, in order.
#auto-import = []
# Headers that may have the id of a request, in order.
#id-headers = ID_HEADERS
# Methods to record by name, besides those of HTTP itself.
#methods = []

[signalpost.receivers]
"""

_ON: t.Final[Mapping[str, Mapping[str, Any]]] = {
    "failures": {"again_seconds": 3600},
    "latency": {"slow_seconds": 0.5},
}
"""The receivers that are enabled, with at least one option each."""


def template() -> str:
    """Return a TOML configuration with every receiver that can be enabled.

    A few of the built-in receivers are enabled. The others, and all further options
    with their defaults, are comments: remove the ``#`` to enable one.

    .. versionadded:: 0.1
    """
    parts = ["\n".join(_lines_of(one)) for one in available_receivers()]
    head = _HEAD.replace("ID_HEADERS", _value(ID_HEADERS))
    return head + "\n\n".join(parts) + "\n"


def _lines_of(receiver: AvailableReceiver) -> Iterator[str]:
    yield from _prose(f"{receiver.name}: {receiver.summary or receiver.path}")
    if receiver.install is not None:
        yield from _prose(f"It needs {receiver.missing}: run {receiver.install}")
    if not receiver.is_found:
        return
    key = _key(receiver.name)
    if receiver.needs:
        needs = ", ".join(f"{_key(name)} = …" for name in receiver.needs)
        yield from _prose(f"Its options must be given: {key} = {{{needs}}}")
        return
    on = _ON.get(receiver.name, {})
    more = []
    for option in receiver.options:
        if option.name in on:
            yield f"{key}.{_key(option.name)} = {_value(on[option.name])}"
        elif option.is_exact:
            yield f"#{key}.{_key(option.name)} = {_value(option.default)}"
        else:
            more.append(option.name)
    if not on and not any(one.is_exact for one in receiver.options):
        yield f"#{key} = true"
    if more:
        yield from _prose(f"Further options: {', '.join(more)}")


def _prose(text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        single_line(text),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


_is_bare = re.compile(r"[A-Za-z0-9_-]+").fullmatch


def _key(name: str) -> str:
    return name if _is_bare(name) else _text(name)


def _value(value: Any) -> str:
    """Return a value in TOML; of the kinds that a file can hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        items = (f"{_key(key)} = {_value(one)}" for key, one in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)  # a number: TOML and Python write inf and nan alike


def _text(text: str) -> str:
    # JSON and TOML have the same escapes, except for unprintable characters.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
