"""Mocks as receivers, of which every attribute is another mock."""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from unittest.mock import AsyncMock
from unittest.mock import create_autospec
from unittest.mock import MagicMock
from unittest.mock import Mock
from unittest.mock import NonCallableMock

import pytest

from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import AsyncReceiverError
from signalpost.errors import ReceiverError


def book(sender: Any, order: Any) -> None: ...


async def book_later(sender: Any, order: Any) -> None: ...


class Shop:
    def book(self, sender: Any, order: Any) -> None: ...

    async def book_later(self, sender: Any, order: Any) -> None: ...

    def __call__(self, sender: Any, order: Any) -> None: ...


class AsyncShop:
    async def __call__(self, sender: Any, order: Any) -> None: ...


PLAIN: dict[str, Any] = {
    "Mock": Mock,
    "MagicMock": MagicMock,
    "Mock of a function": lambda: Mock(spec=book),
    "MagicMock of a function": lambda: MagicMock(spec=book),
    "spec_set": lambda: MagicMock(spec_set=book),
    "wraps": lambda: MagicMock(wraps=book),
    "spec and wraps": lambda: Mock(spec=book, wraps=book),
    "Mock of a method": lambda: Mock(spec=Shop().book),
    "Mock of a callable object": lambda: Mock(spec=Shop()),
    "MagicMock of a lambda": lambda: MagicMock(spec=lambda sender, order: None),
    "attribute of a Mock": lambda: Mock(spec=Shop).book,
    "attribute of a MagicMock": lambda: MagicMock().book,
    "autospec": lambda: create_autospec(book),
    "autospec of a callable object": lambda: create_autospec(Shop(), instance=True),
}

ASYNC: dict[str, Any] = {
    "AsyncMock": AsyncMock,
    "AsyncMock of a function": lambda: AsyncMock(spec=book),
    "AsyncMock of a coroutine function": lambda: AsyncMock(spec=book_later),
    "Mock of a coroutine function": lambda: Mock(spec=book_later),
    "MagicMock of a coroutine function": lambda: MagicMock(spec=book_later),
    "attribute of a Mock": lambda: Mock(spec=Shop).book_later,
    "attribute of an AsyncMock": lambda: AsyncMock().book,
    "autospec": lambda: create_autospec(book_later),
}


def signals() -> list[Signal]:
    return [
        Signal(),
        Signal(payload=("order",)),
        Namespace().signal("order-placed", payload=("order",)),
    ]


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_mock_is_called_as_a_function(kind: str) -> None:
    for signal in signals():
        mock = PLAIN[kind]()
        signal.connect(mock)
        ((_, value),) = signal.send("app", order=7)
        assert value is mock.return_value or value is None
        mock.assert_called_once_with("app", order=7)


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_mock_is_called_by_send_robust(kind: str) -> None:
    signal, mock = Signal(), PLAIN[kind]()
    signal.connect(mock, sender="app", once=True)
    (outcome,) = signal.send_robust("app", order=7)
    assert not outcome.failed
    mock.assert_called_once_with("app", order=7)


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_mock_is_called_by_send_async(kind: str) -> None:
    signal, mock = Signal(), PLAIN[kind]()
    signal.connect(mock)
    asyncio.run(signal.send_async("app", order=7))
    mock.assert_called_once_with("app", order=7)


@pytest.mark.parametrize("kind", ASYNC)
def test_async_mock_is_async(kind: str) -> None:
    for signal in signals():
        mock = ASYNC[kind]()
        signal.connect(mock)
        with pytest.raises(AsyncReceiverError):
            signal.send("app", order=7)
        mock.assert_not_called()
        asyncio.run(signal.send_async("app", order=7))
        mock.assert_awaited_once_with("app", order=7)


@pytest.mark.parametrize("kind", PLAIN)
def test_mock_is_connected_once_and_disconnected(kind: str) -> None:
    signal, mock = Signal(), PLAIN[kind]()
    signal.connect(mock)
    signal.connect(mock)
    assert len(signal.connections) == 1
    assert signal.disconnect(mock)
    assert not signal.receivers
    mock.assert_not_called()


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_mock_of_a_function_gets_what_the_function_takes(kind: Any) -> None:
    signal, mock = Signal(payload=("order", "total")), kind(spec=book)
    signal.connect(mock)
    signal.send("app", order=7, total=1)
    (call,) = mock.call_args_list
    assert call.kwargs["order"] == 7


def test_what_a_mock_raises_arrives() -> None:
    signal, mock = Signal(), MagicMock(spec=book, side_effect=LookupError("no"))
    signal.connect(mock)
    with pytest.raises(LookupError, match="no"):
        signal.send("app", order=7)
    (outcome,) = signal.send_robust("app", order=7)
    assert isinstance(outcome.exception, LookupError)


def test_mock_of_a_callable_async_object_is_not_async() -> None:
    signal, mock = Signal(), create_autospec(AsyncShop(), instance=True)
    signal.connect(mock)
    asyncio.run(signal.send_async("app", order=7))
    mock.assert_called_once_with("app", order=7)


def test_mock_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ReceiverError, match="callable"):
        Signal().connect(NonCallableMock(), weak=False)


def test_mock_may_die() -> None:
    signal, mock = Signal(), MagicMock(spec=book)
    signal.connect(mock)
    del mock
    gc.collect()
    assert not signal.receivers


def test_mock_as_a_sender_is_itself() -> None:
    signal, receiver = Signal(), Mock()
    one, other = MagicMock(), MagicMock()
    signal.connect(receiver, sender=one)
    signal.send(other)
    receiver.assert_not_called()
    signal.send(one)
    receiver.assert_called_once_with(one)


def test_mock_may_have_a_dispatch_uid() -> None:
    signal, first, second = Signal(), MagicMock(spec=book), MagicMock(spec=book)
    signal.connect(first, dispatch_uid="book")
    signal.connect(second, dispatch_uid="book")
    signal.send("app", order=7)
    first.assert_called_once_with("app", order=7)
    second.assert_not_called()
