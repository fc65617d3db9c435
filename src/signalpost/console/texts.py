"""Write what commands print about receivers and configurations, as text or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ..config import AvailableReceiver
from ..config._checking import with_causes
from ..errors import ConfigurationError
from .layout import coloured
from .layout import location
from .layout import wrapped

__all__ = [
    "check_data",
    "document",
    "error_lines",
    "mistakes_data",
    "mistakes_text",
    "receiver_data",
    "receiver_lines",
    "right_text",
    "warning_texts",
]


def document(value: Any) -> str:
    """Return a value as one JSON document, of printable ASCII."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value that every reader of JSON takes."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    is_known = value is None or isinstance(value, (bool, int, float))
    return value if is_known else str(value)


def receiver_lines(receiver: AvailableReceiver, width: int | None) -> Iterable[str]:
    """Yield what is known of a receiver that can be enabled."""
    one = receiver.enabled
    mark = "off " if one is None else coloured("on", "green") + "  "
    options = f"({', '.join(map(str, receiver.options))})" if receiver.options else ""
    yield from wrapped(receiver.name, options, width, indent=8, mark=mark)
    if receiver.summary:
        yield from wrapped("", f"    {receiver.summary}", width, indent=4)
    if receiver.install is not None:
        needs = f"    needs {receiver.missing}: run {receiver.install}"
        yield from wrapped("", needs, width, indent=6)
    elif not receiver.is_found:
        yield from wrapped("", f"    cannot be imported: {receiver.path}", width)
    if one is not None:
        given = [f"{key}={value!r}" for key, value in one.shown_options.items()]
        options = f", with {' '.join(given)}" if given else ""
        # The same, relative to where the reader is.
        source = location(one.origin) + one.source.removeprefix(one.origin)
        enabled = f"    enabled by {source}{options}"
        yield from wrapped("", enabled, width, indent=6)


def receiver_data(receiver: AvailableReceiver) -> dict[str, Any]:
    """Return the same, for JSON."""
    one = receiver.enabled
    return {
        "name": receiver.name,
        "path": receiver.path,
        "summary": receiver.summary,
        "options": [
            {
                "name": option.name,
                "is_required": option.is_required,
                "default": option.default,
            }
            for option in receiver.options
        ],
        "is_importable": receiver.is_found,
        "missing": receiver.missing,
        "install": receiver.install,
        "enabled": None
        if one is None
        else {
            "options": one.shown_options,
            "signals": one.signals,
            "file": one.origin,
            "line": one.line,
        },
    }


def mistakes_text(mistakes: Iterable[ConfigurationError]) -> str:
    """Return what is wrong with a configuration, a line for each mistake."""
    whole = ConfigurationError.together(with_causes(mistakes))
    notes = "".join(f"\n({note})" for note in getattr(whole, "__notes__", ()))
    return f"{whole}{notes}"


def error_lines(message: str, width: int | None) -> list[str]:
    """Return the lines of an error, as each command prints it.

    :param message: May have several lines, as :func:`mistakes_text` has.
    :param width: Where lines are broken, between words; ``None`` for never.
    """
    return [
        one
        for line in f"Error: {message}".split("\n")
        for one in wrapped("", line, width, indent=4 if line[:1] == " " else 2)
    ]


def mistakes_data(mistakes: Iterable[ConfigurationError]) -> list[dict[str, Any]]:
    """Return the same, for JSON."""
    return [
        {
            "message": str(one),
            "file": one.source,
            "line": one.line,
            "section": one.section,
            "key": one.key,
            "notes": getattr(one, "__notes__", ()),
        }
        for one in _each(mistakes)
    ]


def _each(mistakes: Iterable[ConfigurationError]) -> tuple[ConfigurationError, ...]:
    found = with_causes(mistakes)
    return ConfigurationError.together(found).errors if found else ()


def check_data(
    file: str | None,
    receivers: Iterable[str],
    mistakes: Sequence[ConfigurationError],
    warnings: Iterable[str],
) -> dict[str, Any]:
    """Return what a check has found, for JSON.

    :param file: The file; ``None`` for the configuration of an application.
    """
    return {
        "file": file,
        "is_right": not mistakes,
        "receivers": [*receivers],
        "mistakes": mistakes_data(mistakes),
        "warnings": [*warnings],
    }


def right_text(names: Iterable[str]) -> str:
    """Return that a configuration is right, and what it enables."""
    return (
        f"The configuration is right; it enables {', '.join(names) or 'no receiver'}."
    )


def warning_texts(warnings: Iterable[str], unseen: Iterable[str]) -> Iterator[str]:
    """Yield a line for each warning.

    :param unseen: Those about lines that logging shows nowhere.
    """
    for reason in warnings:
        yield f"Warning: {reason}"
    for reason in unseen:
        yield f"Warning, unless a server sets up logging: {reason}"
