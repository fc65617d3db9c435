"""Code that type checkers accept, with the types that a user sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from typing import Any
from typing import assert_type

from signalpost import ANY
from signalpost import around
from signalpost import ConnectionInfo
from signalpost import Delivery
from signalpost import named
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Observation
from signalpost import observe
from signalpost import Outcome
from signalpost import receiver
from signalpost import Signal
from signalpost import signal
from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import Event
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.latency import log_latency
from signalpost.testing import capture
from signalpost.testing import Sent

moved = Signal("Sent when something moves.", payload=("to",))
assert_type(signal("moved"), NamedSignal)
assert_type(Namespace().signal("moved", payload=["to"]), NamedSignal)


@moved.connect
def follow(sender: str, to: int) -> float:
    return to / 2


@moved.connect_via(ANY)
async def follow_later(sender: str, to: int) -> str:
    return sender


assert_type(follow("a", 1), float)
assert_type(moved.connect(follow)("a", 1), float)
assert_type(moved.disconnect(follow), bool)
assert_type(moved.is_muted, bool)
assert_type(moved.has_receivers_for("a"), bool)
assert_type(moved.send("a", to=1), list[tuple[Callable[..., Any], Any]])
assert_type(moved.send_robust("a", to=1), list[Outcome])
assert_type(moved.receivers, Mapping[Hashable, Callable[..., Any]])


async def send_later() -> None:
    sent = await moved.send_async("a", to=1)
    assert_type(sent, list[tuple[Callable[..., Any], Any]])
    together = await moved.send_robust_async("a", _gather=asyncio.gather, to=1)
    assert_type(together, list[Outcome])


with moved.muted(), moved.connected_to(follow, sender="a"):
    pass

with capture(moved, sender="a") as kept:
    assert_type(kept, list[Sent])


def log(app: object, exchange: Exchange) -> None:
    assert_type(exchange.status, int | None)
    assert_type(exchange.route, str | None)
    assert_type(exchange.duration_seconds, float | None)
    assert_type(exchange.seconds_to_return, float | None)


exchange_closed.connect(log)
exchange_closed.connect(log_latency)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


assert_type(SignalMiddleware(application).receiver_failures, int)


# Options of connect, and the other ways to connect.


@receiver([moved, signal("moved")], sender="a", weak=False, once=True)
def follow_once(sender: str, to: int) -> float:
    return to / 2


@receiver(moved, named("a"), priority=1, dispatch_uid=("follow", 1))
async def follow_named(sender: object, to: int) -> str:
    return str(to)


@moved.connect_via(Signal, priority=1, subclasses=True)
def follow_class(sender: type[Signal], to: int) -> float:
    return to / 2


@Namespace().connect
def follow_everything(sender: str, signal: NamedSignal, **payload: int) -> float:
    return float(len(payload))


assert_type(follow_once("a", 1), float)
assert_type(follow_class(Signal, 1), float)
assert_type(follow_everything("a", NamedSignal("moved"), to=1), float)
assert_type(moved.connect(follow, "a", once=True, priority=1)("a", 1), float)
assert_type(Namespace().connect(follow, sender="a", priority=1)("a", 1), float)
assert_type(Namespace().disconnect(follow, sender="a"), bool)
assert_type(moved.disconnect(dispatch_uid="uid"), bool)
assert_type(moved.disconnect_all(), int)
named("a").bind(moved)

# Connections and deliveries.

assert_type(moved.connections, tuple[ConnectionInfo, ...])
for connection in moved.connections:
    assert_type(connection.receiver, Callable[..., Any])
    assert_type(connection.name, str)
    assert_type(connection.connected_at, str | None)
    assert_type(connection.weak, bool)
    assert_type(connection.once, bool)
    assert_type(connection.priority, int)
    assert_type(connection.dispatch_uid, Hashable)
    assert_type(connection.subclasses, bool)
    assert_type(connection.calls, int)


def note(delivery: Delivery) -> None:
    assert_type(delivery.signal, Signal)
    assert_type(delivery.receiver, Callable[..., Any])
    assert_type(delivery.duration_seconds, float)
    assert_type(delivery.exception, BaseException | None)


assert_type(observe(note, moved, Namespace()), Observation)
observe(note, moved).stop()
with observe(note, moved) as observation:
    assert_type(observation, Observation)

# A pair of signals around work.


@around(moved, moved, "a", to=1)
def work(number: int) -> float:
    return number / 2


@around(moved, moved)
async def work_later(number: int) -> str:
    return str(number)


assert_type(work(1), float)
with around(moved, moved, "a", to=1):
    work(1)


async def work_within() -> None:
    async with around(moved, moved, "a", to=1):
        assert_type(await work_later(1), str)
        assert_type(await follow_named("a", 1), str)


relay = Relay("inline://", source="shop", sends="now")
assert_type(relay.forward(signal("moved"), sender="shop"), Relay)
assert_type(relay.close(1), int)
assert_type(relay.oldest_seconds, float)
assert_type(current_event(), Event | None)
relay.forward("moved")  # type: ignore[arg-type]
Relay("inline://", source="shop", sends="later")  # type: ignore[arg-type]
Listener("redis://broker", group="shop", signals=[signal("moved")], max_tries=3).run()
