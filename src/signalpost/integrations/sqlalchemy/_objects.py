"""Send by the class of an object."""

from __future__ import annotations

import weakref
from typing import Any

from ..._engine.names import named
from ..._engine.signal import NamedSignal
from ...exchange import current_exchange

_named: weakref.WeakSet[type] = weakref.WeakSet()


def has_receivers(signal: NamedSignal, model: type) -> bool:
    """Return whether a mapped class has receivers, by its name too."""
    if model not in _named:
        # Now, as SQLAlchemy has no event for the classes that were mapped before.
        named(model.__name__).bind(model)
        _named.add(model)
    return signal.has_receivers_for(model)


def send(signal: NamedSignal, instance: Any, **payload: Any) -> None:
    """Send an object's signal by its class, if it has receivers.

    :raises BaseException: The exception of a receiver.
    """
    model = type(instance)
    if has_receivers(signal, model):
        exchange = current_exchange()
        signal.send(model, instance=instance, exchange=exchange, **payload)
