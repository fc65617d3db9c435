"""Signals for Flask and WSGI applications that say what they are doing."""

from __future__ import annotations

from ._engine.around import around
from ._engine.delivery import Delivery
from ._engine.delivery import Outcome
from ._engine.identity import ANY
from ._engine.names import named
from ._engine.namespace import default_namespace
from ._engine.namespace import Namespace
from ._engine.namespace import signal
from ._engine.observing import Observation
from ._engine.observing import observe
from ._engine.signal import ConnectionInfo
from ._engine.signal import NamedSignal
from ._engine.signal import receiver
from ._engine.signal import Signal
from .wsgi.middleware import SignalMiddleware

__all__ = [
    "ANY",
    "ConnectionInfo",
    "Delivery",
    "NamedSignal",
    "Namespace",
    "Observation",
    "Outcome",
    "Signal",
    "SignalMiddleware",
    "around",
    "default_namespace",
    "named",
    "observe",
    "receiver",
    "signal",
]
