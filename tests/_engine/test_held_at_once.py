"""Calls that are refused at once although they would wait for the end of a block."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signalpost import Signal
from signalpost.errors import AsyncReceiverError
from signalpost.errors import PayloadError


def receive(sender: Any, **payload: Any) -> str:
    return "received"


@pytest.mark.parametrize("send", ["send", "send_robust"])
def test_sender_by_name_is_refused_at_once(send: str) -> None:
    signal = Signal()
    with signal.held():
        with pytest.raises(PayloadError, match="by name"):
            getattr(signal, send)(sender="app")
        getattr(signal, send)("app", sender="by keyword")


@pytest.mark.parametrize("send", ["send_async", "send_robust_async"])
def test_sender_by_name_is_refused_at_once_by_async_sends(send: str) -> None:
    async def work() -> None:
        async with signal.held():
            with pytest.raises(PayloadError, match="by name"):
                await getattr(signal, send)(sender="app")

    signal = Signal()
    asyncio.run(work())


@pytest.mark.parametrize("send", ["send_async", "send_robust_async"])
def test_async_send_is_refused_in_a_block_that_is_not_async(send: str) -> None:
    async def work() -> None:
        with signal.held():
            signal.send("app")
            with pytest.raises(AsyncReceiverError, match="write async with"):
                await getattr(signal, send)("app")

    signal, sent = Signal(), list[Any]()
    signal.connect(sent.append, weak=False)
    asyncio.run(work())
    assert sent == ["app"]
