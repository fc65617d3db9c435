"""A signal against a list of connections that is searched for every send."""

from __future__ import annotations

import gc
from collections.abc import Callable
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import field
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import invariant
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine

from signalpost import ANY
from signalpost import Delivery
from signalpost import named
from signalpost import Observation
from signalpost import observe
from signalpost import Signal
from signalpost._engine.interest import generation_of

from .tables import assert_empty

_count = count()

_received: list[str] = []
"""The labels of the receivers that were called."""


class Owner:
    """A receiver's instance, or a sender, by a label that no other one has."""

    def __init__(self) -> None:
        self.label = f"object {next(_count)}"

    def receive(self, sender: Any, **extra: Any) -> str:
        _received.append(self.label)
        return self.label


@dataclass(eq=False)
class Record:
    """A connection in the model."""

    key: str
    receiver: str
    sender: str
    order: int
    strong: bool
    once: bool
    priority: int
    subclasses: bool
    blocks: list[Block] = field(default_factory=list)

    @property
    def place(self) -> tuple[int, int]:
        return (-self.priority, self.order)


@dataclass(eq=False)
class Block:
    """An open block; ``receiver`` is empty for a muted one."""

    context: AbstractContextManager[None]
    receiver: str = ""
    sender: str = ""
    record: Record | None = None


# Senders by label. An object's slot holds another object after each death.
VALUES: dict[str, Any] = {"app": "app", "7": 7, "None": None, "False": False}
SLOTS = (0, 1, 2)
CLASSES = ("Base", "Derived", "DerivedAgain")
BASES = {
    "Base": ("Base",),
    "Derived": ("Derived", "Base"),
    "DerivedAgain": ("DerivedAgain", "Derived", "Base"),
}
NAMES = ("one name", "another name")
OBJECTS = tuple(f"slot {slot}" for slot in SLOTS)

slots = st.sampled_from(SLOTS)
concrete_senders = st.sampled_from([*VALUES, *CLASSES, *OBJECTS])
senders = st.sampled_from(["ANY", *VALUES, *CLASSES, *OBJECTS, *NAMES])
uids = st.sampled_from(["", "", "", "uid", "another uid"])


class SignalMachine(RuleBasedStateMachine):
    """Drives one signal, and compares everything it does with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = Signal()
        self.order = count()
        self.records: list[Record] = []
        self.blocks: list[Block] = []
        self.seen: list[Delivery] = []
        self.observation: Observation | None = None
        self.receivers = [Owner() for _ in SLOTS]
        self.objects = [Owner() for _ in SLOTS]
        base = type("Base", (), {})
        derived = type("Derived", (base,), {})
        self.classes = dict(
            zip(CLASSES, (base, derived, type("Again", (derived,), {})), strict=True)
        )
        prefix = f"model {next(_count)}: "
        self.names = {name: named(prefix + name) for name in NAMES}
        self.bound: dict[str, list[str]] = {name: [] for name in NAMES}
        self.generation = generation_of((self.signal,))
        # By sender: the change after which it was called, and the result.
        self.received: dict[str, tuple[object, bool]] = {}

    # The meaning of a label.

    def sender(self, label: str) -> Any:
        """Return the sender that is meant."""
        if label == "ANY":
            return ANY
        if label in VALUES:
            return VALUES[label]
        if label in self.classes:
            return self.classes[label]
        if label in self.names:
            return self.names[label]
        return self.objects[OBJECTS.index(label)]

    def label(self, label: str) -> str:
        """Return a label that stays with the object that is in a slot now."""
        if label in OBJECTS:
            return self.objects[OBJECTS.index(label)].label
        return label

    # The model.

    def matching(self, sender: str) -> list[Record]:
        def matches(record: Record) -> bool:
            return (
                record.sender in ("ANY", sender)
                or sender in self.bound.get(record.sender, ())
                or (record.subclasses and record.sender in BASES.get(sender, ()))
            )

        return sorted(filter(matches, self.records), key=lambda one: one.place)

    def find(self, key: str, sender: str) -> Record | None:
        for record in self.records:
            if record.key == key and record.sender == sender:
                return record
        return None

    def bury_the_dead(self) -> None:
        """Take out what ends with its receiver or its sender."""
        living = {one.label for one in (*self.receivers, *self.objects)}
        living.update(block.receiver for block in self.blocks)
        living.update(block.sender for block in self.blocks)
        living.update(VALUES, CLASSES, NAMES, ["ANY"])
        while True:
            held = {one.receiver for one in self.records if one.strong or one.blocks}
            dead = [
                one
                for one in self.records
                if one.sender not in living or one.receiver not in living | held
            ]
            if not dead:
                break
            for record in dead:
                self.records.remove(record)
        for bound in self.bound.values():
            bound[:] = [label for label in bound if label in living]

    # The actions.

    @initialize()
    def begin(self) -> None:
        gc.collect(0)

    @rule(
        slot=slots,
        sender=senders,
        weak=st.booleans(),
        once=st.sampled_from([False, False, True]),
        priority=st.sampled_from([0, 0, 0, -1, 1]),
        uid=uids,
        subclasses=st.booleans(),
    )
    def connect(
        self,
        slot: int,
        sender: str,
        weak: bool,
        once: bool,
        priority: int,
        uid: str,
        subclasses: bool,
    ) -> None:
        receiver = self.receivers[slot]
        subclasses = subclasses and sender in CLASSES
        key, label = uid or receiver.label, self.label(sender)
        present = self.find(key, label)
        self.signal.connect(
            receiver.receive,
            self.sender(sender),
            weak,
            once=once,
            priority=priority,
            dispatch_uid=uid or None,
            subclasses=subclasses,
        )
        if present is None:
            self.records.append(
                Record(
                    key,
                    receiver.label,
                    label,
                    next(self.order),
                    not weak,
                    once,
                    priority,
                    subclasses,
                )
            )
        elif present.receiver == receiver.label:
            if present.blocks:
                # Blocks have nothing more to take back: it is as was asked for.
                present.strong, present.once = not weak, once
                present.priority, present.subclasses = priority, subclasses
                present.blocks.clear()
            else:
                present.strong = present.strong or not weak
                present.once = present.once and once
                present.subclasses = present.subclasses or subclasses

    @rule(slot=slots, sender=senders)
    def disconnect(self, slot: int, sender: str) -> None:
        receiver = self.receivers[slot]
        is_disconnected = self.signal.disconnect(receiver.receive, self.sender(sender))
        self.check_disconnected(receiver.label, sender, is_disconnected)

    @rule(uid=st.sampled_from(["uid", "another uid"]), sender=senders)
    def disconnect_by_uid(self, uid: str, sender: str) -> None:
        is_disconnected = self.signal.disconnect(
            sender=self.sender(sender), dispatch_uid=uid
        )
        self.check_disconnected(uid, sender, is_disconnected)

    def check_disconnected(self, key: str, sender: str, is_disconnected: bool) -> None:
        label = self.label(sender)
        gone = [
            one
            for one in self.records
            if one.key == key
            and (
                sender == "ANY"
                or one.sender == label
                or label in self.bound.get(one.sender, ())
            )
        ]
        for record in gone:
            self.records.remove(record)
        self.bury_the_dead()
        assert is_disconnected == bool(gone)

    @precondition(lambda self: len(self.records) > 5)
    @rule()
    def disconnect_all(self) -> None:
        assert self.signal.disconnect_all() == len(self.records)
        self.records.clear()
        self.bury_the_dead()

    @rule(slot=slots)
    def let_a_receiver_die(self, slot: int) -> None:
        self.receivers[slot] = Owner()
        gc.collect(0)
        self.bury_the_dead()

    @rule(slot=slots)
    def let_a_sender_die(self, slot: int) -> None:
        self.objects[slot] = Owner()
        gc.collect(0)
        self.bury_the_dead()

    @rule(sender=st.sampled_from([*CLASSES, *OBJECTS]), name=st.sampled_from(NAMES))
    def bind(self, sender: str, name: str) -> None:
        # What a signal has made of the sender by then must not outlast the name.
        self.send(sender, "send")
        self.names[name].bind(self.sender(sender))
        if self.label(sender) not in self.bound[name]:
            self.bound[name].append(self.label(sender))
        self.send(sender, "send")

    @precondition(lambda self: len(self.blocks) < 4)
    @rule(slot=slots, sender=senders)
    def open_a_block(self, slot: int, sender: str) -> None:
        receiver, label = self.receivers[slot], self.label(sender)
        present = self.find(receiver.label, label)
        if present is not None and present.once:
            return  # distinguished in test_once.py
        context = self.signal.connected_to(receiver.receive, self.sender(sender))
        context.__enter__()
        block = Block(context, receiver.label, label)
        self.blocks.append(block)
        if present is None:
            order = next(self.order)
            present = Record(
                receiver.label, receiver.label, label, order, False, False, 0, False
            )
            self.records.append(present)
        elif not present.blocks:
            return  # connected anyway, and so it stays
        present.blocks.append(block)
        block.record = present

    @precondition(lambda self: len(self.blocks) < 4)
    @rule()
    def open_a_muted_block(self) -> None:
        context = self.signal.muted()
        context.__enter__()
        self.blocks.append(Block(context))

    @precondition(lambda self: self.blocks)
    @rule()
    def close_a_block(self) -> None:
        block = self.blocks.pop()
        block.context.__exit__(None, None, None)
        record = block.record
        if record is not None and block in record.blocks:
            record.blocks.remove(block)
            if not record.blocks and record in self.records:
                self.records.remove(record)
        del block, record
        self.bury_the_dead()

    @rule()
    def start_or_stop_observing(self) -> None:
        if self.observation is None:
            self.observation = observe(self.seen.append, self.signal)
        else:
            self.observation.stop()
            self.observation = None

    @rule(
        sender=concrete_senders,
        way=st.sampled_from(["send", "robust", "async", "isolated", "isolated"]),
    )
    def send(self, sender: str, way: str) -> None:
        self.check_sent(self.label(sender), self.values_sent(self.sender(sender), way))

    @rule(way=st.sampled_from(["send", "isolated"]))
    def send_by_an_unknown_sender(self, way: str) -> None:
        self.check_sent("unknown", self.values_sent(Owner(), way))

    def values_sent(self, sender: Any, way: str) -> list[Any]:
        ways: dict[str, Callable[[], list[Any]]] = {
            "send": lambda: self.signal.send(sender),
            "robust": lambda: self.signal.send_robust(sender),
            "async": lambda: finished(self.signal.send_async(sender)),
        }
        if way == "isolated":
            _received.clear()
            assert self.signal.send_isolated(sender, {}, lambda: None) == 0
            return [*_received]
        return [result[1] for result in ways[way]()]

    def check_sent(self, sender: str, values: list[Any]) -> None:
        seen = [one.receiver.__self__.label for one in self.seen]  # type: ignore[attr-defined]  # a method
        self.seen.clear()
        called: dict[tuple[str, str], Record] = {}
        if not any(not block.receiver for block in self.blocks):
            for record in self.matching(sender):
                called.setdefault((record.key, record.receiver), record)
                if record.once:
                    self.records.remove(record)
        self.bury_the_dead()
        assert values == [record.receiver for record in called.values()]
        assert seen == (values if self.observation is not None else [])

    @rule(sender=senders)
    def look_for_receivers(self, sender: str) -> None:
        if sender in NAMES:
            return
        found: dict[tuple[str, str], Record] = {}
        for record in self.matching(self.label(sender)):
            found.setdefault((record.key, record.receiver), record)
        receivers = self.signal.receivers_for(self.sender(sender))
        labels = [one.__self__.label for one in receivers]  # type: ignore[attr-defined]  # a method
        assert labels == [record.receiver for record in found.values()]
        assert self.signal.has_receivers_for(self.sender(sender)) == bool(found)

    @rule(sender=concrete_senders)
    def ask_only_after_a_change(self, sender: str) -> None:
        label = self.label(sender)
        latest, is_received = self.received.get(label, (None, False))
        if latest is not self.generation.current:
            latest = self.generation.current
            is_received = self.signal.has_receivers_for(self.sender(sender))
            self.received[label] = latest, is_received
        assert is_received == bool([*self.matching(label)])

    # What always holds.

    @invariant()
    def receivers_are_there_or_not(self) -> None:
        assert bool(self.signal.receivers) == bool(self.records)

    @invariant()
    def connections_are_those_of_the_model(self) -> None:
        found = [
            (one.receiver.__self__.label, one.weak, one.once, one.priority)  # type: ignore[attr-defined]  # a method
            for one in self.signal.connections
        ]
        assert found == [
            (
                one.receiver,
                not (one.strong or one.blocks),
                one.once,
                one.priority,
            )
            for one in sorted(self.records, key=lambda one: one.place)
        ]

    @invariant()
    def muting_is_known(self) -> None:
        muted = any(not block.receiver for block in self.blocks)
        assert self.signal.is_muted == muted

    def teardown(self) -> None:
        while self.blocks:
            self.close_a_block()
        if self.observation is not None:
            self.observation.stop()
        self.signal.disconnect_all()
        assert_empty(self.signal)


def finished(coroutine: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: list[Any] = end.value
        return result
    raise AssertionError("it waits")


TestModel = SignalMachine.TestCase
TestModel.settings = settings(
    max_examples=3 * settings().max_examples,
    stateful_step_count=60,
    deadline=None,
    database=None,
)
