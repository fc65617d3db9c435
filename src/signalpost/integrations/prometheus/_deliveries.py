"""Calls of receivers, counted."""

from __future__ import annotations

from ..._engine.identity import describe
from ..._engine.observing import Delivery
from ..._engine.observing import Observation
from ..._engine.observing import observe
from ...lifecycle import catalogue
from ._store import Store
from ._values import counter
from ._values import Label
from ._values import Limits

__all__ = ["DeliveryMetrics"]

_MOST_NAMES = 100


class DeliveryMetrics:
    """Counts each call of a receiver of the catalogue, in this process.

    :param prefix: The prefix of each name.
    :param limits: How many values there are of each label.
    :param store: Where the metrics are kept.
    """

    def __init__(self, prefix: str, limits: Limits, store: Store) -> None:
        start = f"{prefix}signalpost_receiver_"
        self._group = store.group(
            limits.label_sets,
            [Label("signal", _MOST_NAMES), Label("receiver", _MOST_NAMES)],
            counter(f"{start}calls", "Calls of receivers."),
            counter(f"{start}failures", "Calls of receivers that raised."),
            counter(f"{start}seconds", "Time that receivers took."),
        )
        self._store = store
        self._observation: Observation | None = None

    def connect(self) -> None:
        """Count; the calls after the first change nothing."""
        if self._observation is None:
            self._observation = observe(self._delivered, catalogue)

    def disconnect(self) -> None:
        """Stop counting."""
        observation, self._observation = self._observation, None
        if observation is not None:
            observation.stop()

    def _delivered(self, delivery: Delivery) -> None:
        signal = getattr(delivery.signal, "name", "")
        key = (signal, describe(delivery.receiver))
        amounts = 1, delivery.exception is not None, delivery.duration_seconds
        self._store.put(self._group.add, key, *amounts)
