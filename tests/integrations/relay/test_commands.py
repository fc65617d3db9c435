"""The effects and the output of the commands."""

from __future__ import annotations

import json
import signal
import sys
import typing as t
from pathlib import Path

import pytest

from signalpost import console
from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.commands import new_site
from tests.integrations.relay.commands import run
from tests.integrations.relay.commands import start

PAYLOAD = '{"order": 5, "total": {"$decimal": "9.99"}}'


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Call the command in this process; return its code, and what it printed."""
    code = console.main(["relay", *words])
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> t.Iterator[Path]:
    site = new_site(tmp_path)
    monkeypatch.chdir(site)
    monkeypatch.syspath_prepend(site)
    yield site
    for name in ("shop", "shop.events", "shipping"):
        sys.modules.pop(name, None)


def test_event_that_is_sent_by_hand_is_received(
    redis_server: RedisServer, site: Path
) -> None:
    worker = start(
        site,
        *("listen", redis_server.url, "--group", "shipping", "--import", "shipping"),
        *("--prefix", "hand", "--log", "shop.events:order_placed"),
    )
    try:
        sent = run(
            site,
            *("send", "--prefix", "hand", "--sender", "till"),
            *("shop.events:order_placed", PAYLOAD),
            env={"SIGNALPOST_RELAY_URL": redis_server.url},
        )
        assert sent.returncode == 0
        assert sent.stdout.startswith("Sent 'order-placed' to redis://127.0.0.1:")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "till 5 Decimal('9.99')\n"
        worker.send_signal(signal.SIGTERM)
        _, errors = worker.communicate(timeout=30)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0
    assert "listens at redis://127.0.0.1" in errors
    assert "order-placed from command-line complete" in errors


def test_dead_letters_are_listed_retried_and_dropped(
    redis_server: RedisServer,
    site: Path,
    prefix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from signalpost.integrations.relay import Listener
    from tests.integrations.relay.listening import eventually
    from tests.integrations.relay.listening import listening
    from tests.integrations.relay.listening import order_placed
    from tests.integrations.relay.listening import Shipping

    broker = (redis_server.url, "--prefix", prefix)
    there = order_placed()
    shipping = Shipping(there)
    for text in ("{}", "{}", "{}", '{"order": 1}'):
        assert called(capsys, "send", *broker, "order-placed", text)[0] == 0
    listener = Listener(
        redis_server.url, group="shipping", signals=[there], prefix=prefix
    )
    with listening(listener):
        eventually(lambda: listener.buried == 3 and shipping.orders)
        group = (*broker, "--group", "shipping")
        code, out, _ = called(capsys, "dead", "list", *group)
        lines = out.splitlines()
        assert (code, len(lines)) == (0, 3)
        assert all("order-placed" in one and "lacks 'order'" in one for one in lines)
        code, out, _ = called(capsys, "dead", "list", "--json", *group)
        letters = [json.loads(line) for line in out.splitlines()]
        assert [one["id"] for one in letters] == [one.split()[0] for one in lines]
        assert json.loads(letters[0]["body"])["data"] == {}
        assert letters[0]["tries"] == 1
        assert called(capsys, "dead", "drop", *group, letters[0]["id"])[1] == (
            "1 dead letter deleted.\n"
        )
        code, out, err = called(capsys, "dead", "drop", *group, "1-1")
        assert (code, out) == (1, "0 dead letters deleted.\n")
        assert "no dead letter has the id 1-1" in err
        code, out, err = called(capsys, "dead", "retry", *group)
        assert (code, out) == (1, "")
        assert "--all" in err
        assert called(capsys, "dead", "retry", "--all", *group)[1] == (
            "2 dead letters to be received again.\n"
        )
        eventually(lambda: listener.buried == 5)
        assert called(capsys, "dead", "drop", "--all", *group)[0] == 0
        assert called(capsys, "dead", "list", *group) == (0, "", "")


def test_check_prints_what_could_lose_events(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = redis_server.url.replace("//", "//:@")
    code, out, _ = called(capsys, "check", url)
    assert code == 0
    assert out == f"The broker at {redis_server.url} can be used.\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("check",), "no broker is given"),
        (("check", "redis://127.0.0.1:1"), "cannot be used"),
        (("check", "kafka://b"), "must begin with"),
        (("send", "redis://127.0.0.1:1", "a", "{"), "must be JSON"),
        (("send", "redis://127.0.0.1:1", "a", "[]"), "must be an object"),
        (("send", "redis://127.0.0.1:1", "a"), "SIGNAL JSON"),
        (("send", "redis://127.0.0.1:1", "a", "{}"), "cannot be used"),
        (
            ("send", "redis://127.0.0.1:1", "a", '{"a": {"$decimal": 1}}'),
            "payload.a must have a string",
        ),
        (
            ("send", "redis://127.0.0.1:1", "shop.events:order_placed", "{}"),
            "sends order, total, got nothing",
        ),
        (
            ("send", "redis://127.0.0.1:1", "shop.events:placed", "{}"),
            "has no 'placed'",
        ),
        (("send", "redis://127.0.0.1:1", "shop.events:Namespace", "{}"), "must be a"),
        (("listen", "redis://127.0.0.1:1", "--group", "a"), "no signal is given"),
        (
            ("listen", "redis://127.0.0.1:1", "--group", "a", "order_placed"),
            "expected package.module:object",
        ),
        (
            (
                *("listen", "redis://127.0.0.1:1", "--group", "a"),
                "shop.events:order_placed",
            ),
            "no receiver is connected to 'order-placed'",
        ),
        (
            (
                *("listen", "redis://127.0.0.1:1", "--group", "a", "--import", "ship"),
                "shop.events:order_placed",
            ),
            "No module named 'ship'",
        ),
        (
            (
                *("listen", "redis://127.0.0.1:1", "--group", "a b"),
                "shop.events:order_placed",
            ),
            "group must be",
        ),
        (
            (
                *("listen", "redis://127.0.0.1:1", "--group", "a", "--around"),
                *("shop.events:order_placed", "shop.events:order_placed"),
            ),
            "must be callable",
        ),
    ],
)
def test_mistake_is_one_line(
    site: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.delenv("SIGNALPOST_RELAY_URL", raising=False)
    code, out, err = called(capsys, *words)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert reason in err
    assert err.count("\n") == 1


def test_other_commands_import_nothing_of_it() -> None:
    import subprocess

    code = (
        "import sys; from signalpost import console\n"
        "try: console.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([one for one in sys.modules if 'relay' in one])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "send signals to other processes" in found.stdout
    assert found.stdout.endswith("[]\n")
