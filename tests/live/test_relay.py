"""The relay on the live page: events by name, what waits, and what failed."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import Event
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay import relay_buried
from signalpost.integrations.relay import relay_delayed
from signalpost.integrations.relay import relay_failed
from signalpost.integrations.relay import relay_received
from signalpost.integrations.relay import relay_sent
from signalpost.integrations.relay import Why
from signalpost.integrations.relay import WrittenEvent
from signalpost.live import LiveRecorder
from signalpost.live import read_live
from signalpost.live.background import RelayRow
from tests.live.shop import recorded
from tests.live.test_files import ended
from tests.live.test_files import in_a_process
from tests.live.test_recording import get

HOSTILE = ("<script>alert(1)</script>", "\u202e\x1b[2J\n", "\ud800", "x" * 60_000)


class Sender:
    """A relay or a listener that is not there."""

    def __init__(self, name: str = "shop") -> None:
        self.source = self.group = name


SHOP = Sender()


@contextlib.contextmanager
def recording(folder: Path, **options: t.Any) -> Iterator[LiveRecorder]:
    recorder = LiveRecorder(folder=folder, **options)
    recorder.connect()
    try:
        yield recorder
    finally:
        recorder.disconnect()


@pytest.fixture
def recorder(folder: Path) -> Iterator[LiveRecorder]:
    with recording(folder) as found:
        yield found


def written(name: str = "order-placed") -> WrittenEvent:
    return WrittenEvent("7", name, None, b"{}")


def received(
    name: str = "order-placed",
    error: Exception | None = None,
    *,
    tries: int = 1,
    age: float | None = None,
    sender: Sender = SHOP,
) -> Event:
    now = datetime.datetime.now(datetime.UTC)
    at = None if age is None else now - datetime.timedelta(seconds=age)
    event = Event(f"{name}-{tries}", "till", name, {"order": 5}, time=at, tries=tries)
    relay_received.send(sender, event=event, duration_seconds=0.25, exception=error)
    return event


def buried(event: Event | None, reason: str, tries: int = 5) -> None:
    why = Why(reason, tries, "Traceback of secrets")
    relay_buried.send(SHOP, event=event, body=b"secret body", why=why)


def all_bytes_of(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in sorted(folder.iterdir()))


def rows_of(folder: Path) -> dict[tuple[str, str, str], RelayRow]:
    rows = read_live(folder).relay
    return {(one.direction, one.name, one.party): one for one in rows}


def test_events_are_counted_by_name_direction_and_party(
    folder: Path, recorder: LiveRecorder
) -> None:
    for _ in range(3):
        relay_sent.send(SHOP, event=written())
    relay_sent.send(SHOP, event=written("order-paid"))
    relay_failed.send(SHOP, event=written(), reason="10 events wait already")
    received()
    received(sender=Sender("shipping"))
    rows = rows_of(folder)
    sent = rows["sent", "order-placed", "shop"]
    assert (sent.events, sent.events_since_start, sent.given_up_since_start) == (
        3,
        3,
        1,
    )
    assert rows["sent", "order-paid", "shop"].events == 1
    assert rows["received", "order-placed", "shop"].events == 1
    assert rows["received", "order-placed", "shipping"].events == 1
    assert len(rows) == 4
    assert read_live(folder).workers[0].events == 6


def test_tries_and_their_times_are_counted(
    folder: Path, recorder: LiveRecorder
) -> None:
    received(error=LookupError("no stock"), age=10.25)
    received(error=LookupError("no stock"), tries=2, age=500)
    received(tries=3, age=900)
    [row] = read_live(folder).relay
    assert (row.events, row.failed, row.retried, row.given_up) == (1, 2, 2, 0)
    assert (row.mean_seconds, row.longest_seconds) == (0.25, 0.25)
    # From sending to the first try: later ones have the pauses in it.
    assert row.mean_age_seconds == pytest.approx(10, abs=0.2)
    assert row.longest_age_seconds == row.mean_age_seconds
    [fault] = row.faults
    assert (fault.kind, fault.reason) == ("failed", "LookupError: no stock")
    assert (fault.times, fault.tries) == (2, 2)
    assert abs(fault.last_at - time.time()) < 20


def test_what_is_not_known_is_none(folder: Path, recorder: LiveRecorder) -> None:
    relay_sent.send(SHOP, event=written())
    received()
    rows = rows_of(folder)
    sent = rows["sent", "order-placed", "shop"]
    assert (sent.mean_seconds, sent.longest_seconds) == (None, None)
    assert rows["received", "order-placed", "shop"].mean_age_seconds is None


def test_a_dead_letter_is_shown_with_its_reason(
    folder: Path, recorder: LiveRecorder
) -> None:
    buried(received(error=LookupError("no stock"), tries=5), "LookupError: no stock")
    buried(None, "an event must be JSON in UTF-8, got b'secret': ValueError", 1)
    rows = rows_of(folder)
    row = rows["received", "order-placed", "shop"]
    assert (row.given_up, row.failed) == (1, 1)
    assert {(one.kind, one.reason, one.tries) for one in row.faults} == {
        ("buried", "LookupError: no stock", 5),
        ("failed", "LookupError: no stock", 5),
    }
    unreadable = rows["received", "<unreadable>", "shop"]
    assert [one.reason for one in unreadable.faults] == [
        "an event must be JSON in UTF-8"
    ]
    assert b"secret" not in all_bytes_of(folder)


def test_values_of_a_database_are_in_no_reason(
    folder: Path, recorder: LiveRecorder
) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as error:
        connection.execute(
            sa.text("SELECT :card FROM nowhere"), {"card": "4929-secret"}
        )
    engine.dispose()
    buried(received(error=error.value, tries=5), f"OperationalError: {error.value}")
    reasons = [one.reason for one in read_live(folder).relay[0].faults]
    assert len(reasons) == 2
    assert all("nowhere" in str(one) for one in reasons)
    assert b"4929" not in all_bytes_of(folder)


def test_messages_are_left_out_if_asked(folder: Path) -> None:
    with recording(folder, messages=False):
        buried(received(error=LookupError("the secret"), tries=5), "the secret")
        buried(None, "the secret")
        relay_failed.send(SHOP, event=written(), reason="the secret")
        relay_delayed.send(SHOP, waiting=1, reason="the secret")
    faults = [one for row in read_live(folder).relay for one in row.faults]
    assert {(one.kind, one.reason) for one in faults} == {
        ("failed", "LookupError"),
        ("buried", "LookupError"),
        ("buried", None),
        ("dropped", None),
    }
    assert b"secret" not in all_bytes_of(folder)


def test_no_payload_and_no_body_is_recorded(
    folder: Path, recorder: LiveRecorder
) -> None:
    event = Event("7", "till", "order-placed", {"card": "a secret"}, sender="a secret")
    relay_received.send(SHOP, event=event, duration_seconds=0.1, exception=None)
    body = b'{"data": "a secret"}'
    relay_sent.send(SHOP, event=WrittenEvent("7", "order-placed", "a secret", body))
    buried(event, "why")
    assert b"secret" not in all_bytes_of(folder)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_bounded_and_printable(
    folder: Path, recorder: LiveRecorder, text: str
) -> None:
    sender = Sender(text)
    relay_sent.send(sender, event=written(text))
    relay_failed.send(sender, event=written(text), reason=text)
    relay_delayed.send(sender, waiting=1, reason=text)
    received(text, LookupError(text), sender=sender)
    snapshot = read_live(folder)
    assert len(snapshot.relay) == 2
    [queue] = snapshot.relay_queues
    faults = [*queue.faults, *(one for row in snapshot.relay for one in row.faults)]
    assert len(faults) == 3
    texts = [
        queue.source,
        *(one for row in snapshot.relay for one in (row.name, row.party)),
        *(str(one.reason) for one in faults),
    ]
    for one in texts:
        assert one.isprintable()
        assert 0 < len(one) <= 320


def test_rows_and_reasons_are_bounded(folder: Path, recorder: LiveRecorder) -> None:
    size = sum(one.stat().st_size for one in folder.glob("*.live"))
    for number in range(100):
        received(f"signal-{number}", LookupError(f"reason {number}"))
    snapshot = read_live(folder)
    rows = {one.name: one.failed for one in snapshot.relay}
    assert len(rows) == 64
    assert rows["<other>"] == 37
    assert sum(len(one.faults) for one in snapshot.relay) <= 20
    assert sum(one.stat().st_size for one in folder.glob("*.live")) >= size
    # The latest are there.
    received("signal-0", LookupError("the latest"))
    [first] = [one for one in read_live(folder).relay if one.name == "signal-0"]
    assert "LookupError: the latest" in [one.reason for one in first.faults]


def test_reasons_that_differ_are_listed_the_latest_first(
    folder: Path, recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for number in range(8):
        monkeypatch.setattr(time, "time", lambda at=now + number: at)
        received(error=LookupError(f"reason {number}"))
    reasons = [str(one.reason)[-1] for one in read_live(folder).relay[0].faults]
    assert reasons == ["7", "6", "5", "4", "3"]


# What waits


class Waiting:
    """A relay whose broker is away, as others see it."""

    sent = tries = failures = 0

    def __init__(self, source: str = "shop") -> None:
        self.source = source
        self.sends_later = True
        self.waiting, self.dropped, self.oldest_seconds = 0, 0, 0.0

    def flush(self, seconds: float) -> int:
        return self.waiting

    def close(self, seconds: float) -> int:
        return 0


@pytest.fixture
def relay() -> Iterator[Waiting]:
    from signalpost._relaying import open_relays

    one = Waiting()
    open_relays.add(one)
    yield one
    open_relays.discard(one)


def test_what_waits_is_shown_while_the_broker_is_away(
    folder: Path, recorder: LiveRecorder, relay: Waiting
) -> None:
    relay.waiting, relay.oldest_seconds = 12, 30.0
    relay_delayed.send(relay, waiting=12, reason="Error 111: Connection refused")
    [queue] = read_live(folder).relay_queues
    assert (queue.source, queue.waiting, queue.dropped) == ("shop", 12, 0)
    assert queue.oldest_seconds == pytest.approx(30, abs=5)
    assert [(one.kind, one.reason) for one in queue.faults] == [
        ("delayed", "Error 111: Connection refused")
    ]
    relay.waiting, relay.oldest_seconds, relay.dropped = 0, 0.0, 2
    relay_sent.send(relay, event=written())
    [queue] = read_live(folder).relay_queues
    assert (queue.waiting, queue.oldest_seconds, queue.dropped) == (0, None, 2)


def test_a_long_queue_is_written_now_and_then(
    folder: Path,
    recorder: LiveRecorder,
    relay: Waiting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()

    def shown_after(waiting: int, seconds: float) -> int:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        relay.waiting = waiting
        relay_sent.send(relay, event=written())
        return read_live(folder).relay_queues[0].waiting

    assert shown_after(900, 0) == 900
    assert shown_after(800, 0.01) == 900
    assert shown_after(700, 0.2) == 700
    # The last one is always written, as no other may follow.
    assert shown_after(0, 0.21) == 0
    # The clock was set back.
    assert shown_after(5, -3600) == 5


def test_a_relay_is_shown_before_it_sends(folder: Path, relay: Waiting) -> None:
    with recorded(folder) as app:
        get(app, "/")
        [queue] = read_live(folder).relay_queues
    assert (queue.source, queue.waiting) == ("shop", 0)


def test_a_relay_that_is_closed_has_nothing_left(
    folder: Path, recorder: LiveRecorder, relay: Waiting
) -> None:
    from signalpost._relaying import open_relays

    relay.waiting = 3
    relay_delayed.send(relay, waiting=3, reason="away")
    open_relays.discard(relay)
    relay_failed.send(relay, event=written(), reason="the relay was closed")
    [queue] = read_live(folder).relay_queues
    assert queue.waiting == 0


def test_no_relay_leaves_nothing(folder: Path) -> None:
    with recorded(folder) as app:
        get(app, "/")
    snapshot = read_live(folder)
    assert (snapshot.relay, snapshot.relay_queues) == ((), ())
    assert (snapshot.relay_left_out, snapshot.work_left_out) == (0, 0)


KILLED = """
    from signalpost._relaying import open_relays, relay_delayed
    from signalpost.live import LiveRecorder
    from tests.live.test_relay import Waiting
    LiveRecorder(folder=folder).connect()
    relay = Waiting()
    open_relays.add(relay)
    relay.waiting = 7
    relay_delayed.send(relay, waiting=7, reason="away")
    os.kill(os.getpid(), 9)
"""


def test_what_waited_in_a_killed_process_is_lost(folder: Path) -> None:
    process = in_a_process(KILLED, folder)
    process.communicate(timeout=20)
    [queue] = read_live(folder).relay_queues
    assert (queue.waiting, queue.left_behind) == (0, 7)


# Who records, and where

LEAVING = """
    import logging
    logging.disable()
    from signalpost import Namespace
    %s
    placed = Namespace().signal("order-placed", payload=("order",))
    LiveRecorder(folder=folder).connect()
    relay = Relay("redis://127.0.0.1:1/0", source="shop").forward(placed)
    placed.send(None, order=1)
"""
IMPORTS = (
    "from signalpost.live import LiveRecorder",
    "from signalpost.integrations.relay import Relay",
)


@pytest.mark.parametrize("order", [1, -1], ids=["live-first", "relay-first"])
def test_events_that_are_lost_at_the_end_are_recorded(folder: Path, order: int) -> None:
    pytest.importorskip("redis")
    ended(in_a_process(LEAVING % "; ".join(IMPORTS[::order]), folder))
    snapshot = read_live(folder)
    assert [one.state for one in snapshot.workers] == ["ended"]
    [row] = snapshot.relay
    assert (row.name, row.given_up_since_start) == ("order-placed", 1)
    assert "the relay was closed" in [one.reason for one in row.faults]


def test_two_recorders_of_a_folder_count_an_event_once(folder: Path) -> None:
    with recording(folder), recorded(folder) as app:
        get(app, "/")
        relay_sent.send(SHOP, event=written())
    with recorded(folder) as app:
        # The first is gone.
        get(app, "/")
        relay_sent.send(SHOP, event=written())
    assert [one.events for one in read_live(folder).relay] == [2]


def test_two_folders_have_an_event_each(tmp_path: Path) -> None:
    with recording(tmp_path / "a"), recording(tmp_path / "b"):
        relay_sent.send(SHOP, event=written())
    for name in ("a", "b"):
        assert [one.events for one in read_live(tmp_path / name).relay] == [1]


def test_workers_are_merged(folder: Path) -> None:
    for _ in range(2):
        with recording(folder):
            received(error=LookupError("no stock"), age=10)
    [row] = read_live(folder).relay
    assert (row.failed, row.failed_since_start) == (2, 2)
    assert [one.times for one in row.faults] == [2]


def test_threads_lose_no_event(folder: Path, recorder: LiveRecorder) -> None:
    def run() -> None:
        for _ in range(300):
            relay_sent.send(SHOP, event=written())
            received()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.events_since_start for one in read_live(folder).relay] == [2400] * 2


def test_a_real_relay_is_recorded(folder: Path, recorder: LiveRecorder) -> None:
    placed: NamedSignal = Namespace().signal("order-placed", payload=("order",))
    relay = Relay("inline://", source="shop").forward(placed)
    placed.send("till", order=5)
    relay.close()
    assert rows_of(folder)["sent", "order-placed", "shop"].events == 1
    # Nothing waits in one that sends at once.
    assert read_live(folder).relay_queues == ()


@pytest.mark.parametrize("seed", range(5))
def test_damage_shows_wrong_numbers_at_most(folder: Path, seed: int) -> None:
    with recording(folder):
        relay_delayed.send(SHOP, waiting=1, reason="away")
        received(error=LookupError("no stock"), age=3)
    [file] = folder.glob("*.live")
    whole = file.read_bytes()
    from signalpost.live._layout import Layout

    layout = Layout(100)
    dice = random.Random(seed)
    for _ in range(30):
        data = bytearray(whole)
        begin = dice.randrange(layout.work, layout.marks)
        data[begin : begin + 40] = os.urandom(40)
        file.write_bytes(data)
        snapshot = read_live(folder)
        assert snapshot.files.skipped == 0
        for row in snapshot.relay:
            assert all(one.kind for one in row.faults)


def test_a_reason_that_is_half_written_is_left_out(folder: Path) -> None:
    with recording(folder):
        received(error=LookupError("no stock"))
    [file] = folder.glob("*.live")
    from signalpost.live._layout import Layout

    data = bytearray(file.read_bytes())
    data[Layout(100).faults + 400] ^= 1
    file.write_bytes(data)
    [row] = read_live(folder).relay
    assert (row.failed, row.faults) == (1, ())
