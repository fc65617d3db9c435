"""What a send costs, beside blinker's and beside a loop that does the least."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import repeat
from types import CodeType
from typing import Any
from weakref import ref

from signalpost import Signal

from .timing import Batch
from .timing import Row
from .timing import Variant
from .timing import WrongCallsError

SignalMaker = Callable[[], Any]
Receiver = Callable[..., Any]

FLOOR = "floor"
OTHER_SENDERS = 1000


class Sender:
    """An object that sends, of which there are many."""


class Keeper:
    """An object whose method is connected."""

    def receive(self, sender: object, **payload: object) -> None:
        """Do nothing: it is the way here that is timed."""


def new_receiver() -> Receiver:
    """Return a function that no other receiver is."""

    def receive(sender: object, **payload: object) -> None:
        pass

    return receive


_RECEIVER_CODES: Sequence[CodeType] = (
    new_receiver().__code__,
    Keeper.receive.__code__,
)


def peers() -> tuple[dict[str, SignalMaker], list[str]]:
    """Return what makes a signal of each library, and a line for each one missing."""
    makers: dict[str, SignalMaker] = {"signalpost": Signal}
    try:
        makers["blinker"] = importlib.import_module("blinker").Signal
    except ImportError:
        return makers, ["blinker is left out: it is not installed"]
    return makers, []


def rows(makers: Mapping[str, SignalMaker]) -> list[Row]:
    """Return what is timed, the same for every library.

    :param makers: What makes a signal, by the name of the library.
    """
    found = [
        _to_all(name, [new_receiver() for _ in range(count)], makers)
        for count, name in (
            (0, "0 receivers"),
            (1, "1 receiver"),
            (10, "10 receivers"),
            (100, "100 receivers"),
        )
    ]
    methods = [Keeper().receive for _ in range(10)]
    found.append(_to_all("10 bound methods", methods, makers))
    found.append(_to_one_of_many(makers))
    found.append(_to_none_of_many(makers))
    found.append(
        _row(
            "1 receiver, 3 keywords",
            [(new_receiver(),)],
            Sender(),
            makers,
            loop=_loop_with_keywords,
            send=_send_with_keywords,
        )
    )
    found.append(_connecting(makers))
    return found


def _to_all(
    name: str, receivers: Sequence[Receiver], makers: Mapping[str, SignalMaker]
) -> Row:
    return _row(name, [(receiver,) for receiver in receivers], Sender(), makers)


def _to_one_of_many(makers: Mapping[str, SignalMaker]) -> Row:
    pairs = [(new_receiver(), Sender()) for _ in range(OTHER_SENDERS)]
    sender = pairs[OTHER_SENDERS // 2][1]
    return _row(f"one of {OTHER_SENDERS:,} senders", pairs, sender, makers)


def _to_none_of_many(makers: Mapping[str, SignalMaker]) -> Row:
    pairs = [(new_receiver(), Sender()) for _ in range(OTHER_SENDERS)]
    return _row(f"unknown among {OTHER_SENDERS:,} senders", pairs, Sender(), makers)


def _loop(receivers: Sequence[Receiver], sender: object) -> Batch:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            results = []
            for receiver in receivers:
                # A comprehension would be another loop than the one in a send.
                results.append((receiver, receiver(sender)))  # noqa: PERF401

    return batch


def _send(signal: Any, sender: object) -> Batch:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            signal.send(sender)

    return batch


def _loop_with_keywords(receivers: Sequence[Receiver], sender: object) -> Batch:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            results = []
            for receiver in receivers:
                value = receiver(sender, first=1, second=2, third=3)
                results.append((receiver, value))

    return batch


def _send_with_keywords(signal: Any, sender: object) -> Batch:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            signal.send(sender, first=1, second=2, third=3)

    return batch


def _row(
    name: str,
    connections: Sequence[tuple[Any, ...]],
    sender: Sender,
    makers: Mapping[str, SignalMaker],
    *,
    loop: Callable[[Sequence[Receiver], object], Batch] = _loop,
    send: Callable[[Any, object], Batch] = _send,
) -> Row:
    """Return a row in which every signal has the same connections.

    :param connections: The arguments of each ``connect``: a receiver, and its sender
        if it has one.
    """
    heard = [
        receiver
        for receiver, *filters in connections
        if not filters or filters[0] is sender
    ]
    counts = Counter(receiver.__code__ for receiver in heard)
    calls = {code: counts[code] for code in _RECEIVER_CODES}
    variants = [Variant(FLOOR, loop(tuple(heard), sender), calls)]
    for peer, make_signal in makers.items():
        signal = make_signal()
        for connection in connections:
            signal.connect(*connection)
        variants.append(Variant(peer, send(signal, sender), calls))
    return Row(name, variants, kept=connections)


def _connecting(makers: Mapping[str, SignalMaker]) -> Row:
    receiver = new_receiver()
    variants = [Variant(FLOOR, _enter_and_leave(receiver), {})]
    for peer, make_signal in makers.items():
        signal = make_signal()
        _check_connecting(peer, signal, receiver)
        variants.append(Variant(peer, _connect_and_disconnect(signal, receiver), {}))
    return Row("connect + disconnect", variants, kept=receiver)


def _enter_and_leave(receiver: Receiver) -> Batch:
    """Return the least that bookkeeping does: a weak reference in a table."""
    table: dict[int, ref[Receiver]] = {}

    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            table[id(receiver)] = ref(receiver)
            del table[id(receiver)]

    return batch


def _connect_and_disconnect(signal: Any, receiver: Receiver) -> Batch:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            signal.connect(receiver)
            signal.disconnect(receiver)

    return batch


def _check_connecting(peer: str, signal: Any, receiver: Receiver) -> None:
    signal.connect(receiver)
    connected = len(signal.send(None))
    signal.disconnect(receiver)
    disconnected = len(signal.send(None))
    if (connected, disconnected) != (1, 0):
        raise WrongCallsError(
            f"{peer} must reach 1 receiver when connected and 0 when disconnected,"
            f" but reached {connected} and {disconnected}; nothing was timed"
        )
