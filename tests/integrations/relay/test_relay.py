"""The events that a relay forwards or refuses, and their attributes."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import typing as t

import flask
import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import NotSendableError
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError
from signalpost.exchange import current_exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import Event
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay import relay_sent
from signalpost.integrations.relay._again import send_again
from signalpost.receivers import context
from signalpost.receivers.context import request_context
from signalpost.testing import capture
from tests.integrations.relay.listening import order_placed


@pytest.fixture
def placed() -> NamedSignal:
    return order_placed()


def relayed(
    signal: NamedSignal, sender: object, order: object = 1
) -> tuple[object, Event]:
    """Return what a receiver elsewhere gets: the sender, and the event."""
    found: list[tuple[object, Event]] = []

    def receive(sender: object, order: object) -> None:
        event = current_event()
        if event is not None:
            found.append((sender, event))

    with signal.connected_to(receive):
        signal.send(sender, order=order)
    assert len(found) == 1
    return found[0]


def test_inline_relay_sends_what_was_written_and_read(placed: NamedSignal) -> None:
    relay = Relay("inline://", source="shop").forward(placed)
    sender, event = relayed(placed, "till", order=(1, 2))
    assert sender == "till"
    assert event.payload == {"order": [1, 2]}
    assert (event.source, event.name, event.tries) == ("shop", "order-placed", 1)
    assert relay.sent == 1
    assert current_event() is None


def test_failure_of_inline_receiver_is_raised(placed: NamedSignal) -> None:
    def fail(sender: object, order: object) -> None:
        if current_event() is not None:
            raise LookupError(order)

    Relay("inline://", source="shop").forward(placed)
    with placed.connected_to(fail), pytest.raises(LookupError):
        placed.send(None, order=1)


def test_relayed_signal_does_not_echo(placed: NamedSignal) -> None:
    relay = Relay("inline://", source="shop").forward(placed)
    with capture(placed) as sent:
        placed.send(None, order=1)
    assert len(sent) == 2  # here, and there
    assert relay.sent == 1


def test_receiver_of_relayed_signal_forwards_others(placed: NamedSignal) -> None:
    shipped = Namespace().signal("order-shipped", payload=("order",))
    relay = Relay("inline://", source="shop").forward(placed, shipped)

    def ship(sender: object, order: int) -> None:
        if current_event() is not None:
            shipped.send(sender, order=order)

    with placed.connected_to(ship), capture(shipped) as sent:
        placed.send(None, order=1)
    assert len(sent) == 2
    assert relay.sent == 2


class Till:
    pass


class Named:
    name = "till 7"


class Nameless:
    name = ""


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        (None, None),
        ("till", "till"),
        (7, "7"),
        (Named(), "till 7"),
        (Nameless(), f"{__name__}.Nameless"),
        (flask.Flask("shop"), "shop"),
        (Till(), f"{__name__}.Till"),
        (Till, f"{__name__}.Till"),
    ],
)
def test_sender_crosses_as_name(
    placed: NamedSignal, sender: object, name: str | None
) -> None:
    Relay("inline://", source="shop").forward(placed)
    found, event = relayed(placed, sender)
    assert found == event.sender == name


def test_sender_whose_name_cannot_be_sent_is_refused(placed: NamedSignal) -> None:
    Relay("inline://", source="shop").forward(placed)
    for name in ("", "a\nb", "a" * 2000):
        with pytest.raises(NotSendableError, match="name must have") as caught:
            placed.send(name, order=1)
        assert caught.value.field == "sender"


def test_only_the_given_sender_is_forwarded(placed: NamedSignal) -> None:
    relay = Relay("inline://", source="shop").forward(placed, sender="till")
    placed.send("web", order=1)
    placed.send("till", order=2)
    assert relay.sent == 1


def test_what_is_forwarded_twice_is_sent_once(placed: NamedSignal) -> None:
    relay = Relay("inline://", source="shop")
    relay.forward(placed).forward(placed, sender="till")
    placed.send("till", order=2)
    assert relay.sent == 1


def test_relay_lives_as_long_as_its_signals(placed: NamedSignal) -> None:
    Relay("inline://", source="shop").forward(placed)
    with capture(relay_sent) as sent:
        placed.send(None, order=1)
    [one] = sent
    assert isinstance(one.sender, Relay)


def test_closed_relay_forwards_nothing(placed: NamedSignal) -> None:
    relay = Relay("inline://", source="shop").forward(placed)
    assert relay.close() == 0
    placed.send(None, order=1)
    assert relay.sent == 0
    assert not placed.receivers


def test_payload_that_cannot_be_sent_is_refused_at_send(placed: NamedSignal) -> None:
    Relay("inline://", source="shop").forward(placed)
    with pytest.raises(NotSendableError, match=r"payload\.order is a Till"):
        placed.send(None, order=Till())


@pytest.mark.parametrize(
    ("signal", "error", "words"),
    [
        (Signal(payload=("order",)), TypeError, "with a name"),
        ("order-placed", TypeError, "with a name"),
        (Namespace().signal("order-placed"), PayloadError, "declare"),
        (Namespace().signal("a\nb", payload=()), ValueError, "printable"),
        (Namespace().signal("", payload=()), ValueError, "printable"),
    ],
)
def test_signal_that_cannot_be_relayed_is_refused(
    signal: t.Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Relay("inline://", source="shop").forward(signal)
    with pytest.raises(error, match=words):
        Listener("redis://127.0.0.1:1", group="shipping", signals=[signal])


def test_two_signals_of_one_name_are_refused(placed: NamedSignal) -> None:
    relay = Relay("inline://", source="shop").forward(placed)
    with pytest.raises(ValueError, match="two signals are named 'order-placed'"):
        relay.forward(order_placed())


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("kafka://broker", {}, "must begin with one of redis://"),
        ("broker", {}, "must begin with"),
        ("", {}, "must begin with"),
        ("redis://b/0", {"source": ""}, "source must be"),
        ("redis://b/0", {"sends": "later"}, "'thread', 'now' or 'outbox'"),
        ("redis://b/0", {"max_waiting": 0}, "max_waiting"),
        ("redis://b/0", {"max_waiting": True}, "max_waiting"),
        ("redis://b/0?lease_seconds=-1", {}, "lease_seconds must be a positive"),
        ("redis://b/0?max_events=many", {}, "max_events must be a positive"),
        ("redis://b/0?lease_second=1", {}, "lease_second"),
        ("redis://b/0?decode_responses=1", {}, "not to be chosen"),
    ],
)
def test_relay_that_cannot_be_made_is_refused(
    url: str, options: dict[str, t.Any], words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Relay(url, **{"source": "shop", **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": ""}, "group must be"),
        ({"group": "a:b"}, "group must be"),
        ({"group": None}, "group must be"),
        ({"signals": []}, "at least one"),
        ({"max_tries": 0}, "max_tries"),
        ({"dedupe": -1}, "dedupe"),
        ({"retry_seconds": 0}, "retry_seconds"),
    ],
)
def test_listener_that_cannot_be_made_is_refused(
    placed: NamedSignal, options: dict[str, t.Any], words: str
) -> None:
    given = {"group": "shipping", "signals": [placed], **options}
    with pytest.raises(ValueError, match=words):
        Listener("redis://127.0.0.1:1", **given)


def test_listener_without_receivers_is_refused(placed: NamedSignal) -> None:
    Relay("inline://", source="shop").forward(placed)  # is none
    listener = Listener("redis://127.0.0.1:1", group="shipping", signals=[placed])
    with pytest.raises(ReceiverError, match="no receiver is connected to 'order-p"):
        listener.run()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@127.0.0.1:1/0?password=secret",
        "redis://:secret@127.0.0.1:1",
    ],
)
def test_credentials_are_never_shown(url: str, placed: NamedSignal) -> None:
    relay = Relay(url, source="shop", sends="now").forward(placed)
    with pytest.raises(ConnectionError) as caught:
        placed.send(None, order=1)
    relay.close()
    shown = [str(caught.value), repr(relay), repr(caught.value)]
    assert not any("secret" in one for one in shown)
    assert "redis://" in shown[0]


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("header", "traceparent"),
    [(TRACE, TRACE), ("00-0-0-0", None), ("a" * 5000, None)],
)
def test_ids_of_request_and_trace_travel_along(
    placed: NamedSignal, header: str, traceparent: str | None
) -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    Relay("inline://", source="shop").forward(placed)
    found: list[tuple[Event | None, str, dict[str, str]]] = []

    def receive(sender: object, order: int) -> None:
        exchange = current_exchange()
        assert exchange is not None
        if current_event() is not None:
            found.append((current_event(), exchange.id, request_context()))

    @app.post("/orders")
    def place() -> str:
        placed.send(app, order=1)
        return "placed"

    with placed.connected_to(receive):
        response = app.test_client().post("/orders", headers={"traceparent": header})
        assert response.text == "placed"
    [(event, request_id, context)] = found
    assert event is not None
    assert event.request_id == request_id == context["request_id"]
    assert event.traceparent == traceparent


def test_current_span_is_the_parent(
    placed: NamedSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    Relay("inline://", source="shop").forward(placed)
    _, trace_id, span_id, _ = TRACE.split("-")
    monkeypatch.setattr(context, "_read_span", lambda: (trace_id, span_id))
    _, event = relayed(placed, None)
    assert event.traceparent == TRACE


def test_ids_travel_on_with_what_a_receiver_sends(placed: NamedSignal) -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    shipped = Namespace().signal("order-shipped", payload=("order",))
    Relay("inline://", source="shop").forward(placed)
    Relay("inline://", source="shipping").forward(shipped)
    events: list[Event] = []
    contexts = []

    def ship(sender: object, order: int) -> None:
        event = current_event()
        if event is not None:
            events.append(event)
            # As in another process: there is no request.
            contexts.append(contextvars.Context())
            contexts[-1].run(_received, event, shipped)

    def note(sender: object, order: int) -> None:
        event = current_event()
        if event is not None and event.name == "order-shipped":
            events.append(event)

    @app.post("/orders")
    def place() -> str:
        placed.send(app, order=1)
        return "placed"

    with placed.connected_to(ship), shipped.connected_to(note):
        response = app.test_client().post("/orders", headers={"traceparent": TRACE})
        assert response.text == "placed"
    assert [one.source for one in events] == ["shop", "shipping"]
    assert events[0].request_id is not None
    assert events[0].request_id == events[1].request_id
    assert events[0].traceparent == events[1].traceparent == TRACE


def _received(event: Event, shipped: NamedSignal) -> None:
    """Receive an event as a listener does, and send another signal for it."""
    placed = order_placed()

    def ship(sender: object, order: int) -> None:
        shipped.send(sender, order=order)

    with placed.connected_to(ship):
        assert send_again(placed, event, {"order": 1}) is None


def test_event_outside_of_request_has_no_ids(placed: NamedSignal) -> None:
    Relay("inline://", source="shop").forward(placed)
    _, event = relayed(placed, None)
    assert (event.request_id, event.traceparent) == (None, None)


def test_front_door_imports_nothing_of_it() -> None:
    code = (
        "import sys, signalpost; signalpost.SignalMiddleware;"
        "print([one for one in sys.modules if 'relay' in one or 'redis' in one"
        " or 'kombu' in one])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_missing_package_is_named_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from signalpost.integrations.relay import Relay\n"
        "try: Relay('redis://b', source='shop')\n"
        "except ImportError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install" in found.stdout
    assert "signalpost[redis]" in found.stdout
