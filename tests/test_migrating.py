"""The replacements for other packages' features in the pages on migrating."""

from __future__ import annotations

import asyncio

from signalpost import ANY
from signalpost import Signal


def test_gather_lets_async_receivers_wait_for_each_other() -> None:
    async def send() -> list[str]:
        is_ready = asyncio.Event()

        async def wait(sender: object) -> str:
            await is_ready.wait()
            return "waited"

        async def release(sender: object) -> str:
            is_ready.set()
            return "released"

        signal = Signal()
        signal.connect(wait)
        signal.connect(release)
        sent = signal.send_async("app", _gather=asyncio.gather)
        return [value for _, value in await asyncio.wait_for(sent, timeout=30)]

    assert asyncio.run(send()) == ["waited", "released"]


def test_connections_list_receivers_and_senders() -> None:
    def receiver(sender: object) -> None: ...

    signal = Signal()
    signal.connect(receiver, sender="app")
    signal.connect(receiver)
    assert [(one.receiver, one.sender) for one in signal.connections] == [
        (receiver, "app"),
        (receiver, ANY),
    ]
