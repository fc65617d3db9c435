"""Receivers that go away, and come, while a signal is sent or a block is open."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import ExitStack
from typing import Any

import pytest
from werkzeug.local import LocalProxy

from signalpost import Delivery
from signalpost import Namespace
from signalpost import observe
from signalpost import Signal
from signalpost._engine.interest import with_receivers
from signalpost.errors import ProxySenderWarning


class Owner:
    def receive(self, sender: Any, **payload: Any) -> str:
        return "owner"


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def receive_another(sender: Any, **payload: Any) -> str:
    return "another"


def fail(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


PAYLOADS = pytest.mark.parametrize("payload", [{}, {"order": 7}])


@PAYLOADS
def test_send_skips_a_method_that_was_disconnected_before_its_turn(
    payload: dict[str, Any],
) -> None:
    def disconnect(sender: Any, **payload: Any) -> None:
        if sender == "app":
            signal.disconnect(owner.receive)
            signal.disconnect(receive)

    signal, owner = Signal(), Owner()
    for receiver in (disconnect, owner.receive, receive, receive_another):
        signal.connect(receiver)
    assert len(signal.send("before", **payload)) == 4
    assert signal.send("app", **payload) == [
        (disconnect, None),
        (receive_another, "another"),
    ]


@PAYLOADS
@pytest.mark.parametrize("send", ["send", "send_robust"])
def test_send_skips_a_method_that_died_before_its_turn(
    send: str, payload: dict[str, Any]
) -> None:
    def let_die(sender: Any, **payload: Any) -> None:
        if sender == "app":
            owners.clear()
            gc.collect()

    signal, owners = Signal(), [Owner()]
    for receiver in (let_die, owners[0].receive, receive):
        signal.connect(receiver)
    assert len(getattr(signal, send)("before", **payload)) == 3
    found = [one for one, _ in getattr(signal, send)("app", **payload)]
    assert found == [let_die, receive]


def test_observer_that_another_one_stops_is_not_called() -> None:
    def stop(delivery: Delivery) -> None:
        second.stop()

    signal, deliveries = Signal(), list[Delivery]()
    signal.connect(receive)
    first = observe(stop, signal)
    second = observe(deliveries.append, signal)
    signal.send("app")
    first.stop()
    assert deliveries == []


def test_observation_has_its_observer() -> None:
    def count(delivery: Delivery) -> None: ...

    with observe(count, Signal()) as observation:
        assert observation.observer is count
    assert observation.observer is count


def test_observation_of_a_namespace_and_its_signal_stops_for_both() -> None:
    namespace, deliveries = Namespace(), list[Delivery]()
    signal = namespace.signal("opened")
    signal.connect(receive)
    observe(deliveries.append, namespace, signal).stop()
    later = namespace.signal("later")
    later.connect(receive)
    signal.send()
    later.send()
    assert deliveries == []


def test_uid_given_away_within_a_block_stays_with_the_other_receiver() -> None:
    signal = Signal()
    signal.connect(receive, dispatch_uid="uid")
    with signal.disconnected_from(receive):
        signal.connect(receive_another, dispatch_uid="uid")
    assert signal.send() == [(receive_another, "another")]
    assert signal.disconnect(dispatch_uid="uid")
    assert not signal.receivers


def test_block_is_needed_as_often_as_before_after_a_block_without_it() -> None:
    signal = Signal()
    with signal.connected_to(receive):
        with signal.connected_to(receive):
            with signal.disconnected_from(receive):
                pass
            assert signal.send() == [(receive, "received")]
        assert signal.send() == [(receive, "received")]
    assert not signal.receivers


def test_block_that_opens_within_a_block_and_ends_after_it_changes_nothing() -> None:
    signal = Signal()
    signal.connect(receive)
    without, with_receiver = signal.disconnected_from(receive), ExitStack()
    with without:
        with_receiver.enter_context(signal.connected_to(receive))
        assert signal.send() == [(receive, "received")]
    assert signal.send() == [(receive, "received")]
    with_receiver.close()
    assert signal.send() == [(receive, "received")]
    assert signal.disconnect(receive)
    assert not signal.receivers


def test_receiver_of_a_namespace_becomes_strong() -> None:
    namespace, owner = Namespace(), Owner()
    opened = namespace.signal("opened")
    namespace.connect(owner.receive)
    namespace.connect(owner.receive, weak=False)
    del owner
    gc.collect()
    assert [value for _, value in opened.send("app")] == ["owner"]
    assert [value for _, value in namespace.signal("later").send()] == ["owner"]


def test_receiver_of_a_namespace_stays_strong() -> None:
    namespace, owner = Namespace(), Owner()
    namespace.connect(owner.receive, weak=False)
    namespace.connect(owner.receive)
    del owner
    gc.collect()
    assert [value for _, value in namespace.signal("later").send()] == ["owner"]


def test_isolated_send_waits_in_a_block() -> None:
    def keep(sender: Any, **payload: Any) -> None:
        sent.append((sender, payload))

    signal, sent = Signal(), list[Any]()
    signal.connect(fail)
    signal.connect(keep)
    with signal.held():
        assert signal.send_isolated("app", {"order": 7}) == 0
        assert sent == []
    assert sent == [("app", {"order": 7})]


def test_each_power_of_ten_of_failures_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal, lines = Signal(), list[int]()
    signal.connect(fail)
    for _ in range(120):
        caplog.clear()
        assert signal.send_isolated("app", {}) == 1
        lines.append(len(caplog.records))
    assert [place for place, count in enumerate(lines, 1) if count] == [1, 10, 100]


def test_line_of_the_tenth_failure_has_count_and_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal = Signal()
    signal.connect(fail)
    for _ in range(10):
        signal.send_isolated("app", {})
    first, tenth = (record.getMessage() for record in caplog.records)
    assert first == f"{signal}: receiver {__name__}.fail failed"
    assert tenth == f"{first} for the 10th time with LookupError"


def test_kinds_of_failures_are_counted_apart_up_to_sixteen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail_so(sender: type[Exception]) -> None:
        raise sender

    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(18)]
    signal, lines = Signal(), list[int]()
    signal.connect(fail_so)
    for kind in (*kinds, kinds[0], kinds[15], kinds[17]):
        caplog.clear()
        signal.send_isolated(kind, {})
        lines.append(len(caplog.records))
    assert lines == [1] * 17 + [0] * 4


def test_async_send_within_the_logging_of_a_failure_calls_no_receiver() -> None:
    def send_again(record: logging.LogRecord) -> bool:
        sent.append(asyncio.run(signal.send_robust_async("again")))
        others.append(asyncio.run(other.send_robust_async("again")))
        return True

    signal, other = Signal(), Signal()
    sent, others = list[Any](), list[Any]()
    signal.connect(fail)
    other.connect(receive)
    log = logging.getLogger("signalpost.signals")
    log.addFilter(send_again)
    try:
        signal.send_robust("app")
    finally:
        log.removeFilter(send_again)
    assert sent == [[]]
    assert [[one.value for one in found] for found in others] == [["received"]]


def test_signals_of_others_are_found_by_any_receiver() -> None:
    one, other, third, none = Signal(), Signal(), Signal(), Signal()
    one.connect(receive, sender="app")
    other.connect(receive, sender="api")
    third.connect(receive)
    found = with_receivers((one, other), "app", (other, none, third))
    assert found == (one, other, third)


def test_proxy_of_itself_is_reported() -> None:
    signal, proxies = Signal(), list[Any]()
    proxies.append(LocalProxy(lambda: proxies[0]))
    with pytest.warns(ProxySenderWarning):
        signal.connect(receive, sender=proxies[0])
    assert signal.send("app") == []
