"""Observers that see every call of a receiver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

import pytest

from signalpost import Delivery
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import observe
from signalpost import Signal
from signalpost.errors import ReceiverError

from .tables import has_fast_route

ERROR = LookupError("refused")


class Counter:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, delivery: Delivery) -> None:
        self.count += 1


def take(sender: Any, **extra: Any) -> str:
    return "received"


def take_another(sender: Any, **extra: Any) -> str:
    return "another"


def fail(sender: Any, **extra: Any) -> None:
    raise ERROR


async def take_later(sender: Any, **extra: Any) -> str:
    await asyncio.sleep(0)
    return "received"


async def fail_later(sender: Any, **extra: Any) -> None:
    await asyncio.sleep(0)
    raise ERROR


def send(signal: Signal) -> None:
    signal.send("app", door=1)


def send_robust(signal: Signal) -> None:
    signal.send_robust("app", door=1)


def send_async(signal: Signal) -> None:
    asyncio.run(signal.send_async("app", door=1))


def send_robust_async(signal: Signal) -> None:
    asyncio.run(signal.send_robust_async("app", door=1))


def send_together(signal: Signal) -> None:
    asyncio.run(signal.send_async("app", _gather=asyncio.gather, door=1))


every_way = pytest.mark.parametrize(
    "way", [send, send_robust, send_async, send_robust_async, send_together]
)


@every_way
def test_delivery_has_signal_sender_and_receiver(way: Callable[[Signal], None]) -> None:
    signal = Signal()
    signal.connect(take)
    seen: list[Delivery] = []
    with observe(seen.append, signal):
        start = perf_counter()
        way(signal)
        duration = perf_counter() - start
    (delivery,) = seen
    assert delivery.signal is signal
    assert delivery.sender == "app"
    assert delivery.receiver is take
    assert delivery.exception is None
    assert 0 <= delivery.duration_seconds <= duration


@every_way
def test_delivery_has_what_a_receiver_raised(way: Callable[[Signal], None]) -> None:
    signal = Signal()
    signal.connect(fail)
    seen: list[Delivery] = []
    with observe(seen.append, signal), suppress(LookupError):
        way(signal)
    assert [delivery.exception for delivery in seen] == [ERROR]


@pytest.mark.parametrize("way", [send_async, send_robust_async, send_together])
def test_deliveries_to_async_receivers_are_seen(way: Callable[[Signal], None]) -> None:
    signal = Signal()
    signal.connect(take_later)
    signal.connect(fail_later)
    seen: list[Delivery] = []
    with observe(seen.append, signal), suppress(LookupError):
        way(signal)
    assert [(one.receiver, one.exception) for one in seen] == [
        (take_later, None),
        (fail_later, ERROR),
    ]


def test_deliveries_are_seen_in_the_order_of_calls() -> None:
    signal = Signal()
    signal.connect(take)
    signal.connect(take_another, priority=1)
    seen: list[Delivery] = []
    with observe(seen.append, signal):
        signal.send("app")
        signal.send("api")
    assert [(one.sender, one.receiver) for one in seen] == [
        ("app", take_another),
        ("app", take),
        ("api", take_another),
        ("api", take),
    ]


def test_results_are_those_of_the_receivers() -> None:
    signal = Signal()
    signal.connect(take)
    with observe(Counter().add, signal):
        assert signal.send("app") == [(take, "received")]


def test_delivery_to_a_method_has_the_method() -> None:
    class Owner:
        def receive(self, sender: Any) -> None: ...

    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    seen: list[Delivery] = []
    with observe(seen.append, signal):
        signal.send()
    assert seen[0].receiver == owner.receive


def test_wrapped_async_receiver_is_seen_as_itself() -> None:
    def run(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda sender, **payload: asyncio.run(function(sender, **payload))

    signal = Signal()
    signal.connect(take_later)
    seen: list[Delivery] = []
    with observe(seen.append, signal):
        signal.send("app", _async_wrapper=run)
    assert [one.receiver for one in seen] == [take_later]


def test_declared_payload_goes_to_its_readers_as_before() -> None:
    def read_door(sender: Any, door: int) -> int:
        return door

    signal = Signal(payload=("door", "time"))
    signal.connect(read_door)
    with observe(Counter().add, signal):
        assert signal.send("app", door=1, time=2) == [(read_door, 1)]


def test_muted_send_is_not_seen() -> None:
    signal, counter = Signal(), Counter()
    signal.connect(take)
    with observe(counter.add, signal), signal.muted():
        signal.send()
    assert counter.count == 0


def test_send_without_receivers_is_not_seen() -> None:
    signal, counter = Signal(), Counter()
    with observe(counter.add, signal):
        signal.send()
    assert counter.count == 0


def test_several_observers_see_each_delivery() -> None:
    signal, first, second = Signal(), Counter(), Counter()
    signal.connect(take)
    with observe(first.add, signal):
        with observe(second.add, signal):
            signal.send()
        signal.send()
    signal.send()
    assert (first.count, second.count) == (2, 1)


def test_only_listed_signals_are_observed() -> None:
    signals = [Signal() for _ in range(3)]
    seen: list[Delivery] = []
    for signal in signals:
        signal.connect(take)
    with observe(seen.append, *signals[:2]):
        for signal in signals:
            signal.send()
    assert [one.signal for one in seen] == signals[:2]


def test_signals_of_a_namespace_are_observed_later_ones_too() -> None:
    namespace, other, seen = Namespace(), Namespace(), list[Delivery]()
    there = namespace.signal("there")
    with observe(seen.append, namespace):
        later = namespace.signal("later")
        namespace["ready made"] = ready_made = NamedSignal("ready made")
        for signal in (there, later, ready_made, other.signal("there")):
            signal.connect(take)
            signal.send()
    for signal in (there, later, ready_made, namespace.signal("after")):
        signal.connect(take)
        signal.send()
    assert [one.signal for one in seen] == [there, later, ready_made]


def test_signal_listed_twice_is_seen_once() -> None:
    namespace, counter = Namespace(), Counter()
    opened = namespace.signal("opened")
    opened.connect(take)
    with observe(counter.add, namespace, opened, opened):
        opened.send()
    assert counter.count == 1
    opened.send()
    assert counter.count == 1


def test_signal_put_into_an_observed_namespace_again_is_seen_once() -> None:
    namespace, counter = Namespace(), Counter()
    opened = namespace.signal("opened")
    opened.connect(take)
    with observe(counter.add, namespace):
        namespace["opened"] = namespace["again"] = opened
        opened.send()
    opened.send()
    assert counter.count == 1


def test_observer_that_raises_is_logged_and_harmless(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(delivery: Delivery) -> None:
        raise ERROR

    signal, counter = NamedSignal("opened"), Counter()
    signal.connect(take)
    with observe(refuse, signal), observe(counter.add, signal):
        assert signal.send() == [(take, "received")]
    (record,) = caplog.records
    assert record.name == "signalpost.signals"
    assert record.levelno == logging.ERROR
    assert "opened" in record.getMessage()
    assert "refuse" in record.getMessage()
    assert counter.count == 1


def test_observer_that_raises_does_not_hide_what_a_receiver_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(delivery: Delivery) -> None:
        raise ValueError

    signal = Signal()
    signal.connect(fail)
    with observe(refuse, signal), pytest.raises(LookupError) as raised:
        signal.send()
    assert raised.value is ERROR
    assert len(caplog.records) == 1


def test_stopping_ends_it() -> None:
    signal, counter = Signal(), Counter()
    signal.connect(take)
    observation = observe(counter.add, signal)
    signal.send()
    observation.stop()
    signal.send()
    assert counter.count == 1


def test_stopping_twice_does_not_stop_another_observation() -> None:
    signal, counter = Signal(), Counter()
    signal.connect(take)
    first = observe(counter.add, signal)
    second = observe(counter.add, signal)
    first.stop()
    first.stop()
    signal.send()
    second.stop()
    signal.send()
    assert counter.count == 1


def test_receiver_may_stop_what_observes_it() -> None:
    def stop(sender: Any) -> None:
        observation.stop()

    signal = Signal()
    seen: list[Delivery] = []
    signal.connect(stop)
    signal.connect(take)
    observation = observe(seen.append, signal)
    signal.send()
    assert take not in [delivery.receiver for delivery in seen]


def test_receiver_that_begins_to_observe_is_not_seen_with_a_wrong_duration() -> None:
    async def begin(sender: Any) -> None:
        observations.append(observe(seen.append, signal))

    signal = Signal()
    seen: list[Delivery] = []
    observations: list[Any] = []
    signal.connect(begin)
    start = perf_counter()
    asyncio.run(signal.send_async())
    duration = perf_counter() - start
    assert all(0 <= one.duration_seconds <= duration for one in seen)


def test_observer_may_send_what_it_observes() -> None:
    def send_again(delivery: Delivery) -> None:
        if delivery.sender < 3:
            delivery.signal.send(delivery.sender + 1)

    signal = Signal()
    senders: list[int] = []
    signal.connect(senders.append, weak=False)
    with observe(send_again, signal):
        signal.send(1)
    assert senders == [1, 2, 3]


def test_calls_are_counted_while_observed() -> None:
    signal = Signal()
    signal.connect(take)
    signal.connect(take_another, sender="app")
    signal.send("app")
    with observe(Counter().add, signal):
        signal.send("app")
        signal.send("api")
    signal.send("app")
    assert [(one.receiver, one.calls) for one in signal.connections] == [
        (take, 2),
        (take_another, 1),
    ]


def test_call_of_an_overlap_counts_for_both_connections() -> None:
    signal = Signal()
    signal.connect(take)
    signal.connect(take, sender="app")
    with observe(Counter().add, signal):
        signal.send("app")
        signal.send("api")
    assert [(one.sender, one.calls) for one in signal.connections] == [
        (Signal.ANY, 2),
        ("app", 1),
    ]


def test_unobserved_signal_is_fast_again() -> None:
    signal = Signal()
    signal.connect(take)
    with observe(Counter().add, signal):
        signal.send()
        assert not has_fast_route(signal)
    signal.send()
    assert has_fast_route(signal)


def test_observer_that_is_not_callable_is_refused() -> None:
    with pytest.raises(ReceiverError, match="must be callable"):
        observe("observer", Signal())  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("watched", [(), ("opened",), (Signal(), None)])
def test_something_else_than_signals_is_refused(watched: tuple[Any, ...]) -> None:
    counter = Counter()
    with pytest.raises(TypeError, match="signals"):
        observe(counter.add, *watched)
    assert not any(getattr(one, "_observers", ()) for one in watched)
