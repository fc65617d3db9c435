"""Signals for Flask and WSGI applications that say what they are doing."""

from __future__ import annotations

from ._engine.delivery import Outcome
from ._engine.identity import ANY
from ._engine.namespace import default_namespace
from ._engine.namespace import Namespace
from ._engine.namespace import signal
from ._engine.signal import NamedSignal
from ._engine.signal import Signal
from .wsgi.middleware import SignalMiddleware

__all__ = [
    "ANY",
    "NamedSignal",
    "Namespace",
    "Outcome",
    "Signal",
    "SignalMiddleware",
    "default_namespace",
    "signal",
]
