from __future__ import annotations

import enum
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Signal
from tests.growth import calls_of


class Number(enum.IntEnum):
    ZERO = 0
    ONE = 1


class Flag(enum.IntFlag):
    NONE = 0


class Name(str, enum.Enum):
    APP = "app"


class Text(str): ...


class Slotted:
    """A sender that cannot be weakly referenced and records when it is freed."""

    __slots__ = ("fates",)

    def __init__(self, fates: list[str]) -> None:
        self.fates = fates

    def __del__(self) -> None:
        self.fates.append("freed")


class Owner:
    def receive(self, sender: Any) -> None: ...


class Alike:
    """Equal to everything; its hash is refused."""

    __hash__ = None  # type: ignore[assignment]  # unhashable on purpose

    def __eq__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "Alike()"


def ignore(sender: Any) -> None: ...


def matches(connected: object, sent: object) -> bool:
    signal = Signal()
    signal.connect(ignore, sender=connected)
    return bool(signal.send(sent))


@pytest.mark.parametrize("text", ["app", "a sender with spaces", "", "é"])
def test_str_senders_match_by_value(text: str) -> None:
    assert matches(text, "".join(list(text)))


@pytest.mark.parametrize("number", [0, 1, -5, 123456789, 2**80])
def test_int_senders_match_by_value(number: int) -> None:
    assert matches(number, int(str(number)))


@pytest.mark.parametrize("sender", [0, False, "", None, Number.ZERO, Flag.NONE, ()])
def test_false_sender_is_a_sender_like_any_other(sender: object) -> None:
    signal = Signal()
    signal.connect(ignore, sender=sender)
    assert signal.send(sender)
    assert not signal.send("another")
    assert not signal.has_receivers_for(ANY)
    assert not signal.disconnect(ignore, sender="another")
    assert signal.disconnect(ignore, sender=sender)
    assert not signal.receivers


@pytest.mark.parametrize("sender", [0, False, "", None])
def test_disconnect_from_a_false_sender_leaves_the_others(sender: object) -> None:
    signal = Signal()
    signal.connect(ignore, sender=sender)
    signal.connect(ignore, sender="app")
    signal.disconnect(ignore, sender=sender)
    assert signal.send("app")


def test_send_without_a_sender_is_from_none() -> None:
    signal = Signal()
    signal.connect(ignore, sender=None)
    assert signal.send()


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (1, True),
        (0, False),
        (1, Number.ONE),
        (True, Number.ONE),
        (0, Flag.NONE),
        (1, 1.0),
        ("app", Name.APP),
        ("app", Text("app")),
        ("app", b"app"),
        (Text("app"), Text("app")),
        ((1, 2), tuple([1, 2])),
        ([], []),
        (Alike(), Alike()),
        (Alike(), 1),
    ],
    ids=repr,
)
def test_equal_senders_are_not_one_sender(one: object, another: object) -> None:
    assert matches(one, one)
    assert matches(another, another)
    assert not matches(one, another)
    assert not matches(another, one)


def test_int_sender_is_not_taken_for_an_id() -> None:
    sender = Owner()
    assert not matches(sender, id(sender))
    assert not matches(id(sender), sender)


@pytest.mark.parametrize("make", [list, dict, set, bytearray])
def test_unhashable_sender_matches_itself(make: Callable[[], object]) -> None:
    sender = make()
    assert matches(sender, sender)


def test_class_is_a_sender() -> None:
    assert matches(Owner, Owner)
    assert not matches(Owner, Owner())


def test_method_sender_matches_itself() -> None:
    owner = Owner()
    assert matches(owner.receive, owner.receive)
    assert not matches(owner.receive, Owner().receive)


def test_sender_without_weak_references_is_held_while_connected() -> None:
    signal = Signal()
    fates: list[str] = []
    signal.connect(ignore, sender=Slotted(fates))
    gc.collect()
    assert not fates
    signal.disconnect(ignore)
    assert fates == ["freed"]


def test_sender_without_weak_references_goes_with_its_last_receiver() -> None:
    signal = Signal()
    fates: list[str] = []
    owner = Owner()
    signal.connect(owner.receive, sender=Slotted(fates))
    del owner
    gc.collect()
    assert fates == ["freed"]


@pytest.mark.parametrize("make", [list, Owner])
def test_new_object_is_not_taken_for_a_dead_sender(
    make: Callable[[], object],
) -> None:
    signal = Signal()
    sender = make()
    signal.connect(ignore, sender=sender)
    assert signal.send(sender)
    del sender
    for _ in range(1000):
        assert not signal.send(make())


def test_object_is_not_taken_for_a_disconnected_sender() -> None:
    signal = Signal()
    for _ in range(100):
        sender: Any = []
        signal.connect(ignore, sender=sender)
        assert signal.send(sender)
        signal.disconnect(ignore, sender=sender)
        del sender
        assert not signal.send([])


def test_death_of_the_last_sender_frees_a_strong_receiver() -> None:
    signal = Signal()
    sender, owner = Owner(), Owner()
    signal.connect(owner.receive, sender=sender, weak=False)
    watched = weakref.ref(owner)
    del owner
    gc.collect()
    assert watched() is not None
    del sender
    gc.collect()
    assert watched() is None
    assert not signal.receivers


def test_connected_sender_is_not_kept_alive() -> None:
    signal = Signal()
    sender = Owner()
    signal.connect(ignore, sender=sender)
    signal.send(sender)
    watched = weakref.ref(sender)
    del sender
    gc.collect()
    assert watched() is None


def test_receiver_of_any_receives_every_sender() -> None:
    signal = Signal()
    signal.connect(ignore)
    senders: list[Any] = [None, 0, "app", Owner(), [], ignore]
    for sender in senders:
        assert signal.has_receivers_for(sender)
        assert signal.send(sender) == [(ignore, None)]


@pytest.mark.parametrize("names", [None, ("price",)], ids=["undeclared", "declared"])
@pytest.mark.parametrize("is_any", [False, True], ids=["alone", "and-any"])
@pytest.mark.parametrize("way", ["send", "send_robust", "send_isolated", "asks"])
def test_receivers_of_another_sender_add_no_steps_to_a_send(
    way: str, is_any: bool, names: tuple[str, ...] | None
) -> None:
    signal, known, unknown = Signal(payload=names), Owner(), Owner()
    payload: dict[str, Any] = {} if names is None else {"price": 7}
    ways: dict[str, Callable[[], object]] = {
        "send": lambda: signal.send(unknown, **payload),
        "send_robust": lambda: signal.send_robust(unknown, **payload),
        "send_isolated": lambda: signal.send_isolated(unknown, payload),
        "asks": lambda: signal.has_receivers_for(unknown),
    }
    if is_any:
        signal.connect(id)
    ways["send"]()
    before = calls_of(ways[way])
    signal.connect(repr, known)
    ways["send"]()
    # Two more: whether the sender has its own route.
    assert calls_of(ways[way]) <= before + 2
