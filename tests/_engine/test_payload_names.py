"""Names that a payload cannot have, refused where they are declared."""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import PayloadError


def of_a_namespace(payload: Any) -> Signal:
    return Namespace().signal("order-placed", payload=payload)


def declared_later(payload: Any) -> Signal:
    namespace = Namespace()
    namespace.signal("order-placed")
    return namespace.signal("order-placed", payload=payload)


DECLARING: list[Callable[[Any], Signal]] = [
    lambda payload: Signal(payload=payload),
    lambda payload: NamedSignal("order-placed", payload=payload),
    of_a_namespace,
    declared_later,
]
WAYS = pytest.mark.parametrize(
    "declare", DECLARING, ids=["signal", "named", "namespace", "later"]
)


@WAYS
@pytest.mark.parametrize(
    "name",
    ["sender", "_async_wrapper", "_sync_wrapper", "_gather", *keyword.kwlist],
)
def test_name_that_cannot_be_sent_is_refused(declare: Any, name: str) -> None:
    with pytest.raises(PayloadError) as refusal:
        declare(("order", name))
    assert repr(name) in str(refusal.value)


@WAYS
@pytest.mark.parametrize(
    "name", [7, None, b"order", ("order",), 1.5, "", "1st", "order-id", "an order"]
)
def test_what_is_no_name_is_refused(declare: Any, name: Any) -> None:
    with pytest.raises(PayloadError):
        declare(("order", name))


@WAYS
def test_object_that_prints_as_a_name_is_refused(declare: Any) -> None:
    class Name:
        def __str__(self) -> str:
            return "order"

    with pytest.raises(PayloadError):
        declare((Name(),))


@WAYS
@pytest.mark.parametrize("name", [*keyword.softkwlist, "cls", "payload", "receiver"])
def test_name_that_can_be_sent_is_accepted(declare: Any, name: str) -> None:
    def receiver(sender: Any, **payload: Any) -> Any:
        return payload

    signal = declare((name,))
    payload: dict[str, Any] = {name: 1}
    signal.connect(receiver)
    assert signal.send("app", **payload) == [(receiver, payload)]


@pytest.mark.parametrize("declare", [of_a_namespace, declared_later])
def test_signal_is_refused_where_receivers_of_a_namespace_get_it(declare: Any) -> None:
    with pytest.raises(PayloadError, match="'signal'"):
        declare(("signal",))


@pytest.mark.parametrize("declare", DECLARING[:2], ids=["signal", "named"])
def test_signal_is_accepted_if_no_other_code_sends_it(declare: Any) -> None:
    def receiver(sender: Any, signal: Any) -> Any:
        return signal

    one = declare(("signal",))
    one.connect(receiver)
    assert one.send("app", signal=7) == [(receiver, 7)]


def put(namespace: Namespace, signal: NamedSignal) -> None:
    namespace["moved"] = signal


def put_by_default(namespace: Namespace, signal: NamedSignal) -> None:
    namespace.setdefault("moved", signal)


def put_by_update(namespace: Namespace, signal: NamedSignal) -> None:
    namespace.update(moved=signal)


@pytest.mark.parametrize("add", [put, put_by_default, put_by_update])
def test_signal_that_sends_a_signal_may_not_be_put_into_a_namespace(add: Any) -> None:
    namespace = Namespace()
    with pytest.raises(PayloadError, match="'signal'"):
        add(namespace, NamedSignal("moved", payload=("signal",)))
    assert not namespace


def test_refused_declaration_leaves_nothing_declared() -> None:
    namespace = Namespace()
    with pytest.raises(PayloadError):
        namespace.signal("order-placed", payload=("class",))
    assert namespace.signal("order-placed").payload is None
    namespace.signal("order-placed", payload=("order",))


NOT_A_DOC: list[Any] = [("order",), ["order"], {"order"}, frozenset({"order"}), ()]


@pytest.mark.parametrize("names", NOT_A_DOC, ids=repr)
@pytest.mark.parametrize(
    "declare",
    [
        Signal,
        lambda names: NamedSignal("order-placed", names),
        lambda names: Namespace().signal("order-placed", names),
    ],
    ids=["signal", "named", "namespace"],
)
def test_payload_in_the_place_of_the_documentation_is_refused(
    declare: Any, names: Any
) -> None:
    with pytest.raises(PayloadError, match=r"payload="):
        declare(names)


def test_right_form_is_shown() -> None:
    wrong: Any = ("order", "total")
    with pytest.raises(PayloadError, match=r"payload=\('order', 'total'\)"):
        Namespace().signal("order-placed", wrong)


def test_wrong_declaration_makes_no_signal() -> None:
    namespace, wrong = Namespace(), ("order",)
    with pytest.raises(PayloadError):
        namespace.signal("order-placed", wrong)  # type: ignore[arg-type]
    assert "order-placed" not in namespace


def test_keyword_may_be_sent_without_a_declaration() -> None:
    def receiver(sender: Any, **payload: Any) -> Any:
        return payload

    signal = Signal()
    payload: dict[str, Any] = {"class": 1}
    signal.connect(receiver)
    assert signal.send("app", **payload) == [(receiver, payload)]
