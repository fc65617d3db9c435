from __future__ import annotations

from typing import Any

from signalpost import Signal


def test_receiver_connected_during_a_send_waits_for_the_next() -> None:
    signal = Signal()
    calls: list[str] = []

    def late(sender: Any) -> None:
        calls.append("late")

    def early(sender: Any) -> None:
        calls.append("early")
        signal.connect(late)

    signal.connect(early)
    signal.send()
    assert calls == ["early"]
    signal.send()
    assert calls == ["early", "early", "late"]


def test_receiver_disconnected_before_its_turn_is_skipped() -> None:
    signal = Signal()
    calls: list[str] = []

    def first(sender: Any) -> None:
        signal.disconnect(second)

    def second(sender: Any) -> None:
        calls.append("second")

    signal.connect(first)
    signal.connect(second)
    signal.send()
    assert not calls


def test_receiver_disconnected_from_one_sender_still_receives_any() -> None:
    signal = Signal()
    calls: list[str] = []

    def first(sender: Any) -> None:
        signal.disconnect(second, sender="app")

    def second(sender: Any) -> None:
        calls.append("second")

    signal.connect(first)
    signal.connect(second, sender="app")
    signal.connect(second)
    signal.send("app")
    assert calls == ["second"]


def test_receiver_dead_before_its_turn_is_skipped() -> None:
    class Owner:
        def receive(self, sender: Any) -> None:
            calls.append("dead")

    signal = Signal()
    calls: list[str] = []
    owners = [Owner()]

    def first(sender: Any) -> None:
        owners.clear()

    signal.connect(first)
    signal.connect(owners[0].receive)
    signal.send()
    assert not calls


def test_receiver_that_disconnects_itself_does_not_stop_others() -> None:
    signal = Signal()
    calls: list[str] = []

    def first(sender: Any) -> None:
        calls.append("first")
        signal.disconnect(first)

    def second(sender: Any) -> None:
        calls.append("second")

    signal.connect(first)
    signal.connect(second)
    signal.send()
    signal.send()
    assert calls == ["first", "second", "second"]


def test_cleared_signal_calls_no_receiver() -> None:
    signal = Signal()
    calls: list[str] = []

    def first(sender: Any) -> None:
        signal._clear_state()

    def second(sender: Any) -> None:
        calls.append("second")

    signal.connect(first)
    signal.connect(second)
    signal.send()
    assert not calls


def test_receiver_may_send_the_same_signal() -> None:
    signal = Signal()
    senders: list[int] = []

    def count_down(sender: int) -> None:
        senders.append(sender)
        if sender:
            signal.send(sender - 1)

    signal.connect(count_down)
    signal.send(2)
    assert senders == [2, 1, 0]


def test_payload_is_not_kept_after_a_send() -> None:
    class Owner:
        def __del__(self) -> None:
            fates.append("freed")

    signal = Signal()
    fates: list[str] = []
    signal.connect(lambda sender, owner: None, weak=False)
    signal.send(owner=Owner())
    assert fates == ["freed"]
