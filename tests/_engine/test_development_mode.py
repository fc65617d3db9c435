"""Reports of development mode about functions that are freed while connected."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Signal
from signalpost._engine import connecting
from signalpost.errors import WeakReceiverWarning

Receiver = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def development_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "IS_DEVELOPMENT_MODE", True)


def make() -> Receiver:
    """Return a function, of the same name each time."""

    def receive(sender: Any) -> None: ...

    return receive


def make_global(name: str = "receive") -> Receiver:
    """Return a function as one of a module, of the same name unless it is given."""
    receiver = make()
    receiver.__qualname__ = name
    return receiver


def reports(dying: list[Receiver]) -> list[str]:
    """Let functions die; return what is reported then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dying.clear()
        gc.collect()
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("made", [make, make_global])
def test_function_that_dies_while_connected_is_reported(
    made: Callable[[], Receiver],
) -> None:
    signal, dying = NamedSignal("opened"), [made()]
    signal.connect(dying[0])
    (report,) = reports(dying)
    assert "NamedSignal 'opened'" in report
    assert f"{__file__}:" in report


def test_report_has_the_line_of_connecting() -> None:
    signal, dying = Signal(), [make()]
    signal.connect(dying[0])
    place = signal.connections[0].connected_at
    (report,) = reports(dying)
    assert f"at {place} was freed" in report


def test_function_that_was_disconnected_is_not_reported() -> None:
    signal, dying = Signal(), [make()]
    signal.connect(dying[0])
    kept = [*signal.receivers.values()]
    signal.disconnect(dying[0])
    assert reports(dying) == []
    assert kept[0]() is None


def test_function_of_a_signal_that_died_is_not_reported() -> None:
    signal, dying = Signal(), [make()]
    signal.connect(dying[0])
    kept = [*signal.receivers.values()]
    del signal
    gc.collect()
    assert reports(dying) == []
    assert kept[0]() is None


def test_method_that_dies_is_not_reported() -> None:
    class Owner:
        def receive(self, sender: Any) -> None: ...

    signal, owners = Signal(), [Owner()]
    signal.connect(owners[0].receive)
    dying: list[Any] = owners
    assert reports(dying) == []


def test_function_that_was_reported_as_lost_is_not_reported_again() -> None:
    signal = Signal()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signal.connect(lambda sender: None)
        gc.collect()
    assert [one.category for one in caught] == [WeakReceiverWarning]


def test_function_that_was_defined_again_is_not_reported() -> None:
    signal, dying, new = Signal(), [make_global()], make_global()
    signal.connect(dying[0])
    signal.connect(new)
    assert reports(dying) == []


@pytest.mark.parametrize("other", [make, lambda: make_global("another")])
def test_function_is_reported_while_another_one_is_connected(
    other: Callable[[], Receiver],
) -> None:
    signal, dying, kept = Signal(), [make_global()], other()
    signal.connect(dying[0])
    signal.connect(kept)
    assert len(reports(dying)) == 1


def test_function_is_reported_while_one_of_another_module_is_connected() -> None:
    signal, dying, kept = Signal(), [make_global()], make_global()
    kept.__module__ = "another"
    signal.connect(dying[0])
    signal.connect(kept)
    assert len(reports(dying)) == 1


def test_inner_function_is_reported_while_one_of_its_name_is_connected() -> None:
    signal, dying, kept = Signal(), [make()], make()
    signal.connect(dying[0])
    signal.connect(kept)
    assert len(reports(dying)) == 1
