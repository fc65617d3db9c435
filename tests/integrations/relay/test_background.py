"""A send in the background waits for nothing: not for the broker, nor in a queue."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import typing as t
from pathlib import Path

import pytest
import redis

from signalpost import Namespace
from signalpost.errors import RelayError
from signalpost.integrations.relay import _background
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay import relay_delayed
from signalpost.integrations.relay import relay_failed
from signalpost.integrations.relay.outbox import Dispatcher
from signalpost.testing import capture
from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.brokers import running_redis
from tests.integrations.relay.listening import eventually
from tests.integrations.relay.listening import listening
from tests.integrations.relay.listening import order_placed
from tests.integrations.relay.listening import Shipping
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import OUTBOX


@pytest.fixture
def own_server(tmp_path: Path) -> t.Iterator[RedisServer]:
    yield from running_redis(tmp_path)


def test_send_does_not_wait_for_a_broker_that_hangs(
    own_server: RedisServer, prefix: str
) -> None:
    here, there = order_placed(), order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    here.send(None, order=0)
    eventually(lambda: relay.sent == 1)
    own_server.suspend()
    try:
        for number in range(1, 500):
            here.send(None, order=number)
        # Nothing was answered: each of the sends has returned without it.
        assert relay.waiting == 499
        assert relay.sent == 1
    finally:
        own_server.resume()
    shipping = Shipping(there)
    with listening(Listener(own_server.url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: len(shipping.orders) == 500)
    assert relay.close() == 0
    assert shipping.orders == [*range(500)]


def test_what_is_too_much_is_dropped_counted_and_logged_once(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = order_placed()
    relay = Relay(
        "redis://127.0.0.1:1/0", source="shop", max_waiting=10, prefix=prefix
    ).forward(here)
    with capture(relay_failed) as failed, caplog.at_level("INFO", "signalpost.relay"):
        for number in range(50):
            here.send(None, order=number)
        eventually(lambda: relay.failures)
    # One more if the thread was about to take one.
    waiting = relay.waiting
    assert waiting in (10, 11)
    assert relay.dropped == len(failed) == 50 - waiting
    assert "10 events wait already" in failed[0].payload["reason"]
    lines = [one for one in caplog.records if "dropped" in one.getMessage()]
    assert len(lines) == 1
    assert lines[0].levelno == logging.ERROR
    assert relay.close(0.1) == waiting
    assert relay.dropped == 50


def test_flush_waits_until_all_is_sent(own_server: RedisServer, prefix: str) -> None:
    here = order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    assert relay.flush() == 0
    for number in range(500):
        here.send(None, order=number)
    assert relay.flush() == 0
    assert (relay.sent, relay.waiting) == (500, 0)
    # It forwards as before.
    here.send(None, order=500)
    assert relay.flush() == 0
    assert relay.sent == 501
    relay.close()


def test_flush_returns_what_waits_though_the_broker_is_away(
    own_server: RedisServer, prefix: str
) -> None:
    here = order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    own_server.kill()
    for number in range(3):
        here.send(None, order=number)
    assert relay.flush(0.05) == 3
    # They are not given up.
    own_server.start()
    assert relay.flush(30) == 0
    assert (relay.sent, relay.dropped) == (3, 0)
    relay.close()


@pytest.mark.parametrize("url", ["inline://", "redis://127.0.0.1:1/0"])
def test_flush_has_nothing_to_wait_for(url: str) -> None:
    sends: t.Literal["thread", "now"] = "thread" if url == "inline://" else "now"
    relay = Relay(url, source="shop", sends=sends)
    assert relay.flush() == 0
    relay.close()


def test_each_try_that_fails_reports_what_waits(
    own_server: RedisServer, prefix: str
) -> None:
    here = order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    own_server.kill()
    with capture(relay_delayed, sender=relay) as delayed:
        for number in range(3):
            here.send(None, order=number)
        eventually(lambda: len(delayed) >= 2 and delayed[-1]["waiting"] == 3)
        own_server.start()
        eventually(lambda: relay.sent == 3)
    assert delayed[-1].payload["waiting"] == 3
    assert str(own_server.port) in delayed[-1].payload["reason"]
    count = len(delayed)
    here.send(None, order=3)
    assert relay.close() == 0
    assert len(delayed) == count


def test_threads_that_send_at_once_lose_nothing(
    own_server: RedisServer, prefix: str
) -> None:
    here, there = order_placed(), order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)

    def send(thread: int) -> None:
        for number in range(100):
            here.send(None, order=thread * 100 + number)

    threads = [threading.Thread(target=send, args=(one,)) for one in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert relay.close(20) == 0
    assert (relay.sent, relay.dropped) == (800, 0)
    shipping = Shipping(there)
    with listening(Listener(own_server.url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: len(shipping.orders) == 800)
    for thread in range(8):
        own = [one for one in shipping.orders if one // 100 == thread]
        assert own == [*range(thread * 100, thread * 100 + 100)]


PROGRAM = """
from signalpost import Namespace
from signalpost.integrations.relay import Relay
placed = Namespace().signal("order-placed", payload=("order",))
Relay({url!r}, source="shop", prefix={prefix!r}).forward(placed)
for number in range(100):
    placed.send(None, order=number)
"""


def test_process_that_ends_sends_what_waits(
    own_server: RedisServer, prefix: str
) -> None:
    there = order_placed()
    program = PROGRAM.format(url=own_server.url, prefix=prefix)
    subprocess.run([sys.executable, "-X", "dev", "-c", program], check=True)
    shipping = Shipping(there)
    with listening(Listener(own_server.url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: len(shipping.orders) == 100)


def test_process_ends_though_the_broker_is_away(prefix: str) -> None:
    program = PROGRAM.format(url="redis://127.0.0.1:1/0", prefix=prefix)
    found = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "closed with 100 events" in found.stderr


def test_relay_that_sent_nothing_has_no_thread(prefix: str) -> None:
    before = {*threading.enumerate()}
    relay = Relay("redis://127.0.0.1:1/0", source="shop", prefix=prefix)
    relay.forward(order_placed())
    # One of an earlier test may have ended meanwhile.
    assert {*threading.enumerate()} <= before
    assert relay.close() == 0


class Refusing:
    """A transport that raises its own error."""

    renew_seconds = None

    def __init__(self) -> None:
        self.is_closed = False

    def send(self, events: object) -> None:
        raise LookupError("a fault")

    def close(self) -> None:
        self.is_closed = True


def test_fault_that_is_not_the_brokers_drops_the_batch(
    prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Refusing] = []

    def opened(address: object) -> Refusing:
        made.append(Refusing())
        return made[-1]

    here = order_placed()
    relay = Relay("redis://127.0.0.1:1/0", source="shop", prefix=prefix).forward(here)
    monkeypatch.setattr(_background, "opened", opened)
    with capture(relay_failed) as failed:
        here.send(None, order=1)
        eventually(lambda: failed)
        here.send(None, order=2)  # and is not tried again for ever
        eventually(lambda: len(failed) == 2)
    assert failed[0].payload["reason"] == "LookupError: a fault"
    assert (relay.dropped, relay.waiting) == (2, 0)
    assert relay.close() == 0
    assert all(one.is_closed for one in made)
    assert "cannot be sent" in caplog.text


def test_no_thread_can_be_started_now(
    own_server: RedisServer,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    here = order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for number in range(3):
            here.send(None, order=number)
    assert relay.waiting == 3
    assert len([one for one in caplog.messages if "no thread" in one]) == 1
    here.send(None, order=3)
    eventually(lambda: relay.sent == 4)
    assert relay.close() == 0


def test_event_after_the_close_is_sent(own_server: RedisServer, prefix: str) -> None:
    here, there = order_placed(), order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    [forward] = [one.receiver for one in here.connections]
    here.send(None, order=1)
    assert relay.close() == 0
    forward(None, order=2)  # a send that had begun
    eventually(lambda: relay.sent == 2)
    assert relay.close() == 0
    shipping = Shipping(there)
    with listening(Listener(own_server.url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: shipping.orders == [1, 2])


def test_thread_that_ends_by_a_fault_is_started_again(
    own_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndOfThread(BaseException):
        pass

    ended = []
    start = threading.Thread.start

    def opened(address: object) -> t.NoReturn:
        ended.append(threading.current_thread())
        raise EndOfThread

    def start_and_wait(thread: threading.Thread) -> None:
        # As on a busy machine: it ends before its start has returned.
        start(thread)
        thread.join(30)

    here = order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    with monkeypatch.context() as patched:
        patched.setattr(_background, "opened", opened)
        patched.setattr(threading, "excepthook", lambda arguments: None)
        patched.setattr(threading.Thread, "start", start_and_wait)
        here.send(None, order=1)
        assert len(ended) == 1
    here.send(None, order=2)
    eventually(lambda: relay.sent == 2)
    assert relay.close() == 0


def test_broker_that_was_restarted_takes_what_is_sent_now(
    own_server: RedisServer, prefix: str
) -> None:
    here = order_placed()
    relay = Relay(own_server.url, source="shop", sends="now", prefix=prefix)
    relay.forward(here)
    here.send(None, order=1)
    own_server.kill()
    own_server.start()
    here.send(None, order=2)
    assert (relay.sent, relay.failures) == (2, 0)
    relay.close()


def test_send_now_does_not_wait_long_for_a_broker_that_hangs(
    own_server: RedisServer, prefix: str
) -> None:
    here = order_placed()
    relay = Relay(own_server.url, source="shop", sends="now", prefix=prefix)
    relay.forward(here)
    here.send(None, order=1)
    own_server.suspend()
    try:
        with pytest.raises(RelayError):
            here.send(None, order=2)
    finally:
        own_server.resume()
    here.send(None, order=3)
    assert (relay.tries, relay.failures) == (3, 1)
    relay.close()


@pytest.mark.parametrize("fault", ["type", "rights"])
def test_event_that_redis_refuses_holds_up_no_other(
    own_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    client: t.Any = redis.Redis(port=own_server.port)
    url = own_server.url
    if fault == "type":
        client.set(f"{prefix}:order-paid", "no stream")
    else:
        rights = ["+@all", f"~{prefix}:order-placed", "on", ">secret"]
        client.execute_command("ACL", "SETUSER", "shop", *rights)
        url = url.replace("//", "//shop:secret@")
    client.close()
    placed = order_placed()
    paid = Namespace().signal("order-paid", payload=("order",))
    relay = Relay(url, source="shop", prefix=prefix).forward(placed, paid)
    with capture(relay_failed) as failed:
        for number in range(20):
            (paid if number % 2 else placed).send(None, order=number)
        eventually(lambda: relay.sent + relay.dropped == 20)
        assert relay.flush() == 0
    assert (relay.sent, relay.dropped) == (10, 10)
    assert {one.payload["event"].name for one in failed} == {"order-paid"}
    assert len([one for one in caplog.messages if "they are dropped" in one]) == 1
    assert "secret" not in caplog.text
    assert relay.close() == 0
    with redis.Redis(port=own_server.port) as client:
        assert client.xlen(f"{prefix}:order-placed") == 10


def test_refusal_that_passes_is_waited_for(
    own_server: RedisServer, prefix: str
) -> None:
    here = order_placed()
    relay = Relay(own_server.url, source="shop", prefix=prefix).forward(here)
    with redis.Redis(port=own_server.port) as client:
        client.config_set("maxmemory", "1")
        here.send(None, order=1)
        eventually(lambda: relay.failures)
        client.config_set("maxmemory", "0")
    eventually(lambda: relay.sent == 1)
    assert (relay.dropped, relay.close()) == (0, 0)


def test_row_that_redis_refuses_holds_up_no_other_signal(
    own_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    with open_shop(tmp_path / "shop.db") as shop:
        paid = Namespace().signal("order-paid", payload=("order",))
        shop.relay.forward(paid)
        for number in range(10):
            shop.place(number, sender="till")
            paid.send(f"customer {number}", order=number)
            shop.session.commit()
        dispatcher = Dispatcher(own_server.url, database=shop.engine, prefix=prefix)
        with redis.Redis(port=own_server.port) as client:
            client.set(f"{prefix}:order-paid", "no stream")
            assert dispatcher.dispatch() == 10
            assert client.xlen(f"{prefix}:order-placed") == 10
            assert {row.type for row in shop.rows()} == {"order-paid"}
            assert all("WRONGTYPE" in row.error for row in shop.rows())
            client.delete(f"{prefix}:order-paid")
            shop.execute(OUTBOX.events.update().values(next_at=0))
            assert dispatcher.dispatch() == 10
        dispatcher.close()
        assert shop.rows() == []


IMPORTS = """
    import sys
    from signalpost import Namespace
    from signalpost.integrations.relay import Relay

    placed = Namespace().signal("order-placed", payload=("order",))
    relay = Relay(sys.argv[1], source="shop").forward(placed)
    before = {*sys.modules}
    placed.send(None, order=7)
    while not relay.failures:
        relay.flush(0.1)
    print(*sorted({*sys.modules} - before))
"""


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_thread_imports_nothing_that_a_fork_could_interrupt(scheme: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORTS), f"{scheme}://localhost:1/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == []
