"""Caches between sends, and between requests, have the current values."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import Context
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalpost import ANY
from signalpost import observe
from signalpost import Signal
from signalpost._engine.interest import generation_of

from .tables import may_have_receivers

Receiver = Callable[..., None]

STEPS = [
    "connect",
    "connect to the sender",
    "connect once",
    "disconnect",
    "disconnect all",
    "die",
    "mute",
    "unmute",
    "observe",
    "observe no more",
    "send",
    "send by another",
]


def no_wrapper() -> None:
    """Return nothing that would run async receivers."""


class Shop:
    """One signal, two receivers, and the cached values."""

    def __init__(self) -> None:
        self.signal = Signal(payload=("order",))
        self.other = Signal()
        self.generation = generation_of((self.other, self.signal))
        self.latest: object = None
        self.is_received = False
        self.got: list[int] = []
        self.receivers = [self.new(0), self.new(1)]
        self.numbers = {id(one): number for number, one in enumerate(self.receivers)}
        self.mutes: list[ExitStack] = []
        self.observations: list[Any] = []

    def new(self, number: int) -> Receiver:
        def receive(sender: object, *, order: int) -> None:
            self.got.append(number)

        return receive

    def do(self, step: str, number: int) -> None:
        receiver = self.receivers[number]
        if step == "connect":
            self.signal.connect(receiver)
        elif step == "connect to the sender":
            self.signal.connect(receiver, "shop")
        elif step == "connect once":
            self.signal.connect(receiver, once=True)
        elif step == "disconnect":
            self.signal.disconnect(receiver)
        elif step == "disconnect all":
            self.signal.disconnect_all()
        elif step == "die":
            del receiver
            self.receivers[number] = self.new(number)
        elif step == "mute":
            self.mutes.append(ExitStack())
            self.mutes[-1].enter_context(self.signal.muted())
        elif step == "unmute" and self.mutes:
            self.mutes.pop().close()
        elif step == "observe":
            self.observations.append(observe(lambda _: None, self.signal))
        elif step == "observe no more" and self.observations:
            self.observations.pop().stop()
        elif step == "send":
            self.check_send("shop")
        elif step == "send by another":
            self.check_send("another")

    def check_send(self, sender: str) -> None:
        found = [*self.signal.receivers_for(sender)]
        expected = [] if self.mutes else [self.receivers.index(one) for one in found]
        del found
        self.got.clear()
        assert self.signal.send_isolated(sender, {"order": 7}, no_wrapper) == 0
        assert self.got == expected

    def check_received(self) -> None:
        """Ask as one does who looks again only if something has changed."""
        if self.latest is not self.generation.current:
            self.latest = self.generation.current
            self.is_received = self.signal.has_receivers_for("shop")
        assert self.is_received == self.signal.has_receivers_for("shop")


@given(
    st.lists(
        st.tuples(st.sampled_from(STEPS), st.sampled_from([0, 1]), st.booleans()),
        max_size=12,
    )
)
def test_sends_and_questions_are_answered_as_things_are(
    steps: list[tuple[str, int, bool]],
) -> None:
    shop = Shop()
    for step, number, is_asked in steps:
        shop.do(step, number)
        if is_asked:
            shop.check_received()
    shop.check_send("shop")
    shop.check_received()
    for mute in reversed(shop.mutes):
        mute.close()
    for observation in shop.observations:
        observation.stop()


def test_a_connection_is_reported_before_any_send() -> None:
    shop = Shop()
    shop.signal.connect(shop.receivers[0])
    shop.check_received()
    shop.signal.disconnect(shop.receivers[0])
    shop.check_received()
    shop.signal.connect(shop.receivers[1])
    shop.check_received()


def test_a_change_of_any_of_several_signals_is_reported() -> None:
    first, second = Signal(), Signal()
    generation = generation_of((first, second))
    for signal in (first, second, first):
        latest = generation.current
        with signal.connected_to(print, ANY):
            assert generation.current is not latest
            latest = generation.current
        assert generation.current is not latest


def test_what_another_sender_reaches_is_not_what_this_one_does() -> None:
    shop = Shop()
    shop.do("connect", 0)
    shop.do("connect to the sender", 1)
    for sender in ("another", "shop", "another"):
        shop.check_send(sender)


def test_a_send_in_another_context_unmutes_nothing() -> None:
    shop = Shop()
    shop.do("connect", 0)
    with shop.signal.muted():
        Context().run(shop.signal.send_isolated, "shop", {"order": 7}, no_wrapper)
        assert shop.got == [0]
        shop.signal.send_isolated("shop", {"order": 7}, no_wrapper)
        assert shop.got == [0]


@pytest.mark.parametrize("step", ["connect to the sender", "mute", "observe"])
def test_what_was_called_before_is_not_called_for_that(step: str) -> None:
    shop = Shop()
    shop.do("connect", 0)
    shop.check_send("shop")
    with ExitStack() as stack:
        seen: list[object] = []
        if step == "mute":
            shop.mutes.append(stack)
            stack.enter_context(shop.signal.muted())
        elif step == "observe":
            stack.callback(observe(seen.append, shop.signal).stop)
        else:
            shop.do(step, 1)
        shop.check_send("shop")
        assert len(seen) == (step == "observe")


@pytest.mark.parametrize("sender", [ANY, "shop"])
@pytest.mark.parametrize("step", ["connect", "disconnect", "die"])
def test_a_check_during_a_change_is_right_at_the_end(sender: Any, step: str) -> None:
    line = lines = 0
    while lines >= line:
        line += 1
        lines = _lines_of_change(step, sender, line)
    assert lines > 5


def _lines_of_change(step: str, sender: Any, asked_at: int) -> int:
    """Ask before one line of a change, as another thread would; return how many."""
    shop = Shop()
    if step != "connect":
        shop.signal.connect(shop.receivers[0], sender)
    lines = 0

    def ask(frame: FrameType, what: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_globals["__name__"].startswith("signalpost."):
            return None
        if what == "line":
            lines += 1
            if lines == asked_at:
                shop.latest = shop.generation.current
                shop.is_received = may_have_receivers(shop.signal)
        return ask

    before = sys.gettrace()
    sys.settrace(ask)
    try:
        if step == "connect":
            shop.signal.connect(shop.receivers[0], sender)
        elif step == "disconnect":
            shop.signal.disconnect(shop.receivers[0], sender)
        else:
            del shop.receivers[0]
    finally:
        sys.settrace(before)
    shop.check_received()
    return lines


def test_what_threads_change_is_known_in_the_end() -> None:
    shop = Shop()
    keep_on = threading.Event()
    keep_on.set()

    def change(receiver: Receiver, sender: Any) -> None:
        while keep_on.is_set():
            shop.signal.connect(receiver, sender)
            shop.signal.disconnect(receiver, sender)

    threads = [
        threading.Thread(target=change, args=(shop.receivers[number], sender))
        for number, sender in enumerate((ANY, "shop"))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20_000):
            if shop.latest is not shop.generation.current:
                shop.latest = shop.generation.current
                shop.is_received = shop.signal.has_receivers_for("shop")
            shop.signal.send_isolated("shop", {"order": 7}, no_wrapper)
    finally:
        keep_on.clear()
        for thread in threads:
            thread.join()
    shop.check_received()
    shop.check_send("shop")
