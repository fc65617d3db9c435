from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Signal
from signalpost.errors import PayloadError

Payload = dict[str, Any]


def declared(*names: str) -> NamedSignal:
    return NamedSignal("exchange-closed", payload=names)


class Owner:
    def receive(self, app: Any, exchange: int) -> int:
        return exchange

    def __call__(self, app: Any, exchange: int) -> int:
        return exchange


def test_receiver_gets_only_the_names_it_reads() -> None:
    def receiver(app: Any, exchange: int) -> tuple[Any, int]:
        return app, exchange

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    assert signal.send("app", environ={}, exchange=7) == [(receiver, ("app", 7))]


def test_receiver_may_read_nothing_but_the_sender() -> None:
    def receiver(app: Any) -> Any:
        return app

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    assert signal.send("app", environ={}, exchange=7) == [(receiver, "app")]


def test_receiver_reads_by_keyword_only() -> None:
    def receiver(app: Any, *, exchange: int) -> int:
        return exchange

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    assert signal.send("app", environ={}, exchange=7) == [(receiver, 7)]


def test_extra_gets_what_was_not_named() -> None:
    def receiver(app: Any, exchange: int, **extra: Any) -> tuple[int, Payload]:
        return exchange, extra

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    assert signal.send("app", environ={}, exchange=7) == [
        (receiver, (7, {"environ": {}}))
    ]


def test_extra_alone_gets_everything() -> None:
    def receiver(app: Any, **extra: Any) -> Payload:
        return extra

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    assert signal.send("app", environ={}, exchange=7) == [
        (receiver, {"environ": {}, "exchange": 7})
    ]


def test_extra_of_one_receiver_is_not_that_of_the_next() -> None:
    def spoil(app: Any, **extra: Any) -> None:
        extra.clear()

    def receiver(app: Any, **extra: Any) -> Payload:
        return extra

    signal = declared("exchange")
    signal.connect(spoil)
    signal.connect(receiver)
    assert signal.send("app", exchange=7)[1] == (receiver, {"exchange": 7})


def test_name_with_a_default_may_be_one_that_is_not_sent() -> None:
    def receiver(app: Any, exchange: int, limit: int = 5) -> tuple[int, int]:
        return exchange, limit

    signal = declared("exchange")
    signal.connect(receiver)
    assert signal.send("app", exchange=7) == [(receiver, (7, 5))]


def test_name_with_a_default_gets_what_is_sent() -> None:
    def receiver(app: Any, exchange: int = 5) -> int:
        return exchange

    signal = declared("exchange")
    signal.connect(receiver)
    assert signal.send("app", exchange=7) == [(receiver, 7)]


def test_receiver_of_positions_gets_the_sender_only() -> None:
    def receiver(*senders: Any) -> tuple[Any, ...]:
        return senders

    signal = declared("exchange")
    signal.connect(receiver)
    assert signal.send("app", exchange=7) == [(receiver, ("app",))]


def test_wrapped_receiver_gets_what_the_wrapped_one_reads() -> None:
    def receiver(app: Any, exchange: int) -> int:
        return exchange

    @functools.wraps(receiver)
    def wrapper(*args: Any, **payload: Any) -> Any:
        return receiver(*args, **payload)

    signal = declared("environ", "exchange")
    signal.connect(wrapper)
    assert signal.send("app", environ={}, exchange=7) == [(wrapper, 7)]


def test_method_and_callable_object_get_what_they_read() -> None:
    signal = declared("environ", "exchange")
    owner = Owner()
    signal.connect(owner.receive)
    signal.connect(owner)
    assert signal.send("app", environ={}, exchange=7) == [
        (owner.receive, 7),
        (owner, 7),
    ]


def test_partial_gets_what_its_function_has_left_to_read() -> None:
    def receiver(prefix: str, app: str, exchange: int) -> str:
        return f"{prefix}{app}{exchange}"

    partial = functools.partial(receiver, "-")
    signal = declared("environ", "exchange")
    signal.connect(partial)
    assert signal.send("app", environ={}, exchange=7) == [(partial, "-app7")]


def test_method_of_a_builtin_type_gets_the_sender() -> None:
    senders: list[Any] = []
    signal = declared("exchange")
    signal.connect(senders.append, weak=False)
    signal.send("app", exchange=7)
    assert senders == ["app"]


def test_async_receiver_gets_only_the_names_it_reads() -> None:
    async def receiver(app: Any, exchange: int) -> int:
        return exchange

    def run(function: Any) -> Any:
        return lambda sender, **payload: asyncio.run(function(sender, **payload))

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    sent = [(receiver, 7)]
    assert asyncio.run(signal.send_async("app", environ={}, exchange=7)) == sent
    assert signal.send("app", _async_wrapper=run, environ={}, exchange=7) == sent


def test_send_robust_gives_only_the_names_that_are_read() -> None:
    def receiver(app: Any, exchange: int) -> int:
        return exchange

    signal = declared("environ", "exchange")
    signal.connect(receiver)
    (outcome,) = signal.send_robust("app", environ={}, exchange=7)
    assert outcome.value == 7


def test_asking_for_what_is_not_sent_is_refused_at_connect() -> None:
    def receiver(app: Any, exchnage: int) -> None: ...

    signal = declared("environ", "exchange")
    with pytest.raises(PayloadError) as refusal:
        signal.connect(receiver)
    for name in ("receiver", "exchnage", "exchange-closed", "environ"):
        assert name in str(refusal.value)
    assert refusal.value.signal is signal
    assert refusal.value.receiver is receiver
    assert not signal.receivers


def test_asking_by_keyword_for_what_is_not_sent_is_refused() -> None:
    def receiver(app: Any, *, response: int, **extra: Any) -> None: ...

    with pytest.raises(PayloadError, match="response"):
        declared("exchange").connect(receiver)


def test_asking_by_position_for_what_is_sent_by_name_is_refused() -> None:
    def receiver(app: Any, exchange: int, /) -> None: ...

    with pytest.raises(PayloadError, match="exchange"):
        declared("exchange").connect(receiver)


def test_method_that_asks_for_what_is_not_sent_is_refused() -> None:
    owner = Owner()
    with pytest.raises(PayloadError, match="exchange"):
        declared("environ").connect(owner.receive)


def test_block_refuses_what_connect_refuses() -> None:
    def receiver(app: Any, response: int) -> None: ...

    signal = declared("exchange")
    with (
        pytest.raises(PayloadError, match="response"),
        signal.connected_to(receiver),
    ):
        pass
    assert not signal.receivers


def test_signal_that_declares_no_names_sends_none() -> None:
    def receiver(app: Any, exchange: int) -> None: ...

    signal = declared()
    with pytest.raises(PayloadError, match="exchange"):
        signal.connect(receiver)
    signal.connect(lambda app: app, weak=False)
    assert [value for _, value in signal.send("app")] == ["app"]


def test_receiver_without_parameters_is_refused() -> None:
    def receiver() -> None: ...

    with pytest.raises(PayloadError, match="sender"):
        declared("exchange").connect(receiver)


def test_receiver_without_room_for_the_sender_is_refused() -> None:
    def receiver(*, exchange: int) -> None: ...

    with pytest.raises(PayloadError, match="sender"):
        declared("exchange").connect(receiver)


def test_receiver_whose_first_parameter_is_a_payload_name_is_refused() -> None:
    def receiver(exchange: int, **extra: Any) -> None: ...

    signal = declared("exchange")
    with pytest.raises(PayloadError, match=r"receiver.*sender.*exchange") as refusal:
        signal.connect(receiver)
    assert refusal.value.receiver is receiver


@pytest.mark.parametrize(
    "sent",
    [{}, {"exchange": 7}, {"environ": {}, "exchange": 7, "response": 1}],
    ids=["none", "too few", "too many"],
)
def test_sending_other_names_than_declared_is_refused(sent: Payload) -> None:
    def receiver(app: Any, **extra: Any) -> None:
        calls.append(app)

    signal = declared("environ", "exchange")
    calls: list[Any] = []
    signal.connect(receiver)
    with pytest.raises(PayloadError, match="exchange-closed") as refusal:
        signal.send("app", **sent)
    assert refusal.value.signal is signal
    with pytest.raises(PayloadError):
        signal.send_robust("app", **sent)
    with pytest.raises(PayloadError):
        asyncio.run(signal.send_async("app", **sent))
    assert not calls


def test_refusal_names_what_was_sent_and_what_is_missing() -> None:
    signal = declared("environ")
    signal.connect(lambda app: None, weak=False)
    with pytest.raises(PayloadError, match=r"(?s)(?=.*environ)(?=.*response)"):
        signal.send("app", response=1)


def test_declaration_is_not_checked_without_receivers() -> None:
    def receiver(app: Any, **extra: Any) -> None: ...

    signal = declared("exchange")
    assert signal.send("app", response=1) == []
    signal.connect(receiver, sender="api")
    assert signal.send("app", response=1) == []


def test_declaration_is_names_not_one_string() -> None:
    with pytest.raises(PayloadError, match="exchange"):
        Signal(payload="exchange")


def test_undeclared_signal_sends_everything_to_everyone() -> None:
    def receiver(app: Any, exchange: int) -> int:
        return exchange

    signal = Signal()
    signal.connect(receiver)
    assert signal.send("app", exchange=7) == [(receiver, 7)]
    with pytest.raises(TypeError):
        signal.send("app", environ={}, exchange=7)


def test_name_taken_by_position_only_is_refused() -> None:
    def receive(sender: Any, order: int, /) -> None: ...

    with pytest.raises(PayloadError, match="leave out the slash"):
        Signal(payload=("order",)).connect(receive)


def test_declaration_that_is_no_collection_is_refused() -> None:
    with pytest.raises(PayloadError, match="got 5; write payload="):
        Signal(payload=5)  # type: ignore[arg-type]
