"""Metrics of relays and listeners, and of the backlog at the broker, for Prometheus.

::

    from signalpost.integrations.relay.prometheus import RelayCollector

    registry.register(RelayCollector("redis://broker/0"))

Needs prometheus-client.
"""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric

from ..._options import checked_strings
from ..._relaying import all_open
from ...errors import RelayError
from ._listener import running_listeners
from ._sends import after_fork
from ._sends import log
from ._transport import Address
from ._transport import Backlog
from ._transport import opened
from ._transport import Transport

__all__ = ["RelayCollector"]

_SECONDS: t.Final = 2.0

Waiting: t.TypeAlias = Callable[[], tuple[int, float | None]]
"""Returns how many events wait, and the age of the oldest in seconds."""


class RelayCollector:
    """Compute the metrics of relays when they are scraped.

    For the relays of this process, by ``source``:

    - ``signalpost_relay_waiting_events`` and ``signalpost_relay_oldest_seconds``:
      events that the broker has not taken yet.
    - ``signalpost_relay_sent_events_total``, ``…_dropped_events_total``,
      ``…_tries_total`` and ``…_failures_total``.

    For the listeners that run in this process, by ``group``:
    ``signalpost_listener_received_events_total``, ``…_repeated_events_total``,
    ``…_failed_tries_total`` and ``…_buried_events_total``.

    With a URL, for each group at the broker, by ``group``:

    - ``signalpost_group_waiting_events`` and ``signalpost_group_oldest_seconds``.
    - ``signalpost_group_dead_letters`` and ``signalpost_group_listeners``.
    - ``signalpost_broker_up``: 1 if the broker has answered; otherwise 0, without the
      other four.

    With an outbox, ``signalpost_outbox_waiting_events`` and
    ``signalpost_outbox_oldest_seconds``: events that no dispatcher has published.

    :param url: Where the broker is, as for
        :class:`~signalpost.integrations.relay.Relay`; ``None`` to ask none.
    :param groups: The names of groups; all of them unless given. RabbitMQ does not
        show which there are.
    :param prefix: The prefix of the names of streams and queues in the broker.
    :param outbox: Returns how many rows wait, and the age of the oldest in seconds:
        the method ``waiting`` of a
        :class:`~signalpost.integrations.relay.outbox.Dispatcher`, which need not run.
    :raises TypeError: If ``groups`` is not a list.
    :raises ValueError: If another argument cannot be one.
    :raises ImportError: If the package for such a URL is not installed.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        groups: Collection[str] = (),
        prefix: str = "signalpost",
        outbox: Waiting | None = None,
    ) -> None:
        names = checked_strings("groups", groups, "names", '["shipping"]')
        if names and url is None:
            raise ValueError("groups are those of a broker; give its url, too")
        if outbox is not None and not callable(outbox):
            raise ValueError(
                f"outbox must be a function, as dispatcher.waiting, got {outbox!r}"
            )
        self._groups = [*names]
        self._outbox = outbox
        self._address: Address | None = None
        self._transport: Transport | None = None
        if url is not None:
            self._address = Address(url, prefix, _SECONDS)
            self._transport = opened(self._address)
            if not names and self._address.scheme in {"amqp", "amqps"}:
                raise ValueError(
                    "groups must name those to ask for, as ['shipping']: RabbitMQ does"
                    " not show which there are"
                )
        self._asking = threading.Lock()
        self._is_away = False
        after_fork(self, RelayCollector._forget)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without values, so that registering contacts no broker."""
        yield from _of_relays(is_empty=True)
        yield from _of_listeners(is_empty=True)
        if self._address is not None:
            yield from _of_groups(None)
        if self._outbox is not None:
            yield from _of_outbox(0, None)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        yield from _of_relays()
        yield from _of_listeners()
        if self._transport is not None:
            with self._asking:
                backlogs = self._backlogs(self._transport)
            yield from _of_groups(backlogs)
        if self._outbox is not None:
            yield from self._rows(self._outbox)

    def close(self) -> None:
        """Disconnect from the broker; the next scrape connects again."""
        if self._transport is not None:
            with self._asking:
                self._transport.close()

    def _backlogs(self, transport: Transport) -> list[Backlog] | None:
        try:
            names = self._groups or transport.groups()
            found = [transport.backlog(one) for one in names]
        except RelayError as error:
            if not self._is_away:
                log.error("relay: %s; there are no metrics of its groups", error)
            self._is_away = True
            return None
        self._is_away = False
        return found

    def _rows(self, outbox: Waiting) -> Iterable[Metric]:
        try:
            count, seconds = outbox()
        # A failing database must not remove the other metrics.
        except Exception as error:  # noqa: BLE001  # logged
            log.error("relay: the outbox cannot be counted: %s", type(error).__name__)
            return
        yield from _of_outbox(count, seconds)

    def _forget(self) -> None:
        self._asking = threading.Lock()
        if self._transport is not None:
            self._transport.forget()


def _of_relays(*, is_empty: bool = False) -> Iterable[Metric]:
    relays = [] if is_empty else all_open()
    start = "signalpost_relay"
    waiting = _gauge(f"{start}_waiting_events", "Events that wait here.", "source")
    oldest = _gauge(f"{start}_oldest_seconds", "Age of the oldest event.", "source")
    sent = _counter(f"{start}_sent_events", "Events the broker has taken.", "source")
    dropped = _counter(f"{start}_dropped_events", "Events given up.", "source")
    tries = _counter(f"{start}_tries", "Calls of the broker to send.", "source")
    failures = _counter(f"{start}_failures", "Calls that failed.", "source")
    for source in sorted({one.source for one in relays}):
        own = [one for one in relays if one.source == source]
        waiting.add_metric([source], sum(one.waiting for one in own))
        oldest.add_metric([source], max(one.oldest_seconds for one in own))
        sent.add_metric([source], sum(one.sent for one in own))
        dropped.add_metric([source], sum(one.dropped for one in own))
        tries.add_metric([source], sum(one.tries for one in own))
        failures.add_metric([source], sum(one.failures for one in own))
    yield from (waiting, oldest, sent, dropped, tries, failures)


def _of_listeners(*, is_empty: bool = False) -> Iterable[Metric]:
    listeners = [] if is_empty else running_listeners()
    start = "signalpost_listener"
    received = _counter(f"{start}_received_events", "Events received.", "group")
    repeated = _counter(f"{start}_repeated_events", "Events that came again.", "group")
    failed = _counter(f"{start}_failed_tries", "Tries that failed.", "group")
    buried = _counter(f"{start}_buried_events", "Dead letters made.", "group")
    for group in sorted({one.group for one in listeners}):
        own = [one for one in listeners if one.group == group]
        received.add_metric([group], sum(one.received for one in own))
        repeated.add_metric([group], sum(one.repeated for one in own))
        failed.add_metric([group], sum(one.failed for one in own))
        buried.add_metric([group], sum(one.buried for one in own))
    yield from (received, repeated, failed, buried)


def _of_groups(backlogs: Sequence[Backlog] | None) -> Iterable[Metric]:
    start = "signalpost_group"
    waiting = _gauge(f"{start}_waiting_events", "Events not finished.", "group")
    oldest = _gauge(f"{start}_oldest_seconds", "Age of the oldest event.", "group")
    dead = _gauge(f"{start}_dead_letters", "Dead letters.", "group")
    listeners = _gauge(f"{start}_listeners", "Listeners that run.", "group")
    for one in backlogs or ():
        waiting.add_metric([one.group], one.waiting)
        if one.oldest_seconds is not None:
            oldest.add_metric([one.group], one.oldest_seconds)
        elif not one.waiting:
            oldest.add_metric([one.group], 0)
        dead.add_metric([one.group], one.dead)
        listeners.add_metric([one.group], one.listeners)
    up = _gauge("signalpost_broker_up", "1 if the broker has answered.")
    up.add_metric([], int(backlogs is not None))
    yield from (up, waiting, oldest, dead, listeners)


def _of_outbox(count: int, seconds: float | None) -> Iterable[Metric]:
    start = "signalpost_outbox"
    waiting = _gauge(f"{start}_waiting_events", "Rows that are not published.")
    waiting.add_metric([], count)
    oldest = _gauge(f"{start}_oldest_seconds", "Age of the oldest event.")
    oldest.add_metric([], seconds or 0.0)
    yield from (waiting, oldest)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
