from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signalpost import Signal
from signalpost.testing import capture


def refuse(signal: Any, **payload: Any) -> None:
    raise LookupError("refused")


def test_no_signal_is_recorded_if_one_of_several_refuses() -> None:
    opened, closed = Signal(), Signal()
    closed.receiver_connected.connect(refuse)
    block = capture(opened, closed)
    with pytest.raises(LookupError, match="refused"), block:
        pytest.fail("the block is open")
    assert not opened.receivers
    assert not closed.receivers
    closed.receiver_connected.disconnect(refuse)
    with block as sent:
        opened.send("app")
    assert [one.sender for one in sent] == ["app"]


def test_decorated_function_records_each_call() -> None:
    @capture(signal := Signal(), sender="app")
    def work() -> int:
        signal.send("app")
        return len(signal.connections)

    assert [work(), work()] == [1, 1]
    assert not signal.receivers


def test_decorated_coroutine_function_records_until_it_has_run() -> None:
    @capture(signal := Signal())
    async def work() -> int:
        await asyncio.sleep(0)
        return len(signal.connections)

    assert asyncio.run(work()) == 1
    assert not signal.receivers
