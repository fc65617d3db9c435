from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import signalpost
from signalpost import Signal
from signalpost.errors import ReceiverError
from signalpost.errors import WeakReceiverWarning

from .tables import assert_empty


class Owner:
    def __init__(self) -> None:
        self.senders: list[Any] = []

    def receive(self, sender: Any) -> None:
        self.senders.append(sender)


class Callable:
    def __call__(self, sender: Any) -> None: ...


class Slotted:
    """Neither it nor its method can be weakly referenced."""

    __slots__ = ("senders",)

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def __call__(self, sender: Any) -> None:
        self.senders.append(sender)

    def receive(self, sender: Any) -> None:
        self.senders.append(sender)


class Alike(Owner):
    """Equal to each other, and not hashable."""

    __hash__ = None  # type: ignore[assignment]  # unhashable on purpose

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)


def ignore(sender: Any) -> None: ...


@pytest.fixture
def no_warnings() -> Iterator[None]:
    """Turn a warning within the test into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_inline_lambda_is_reported() -> None:
    with pytest.warns(WeakReceiverWarning, match=r"<lambda>.*weak=False"):
        Signal().connect(lambda sender: None)


def test_inline_lambda_given_by_keyword_is_reported() -> None:
    with pytest.warns(WeakReceiverWarning, match=r"<lambda>.*weak=False"):
        Signal().connect(receiver=lambda sender: None, sender="app")


def test_inline_partial_is_reported() -> None:
    with pytest.warns(WeakReceiverWarning, match=r"partial of .*ignore.*weak=False"):
        Signal().connect(functools.partial(ignore))


def test_inline_callable_object_is_reported() -> None:
    with pytest.warns(WeakReceiverWarning, match=r"Callable object.*weak=False"):
        Signal().connect(Callable())


def test_method_of_a_temporary_is_reported() -> None:
    with pytest.warns(WeakReceiverWarning, match=r"Owner\.receive.*weak=False"):
        Signal().connect(Owner().receive)


def test_method_of_a_builtin_type_is_reported() -> None:
    senders: list[Any] = []
    with pytest.warns(WeakReceiverWarning, match=r"append.*weak=False"):
        Signal().connect(senders.append)


def test_report_names_the_signal_and_the_line_of_the_call() -> None:
    signal = signalpost.NamedSignal("order-placed")
    with pytest.warns(WeakReceiverWarning, match="order-placed") as reported:
        signal.connect(lambda sender: None)
    assert reported[0].filename == __file__


def test_reported_receiver_is_not_connected() -> None:
    signal = Signal()
    with pytest.warns(WeakReceiverWarning):
        signal.connect(lambda sender: None)
    gc.collect()
    assert not signal.receivers


@pytest.mark.usefixtures("no_warnings")
def test_strong_inline_receivers_are_not_reported() -> None:
    signal = Signal()
    signal.connect(lambda sender: None, weak=False)
    signal.connect(functools.partial(ignore), weak=False)
    signal.connect(Callable(), weak=False)
    signal.connect(Owner().receive, weak=False)
    gc.collect()
    assert len(signal.send()) == 4


@pytest.mark.usefixtures("no_warnings")
def test_decorated_function_is_not_reported() -> None:
    signal = Signal()

    @signal.connect
    def decorated(sender: Any) -> None: ...

    @signal.connect_via("app", weak=True)
    def decorated_via(sender: Any) -> None: ...

    assert [receiver for receiver, _ in signal.send("app")] == [
        decorated,
        decorated_via,
    ]


@pytest.mark.usefixtures("no_warnings")
def test_receiver_in_a_variable_is_not_reported() -> None:
    signal = Signal()
    function = lambda sender: None  # noqa: E731  # a name for it is the point
    partial = functools.partial(ignore)
    instance = Callable()
    owner = Owner()
    signal.connect(function)
    signal.connect(partial)
    signal.connect(instance)
    signal.connect(owner.receive)
    assert len(signal.send()) == 4


@pytest.mark.usefixtures("no_warnings")
def test_method_in_a_variable_is_not_reported() -> None:
    signal = Signal()
    method = Owner().receive
    signal.connect(method)
    assert signal.send() == [(method, None)]


@pytest.mark.usefixtures("no_warnings")
def test_receiver_kept_in_an_object_is_not_reported() -> None:
    class Keeper:
        def __init__(self, signal: Signal) -> None:
            self.partial = functools.partial(ignore)
            self.several = [lambda sender: None]
            signal.connect(self.partial)
            signal.connect(self.several[0])
            signal.connect(self.receive)

        def receive(self, sender: Any) -> None: ...

    signal = Signal()
    keeper = Keeper(signal)
    assert len(signal.send(keeper)) == 3


@pytest.mark.usefixtures("no_warnings")
def test_receiver_taken_from_the_result_is_not_reported() -> None:
    def connected(signal: Signal) -> Any:
        return signal.connect(functools.partial(ignore))

    signal = Signal()
    kept = signal.connect(lambda sender: None)
    returned = connected(signal)
    assert [receiver for receiver, _ in signal.send()] == [kept, returned]


@pytest.mark.usefixtures("no_warnings")
def test_receiver_of_a_block_is_not_reported() -> None:
    signal = Signal()
    with signal.connected_to(lambda sender: None):
        assert signal.send()


def test_receiver_without_weak_references_is_refused() -> None:
    signal = Signal()
    instance = Slotted()
    for receiver in (instance, instance.receive):
        with pytest.raises(ReceiverError, match=r"Slotted.*weak=False") as refusal:
            signal.connect(receiver)
        assert refusal.value.receiver is receiver
    assert not signal.receivers


def test_receiver_without_weak_references_is_connected_strongly() -> None:
    signal = Signal()
    receiver = Slotted()
    signal.connect(receiver, weak=False)
    signal.connect(receiver.receive, weak=False)
    signal.send("app")
    assert receiver.senders == ["app", "app"]
    assert signal.disconnect(receiver)
    assert signal.disconnect(receiver.receive)
    assert not signal.receivers


def test_dead_receiver_leaves_nothing_behind() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    signal.connect(owner.receive, sender="app")
    del owner
    gc.collect()
    assert not signal.receivers
    assert not signal.has_receivers_for("app")
    assert not signal.send("app")
    assert_empty(signal)


def test_receiver_in_a_cycle_is_freed() -> None:
    signal = Signal()
    owner: Any = Owner()
    owner.itself = owner
    signal.connect(owner.receive)
    watched = weakref.ref(owner)
    del owner
    gc.collect()
    assert watched() is None
    assert not signal.receivers


def test_new_receiver_is_not_taken_for_a_dead_one() -> None:
    signal = Signal()
    for _ in range(1000):
        owner = Owner()
        signal.connect(owner.receive)
        signal.send("app")
        assert owner.senders == ["app"]
        del owner
        assert not signal.disconnect(Owner().receive)


def test_methods_of_equal_objects_are_two_receivers() -> None:
    signal = Signal()
    one, another = Alike(), Alike()
    signal.connect(one.receive)
    signal.connect(another.receive)
    signal.disconnect(one.receive)
    signal.send("app")
    assert not one.senders
    assert another.senders == ["app"]


def test_reconnecting_weakly_leaves_a_strong_connection_strong() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, weak=False)
    signal.connect(owner.receive)
    del owner
    gc.collect()
    assert len(signal.send()) == 1


def test_reconnecting_strongly_makes_a_weak_connection_strong() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    signal.connect(owner.receive, weak=False)
    del owner
    gc.collect()
    assert len(signal.send()) == 1


def test_connect_via_holds_its_receiver() -> None:
    signal = Signal()

    @signal.connect_via("app")
    def receiver(sender: Any) -> None: ...

    watched = weakref.ref(receiver)
    del receiver
    gc.collect()
    assert watched() is not None
    assert signal.send("app")


def test_connect_via_may_hold_its_receiver_weakly() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect_via("app", weak=True)(owner.receive)
    del owner
    gc.collect()
    assert not signal.receivers


def test_connect_returns_the_receiver() -> None:
    signal = Signal()
    assert signal.connect(ignore) is ignore
    assert signal.connect_via("app")(ignore) is ignore


FUNCTION_DIES = """\
import signalpost

def connect_closure(signal):
    def received(sender): ...
    signal.connect(received)

signal = signalpost.NamedSignal("order-placed")
connect_closure(signal)
"""

NOTHING_LOST = """\
import signalpost


class Owner:
    def receive(self, sender): ...

def disconnected_in_time(signal):
    def received(sender): ...
    signal.connect(received)
    signal.disconnect(received)

def held_by_a_block(signal):
    with signal.connected_to(lambda sender: None):
        signal.send()

def owner_dies(signal):
    owner = Owner()
    signal.connect(owner.receive)

def until_the_end(sender): ...

namespace = signalpost.Namespace()
signal = namespace.signal("order-placed")
disconnected_in_time(signal)
held_by_a_block(signal)
owner_dies(signal)
owner = Owner()
owner.itself = owner
for other in (signal, signalpost.signal("exit")):
    other.connect(until_the_end)
    other.connect(until_the_end, sender=owner)
    other.connect(owner.receive, sender="app")
    other.connect(lambda sender: None, weak=False)
"""


def stderr_of(program: str, directory: Path, *options: str) -> str:
    """Run a program that shows every warning; return what it printed about itself."""
    path = directory / "program.py"
    path.write_text(program)
    environ = {**os.environ, "PYTHONPATH": str(Path(signalpost.__file__).parents[1])}
    for name in ("PYTHONDEVMODE", "PYTHONWARNINGS"):
        environ.pop(name, None)
    run = subprocess.run(
        [sys.executable, *options, "-W", "always", str(path)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return run.stderr


def test_function_that_dies_is_reported_in_development_mode(tmp_path: Path) -> None:
    reported = stderr_of(FUNCTION_DIES, tmp_path, "-X", "dev")
    assert "ResourceWarning" in reported
    assert "order-placed" in reported
    assert f"{tmp_path / 'program.py'}:5 " in reported


def test_function_that_dies_is_not_reported_otherwise(tmp_path: Path) -> None:
    assert not stderr_of(FUNCTION_DIES, tmp_path)


@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "development"])
def test_nothing_is_printed_when_nothing_was_lost(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    assert not stderr_of(NOTHING_LOST, tmp_path, *options)
