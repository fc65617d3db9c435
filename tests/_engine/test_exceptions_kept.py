"""The exception that arrives is the receiver's own, whatever it forbids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from signalpost import around
from signalpost import observe
from signalpost import Signal
from signalpost.testing import capture
from signalpost.testing import restored


@dataclass(frozen=True)
class OutOfStockError(Exception):
    article: str = "lamp"


@dataclass(frozen=True, slots=True)
class SoldOutError(Exception):
    article: str = "lamp"


class ClosedError(Exception):
    __slots__ = ()


class ReadOnlyError(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"{name} is read-only")


class NotesReadOnlyError(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        return ["of its own"]


class NotesFailError(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise AttributeError("no notes")


class NotesNoneError(Exception):
    def __init__(self) -> None:
        self.__notes__: Any = None


class NotesTupleError(Exception):
    def __init__(self) -> None:
        self.__notes__: Any = ("of its own",)


class NotesStringError(Exception):
    def __init__(self) -> None:
        self.__notes__: Any = "of its own"


class AddNoteRaisesError(Exception):
    def add_note(self, note: str) -> None:
        raise ValueError("no notes")


class AddNoteMissingError(Exception):
    add_note: Any = None


class EqualToNothingError(Exception):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]  # as Python does it


class EmptyError(Exception):
    def __len__(self) -> int:
        return 0


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not to be printed")

    __repr__ = __str__


KINDS: list[type[Exception]] = [
    OutOfStockError,
    SoldOutError,
    ClosedError,
    ReadOnlyError,
    NotesReadOnlyError,
    NotesFailError,
    NotesNoneError,
    NotesTupleError,
    NotesStringError,
    AddNoteRaisesError,
    AddNoteMissingError,
    EqualToNothingError,
    EmptyError,
    UnprintableError,
]


def raising(error: BaseException) -> Signal:
    def fail(sender: Any, **payload: Any) -> None:
        raise error

    signal = Signal()
    signal.connect(fail, weak=False)
    return signal


def raised_by(function: Callable[[], object]) -> BaseException | None:
    """Return what a call raises; ``pytest.raises`` would touch it."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001  # whatever it is
        return error
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", [{}, {"order": 7}], ids=["empty", "payload"])
def test_own_exception_arrives_from_send(
    kind: type[Exception], payload: dict[str, Any]
) -> None:
    error = kind()
    signal = raising(error)
    assert raised_by(lambda: signal.send("app", **payload)) is error
    assert raised_by(lambda: signal.send("app", **payload)) is error


@pytest.mark.parametrize("kind", KINDS)
def test_own_exception_arrives_from_a_declared_send(kind: type[Exception]) -> None:
    def fail(sender: Any, order: Any) -> None:
        raise error

    error, signal = kind(), Signal(payload=("order",))
    signal.connect(fail, once=True, priority=1)
    assert raised_by(lambda: signal.send("app", order=7)) is error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("together", [None, asyncio.gather], ids=["in turn", "at once"])
def test_own_exception_arrives_from_send_async(
    kind: type[Exception], together: Any
) -> None:
    async def fail(sender: Any) -> None:
        raise error

    async def send() -> BaseException | None:
        try:
            await signal.send_async("app", _gather=together)
        except Exception as caught:  # noqa: BLE001  # whatever it is
            return caught
        return None

    error, signal = kind(), Signal()
    signal.connect(fail)
    assert asyncio.run(send()) is error


@pytest.mark.parametrize("kind", KINDS)
def test_own_exception_is_in_the_outcome(kind: type[Exception]) -> None:
    error = kind()
    (outcome,) = raising(error).send_robust("app")
    assert outcome.failed
    assert outcome.exception is error
    assert outcome.value is None


@pytest.mark.parametrize("kind", KINDS)
def test_own_exception_is_observed(kind: type[Exception]) -> None:
    error = kind()
    signal = raising(error)
    found: list[BaseException | None] = []
    with observe(lambda delivery: found.append(delivery.exception), signal):
        assert raised_by(lambda: signal.send("app")) is error
    assert len(found) == 1
    assert found[0] is error


def test_note_of_the_exceptions_own_is_kept() -> None:
    error = NotesReadOnlyError()
    raised_by(lambda: raising(error).send("app"))
    assert error.__notes__ == ["of its own"]


def test_exception_that_takes_notes_has_one() -> None:
    error = LookupError()
    raised_by(lambda: raising(error).send("app"))
    assert len(error.__notes__) == 1


def do_nothing(sender: Any, **payload: Any) -> None: ...


BLOCKS: dict[str, Callable[[Signal], AbstractContextManager[object]]] = {
    "muted": lambda signal: signal.muted(),
    "connected_to": lambda signal: signal.connected_to(do_nothing),
    "disconnected_from": lambda signal: signal.disconnected_from(do_nothing),
    "held": lambda signal: signal.held(),
    "around": lambda signal: around(signal, signal),
    "observe": lambda signal: observe(do_nothing, signal),
    "capture": lambda signal: capture(signal),
    "restored": lambda signal: restored(signal),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(
    "kind", [OutOfStockError, SoldOutError, ReadOnlyError, EmptyError]
)
def test_own_exception_leaves_a_block(name: str, kind: type[Exception]) -> None:
    def work() -> None:
        with BLOCKS[name](Signal()):
            raise error

    error = kind()
    assert raised_by(work) is error


@pytest.mark.parametrize("name", ["muted", "connected_to", "held", "around"])
def test_own_exception_leaves_a_decorated_function(name: str) -> None:
    block: Any = BLOCKS[name](Signal())

    @block  # type: ignore[untyped-decorator, unused-ignore]
    def work() -> None:
        raise error

    error = OutOfStockError()
    assert raised_by(work) is error


@pytest.mark.parametrize("name", ["held", "around"])
def test_own_exception_leaves_an_async_block(name: str) -> None:
    async def work() -> BaseException | None:
        block: Any = BLOCKS[name](Signal())
        try:
            async with block:
                raise error
        except OutOfStockError as caught:
            return caught

    error = OutOfStockError()
    assert asyncio.run(work()) is error
