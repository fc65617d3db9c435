"""The receivers that can be enabled by name, to be shown."""

from __future__ import annotations

import inspect
import re
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ._enabled import EnabledReceiver
from ._extras import install_for
from ._extras import missing_engines
from ._finding import BUILTIN_RECEIVERS
from ._published import read_published
from ._shown import shown

__all__ = ["AvailableReceiver", "Option", "available_receivers", "summary_of"]


class Option(t.NamedTuple):
    """An option of a receiver.

    .. versionadded:: 0.1
    """

    name: str
    """Its name."""
    is_required: bool
    """``True`` if it has no default."""
    default: Any
    """Its default, with ``…`` in place of a possible secret; ``None`` if it has
    none."""
    is_exact: bool
    """``True`` if ``default`` is the real default, of a type that a file can hold."""

    def __str__(self) -> str:
        return self.name if self.is_required else f"{self.name}={self.default!r}"


@dataclass(frozen=True, slots=True)
class AvailableReceiver:
    """A receiver that can be enabled by name.

    .. versionadded:: 0.1
    """

    name: str
    """The name."""
    path: str
    """Import path of it or its class: ``"signalpost.receivers.sql:SqlLogger"``."""
    summary: str
    """The first line of its documentation; ``""`` if it has none."""
    options: tuple[Option, ...]
    """Its options."""
    enabled: EnabledReceiver | None
    """The enabled receiver, if it is enabled."""
    missing: str | None
    """The package that it needs and that is not installed, or too old, or ``None``."""
    install: str | None
    """The command that installs the package, or ``None``."""
    needs: tuple[str, ...]
    """The required options; ``signal`` is one of them for a receiver of any signal."""
    is_found: bool
    """``True`` if it can be imported."""


def available_receivers(
    enabled: Mapping[str, EnabledReceiver] | None = None,
) -> list[AvailableReceiver]:
    """Return every receiver that can be enabled by name, sorted by name.

    The list has the built-in receivers, those that installed distributions publish, and
    those that are enabled. They are imported to read their options; a receiver that
    cannot be imported is in the list, too.

    :param enabled: The enabled receivers; ``None`` for none.

    .. versionadded:: 0.1
    """
    enabled = {} if enabled is None else enabled
    # Up to the extras that it may name; it may also be what is not a path at all.
    paths = {one.name: one.value.partition("[")[0] for one in read_published()}
    paths = {name: path.replace(" ", "") for name, path in paths.items()}
    paths |= BUILTIN_RECEIVERS
    paths |= {name: one.path for name, one in enabled.items()}
    return [_found(name, paths[name], enabled.get(name)) for name in sorted(paths)]


def _found(name: str, path: str, enabled: EnabledReceiver | None) -> AvailableReceiver:
    missing, install = missing_engines(name)
    target = None
    try:
        target = _object_at(path)
    # Another distribution's, which is listed even so.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        missing, install = install_for(error) or (missing, install)
    return AvailableReceiver(
        name,
        path,
        "" if target is None else summary_of(target),
        (*_options_of(target),),
        enabled,
        missing,
        install,
        (*_needs_of(target),),
        target is not None,
    )


def _object_at(path: str) -> Any:
    module, _, attributes = path.partition(":")
    found: Any = import_module(module)
    for one in attributes.split("."):
        found = getattr(found, one)
    return found


def summary_of(found: object) -> str:
    """Return the first line of a docstring, without its markup."""
    summary = (inspect.getdoc(found) or "").partition("\n")[0]
    return _markup.sub(lambda marked: marked["title"] or marked["text"], summary)


# A literal, or a role such as :attr:`.Exchange.state` or :attr:`state <…>`. Of the full
# name behind a tilde only the last part is shown.
_markup = re.compile(
    r"``(?P<text>.*?)``"
    r"|(?::[\w:]+:)?`(?:~(?:[\w.]*\.)?|\.)?(?:(?P<title>[^`<]+?)(?:\s*<[^`]*>)?)`_{0,2}"
)


def _options_of(target: Any) -> Iterable[Option]:
    if not isinstance(target, type):
        return
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return
    for one in parameters:
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            yield _option(one)


def _option(parameter: inspect.Parameter) -> Option:
    default = parameter.default
    if default is parameter.empty:
        return Option(parameter.name, True, None, False)  # noqa: FBT003  # its fields
    safe = shown(parameter.name, default)
    # A value that is cut or hidden is another value.
    is_exact = _is_plain(default) and bool(safe == default)
    return Option(parameter.name, False, safe, is_exact)  # noqa: FBT003  # its fields


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(one) for key, one in value.items())
    return type(value) in (bool, int, float, str)


def _needs_of(target: Any) -> Iterable[str]:
    connects_itself = hasattr(target, "connect") and hasattr(target, "disconnect")
    if (
        target is not None
        and not connects_itself
        and not getattr(target, "signals", {})
    ):
        yield "signal"
    yield from (one.name for one in _options_of(target) if one.is_required)
