"""Code that type checkers accept, with the types that a user sees."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from typing import Any
from typing import assert_type

from signalpost import ANY
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Outcome
from signalpost import Signal
from signalpost import signal
from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
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


with moved.muted(), moved.connected_to(follow, sender="a"):
    pass

with capture(moved, sender="a") as kept:
    assert_type(kept, list[Sent])


def log(app: object, exchange: Exchange) -> None:
    assert_type(exchange.status, int | None)
    assert_type(exchange.route, str | None)
    assert_type(exchange.duration_seconds, float | None)


exchange_closed.connect(log)
exchange_closed.connect(log_latency)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


assert_type(SignalMiddleware(application).receiver_failures, int)
