"""What a name stands for, and a receiver made of it."""

from __future__ import annotations

import inspect
import types
import typing as t
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from reprlib import repr as short_repr
from typing import Any

from .._engine.signal import NamedSignal
from ..errors import ConfigurationWarning
from ..lifecycle import catalogue
from ._place import listed
from ._place import nearest
from ._place import Place
from ._text import value_for

__all__ = [
    "ENTRY_POINT_GROUP",
    "READY",
    "found_at",
    "imported",
    "object_at",
    "receiver_from",
    "signal_of",
]

READY: t.Final[Mapping[str, str]] = {
    "failures": "signalpost.receivers.failures:FailureLogger",
    "flask-login": "signalpost.integrations.flask_login:UserReader",
    "id-header": "signalpost.receivers.response_headers:IdHeader",
    "latency": "signalpost.receivers.latency:LatencyLogger",
    "opentelemetry": "signalpost.integrations.opentelemetry:OpenTelemetry",
    "prometheus": "signalpost.integrations.prometheus:PrometheusMetrics",
    "recorder": "signalpost.receivers.recorder:LatencyRecorder",
    "referrer-counter": "signalpost.receivers.referrer_counter:ReferrerCounter",
    "referrers": "signalpost.receivers.referrers:ReferrerLogger",
    "server-timing": "signalpost.receivers.response_headers:ServerTiming",
    "sql": "signalpost.receivers.sql:SqlLogger",
    "sql-repeats": "signalpost.receivers.sql:RepeatLogger",
    "sql-totals": "signalpost.receivers.sql_totals:SqlTotalsCounter",
    "sqlalchemy": "signalpost.integrations.sqlalchemy:EveryEngine",
    "watch": "signalpost.receivers.watch:WatchSender",
}
"""The ready receivers: where each is, by the name that configuration knows it by."""


ENTRY_POINT_GROUP: t.Final = "signalpost.receivers"
"""The entry-point group under which other distributions publish receivers."""


def found_at(name: str, place: Place) -> tuple[str, Any]:
    """Return where a receiver is, and the object there."""
    if ":" in name:
        return name, object_at(name, place)
    published = entry_points(group=ENTRY_POINT_GROUP)
    if name in READY:
        for entry in published.select(name=name):
            warnings.warn(
                f"{place}: {entry.value} is published by that name, too; the ready"
                f" receiver {READY[name]} is used; enable the other by its path",
                ConfigurationWarning,
                stacklevel=2,
            )
        return READY[name], object_at(READY[name], place)
    paths = sorted({f"{one.module}:{one.attr}" for one in published.select(name=name)})
    if not paths:
        known = {*READY, *published.names}
        raise place.error(
            f"unknown receiver {name!r}; known are {listed(known)}; one of your own is"
            f" written package.module:object{nearest(name, known)}"
        )
    if len(paths) > 1:
        raise place.error(
            f"several distributions publish {name!r}: {listed(paths)}; write the path"
            " of one"
        )
    return paths[0], object_at(paths[0], place)


def object_at(path: str, place: Place) -> Any:
    """Import what a path such as ``"shop.audit:record"`` names."""
    module_name, _, attribute = path.partition(":")
    found: Any = imported(module_name, place)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise place.error(
                f"module {module_name!r} has no {attribute!r}"
                f"{nearest(part, dir(found))}"
            ) from error
    return found


def imported(module: str, place: Place, word: str = "") -> types.ModuleType:
    """Import a module.

    :raises ConfigurationError: Whatever goes wrong; ``word`` helps to find its line.
    """
    try:
        return import_module(module)
    except Exception as error:
        raise place.error(
            f"module {module!r} cannot be imported: {type(error).__name__}: {error}",
            word,
        ) from error


def receiver_from(
    target: Any, options: Mapping[str, Any], place: Place
) -> tuple[Any, Mapping[str, str]]:
    """Return a receiver, and which of its methods hears which signal."""
    options = dict(options)
    connects_itself = hasattr(target, "connect") and hasattr(target, "disconnect")
    hears: Mapping[str, str] = {} if connects_itself else getattr(target, "hears", {})
    needs_signal = not connects_itself and not hears
    if needs_signal:
        hears = {_signal_named(options, place): "__call__"}
    if isinstance(target, type):
        target = instance_of(target, options, place)
    elif options:
        raise place.error(
            f"it takes no option {listed(options)}, as it is no class; give it"
            f" {'signal only' if needs_signal else 'none'}"
        )
    return target, hears


def _signal_named(options: dict[str, Any], place: Place) -> str:
    name = options.pop("signal", None)
    if not isinstance(name, str):
        raise place.error(
            "expected the option signal, with the name of what it hears, as"
            f' {{signal = "exchange-closed"}}; got {short_repr(name)}'
        )
    return signal_of(name, place).name


def signal_of(name: str, place: Place) -> NamedSignal:
    if name not in catalogue:
        raise place.error(
            f"unknown signal {name!r}; known are {listed(catalogue)}"
            f"{nearest(name, catalogue)}"
        )
    return catalogue[name]


def instance_of(kind: type, options: Mapping[str, Any], place: Place) -> Any:
    """Make a receiver out of its class and options."""
    parameters = _parameters_of(kind)
    known = [name for name, one in parameters.items() if one.kind in _BY_NAME]
    takes_any = any(
        one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()
    )
    has = f"its options are {listed(known)}" if known else "it has no options"
    for name in options:
        if name not in known and not takes_any:
            raise place.error(
                f"unknown option {name!r}; {has}{nearest(name, known)}", name
            )
    given = {}
    for name, value in options.items():
        try:
            given[name] = value_for(value, _annotation(kind, parameters.get(name)))
        except ValueError as error:
            raise place.error(f"option {name}: {error}", name) from error
    try:
        return kind(**given)
    except Exception as error:
        raise place.error(f"{error}; {has}") from error


_BY_NAME = (
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _parameters_of(kind: type) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(kind).parameters
    except ValueError:  # some classes of C tell nothing
        return {"options": inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)}


def _annotation(kind: type, parameter: inspect.Parameter | None) -> Any:
    """Return what an option takes, by its annotation or else its default."""
    if parameter is None:
        return Any
    try:
        hints = t.get_type_hints(t.cast("Any", kind).__init__)
    except Exception:  # noqa: BLE001  # names that only a type checker imports
        hints = {}
    if parameter.name in hints:
        return hints[parameter.name]
    default = parameter.default
    is_telling = default is not inspect.Parameter.empty and default is not None
    return type(default) if is_telling else Any
