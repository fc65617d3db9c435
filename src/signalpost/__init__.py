"""Signals for Flask and WSGI applications, middleware that sends them, and receivers.

The name PYTEST_DONT_REWRITE is for pytest, which would otherwise warn if signalpost is
imported before pytest looks for plugins. signalpost has no assertion to rewrite.
"""

from __future__ import annotations

import typing as t
from importlib import import_module

if t.TYPE_CHECKING:
    from ._engine.around import around
    from ._engine.identity import ANY
    from ._engine.introspection import ConnectionInfo
    from ._engine.methods import connect_methods
    from ._engine.methods import disconnect_methods
    from ._engine.methods import receiver
    from ._engine.methods import receiver_method
    from ._engine.names import named
    from ._engine.namespace import default_namespace
    from ._engine.namespace import Namespace
    from ._engine.namespace import signal
    from ._engine.observing import Delivery
    from ._engine.observing import Observation
    from ._engine.observing import observe
    from ._engine.results import Outcome
    from ._engine.signal import NamedSignal
    from ._engine.signal import Signal
    from ._engine.typed import TypedSignal
    from .wsgi.buffering import ReadAndClose
    from .wsgi.middleware import SignalMiddleware

    __version__: str

__all__ = [
    "ANY",
    "ConnectionInfo",
    "Delivery",
    "NamedSignal",
    "Namespace",
    "Observation",
    "Outcome",
    "ReadAndClose",
    "Signal",
    "SignalMiddleware",
    "TypedSignal",
    "around",
    "connect_methods",
    "default_namespace",
    "disconnect_methods",
    "named",
    "observe",
    "receiver",
    "receiver_method",
    "signal",
]

# Imported at the first use: pytest imports this module in each run, for the plugin,
# and the middleware takes as long as all the rest.
_MODULES = {
    "ANY": "_engine.identity",
    "ConnectionInfo": "_engine.introspection",
    "Delivery": "_engine.observing",
    "NamedSignal": "_engine.signal",
    "Namespace": "_engine.namespace",
    "Observation": "_engine.observing",
    "Outcome": "_engine.results",
    "ReadAndClose": "wsgi.buffering",
    "Signal": "_engine.signal",
    "SignalMiddleware": "wsgi.middleware",
    "TypedSignal": "_engine.typed",
    "around": "_engine.around",
    "connect_methods": "_engine.methods",
    "default_namespace": "_engine.namespace",
    "disconnect_methods": "_engine.methods",
    "named": "_engine.names",
    "observe": "_engine.observing",
    "receiver": "_engine.methods",
    "receiver_method": "_engine.methods",
    "signal": "_engine.namespace",
}


def __getattr__(name: str) -> t.Any:
    if name == "__version__":
        return import_module("._version", __name__).installed_version()
    if name not in _MODULES:
        from ._moved import missing  # only for a mistake

        return missing(__name__, name)
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    # So that this is not called for the name again.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
