from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Namespace
from signalpost import observe
from signalpost import Signal
from signalpost._engine.interest import with_receivers


def no_wrapper() -> None:
    """Return nothing that would run async receivers."""


def fail(sender: Any) -> None:
    raise LookupError("no such order")


def run(receiver: Callable[..., Any]) -> Callable[..., Any]:
    def running(sender: Any, **payload: Any) -> Any:
        return asyncio.run(receiver(sender, **payload))

    return running


@pytest.fixture
def signal() -> Signal:
    return Signal(payload=("order", "price"))


def send(signal: Signal, wrapper: Any = no_wrapper) -> int:
    return signal.send_isolated("shop", {"order": 7, "price": 3}, wrapper)


@pytest.mark.parametrize("sender", [ANY, "shop"])
@pytest.mark.parametrize("is_observed", [False, True])
def test_each_receiver_gets_what_it_asked_for(
    signal: Signal, sender: Any, is_observed: bool
) -> None:
    got: list[object] = []

    class Keeper:
        def keep(self, sender: Any, price: int) -> None:
            got.append(("method", sender, price))

    def all_of_it(sender: Any, **payload: Any) -> None:
        got.append((sender, payload))

    def both(sender: Any, price: int, order: int) -> None:
        got.append((sender, price, order))

    def neither(sender: Any) -> None:
        got.append(sender)

    keeper = Keeper()
    for receiver in (all_of_it, both, keeper.keep, neither):
        signal.connect(receiver, sender)
    if is_observed:
        with observe(lambda _: None, signal):
            assert send(signal) == 0
    else:
        assert send(signal) == 0
    assert got == [
        ("shop", {"order": 7, "price": 3}),
        ("shop", 3, 7),
        ("method", "shop", 3),
        "shop",
    ]


def test_those_after_one_that_fails_are_called(signal: Signal) -> None:
    got: list[str] = []

    def note(sender: Any) -> None:
        got.append(sender)

    signal.connect(fail)
    signal.connect(note)
    assert send(signal) == 1
    assert got == ["shop"]


def test_a_muted_signal_reaches_no_receiver(signal: Signal) -> None:
    signal.connect(fail)
    with signal.muted():
        assert send(signal) == 0
    assert send(signal) == 1


def test_another_sender_reaches_no_receiver(signal: Signal) -> None:
    signal.connect(fail, "bank")
    assert send(signal) == 0


def test_one_that_is_connected_once_is_called_once(signal: Signal) -> None:
    signal.connect(fail, once=True)
    assert [send(signal), send(signal)] == [1, 0]


def test_an_async_receiver_runs_if_something_runs_it(signal: Signal) -> None:
    got: list[int] = []

    async def note(sender: Any, order: int) -> None:
        got.append(order)

    signal.connect(note)
    assert send(signal, lambda: run) == 0
    assert got == [7]


def test_an_async_receiver_that_nothing_runs_fails_and_is_not_used_up(
    signal: Signal,
) -> None:
    got: list[int] = []

    async def note(sender: Any, order: int) -> None:
        got.append(order)

    signal.connect(note, once=True)
    assert send(signal) == 1
    assert send(signal, lambda: run) == 0
    assert got == [7]


def test_a_wrapper_is_not_asked_for_without_need(signal: Signal) -> None:
    asked: list[bool] = []
    signal.connect(fail)
    assert send(signal, lambda: asked.append(True)) == 1
    assert asked == []


def test_an_exit_goes_through(signal: Signal) -> None:
    def leave(sender: Any) -> None:
        raise SystemExit

    signal.connect(leave)
    with pytest.raises(SystemExit):
        send(signal)


def test_a_receiver_of_the_namespace_gets_the_signal() -> None:
    namespace = Namespace()
    placed = namespace.signal("order-placed")
    got: list[object] = []

    def note(sender: Any, **payload: Any) -> None:
        got.append(payload)

    namespace.connect(note)
    assert placed.send_isolated("shop", {"order": 7}, no_wrapper) == 0
    assert got == [{"order": 7, "signal": placed}]


def test_any_name_is_passed_as_it_is() -> None:
    names = ("connection", "payload", "receiver", "été")
    signal = Signal(payload=names)
    got: list[object] = []

    def note(
        sender: Any, payload: str, receiver: str, *, connection: str, été: str
    ) -> None:
        got.append((sender, payload, receiver, connection, été))

    signal.connect(note)
    assert signal.send_isolated("shop", {one: one for one in names}, no_wrapper) == 0
    assert got == [("shop", "payload", "receiver", "connection", "été")]


def test_signals_with_receivers_are_returned() -> None:
    for_all, for_shop, for_bank, for_nobody = (Signal() for _ in range(4))
    for_all.connect(fail)
    for_shop.connect(fail, "shop")
    for_bank.connect(fail, "bank")
    signals = (for_nobody, for_bank, for_shop, for_all)
    assert with_receivers(signals, "shop") == (for_shop, for_all)
    for_all.disconnect(fail)
    for_shop.disconnect(fail)
    assert with_receivers(signals, "shop") == ()


def test_a_receiver_that_was_freed_is_not_called() -> None:
    signal = Signal()

    def note(sender: Any) -> None: ...

    signal.connect(note, "shop")
    del note
    assert with_receivers((signal,), "shop") == ()


class RefusalError(Exception):
    pass


class ExactRefusalError(RefusalError):
    pass


def refuse(sender: Any) -> None:
    raise ExactRefusalError


async def refuse_late(sender: Any) -> None:
    raise ExactRefusalError


@pytest.mark.parametrize("refuse", [refuse, refuse_late])
def test_an_exception_that_is_no_failure_goes_through_at_its_turn(
    refuse: Callable[..., Any], signal: Signal
) -> None:
    called: list[str] = []
    with (
        signal.connected_to(lambda sender: called.append("before")),
        signal.connected_to(refuse),
        signal.connected_to(lambda sender: called.append("after")),
        pytest.raises(ExactRefusalError) as caught,
    ):
        signal.send_isolated("shop", {"order": 7}, lambda: run, (RefusalError,))
    assert called == ["before"]
    assert refuse.__qualname__ in caught.value.__notes__[0]


def test_other_exceptions_than_those_that_go_through_are_counted(
    signal: Signal,
) -> None:
    with signal.connected_to(fail):
        assert signal.send_isolated("shop", {}, no_wrapper, (RefusalError,)) == 1
    with signal.connected_to(refuse):
        assert signal.send_isolated("shop", {}, no_wrapper) == 1


def test_an_exception_that_is_no_failure_goes_through_at_the_end_of_a_block(
    signal: Signal,
) -> None:
    payload = {"order": 7, "price": 3}

    @signal.held()
    def send_later() -> int:
        return signal.send_isolated("shop", payload, None, (RefusalError,))

    with signal.connected_to(refuse), pytest.raises(RefusalError):
        send_later()


def test_an_exception_whose_class_cannot_be_asked_for_is_a_failure(
    signal: Signal,
) -> None:
    class OddError(Exception):
        def __getattribute__(self, name: str) -> Any:
            if name == "__class__":
                raise LookupError("odd")
            return super().__getattribute__(name)

    def be_odd(sender: Any) -> None:
        raise OddError

    with signal.connected_to(be_odd):
        assert signal.send_isolated("shop", {}, no_wrapper, (RefusalError,)) == 1
