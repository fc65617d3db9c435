"""A recording that is interrupted by a signal, a disconnection or a fork."""

from __future__ import annotations

import os
import threading
import typing as t
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from signalpost import SignalMiddleware
from signalpost.live import _file
from signalpost.live import _list_file
from signalpost.live import _writer
from signalpost.live import read_live
from signalpost.work import work
from tests.live.shop import recorded
from tests.live.test_files import get


class Interrupted:
    """A lock; a signal handler raises just after a thread has acquired it, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_due = False

    def acquire(self, *arguments: t.Any, **named: t.Any) -> bool:
        has_lock = self._lock.acquire(*arguments, **named)
        if has_lock and self.is_due:
            self.is_due = False
            raise SystemExit
        return has_lock

    def release(self) -> None:
        self._lock.release()


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> list[Interrupted]:
    """Return the locks that writers make."""
    made: list[Interrupted] = []

    def lock() -> Interrupted:
        made.append(Interrupted())
        return made[-1]

    monkeypatch.setattr(_writer, "threading", SimpleNamespace(Lock=lock))
    monkeypatch.setattr(_writer, "_PATIENCE_SECONDS", 0.01)
    return made


def do_work(app: SignalMiddleware) -> None:
    with work("pack", app.sender):
        pass


def flush(app: SignalMiddleware) -> None:
    _writer.flush()


@pytest.mark.parametrize("interrupted", [get, do_work, flush])
def test_a_signal_handler_that_raises_ends_no_recording(
    folder: Path,
    locks: list[Interrupted],
    interrupted: Callable[[SignalMiddleware], None],
) -> None:
    with recorded(folder) as app:
        # Lists are written at ten requests in a row; the others wait for a flush.
        for _ in range(15):
            get(app)
        locks[-1].is_due = True
        with pytest.raises(SystemExit):
            interrupted(app)
        get(app)
        assert read_live(folder).total.requests_since_start == 16
    assert [one.state for one in read_live(folder).workers] == ["ended"]


def test_a_signal_handler_that_raises_at_a_disconnection_leaves_the_rest_to_the_exit(
    folder: Path, locks: list[Interrupted]
) -> None:
    recording = recorded(folder)
    get(recording.__enter__())
    locks[-1].is_due = True
    with pytest.raises(SystemExit):
        recording.__exit__(None, None, None)
    _writer._end_all()
    assert [one.state for one in read_live(folder).workers] == ["ended"]


def test_lists_that_cannot_be_made_do_not_keep_a_file_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> t.NoReturn:
        raise SystemExit

    recording = recorded(folder)
    get(recording.__enter__())
    monkeypatch.setattr(_file, "write_list", interrupted)
    with pytest.raises(SystemExit):
        recording.__exit__(None, None, None)
    assert [one.state for one in read_live(folder).workers] == ["ended"]


def test_a_file_that_is_written_during_the_disconnection_is_ended_afterwards(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(*arguments: t.Any) -> None:
        begun.set()
        assert may_end.wait(20)
        _list_file.write_list(*arguments)

    monkeypatch.setattr(_writer, "_PATIENCE_SECONDS", 0.01)
    with recorded(folder) as app:
        get(app)
        monkeypatch.setattr(_file, "write_list", slow)
        thread = threading.Thread(target=lambda: get(app))
        thread.start()
        assert begun.wait(20)
    assert [one.state for one in read_live(folder).workers] == ["alive"]
    may_end.set()
    thread.join()
    snapshot = read_live(folder)
    assert [one.state for one in snapshot.workers] == ["ended"]
    assert snapshot.total.requests_since_start == 2


def test_a_file_that_is_closed_while_a_request_begins_is_no_failure(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Free(list[t.Any]):
        def pop(self, index: t.SupportsIndex = -1) -> t.Any:
            cell = super().pop(index)
            _writer._end_all()
            return cell

    with recorded(folder) as app:
        get(app)
        (file,) = [one for one in _file._files if one.is_open]
        file._free = Free(file._free)
        get(app)
    assert read_live(folder).total.requests_since_start == 1
    assert caplog.records == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_this_one_writes_records_for_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parent = os.getpid()
    children: list[int] = []

    def forking(*arguments: t.Any) -> None:
        if not children:
            children.append(os.fork())
        if children[0]:
            _list_file.write_list(*arguments)

    with recorded(folder) as app:
        monkeypatch.setattr(_file, "write_list", forking)
        do_work(app)
        if os.getpid() != parent:
            monkeypatch.undo()
            get(app)
            _writer._end_all()
            os._exit(len(caplog.records))
        _, status = os.waitpid(children[0], 0)
    snapshot = read_live(folder)
    assert status == 0
    assert sorted(one.requests for one in snapshot.workers) == [0, 1]
    assert {one.state for one in snapshot.workers} == {"ended"}
