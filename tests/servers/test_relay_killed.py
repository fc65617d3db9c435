"""Committed events arrive, although processes are killed: SQLite, no broker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import Shop
from tests.integrations.relay.outboxes import wait_until
from tests.servers.relaying import Received
from tests.servers.relaying import relay_command
from tests.servers.relaying import repeated

QUERY = "?lease_seconds=0.5&poll_seconds=0.02"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop.db") as shop:
        yield shop


def place_some(shop: Shop, most: int) -> list[int]:
    """Place orders, and roll each fifth back; return the others."""
    for number in range(most):
        shop.place(number)
        (shop.session.commit if number % 5 else shop.session.rollback)()
    return [number for number in range(most) if number % 5]


def test_committed_events_are_received_although_listeners_are_killed(
    shop: Shop, tmp_path: Path
) -> None:
    shipping = Received(tmp_path)
    expected = place_some(shop, 250)
    shipping.kill_in_the_midst(shop.url + QUERY, times=2, after=30)
    with shipping.listening(shop.url + QUERY):
        wait_until(lambda: len(shipping.counted()) == len(expected))
        wait_until(lambda: not shop.rows())
    counted = shipping.counted()
    assert sorted(counted) == expected
    # Those of the batch that a listener had when it was killed.
    assert repeated(counted) <= 2 * 10


def test_committed_events_are_published_although_dispatchers_are_killed(
    shop: Shop, tmp_path: Path
) -> None:
    expected = place_some(shop, 250)
    with open_shop(tmp_path / "broker.db") as broker:
        words = ("dispatch", broker.url, "--database", shop.url, "--batch", "5")
        for _ in range(2):
            before = len(broker.rows())
            with relay_command(tmp_path, *words) as process:
                # On a busy machine, all may be published before it is killed.
                wait_until(
                    lambda start=before: len(broker.rows()) > start or not shop.rows()  # type: ignore[misc]
                )
                process.kill()
        with relay_command(tmp_path, *words):
            wait_until(lambda: not shop.rows())
        # The table of this broker has no event twice; a real one may have.
        assert broker.orders() == expected


def test_dispatcher_ends_at_sigterm(shop: Shop, tmp_path: Path) -> None:
    with open_shop(tmp_path / "broker.db") as broker:
        with relay_command(
            tmp_path, "dispatch", broker.url, SIGNALPOST_RELAY_DATABASE=shop.url
        ) as process:
            shop.place_all(1)
            wait_until(broker.rows)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 0
