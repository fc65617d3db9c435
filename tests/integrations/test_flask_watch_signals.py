"""``flask signalpost watch`` in this process: what its signals do afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import click.testing
import flask
import pytest
from flask.cli import ScriptInfo

from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask_cli import signalpost
from signalpost.receivers.own_folder import OwnFolder
from signalpost.receivers.watch import Watcher
from tests.short_folders import short_folder

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 10


@pytest.fixture
def folder() -> Generator[Path]:
    with short_folder() as above:
        yield above / "watch"


@pytest.fixture
def handlers() -> Generator[dict[int, t.Any]]:
    """Set a function of our own for each signal, as an application may."""
    before = {number: signal.getsignal(number) for number in ENDINGS}
    own: dict[int, t.Any] = {number: functions(number) for number in ENDINGS}
    for number, function in own.items():
        signal.signal(number, function)
    yield own
    for number, action in before.items():
        signal.signal(number, action)


def functions(number: int) -> Callable[..., None]:
    def handler(*_: object) -> None:
        raise AssertionError(f"signal {number} went past the command")

    return handler


def in_force() -> dict[int, t.Any]:
    return {number: signal.getsignal(number) for number in ENDINGS}


def invoked(app: flask.Flask, folder: Path) -> click.testing.Result:
    info = ScriptInfo(create_app=lambda: app)
    arguments = ["watch", "--folder", str(folder)]
    return click.testing.CliRunner().invoke(signalpost, arguments, obj=info)


def watch(folder: Path, *signals: int) -> click.testing.Result:
    """Run the command, send signals once it watches, and return how it ended."""
    app = flask.Flask("shop")
    Signalpost(app)

    def send() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (folder.exists() and os.listdir(folder)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        for number in signals:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        return invoked(app, folder)
    finally:
        thread.join(PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_what_ended_it_leaves_the_signals_as_they_were(
    folder: Path, handlers: dict[int, t.Any], number: int, code: int
) -> None:
    assert watch(folder, number).exit_code == code
    assert in_force() == handlers
    assert os.listdir(folder) == []


def test_a_second_ctrl_c_interrupts_no_cleaning_up_and_changes_no_signal(
    folder: Path, handlers: dict[int, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = OwnFolder.remove
    removed: list[str] = []

    def interrupted(self: OwnFolder, name: str) -> None:
        for number in ENDINGS:
            os.kill(os.getpid(), number)
        remove(self, name)
        removed.append(name)

    monkeypatch.setattr(OwnFolder, "remove", interrupted)
    assert watch(folder, signal.SIGINT).exit_code == 0
    assert len(removed) == 1
    assert os.listdir(folder) == []
    assert in_force() == handlers


def test_an_error_leaves_the_signals_as_they_were(
    folder: Path, handlers: dict[int, t.Any]
) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    app = flask.Flask("shop")
    Signalpost(app)
    assert invoked(app, folder).exit_code == 1
    assert in_force() == handlers


def test_what_is_ignored_stays_ignored_meanwhile(
    folder: Path, handlers: dict[int, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    meanwhile: list[t.Any] = []
    enter = Watcher.__enter__

    def entered(self: Watcher) -> Watcher:
        meanwhile.append(in_force())
        return enter(self)

    monkeypatch.setattr(Watcher, "__enter__", entered)
    assert watch(folder, signal.SIGHUP, signal.SIGINT).exit_code == 0
    ((during),) = meanwhile
    assert during[signal.SIGHUP] is signal.SIG_IGN
    assert during[signal.SIGINT] is not handlers[signal.SIGINT]
    assert in_force() == handlers | {signal.SIGHUP: signal.SIG_IGN}
