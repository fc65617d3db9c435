"""What a send costs, beside other libraries' and a loop that does the least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import repeat
from types import CodeType
from typing import Any
from weakref import ref

from signalpost import observe
from signalpost import Signal

from .libraries import AsyncBatch
from .libraries import CACHED_DJANGO
from .libraries import Channel
from .libraries import in_event_loop
from .libraries import Library
from .libraries import OURS
from .libraries import SignalChannel
from .receivers import code_of
from .receivers import Keeper
from .receivers import new_async_receiver
from .receivers import new_exact_receiver
from .receivers import new_receiver
from .receivers import new_receiver_of_one_name
from .receivers import Receiver
from .receivers import Sender
from .timing import Batch
from .timing import Row
from .timing import Variant
from .timing import verify

FLOOR = "floor"
INLINE = "inline loop"
KNOWN_SENDERS = 1000
OTHERS = (0, 10, 100, 10_000)

LEGEND = """\
"floor" is a function of no arguments that loops over the receivers and collects
(receiver, value); ratios are to its minimum in the same run. "inline loop" is that loop
without the function. "~" marks what does not tell senders apart or does not return
results: one signal, topic or name for each sender stands in for the former. psygnal
passes the payload by position; "fast" is its emit_fast. "–": not measured there."""

_CODES: Sequence[CodeType] = (
    code_of(new_receiver()),
    code_of(new_exact_receiver()),
    code_of(new_async_receiver()),
    code_of(Keeper.receive),
)


def rows(libraries: Sequence[Library]) -> list[Row]:
    """Return what is timed, the same for every library.

    :param libraries: What is compared; ours is the first.
    """
    found = [
        _row(name, [(new_receiver(),) for _ in range(count)], Sender(), libraries)
        for count, name in (
            (0, "0 receivers"),
            (1, "1 receiver"),
            (10, "10 receivers"),
            (100, "100 receivers"),
        )
    ]
    methods = [(Keeper().receive,) for _ in range(10)]
    found.append(_row("10 bound methods", methods, Sender(), libraries))
    pairs = _pairs(KNOWN_SENDERS)
    known = pairs[KNOWN_SENDERS // 2][1]
    name = f"{KNOWN_SENDERS:,} senders"
    found.append(_row(f"one of {name}", pairs, known, libraries))
    found.append(_row(f"unknown among {name}", pairs, Sender(), libraries))
    found.append(_with_keywords(libraries))
    found.append(_observed_once())
    found.append(_isolated("isolated, any sender"))
    found.append(_isolated("isolated, one sender", is_for_one=True))
    found.append(
        _isolated(
            "the same, names in a dictionary", is_for_one=True, by_dictionary=True
        )
    )
    found.append(_async(libraries))
    found += [_connecting(count, libraries) for count in OTHERS]
    return found


def _pairs(count: int) -> list[tuple[Receiver, Sender]]:
    return [(new_receiver(), Sender()) for _ in range(count)]


def _row(
    name: str,
    connections: Sequence[tuple[Any, ...]],
    sender: Sender,
    libraries: Sequence[Library],
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
    calls = _calls(heard)
    variants = _floors(heard, sender, calls)
    for library in libraries:
        channel = library.new_channel()
        for connection in connections:
            channel.connect(*connection)
        variants.append(Variant(library.name, channel.sending(sender), calls))
    return Row(name, variants, kept=connections)


def _calls(heard: Sequence[Receiver]) -> Mapping[CodeType, int]:
    counts = Counter(code_of(receiver) for receiver in heard)
    return {code: counts[code] for code in _CODES}


def _floors(
    receivers: Sequence[Receiver], sender: object, calls: Mapping[CodeType, int]
) -> list[Variant]:
    """Return the loops that do the least that a send can do."""

    def send() -> list[tuple[Receiver, Any]]:
        results = []
        for receiver in receivers:
            # A comprehension would be another loop than the one in a send.
            results.append((receiver, receiver(sender)))  # noqa: PERF401
        return results

    def inline(jobs: int) -> None:
        for _ in repeat(None, jobs):
            results = []
            for receiver in receivers:
                results.append((receiver, receiver(sender)))  # noqa: PERF401

    return [
        Variant(FLOOR, _calling(send), calls),
        Variant(INLINE, inline, calls),
    ]


def _calling(function: Callable[[], object]) -> Batch:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            function()

    return batch


def _with_keywords(libraries: Sequence[Library]) -> Row:
    sender, receiver, exact = Sender(), new_receiver(), new_exact_receiver()
    receivers = (receiver,)
    calls = _calls(receivers)

    def send() -> list[tuple[Receiver, Any]]:
        results = []
        for one in receivers:
            value = one(sender, first=1, second=2, third=3)
            results.append((one, value))
        return results

    def inline(jobs: int) -> None:
        for _ in repeat(None, jobs):
            results = []
            for one in receivers:
                value = one(sender, first=1, second=2, third=3)
                results.append((one, value))

    variants = [
        Variant(FLOOR, _calling(send), calls),
        Variant(INLINE, inline, calls),
    ]
    for library in libraries:
        channel = library.new_channel()
        own = exact if channel.takes_exact_receivers else receiver
        channel.connect(own)
        batch = channel.sending_keywords(sender)
        variants.append(Variant(library.name, batch, _calls([own])))
    return Row("1 receiver, 3 keywords", variants, kept=(receiver, exact))


def _observed_once() -> Row:
    """Return what is left of an observer that has stopped."""
    sender, receiver = Sender(), new_receiver()
    calls = _calls([receiver])
    channel = SignalChannel(Signal())
    channel.connect(receiver)
    with observe(lambda delivery: None, channel.signal):
        channel.sending(sender)(1)
    variants = _floors([receiver], sender, calls)
    variants.append(Variant(OURS.name, channel.sending(sender), calls))
    return Row("1 receiver, observed once", variants, kept=receiver)


def _isolated(
    name: str, *, is_for_one: bool = False, by_dictionary: bool = False
) -> Row:
    """Return a row of what the middleware does: an isolated send of a payload.

    :param is_for_one: Whether the receiver is connected to the sender alone.
    :param by_dictionary: Whether the names that the receiver reads are picked in a
        dictionary, instead of by a function compiled for them.
    """
    sender, receiver = Sender(), new_receiver_of_one_name()
    payload = {"environ": {}, "exchange": 7}
    calls = {code_of(receiver): 1}
    signal = Signal(payload=payload)
    if is_for_one:
        signal.connect(receiver, sender)
    else:
        signal.connect(receiver)
    if by_dictionary:
        for connection in signal.table.connections():
            connection.call = _call_by_dictionary
    receivers = (receiver,)

    def send() -> int:
        failures = 0
        for one in receivers:
            try:
                one(sender, exchange=payload["exchange"])
            except Exception:  # noqa: BLE001  # as an isolated send does
                failures += 1
        return failures

    def inline(jobs: int) -> None:
        for _ in repeat(None, jobs):
            for one in receivers:
                one(sender, exchange=payload["exchange"])

    def isolated() -> None:
        signal.send_isolated(sender, payload)

    variants = [
        Variant(FLOOR, _calling(send), calls),
        Variant(INLINE, inline, calls),
        Variant(OURS.name, _calling(isolated), calls),
    ]
    return Row(name, variants, kept=(sender, receiver, signal))


def _call_by_dictionary(receiver: Any, sender: Any, payload: dict[str, Any]) -> Any:
    return receiver(sender, **{name: payload[name] for name in ("exchange",)})


def _async(libraries: Sequence[Library]) -> Row:
    sender = Sender()
    receivers = [new_async_receiver() for _ in range(10)]
    calls = _calls(receivers)

    async def send() -> list[tuple[Receiver, Any]]:
        results = []
        for receiver in receivers:
            results.append((receiver, await receiver(sender)))  # noqa: PERF401
        return results

    async def call(jobs: int) -> None:
        for _ in repeat(None, jobs):
            await send()

    async def inline(jobs: int) -> None:
        for _ in repeat(None, jobs):
            results = []
            for receiver in receivers:
                results.append((receiver, await receiver(sender)))  # noqa: PERF401

    batches: list[tuple[str, AsyncBatch]] = [
        (FLOOR, in_event_loop(call)),
        (INLINE, in_event_loop(inline)),
    ]
    for library in libraries:
        channel = library.new_channel()
        if isinstance(channel, SignalChannel):
            for receiver in receivers:
                channel.connect(receiver)
            batches.append((library.name, channel.sending_async(sender)))
    variants = [
        Variant(name, batch, calls, setting) for name, (batch, setting) in batches
    ]
    return Row("10 async receivers", variants, kept=receivers)


def _connecting(others: int, libraries: Sequence[Library]) -> Row:
    """Return a row that connects beside receivers of other senders."""
    receiver = new_receiver()
    pairs = _pairs(others)
    variants = _bookkeeping(receiver)
    for library in libraries:
        if library is CACHED_DJANGO and others:
            continue
        channel = library.new_channel()
        for connection in pairs:
            channel.connect(*connection)
        _check_connecting(library.name, channel, receiver)
        variants.append(Variant(library.name, channel.connecting(receiver), {}))
    return Row(f"connecting, {others:,} others", variants, (receiver, pairs))


def _bookkeeping(receiver: Receiver) -> list[Variant]:
    """Return the least that connecting does: a weak reference in a table."""
    table: dict[int, ref[Receiver]] = {}

    def connect_and_disconnect() -> None:
        table[id(receiver)] = ref(receiver)
        del table[id(receiver)]

    def inline(jobs: int) -> None:
        for _ in repeat(None, jobs):
            table[id(receiver)] = ref(receiver)
            del table[id(receiver)]

    return [
        Variant(FLOOR, _calling(connect_and_disconnect), {}),
        Variant(INLINE, inline, {}),
    ]


def _check_connecting(name: str, channel: Channel, receiver: Receiver) -> None:
    """Check that a receiver is reached while it is connected, and only then.

    :raises WrongCallsError: If it is not.
    """
    sender = Sender()
    channel.connect(receiver)
    verify(Variant(f"{name}, connected,", channel.sending(sender), _calls([receiver])))
    channel.disconnect(receiver)
    verify(Variant(f"{name}, disconnected,", channel.sending(sender), _calls([])))
