"""Send by the class of an object."""

from __future__ import annotations

import weakref
from typing import Any

from ..._engine.names import named
from ..._engine.signal import NamedSignal
from ...exchange import current_exchange

_named: weakref.WeakSet[type] = weakref.WeakSet()


def is_heard(signal: NamedSignal, model: type) -> bool:
    """Return whether anyone hears a mapped class send, by its name too."""
    if model not in _named:
        # Now, as SQLAlchemy does not tell of the classes that were mapped before.
        named(model.__name__).bind(model)
        _named.add(model)
    return signal.has_receivers_for(model)


def send(signal: NamedSignal, instance: Any, **payload: Any) -> None:
    """Send an object's signal by its class, if anyone hears it.

    :raises BaseException: What a receiver raises.
    """
    model = type(instance)
    if is_heard(signal, model):
        exchange = current_exchange()
        signal.send(model, instance=instance, exchange=exchange, **payload)
