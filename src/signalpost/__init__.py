"""Signals for Flask and WSGI applications, and what sends and receives them."""

from __future__ import annotations

import typing as t

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
from ._places import missing

if t.TYPE_CHECKING:
    from .wsgi.buffering import ReadAndClose
    from .wsgi.middleware import SignalMiddleware

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


def __getattr__(name: str) -> t.Any:
    # Imported by those who need it: it takes as long as all the rest.
    if name == "SignalMiddleware":
        from .wsgi.middleware import SignalMiddleware

        return SignalMiddleware
    if name == "ReadAndClose":
        from .wsgi.buffering import ReadAndClose

        return ReadAndClose
    return missing(__name__, name)
