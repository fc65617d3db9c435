"""Measures a send of signalpost, of other libraries and of a minimal loop."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from types import CodeType
from typing import Any
from weakref import ref

from signalpost import observe
from signalpost import Signal

from .libraries import CACHED_DJANGO
from .libraries import Channel
from .libraries import code_of
from .libraries import Keeper
from .libraries import Library
from .libraries import new_exact_receiver
from .libraries import new_receiver
from .libraries import OURS
from .libraries import Receiver
from .libraries import Sender
from .timing import async_batch_of
from .timing import batch_of
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
without the function. "~" marks a library without senders or without results; without
senders, each sender has its own signal, topic or name. psygnal
passes the payload by position; "fast" is its emit_fast. "–": not measured there."""

_LOOP = """\
results = []
for receiver in receivers:
    results.append((receiver, {call}))"""


def receive_one_name(sender: object, exchange: int) -> None:
    """Do nothing; read only one name of the payload."""


_CODES: Sequence[CodeType] = (
    code_of(new_receiver()),
    code_of(new_exact_receiver()),
    code_of(Keeper.receive),
)


def rows(libraries: Sequence[Library]) -> list[Row]:
    """Return the rows to time, with a variant for every library.

    :param libraries: The libraries to compare; signalpost is the first.
    """
    methods = [(Keeper().receive,) for _ in range(10)]
    pairs = _pairs(KNOWN_SENDERS)
    known = pairs[KNOWN_SENDERS // 2][1]
    name = f"{KNOWN_SENDERS:,} senders"
    return [
        *(
            _row(
                "1 receiver" if count == 1 else f"{count} receivers",
                [(new_receiver(),) for _ in range(count)],
                Sender(),
                libraries,
            )
            for count in (0, 1, 10, 100)
        ),
        _row("10 bound methods", methods, Sender(), libraries),
        _row(f"one of {name}", pairs, known, libraries),
        _row(f"unknown among {name}", pairs, Sender(), libraries),
        _with_keywords(libraries),
        _observed_once(),
        _isolated("isolated, any sender", is_for_one=False),
        _isolated("isolated, one sender"),
        _isolated("isolated, another sends", is_for_another=True),
        _isolated("the same, names in a dictionary", by_dictionary=True),
        _async(libraries),
        *(_connecting(count, libraries) for count in OTHERS),
    ]


def _pairs(count: int) -> list[tuple[Receiver, Sender]]:
    return [(new_receiver(), Sender()) for _ in range(count)]


def _calls(receivers: Sequence[Receiver]) -> Mapping[CodeType, int]:
    counts = Counter(code_of(receiver) for receiver in receivers)
    return {code: counts[code] for code in _CODES}


def _floors(
    statements: str,
    calls: Mapping[CodeType, int],
    inline: str | None = None,
    **names: object,
) -> list[Variant]:
    """Return the minimum for a job: as a function, and without a call.

    :param inline: The statements without a call, if they are different.
    """
    body = f"def least():\n{textwrap.indent(statements, '    ')}\nkept.append(least)"
    kept: list[Any] = []
    batch_of(body, **names, kept=kept)(1)
    return [
        Variant(FLOOR, batch_of("least()", least=kept[0]), calls),
        Variant(INLINE, batch_of(inline or statements, **names), calls),
    ]


def _loops(
    receivers: Sequence[Receiver], sender: object, call: str = "receiver(sender)"
) -> list[Variant]:
    """Return the minimal loops over receivers."""
    calls, loop = _calls(receivers), _LOOP.format(call=call)
    return _floors(
        f"{loop}\nreturn results", calls, loop, receivers=receivers, sender=sender
    )


def _row(
    name: str,
    connections: Sequence[tuple[Any, ...]],
    sender: Sender,
    libraries: Sequence[Library],
) -> Row:
    """Return a row in which every signal has equal connections.

    :param connections: The arguments of each ``connect``: a receiver, and optionally a
        sender.
    """
    reached = [
        receiver
        for receiver, *filters in connections
        if not filters or filters[0] is sender
    ]
    variants = _loops(reached, sender)
    for library in libraries:
        channel = Channel(library)
        for connection in connections:
            channel.connect(*connection)
        variants.append(Variant(library.name, channel.sending(sender), _calls(reached)))
    return Row(name, variants, kept=connections)


def _with_keywords(libraries: Sequence[Library]) -> Row:
    sender, receiver, exact = Sender(), new_receiver(), new_exact_receiver()
    variants = _loops(
        [receiver], sender, "receiver(sender, first=1, second=2, third=3)"
    )
    for library in libraries:
        channel = Channel(library)
        own = exact if library.is_exact else receiver
        channel.connect(own)
        batch = channel.sending_keywords(sender)
        variants.append(Variant(library.name, batch, _calls([own])))
    return Row("1 receiver, 3 keywords", variants, kept=(receiver, exact))


def _observed_once() -> Row:
    """Return a row that measures a send after an observer has stopped."""
    sender, receiver = Sender(), new_receiver()
    channel = Channel(OURS)
    channel.connect(receiver)
    batch = channel.sending(sender)
    with observe(lambda delivery: None, channel.signal):
        batch(1)
    ours = Variant(OURS.name, batch, _calls([receiver]))
    variants = [*_loops([receiver], sender), ours]
    return Row("1 receiver, observed once", variants, kept=receiver)


def _isolated(
    name: str,
    *,
    is_for_one: bool = True,
    is_for_another: bool = False,
    by_dictionary: bool = False,
) -> Row:
    """Return a row of the middleware's sends: isolated, with a payload.

    :param is_for_one: If true, the receiver is connected to one sender, not to all.
    :param is_for_another: If true, it is connected to one other sender instead.
    :param by_dictionary: If true, the names that the receiver reads are selected in a
        dictionary, not by a function that is compiled for them.
    """
    sender = Sender()
    payload = {"environ": {}, "exchange": 7}
    other = Sender()
    receivers = () if is_for_another else (receive_one_name,)
    calls = {receive_one_name.__code__: len(receivers)}
    signal = Signal(payload=payload)
    connected_to = [other if is_for_another else sender] if is_for_one else ()
    signal.connect(receive_one_name, *connected_to)
    if by_dictionary:
        for connection in signal.table.connections():
            connection.call = _call_by_dictionary
    least = """\
failures = 0
for receiver in receivers:
    try:
        receiver(sender, exchange=payload["exchange"])
    except Exception:
        failures += 1
return failures"""
    inline = """\
for receiver in receivers:
    receiver(sender, exchange=payload["exchange"])"""
    names = {"receivers": receivers, "sender": sender, "payload": payload}

    def isolated() -> None:
        signal.send_isolated(sender, payload)

    variants = [
        *_floors(least, calls, inline, **names),
        Variant(OURS.name, batch_of("isolated()", isolated=isolated), calls),
    ]
    return Row(name, variants, kept=(sender, other, signal))


def _call_by_dictionary(receiver: Any, sender: Any, payload: dict[str, Any]) -> Any:
    return receiver(sender, **{name: payload[name] for name in ("exchange",)})


def _async(libraries: Sequence[Library]) -> Row:
    sender = Sender()

    def new() -> Receiver:
        async def receive(sender: object, **payload: object) -> None:
            pass

        return receive

    receivers = [new() for _ in range(10)]
    calls = {code_of(receivers[0]): 10}

    async def send() -> list[tuple[Receiver, Any]]:
        results = []
        for receiver in receivers:
            results.append((receiver, await receiver(sender)))  # noqa: PERF401
        return results

    loop = _LOOP.format(call="await receiver(sender)")
    batches = [
        (FLOOR, async_batch_of("await send()", send=send)),
        (INLINE, async_batch_of(loop, receivers=receivers, sender=sender)),
    ]
    for library in libraries:
        if library.send_async is not None:
            channel = Channel(library)
            for receiver in receivers:
                channel.connect(receiver)
            batches.append((library.name, channel.sending_async(sender)))
    variants = [
        Variant(name, batch, calls, setting) for name, (batch, setting) in batches
    ]
    return Row("10 async receivers", variants, kept=receivers)


def _connecting(others: int, libraries: Sequence[Library]) -> Row:
    """Return a row that connects to a signal with receivers of other senders.

    The minimal ``connect`` stores a weak reference in a table.
    """
    receiver, pairs = new_receiver(), _pairs(others)
    variants = _floors(
        "table[id(receiver)] = ref(receiver)\ndel table[id(receiver)]",
        {},
        table={},
        receiver=receiver,
        ref=ref,
    )
    for library in libraries:
        if library is CACHED_DJANGO and others:
            continue
        channel = Channel(library)
        for connection in pairs:
            channel.connect(*connection)
        _check_connecting(channel, receiver)
        variants.append(Variant(library.name, channel.connecting(receiver), {}))
    return Row(f"connecting, {others:,} others", variants, (receiver, pairs))


def _check_connecting(channel: Channel, receiver: Receiver) -> None:
    """Check that a receiver is called while it is connected, and only then.

    :raises WrongCallsError: If this is not the case.
    """
    name, batch = channel.library.name, channel.sending(Sender())
    channel.connect(receiver)
    verify(Variant(f"{name}, connected,", batch, _calls([receiver])))
    channel.disconnect(receiver)
    verify(Variant(f"{name}, disconnected,", batch, _calls([])))
