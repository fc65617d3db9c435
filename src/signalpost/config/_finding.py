"""Find the receiver that a name means, and make it."""

from __future__ import annotations

import inspect
import sys
import types
import typing as t
import warnings
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .._engine.signal import Signal
from ..errors import ConfigurationError
from ..errors import ConfigurationWarning
from ..lifecycle import catalogue
from ._extras import hint_for
from ._extras import warn_without_engines
from ._location import joined
from ._location import Location
from ._location import Mistakes
from ._location import nearest
from ._published import published
from ._published import read_published
from ._raw_values import value_for
from ._secrets import is_secret
from ._shown import quoted
from ._shown import scrubbed
from ._shown import shown_name
from ._shown import shown_value

__all__ = [
    "BUILTIN_RECEIVERS",
    "RELAY",
    "found_at",
    "imported",
    "is_receiver",
    "look_again_for",
    "object_at",
    "options_of",
    "receiver_from",
    "require_known",
    "signal_of",
]

BUILTIN_RECEIVERS: t.Final[Mapping[str, str]] = {
    "failures": "signalpost.receivers.failures:FailureLogger",
    "flask-login": "signalpost.integrations.flask_login:UserReader",
    "id-header": "signalpost.receivers.response_headers:IdHeader",
    "latency": "signalpost.receivers.latency:LatencyLogger",
    "live": "signalpost.live.recording:LiveRecorder",
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
"""The built-in receivers: the import path of each, by its name in a configuration.

.. versionadded:: 0.1
"""

RELAY: t.Final = "signalpost.integrations.relay:ConfiguredRelay"
"""The receiver of the relay's section; it has no name, as it needs options."""


def found_at(name: str, location: Location) -> tuple[str, Any]:
    """Return where a receiver is, and the object there."""
    if ":" in name:
        return name, object_at(name, location)
    if name in BUILTIN_RECEIVERS:
        for entry in published().select(name=name):
            warnings.warn(
                f"{location}: {shown_name(entry.value)} is published by that name, too;"
                f" the built-in receiver {BUILTIN_RECEIVERS[name]} is used; enable the"
                " other by its path",
                ConfigurationWarning,
                stacklevel=2,
            )
        warn_without_engines(name, location)
        return BUILTIN_RECEIVERS[name], _builtin_at(BUILTIN_RECEIVERS[name], location)
    require_known(name, location)
    found = published().select(name=name)
    paths = sorted({f"{one.module}:{one.attr}" for one in found})
    if len(paths) > 1:
        raise location.error(
            f"several distributions publish {name!r}: {joined(paths)}; write the path"
            " of one"
        )
    return paths[0], object_at(paths[0], location)


def require_known(name: str, location: Location) -> None:
    """Refuse a name that nothing is known by, also where it is to be left out.

    A path is looked up in a module that is imported already; another may not be
    installed.
    """
    if name in BUILTIN_RECEIVERS:
        return
    if ":" in name:
        module = name.partition(":")[0]
        if not module or module in sys.modules:
            object_at(name, location)
        return
    if not is_receiver(name):
        known = {*BUILTIN_RECEIVERS, *published().names}
        raise location.error(
            f"unknown receiver {quoted(name)}; known are {joined(known)}; write"
            f" your own as package.module:object{nearest(name, known)}"
        )


def is_receiver(name: str) -> bool:
    """Return whether a receiver is ready, or published, by a name."""
    return name in BUILTIN_RECEIVERS or name in published().names


def look_again_for(names: Iterable[str]) -> None:
    """Read once more what is published, if one of the names is not known.

    It may have been installed since, and to read takes milliseconds: so once for all.
    """
    if not all(":" in name or is_receiver(name) for name in names):
        read_published()


def options_of(name: str) -> Collection[str]:
    """Return the names of a receiver's options; none if they cannot be known.

    :param name: A ready or published receiver.
    """
    paths = [f"{one.module}:{one.attr}" for one in published().select(name=name)]
    path = BUILTIN_RECEIVERS[name] if name in BUILTIN_RECEIVERS else paths[0]
    try:
        target = object_at(path, Location("", "", name))
    except ConfigurationError:
        return ()
    if not isinstance(target, type):
        return ("signal",)
    names = {
        one.name for one in _parameters_of(target).values() if one.kind in _BY_NAME
    }
    return names if hasattr(target, "signals") else {*names, "signal"}


def _builtin_at(path: str, location: Location) -> Any:
    try:
        return object_at(path, location)
    except ConfigurationError as error:
        hint = hint_for(t.cast("Exception", error.__cause__))
        if hint is None:
            raise
        raise location.error(hint) from error.__cause__


def object_at(path: str, location: Location) -> Any:
    """Import the object of a path such as ``"shop.audit:record"``."""
    module_name, _, attribute = path.partition(":")
    found: Any = imported(module_name, location)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise location.error(
                f"module {quoted(module_name)} has no {quoted(attribute)}"
                f"{nearest(part, dir(found))}"
            ) from error
        except (Exception, SystemExit) as error:
            raise location.error(
                f"{quoted(part)} of module {quoted(module_name)} cannot be"
                f" read: {type(error).__name__}: {error}"
            ) from error
    return found


def imported(module: str, location: Location, word: str = "") -> types.ModuleType:
    """Import a module.

    :raises ConfigurationError: If the import fails; ``word`` helps to find its line.
    """
    try:
        return import_module(module)
    # Importing a script without a guard of __main__ may end the process.
    except (Exception, SystemExit) as error:
        raise location.error(
            f"module {quoted(module)} cannot be imported:"
            f" {type(error).__name__}: {error}",
            word,
        ) from error


def receiver_from(
    target: Any, options: Mapping[str, Any], location: Location
) -> tuple[Any, Mapping[str, str]]:
    """Return a receiver, and the names of its methods by the names of signals."""
    options = dict(options)
    connects_itself = hasattr(target, "connect") and hasattr(target, "disconnect")
    signals = {} if connects_itself else _signals_of(target, location)
    needs_signal = not connects_itself and not signals
    if needs_signal:
        signals = {_signal_named(options, location): "__call__"}
    if isinstance(target, type):
        target = instance_of(target, options, location)
        # Which signals those are may depend on the options.
        if signals and not needs_signal:
            signals = _signals_of(target, location)
    elif options:
        raise location.error(
            f"it takes no option {joined(options)}, because it is not a class; give it"
            f" {'signal only' if needs_signal else 'none'}"
        )
    return target, signals


def _signals_of(target: Any, location: Location) -> Mapping[str, str]:
    """Return the names of a receiver's methods by the names of signals."""
    signals = getattr(target, "signals", {})
    if not isinstance(signals, Mapping):
        raise location.error(
            f"its attribute signals must be a dict of names of signals and of methods,"
            f" got {shown_value(signals)}; write"
            ' signals = {"exchange-closed": "__call__"}'
        )
    return signals


def _signal_named(options: dict[str, Any], location: Location) -> str:
    name = options.pop("signal", None)
    if not isinstance(name, str):
        raise location.error(
            "expected the option signal, with the name of a signal, as"
            ' {signal = "exchange-closed"}, or its path, as {signal ='
            f' "shop.events:order_placed"}}; got {shown_value(name)}'
        )
    signal_of(name, location)
    return str(name)


def signal_of(name: str, location: Location) -> Signal:
    """Return the signal of the catalogue by its name, or any other by its path.

    :raises ConfigurationError: If it is not found.
    """
    if ":" in name:
        found = object_at(name, location)
        if not isinstance(found, Signal):
            raise location.error(
                f"{quoted(name)} must be a signal, got {shown_value(found)};"
                " create one with signalpost.signal(), or name another",
                "signal",
            )
        return found
    if name not in catalogue:
        raise location.error(
            f"unknown signal {quoted(name)}; known are {joined(catalogue)};"
            f" write your own as package.module:object{nearest(name, catalogue)}",
            "signal",
        )
    return catalogue[name]


def instance_of(kind: type, options: Mapping[str, Any], location: Location) -> Any:
    """Make a receiver out of its class and options."""
    parameters = _parameters_of(kind)
    known = [name for name, one in parameters.items() if one.kind in _BY_NAME]
    takes_any = any(
        one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()
    )
    has = f"its options are {joined(known)}" if known else "it has no options"
    mistakes = Mistakes()
    given = {}
    for name, value in options.items():
        with mistakes.noted():
            if name not in known and not takes_any:
                advice = f"{has}{nearest(name, known)}"
                if is_receiver(name):
                    advice = "it is a receiver; write it in [signalpost.receivers]"
                raise location.error(f"unknown option {quoted(name)}; {advice}", name)
            annotation = _annotation(kind, parameters.get(name))
            given[name] = _value_of(name, value, annotation, location)
    missing = [name for name in _required(parameters) if name not in options]
    if missing:
        mistakes.add(location.error(f"it needs {_named(missing)}; {has}"))
    if mistakes:
        for error in _wrong_values(kind, given, location):
            mistakes.add(error)
        mistakes.raise_any()
    try:
        return kind(**given)
    except (Exception, SystemExit) as error:
        for one in _wrong_values(kind, given, location):
            mistakes.add(one)
        mistakes.raise_any()
        reason = str(error)
        if isinstance(error, SystemExit):
            reason = f"SystemExit: {reason}"
        key = getattr(error, "key", "")
        advice = "" if key in given else f"; {has}"
        raise location.error(scrubbed(f"{reason}{advice}", given), key) from error


def _required(parameters: Mapping[str, inspect.Parameter]) -> Iterable[str]:
    """Return the names of the options that have no default."""
    return [
        name
        for name, one in parameters.items()
        if one.kind in _BY_NAME and one.default is inspect.Parameter.empty
    ]


def _named(options: Collection[str]) -> str:
    return f"the option{'' if len(options) == 1 else 's'} {joined(options)}"


def _value_of(name: str, value: Any, annotation: Any, location: Location) -> Any:
    try:
        return value_for(value, annotation)
    except ValueError as error:
        reason = "its value does not fit" if is_secret(name) else str(error)
        raise location.error(f"option {shown_name(name)}: {reason}", name) from error


def _wrong_values(
    kind: type, given: Mapping[str, Any], location: Location
) -> Iterable[ConfigurationError]:
    """Yield an error, with its line, for each value that is refused alone.

    Only for this package's classes, of which an unused object does no harm.
    """
    if not kind.__module__.startswith("signalpost."):
        return
    for name, value in given.items():
        try:
            kind(**{name: value})
        except Exception as error:  # noqa: BLE001  # any is a refusal
            reason = scrubbed(str(error), given)
            # It may need another option, which is given, too.
            is_of_another = getattr(error, "key", name) not in ("", name)
            if name in reason and not is_of_another:
                refusal = location.error(reason, name)
                refusal.__cause__ = error
                yield refusal


_BY_NAME = (
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _parameters_of(kind: type) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(kind).parameters
    except ValueError:  # some classes in C have no signature
        return {"options": inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)}


def _annotation(kind: type, parameter: inspect.Parameter | None) -> Any:
    """Return the type of an option, from its annotation or its default."""
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
