from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_arrived
from signalpost.lifecycle import request_tearing_down
from signalpost.receivers.sql_totals import count_sql
from signalpost.receivers.watch import Message
from signalpost.receivers.watch import MOST_BYTES
from signalpost.receivers.watch import watch_folder
from signalpost.receivers.watch import Watcher
from signalpost.receivers.watch import WatchSender
from signalpost.testing import restored
from tests.short_folders import short_folder
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

SOCKETS = "signalpost.receivers.watch_sockets"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def without_others() -> Generator[None]:
    """Let no sender that another test has left look for watchers."""
    with restored(request_arrived):
        request_arrived._clear_state()
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


@pytest.fixture
def folder() -> Generator[Path]:
    with short_folder() as above:
        yield above / "watch"


@contextlib.contextmanager
def connected(
    folder: Path | None, application: object = None
) -> Generator[WatchSender]:
    sender = WatchSender(folder=folder)
    sender.connect(application)
    try:
        yield sender
    finally:
        sender.disconnect()


def come(watcher: Watcher) -> list[Message]:
    """Return what has come so far: what was sent is there at once."""
    return [*watcher.messages(0)]


def signals(messages: list[Message]) -> list[object]:
    return [message["signal"] for message in messages]


def flash(message: str = "saved", sender: object = "shop") -> None:
    message_flashed.send(sender, message=message, category="info")


def ask() -> None:
    """Send a request to an application whose exchanges nothing else records."""
    Server().serve(SignalMiddleware(hello))


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("no such thing")


def test_a_watcher_sees_the_course_of_a_request(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder):
        Server().serve(
            SignalMiddleware(hello), path="/a", SCRIPT_NAME="/shop", QUERY_STRING="x=1"
        )
        messages = come(watcher)
    assert signals(messages) == [
        "exchange-opened",
        "request-started",
        "request-finished",
        "exchange-closed",
    ]
    last = messages[-1]
    assert isinstance(last.pop("time"), float)
    assert isinstance(last.pop("duration_seconds"), float)
    assert last == {
        "signal": "exchange-closed",
        "sender": "hello",
        "process": os.getpid(),
        "dropped": 0,
        "method": "GET",
        "path": "/shop/a",
        "route": None,
        "status": 200,
        "outcome": "complete",
        "body_bytes": 5,
    }


def test_every_signal_of_the_catalogue_is_reported_later_ones_too(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder):
        flash()
        later = catalogue.signal("for-a-test-of-watching")
        try:
            later.send("shop", anything=1)
        finally:
            del catalogue["for-a-test-of-watching"]
        assert signals(come(watcher)) == ["message-flashed", "for-a-test-of-watching"]


def test_an_exception_is_reported_by_type_and_place(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder):
        with contextlib.suppress(LookupError):
            Server().serve(SignalMiddleware(failing))
        messages = come(watcher)
    (failed,) = [one for one in messages if one["signal"] == "got-request-exception"]
    assert (failed["exception"], failed["where"]) == ("LookupError", "call")
    assert "no such thing" not in json.dumps(messages)


def test_the_exception_of_a_request_is_reported(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder):
        request_tearing_down.send("shop", exc=json.JSONDecodeError("no", "", 0))
        request_tearing_down.send("shop", exc=None)
        failed, fine = come(watcher)
    assert failed["exception"] == "json.decoder.JSONDecodeError"
    assert failed["where"] is None
    assert "exception" not in fine


def test_flasks_signals_show_route_and_application(folder: Path) -> None:
    app = flask.Flask("corner_shop")

    @app.get("/items/<int:n>")
    def item(n: int) -> str:
        flask.flash("seen")
        return "an item"

    app.secret_key = "for tests"
    Signalpost(app)
    with Watcher(folder) as watcher, connected(folder):
        app.test_client().get("/items/3", buffered=True)
        messages = {one["signal"]: one for one in come(watcher)}
    assert messages["exchange-closed"]["route"] == "/items/<int:n>"
    # It carries no exchange; the current one is known.
    assert messages["message-flashed"]["path"] == "/items/3"
    assert {one["sender"] for one in messages.values()} == {"corner_shop"}


class Nameless:
    pass


class Numbered:
    name = 7


class Hostile:
    @property
    def name(self) -> str:
        raise LookupError


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("shop", "shop"),
        ("x" * 1_000, "x" * 100 + "…"),
        (hello, "hello"),
        (Nameless(), f"{__name__}.Nameless"),
        (Hostile(), f"{__name__}.Hostile"),
        (Numbered, "Numbered"),
        (7, "int"),
    ],
)
def test_a_sender_is_sent_by_name(folder: Path, sender: object, name: str) -> None:
    with Watcher(folder) as watcher, connected(folder):
        flash(sender=sender)
        assert [message["sender"] for message in come(watcher)] == [name]


@pytest.mark.parametrize(
    "text",
    ["\x00" * 5_000, "\U0001f600" * 5_000, "\ud800" * 5_000, '"\\\n' * 5_000, "é"],
)
def test_hostile_text_arrives_cut_in_a_message_of_bounded_size(
    folder: Path, text: str
) -> None:
    folder.mkdir(mode=0o700)
    exchange = Exchange(environ_of(), "shop")
    exchange.path = exchange.route = text
    kind = type("Long" * 100, (Exception,), {})
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    raw.bind(str(folder / "1.sock"))
    raw.settimeout(30)
    with contextlib.closing(raw), connected(folder):
        got_request_exception.send(
            text,
            exception=kind(),
            where=t.cast("t.Any", text),
            environ={},
            exchange=exchange,
        )
        data = raw.recv(10 * MOST_BYTES)
    assert len(data) <= MOST_BYTES
    message = json.loads(data)
    assert message["path"] == message["route"]
    assert message["path"].removesuffix("…") == text[:256]


def test_without_watchers_there_is_one_look_a_second(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    looks = []
    list_folder = os.listdir

    def looked(path: t.Any) -> list[str]:
        looks.append(Path(os.readlink(f"/proc/self/fd/{path}")))
        return list_folder(path)

    monkeypatch.setattr("os.listdir", looked)
    with connected(folder):
        for _ in range(100):
            ask()
        assert looks == [folder]
        clock.now = 0.99
        ask()
        assert looks == [folder]
        clock.now = 1.0
        ask()
        assert looks == [folder, folder]


def is_following(sender: WatchSender) -> bool:
    """Return whether any signal of the catalogue has it as a receiver."""
    return any(
        one.receiver is sender
        for signal in catalogue.values()
        for one in signal.connections
    )


def test_without_a_watcher_it_receives_no_signal_and_has_nothing_recorded(
    folder: Path,
) -> None:
    layer = SignalMiddleware(hello)
    folder.mkdir(mode=0o700)
    before = layer.is_recorded()
    with connected(folder) as sender:
        Server().serve(layer)
        assert not is_following(sender)
        assert layer.is_recorded() is before


def test_a_folder_that_has_not_changed_for_long_is_not_opened(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    (folder / "left.sock").touch()
    opened: list[object] = []

    def looked(path: t.Any) -> list[str]:
        opened.append(path)
        return []

    monkeypatch.setattr("os.listdir", looked)
    now = time.time()
    with connected(folder):
        for clock.now in range(1, 100):
            monkeypatch.setattr("time.time", lambda: now + clock.now)
            ask()
        assert len(opened) < 4
        monkeypatch.undo()


def test_a_watcher_that_comes_after_hours_is_seen(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    now = time.time()
    with connected(folder):
        for clock.now in range(1, 5):
            monkeypatch.setattr("time.time", lambda: now + 10_000 + clock.now)
            ask()
        # The time of a change is that of a tick of the system.
        time.sleep(0.02)
        with Watcher(folder) as watcher:
            clock.now = 5.0
            ask()
            assert signals(come(watcher))[0] == "exchange-opened"


def test_a_watcher_that_comes_in_the_tick_of_another_change_is_seen(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    state, real = os.stat(folder), os.stat

    def stat_of(path: t.Any, **options: t.Any) -> os.stat_result:
        return state if path == folder else real(path, **options)

    with connected(folder):
        monkeypatch.setattr("os.stat", stat_of)
        clock.now = 1.0
        ask()
        with Watcher(folder) as watcher:
            clock.now = 2.0
            ask()
            assert len(come(watcher)) == 4
        monkeypatch.undo()


def test_threads_that_serve_while_watchers_come_and_go_leave_nothing_connected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalpost.receivers.watch._LOOK_SECONDS", 0.0)
    is_over = threading.Event()

    def serve() -> None:
        layer = SignalMiddleware(hello)
        while not is_over.is_set():
            Server().serve(layer)

    with connected(folder) as sender, ThreadPoolExecutor(4) as threads:
        served = [threads.submit(serve) for _ in range(4)]
        try:
            for _ in range(30):
                with Watcher(folder) as watcher:
                    assert next(watcher.messages(30), None) is not None
            sender.disconnect()
        finally:
            is_over.set()
        for future in served:
            future.result(30)
    assert not is_following(sender)
    for one in request_arrived.connections:
        assert getattr(one.receiver, "__self__", None) is not sender


def test_when_the_last_watcher_has_left_it_receives_no_signal(
    folder: Path, clock: Clock
) -> None:
    with Watcher(folder) as stays:
        with Watcher(folder), connected(folder) as sender:
            assert is_following(sender)
        assert not is_following(sender)
        with connected(folder) as sender:
            assert is_following(sender)
            stays.__exit__()
            clock.now = 1.0
            ask()
            assert not is_following(sender)


def test_the_statements_of_a_closed_exchange_are_counted(folder: Path) -> None:
    def querying(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        for duration_seconds in (0.25, 0.5):
            count_sql(
                "engine",
                duration_seconds=duration_seconds,
                exchange=current_exchange(),
            )
        return hello(environ, start_response)

    with Watcher(folder) as watcher, connected(folder):
        for application in (querying, hello):
            Server().serve(SignalMiddleware(application))
        *_, counted = messages = come(watcher)[:4]
        assert not any("sql_count" in one for one in messages[:3])
        assert (counted["sql_count"], counted["sql_duration_seconds"]) == (2, 0.75)
        assert "sql_count" not in messages[0]


def test_a_watcher_that_comes_later_is_seen_within_a_second(
    folder: Path, clock: Clock
) -> None:
    with connected(folder), contextlib.ExitStack() as stack:
        ask()
        watcher = stack.enter_context(Watcher(folder))
        ask()
        flash()
        clock.now = 1.0
        ask()
        flash()
        assert signals(come(watcher)) == [
            "exchange-opened",
            "request-started",
            "request-finished",
            "exchange-closed",
            "message-flashed",
        ]


def test_two_watchers_see_the_same(folder: Path) -> None:
    with (
        Watcher(folder) as one,
        Watcher(folder) as other,
        connected(folder),
    ):
        flash()
        assert signals(come(one)) == signals(come(other)) == ["message-flashed"]


def test_a_watcher_that_leaves_takes_its_socket_along(
    folder: Path, clock: Clock
) -> None:
    with connected(folder) as sender:
        with Watcher(folder) as watcher:
            clock.now = 1.0
            ask()
            assert len(come(watcher)) == 4
        assert [*folder.iterdir()] == []
        flash()
        clock.now = 2.0
        flash()
        assert sender.dropped == 0


def test_one_that_leaves_between_two_looks_is_forgotten_at_the_next(
    folder: Path, clock: Clock
) -> None:
    with Watcher(folder) as stays, connected(folder) as sender:
        with Watcher(folder):
            flash()
        clock.now = 1.0
        flash()
        assert len(come(stays)) == 2
        assert sender.dropped == 0


WATCHER = """
import sys, time
from signalpost.receivers.watch import Watcher
with Watcher(sys.argv[1]) as watcher:
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_watcher_that_is_killed_is_forgotten(folder: Path, clock: Clock) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, folder], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with connected(folder) as sender:
                flash()
                process.kill()
                process.wait(30)
                flash()
                clock.now = 1.0
                flash()
                assert sender.dropped == 0
        finally:
            process.kill()
    # A sender removes no files of others. The next watcher does, when it is old.
    (left,) = folder.iterdir()
    with Watcher(folder):
        assert left.exists()
    os.utime(left, (0, 0))
    with Watcher(folder):
        assert not left.exists()


def test_a_watcher_leaves_alone_what_is_no_dead_socket(folder: Path) -> None:
    with Watcher(folder) as other:
        (living,) = folder.iterdir()
        os.utime(living, (0, 0))
        text = folder / "text.sock"
        text.touch()
        os.utime(text, (0, 0))
        with Watcher(folder), connected(folder):
            flash()
        assert text.exists()
        assert len(come(other)) == 1


def test_what_a_watcher_has_no_room_for_is_dropped_and_counted(
    folder: Path, clock: Clock
) -> None:
    with Watcher(folder) as slow, connected(folder) as sender:
        sent = 0
        while not sender.dropped and sent < 100_000:
            flash()
            sent += 1
        assert len(come(slow)) == sent - 1
        flash()
        assert [message["dropped"] for message in come(slow)] == [1]


def test_a_full_watcher_takes_nothing_from_another(folder: Path) -> None:
    with Watcher(folder), Watcher(folder) as quick, connected(folder) as sender:
        for _ in range(2_000):
            flash()
            assert len(come(quick)) == 1
        assert sender.dropped < 2_000


def test_eight_threads_send_whole_messages_and_count_what_is_dropped(
    folder: Path,
) -> None:
    def serve() -> None:
        app = SignalMiddleware(streamed)
        for number in range(50):
            Server().serve(app, path=f"/{number}")

    messages: list[Message] = []
    with Watcher(folder) as watcher, connected(folder) as sender:
        flash()  # from here on the watcher is known
        assert len(come(watcher)) == 1
        threads = [threading.Thread(target=serve) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            messages += watcher.messages(0.05)
        for thread in threads:
            thread.join(30)
        messages += come(watcher)
        assert len(messages) + sender.dropped == 8 * 50 * 4
    assert {message["method"] for message in messages} == {"GET"}


def test_more_watchers_than_sixteen_are_not_sent_to(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(Watcher(folder)) for _ in range(17)]
        stack.enter_context(connected(folder))
        flash()
        assert sum(len(come(watcher)) for watcher in watchers) == 16


def test_what_is_no_message_is_passed_over(folder: Path) -> None:
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with Watcher(folder) as watcher, contextlib.closing(raw), connected(folder):
        (path,) = folder.iterdir()
        for data in (b"", b"\xff", b"[]", b"{}", b"[" * 8_000):
            raw.sendto(data, str(path))
        flash()
        assert signals(come(watcher)) == ["message-flashed"]
        raw.sendto(b"", str(path))
        assert come(watcher) == []


def test_a_watcher_can_be_iterated(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder):
        flash()
        assert next(iter(watcher))["signal"] == "message-flashed"


def test_a_watcher_waits_for_what_comes(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder):
        thread = threading.Thread(target=flash)
        thread.start()
        assert next(watcher.messages(30))["signal"] == "message-flashed"
        thread.join(30)


def test_a_watcher_outside_of_its_block_raises(folder: Path) -> None:
    watcher = Watcher(folder)
    with pytest.raises(ValueError, match="within its with block"):
        next(iter(watcher))
    watcher.__exit__()


def test_only_the_user_can_enter_the_folder_and_use_the_socket(folder: Path) -> None:
    with Watcher(folder):
        (path,) = folder.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.name == f"{os.getpid()}.sock"


def give_away(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def link_elsewhere(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        pytest.param(give_away, "belongs to 12345", marks=as_root),
        (open_to_all, "has the mode 755"),
        (link_elsewhere, "must be a folder"),
        (Path.touch, "must be a folder"),
    ],
)
def test_a_folder_that_is_not_safe_is_refused_by_both_ends(
    folder: Path,
    clock: Clock,
    prepare: Callable[[Path], object],
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prepare(folder)
    with pytest.raises(PermissionError, match=problem), Watcher(folder):
        pass
    with connected(folder):
        for clock.now in (0.0, 1.0, 2.0):
            ask()
    (message,) = caplog.messages
    assert problem in message


def test_a_folder_that_cannot_be_looked_at_is_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.touch()
    with connected(folder / "below"):
        assert caplog.text == ""
        ask()
    assert "cannot be read" in caplog.text


def test_a_failing_bind_leaves_no_socket_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)

    monkeypatch.setattr("os.getpid", lambda: "no such folder/1")
    with pytest.raises(FileNotFoundError), Watcher(folder):
        pass


def test_folders_above_are_made_too(folder: Path) -> None:
    with Watcher(folder / "a" / "b") as watcher, connected(folder / "a" / "b"):
        flash()
        assert len(come(watcher)) == 1


def test_without_a_folder_there_is_no_watcher(folder: Path) -> None:
    with connected(folder) as sender:
        flash()
        assert sender.dropped == 0
    assert not folder.exists()


def test_disconnecting_ends_it(folder: Path) -> None:
    sender = WatchSender(folder=folder)
    with Watcher(folder) as watcher:
        sender("shop", signal=message_flashed)
        sender.connect()
        flash()
        assert sender.disconnect()
        assert not sender.disconnect()
        flash()
        sender("shop", signal=message_flashed)
        assert len(come(watcher)) == 1
    assert not message_flashed.has_receivers_for("shop")


def test_connecting_again_receives_once_and_stays_connected(folder: Path) -> None:
    with Watcher(folder) as watcher, connected(folder) as sender:
        flash()
        sender.connect()
        flash()
        assert len(come(watcher)) == 2


def test_it_declares_that_it_connects_itself() -> None:
    assert WatchSender.signals == {}


def test_a_connected_sender_is_kept(folder: Path) -> None:
    with Watcher(folder) as watcher:
        sender = WatchSender(folder=folder)
        sender.connect()
        reference = weakref.ref(sender)
        del sender
        gc.collect()
        flash()
        assert len(come(watcher)) == 1
        kept = reference()
        assert kept is not None
        assert kept.disconnect()


def test_both_ends_meet_under_the_instance_path(folder: Path) -> None:
    app = flask.Flask("shop", instance_path=str(folder))
    with Watcher(application=app) as watcher, connected(None, app):
        flash()
        assert len(come(watcher)) == 1
        assert watcher.folder == folder / "signalpost-watch"


@pytest.mark.usefixtures("without_proc")
@pytest.mark.parametrize(
    "instance_path", [None, "/srv/" + "x" * 100], ids=["none", "too long"]
)
def test_without_an_instance_path_both_meet_among_temporary_files(
    monkeypatch: pytest.MonkeyPatch, instance_path: str | None
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/somewhere")
    application = Nameless()
    if instance_path is not None:
        vars(application)["instance_path"] = instance_path
    expected = Path(f"/somewhere/signalpost-{os.geteuid()}")
    assert watch_folder(application) == expected


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "signalpost.receivers.watch_sockets.has_short_addresses", lambda: False
    )


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="paths of sockets are limited here"
)
def test_a_folder_may_have_a_long_path(folder: Path) -> None:
    long = folder / ("x" * 200) / ("y" * 200)
    app = flask.Flask("shop", instance_path=str(long))
    with Watcher(application=app) as watcher, connected(None, app):
        flash()
        assert len(come(watcher)) == 1
        assert watcher.folder == long / "signalpost-watch"


@pytest.mark.usefixtures("without_proc")
@pytest.mark.parametrize("end", [WatchSender, Watcher])
def test_a_folder_with_too_long_a_path_is_refused(end: t.Any) -> None:
    with pytest.raises(ValueError, match="at most 86 bytes"):
        end(folder="/srv/" + "x" * 100)


@pytest.mark.parametrize("end", [WatchSender, Watcher])
def test_what_is_no_path_is_refused(end: t.Any) -> None:
    with pytest.raises(TypeError, match="must be the path of a folder"):
        end(folder=3)


@pytest.mark.parametrize("end", [WatchSender, Watcher, watch_folder])
def test_a_system_without_unix_sockets_is_refused(
    end: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("socket.AF_UNIX")
    with pytest.raises(OSError, match="Unix sockets"):
        end()
