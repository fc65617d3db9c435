"""Faults of the directory, and the metrics after them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import logging
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import ProcessCollector

from signalpost.integrations.prometheus import _contents
from signalpost.integrations.prometheus import _files
from signalpost.integrations.prometheus import _store
from signalpost.integrations.prometheus import clear_metrics
from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.receivers.own_folder import OwnFolder
from tests.integrations.test_prometheus import DURATION
from tests.integrations.test_prometheus import figure
from tests.integrations.test_prometheus import IN_FLIGHT
from tests.integrations.test_prometheus import record
from tests.integrations.test_prometheus import REQUESTS
from tests.integrations.test_prometheus_files import damaged
from tests.integrations.test_prometheus_files import DAMAGES
from tests.integrations.test_prometheus_files import DEAD
from tests.integrations.test_prometheus_files import directory  # noqa: F401
from tests.integrations.test_prometheus_files import merge
from tests.integrations.test_prometheus_files import names
from tests.integrations.test_prometheus_files import write_other
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed

ROOT = Path(__file__).parents[2]
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL

WORKER = """
import sys
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import figure, record, REQUESTS
metrics = PrometheusMetrics()
for line in sys.stdin:
    if line == "record\\n":
        record(metrics)
    print(figure(metrics, REQUESTS) if line == "read\\n" else "", flush=True)
"""


class Worker:
    """Another process that counts in the directory, and reads it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def worker(directory: Path) -> Generator[Worker]:  # noqa: F811
    worker = Worker()
    yield worker
    worker.end()


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def scraped(metrics: PrometheusMetrics) -> Server:
    server = Server()
    server.serve(metrics.metrics_app)
    return server


def empty(path: Path) -> None:
    for one in path.iterdir():
        one.unlink()


def test_files_that_are_removed_are_written_again_from_memory(
    directory: Path,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, other = PrometheusMetrics(), PrometheusMetrics()
    for number in range(3):
        record(metrics)
        record(other, "/b", seconds=7)
        empty(directory)
        reader = metrics if number % 2 else other
        assert figure(reader, REQUESTS) == 2 * number + 2
        assert figure(reader, f"{DURATION}_count", route="/b") == number + 1
        assert figure(reader, f"{DURATION}_sum", route="/b") == 7 * (number + 1)
    assert caplog.text.count("written again from memory") == 2
    assert {one.levelno for one in caplog.records} == {logging.WARNING}


CUT = """
import os, pathlib
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import figure, record, REQUESTS
metrics = PrometheusMetrics()
for status in range(200, 220):
    record(metrics, status=status)
    for path in pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir():
        os.truncate(path, SIZE)
    print(figure(metrics, REQUESTS))
    record(metrics, status=status)
"""


CUT_AND_FULL = """
import os, pathlib, time
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import figure, record, REQUESTS
from tests.integrations.test_prometheus_faults import scraped
metrics = PrometheusMetrics()
record(metrics)
for path in pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir():
    os.truncate(path, 0)
reserve = os.posix_fallocate
os.posix_fallocate = lambda *_: os.open("/no/such/file", os.O_RDONLY)
print(scraped(metrics).status)
record(metrics)
os.posix_fallocate = reserve
print(figure(metrics, REQUESTS))
"""


def test_a_file_that_is_cut_on_a_full_disk_ends_no_process(
    directory: Path,  # noqa: F811
) -> None:
    assert run(CUT_AND_FULL) == ["503 Service Unavailable", "2.0"]


@pytest.mark.parametrize("size", [0, 5, 4096])
def test_files_that_are_cut_short_end_no_process(
    directory: Path,  # noqa: F811
    size: int,
) -> None:
    """The system ends a process that writes to a mapping beyond the file's end."""
    done = run(CUT.replace("SIZE", str(size)))
    assert done == [str(float(2 * number + 1)) for number in range(20)]


@pytest.mark.parametrize("damage", [b"\xff", b"\0", b"\x08\0\0\0"])
def test_files_that_are_overwritten_are_written_again_from_memory(
    directory: Path,  # noqa: F811
    worker: Worker,
    damage: bytes,
) -> None:
    metrics = PrometheusMetrics()
    worker.ask("record")
    for number in range(3):
        for path in directory.iterdir():
            with path.open("r+b") as file:
                file.write(damage * 8192)
        record(metrics)
        worker.ask("record")
        # A scrape makes each process look at its own files.
        scraped(metrics)
        assert worker.ask("read") == str(float(2 * number + 3))
        assert figure(metrics, REQUESTS) == 2 * number + 3


def test_a_damaged_file_of_a_process_that_is_idle_fails_no_scrape(
    directory: Path,  # noqa: F811
    worker: Worker,
) -> None:
    worker.ask("record")
    for path in directory.iterdir():
        with path.open("r+b") as file:
            file.write(b"\xff" * 8192)
    metrics = PrometheusMetrics()
    record(metrics)
    assert figure(metrics, REQUESTS) == 1
    assert worker.ask("read") == "2.0"
    assert figure(metrics, REQUESTS) == 2


def test_removed_files_of_a_process_that_is_idle_are_counted_all_the_same(
    directory: Path,  # noqa: F811
    worker: Worker,
) -> None:
    metrics = PrometheusMetrics()
    worker.ask("record")
    record(metrics)
    assert figure(metrics, REQUESTS) == 2
    worker.ask("record")
    empty(directory)
    assert figure(metrics, REQUESTS) == 3
    # It has made files again, and their number comes once.
    assert worker.ask("read") == "3.0"
    assert figure(metrics, REQUESTS) == 3
    empty(directory)
    worker.ask("record")
    assert figure(metrics, REQUESTS) == 4


def test_a_file_that_is_made_again_beneath_a_scrape_is_counted(
    directory: Path,  # noqa: F811
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = PrometheusMetrics()
    worker.ask("record")
    assert figure(metrics, REQUESTS) == 1
    names_in = OwnFolder.names

    def slow(found: OwnFolder) -> list[str]:
        listed = names_in(found)
        monkeypatch.setattr(OwnFolder, "names", names_in)
        assert worker.ask("read") == "1.0"
        return listed

    monkeypatch.setattr(OwnFolder, "names", slow)
    empty(directory)
    assert figure(metrics, REQUESTS) == 1


def test_a_removed_directory_is_made_again(
    directory: Path,  # noqa: F811
    worker: Worker,
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    worker.ask("record")
    assert figure(metrics, REQUESTS) == 2
    empty(directory)
    directory.rmdir()
    assert figure(metrics, REQUESTS) == 2
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert worker.ask("read") == "2.0"
    assert len(names(directory)) == 6


def test_a_directory_that_became_unsafe_fails_scrapes_until_it_is_not(
    directory: Path,  # noqa: F811
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    moved = directory.rename(directory.with_name("before"))
    directory.symlink_to(moved)
    assert scraped(metrics).status == "503 Service Unavailable"
    record(metrics)
    directory.unlink()
    moved.rename(directory)
    assert scraped(metrics).status == "200 OK"
    assert figure(metrics, REQUESTS) == 2


def test_another_directory_in_its_place_is_used(directory: Path) -> None:  # noqa: F811
    metrics = PrometheusMetrics()
    record(metrics)
    directory.rename(directory.with_name("before"))
    directory.mkdir()
    assert figure(metrics, REQUESTS) == 1
    assert len(names(directory)) == 3


def test_a_second_start_leaves_what_the_living_own(
    directory: Path,  # noqa: F811
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker.ask("record")
    write_other(directory, f"counter_{DEAD}.db", 7)
    merge()
    write_other(directory, "counter_7.db", 5)
    before = names(directory)
    clear_metrics(None)
    assert names(directory) == before
    assert "processes of another run use" in caplog.text
    assert figure(PrometheusMetrics(), REQUESTS) == 1
    worker.end()
    clear_metrics(None)
    assert names(directory) == []
    assert os.listdir(directory) == []


def test_a_start_keeps_what_the_application_counted_while_it_was_loaded(
    directory: Path,  # noqa: F811
) -> None:
    ended = Worker()
    ended.ask("record")
    ended.end()
    loaded = PrometheusMetrics()
    record(loaded)
    clear_metrics(None)
    worker = Worker()
    assert worker.ask("read") == "1.0"
    worker.end()


def test_a_start_without_requests_keeps_what_its_dead_have_counted(
    directory: Path,  # noqa: F811
    worker: Worker,
) -> None:
    worker.ask("read")
    write_other(directory, f"counter_{DEAD}.db", 7)
    merge()
    clear_metrics(None)
    assert figure(PrometheusMetrics(), "orders_total") == 7


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_moment_without_room_or_descriptors_loses_nothing(
    directory: Path,  # noqa: F811
    number: int,
    is_first: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> t.NoReturn:
        raise OSError(number, os.strerror(number))

    metrics, other = PrometheusMetrics(), PrometheusMetrics()
    record(other)
    if not is_first:
        for status in range(300, 320):
            record(metrics, status=status)
    counted = 1 if is_first else 21
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        if number == errno.EMFILE:
            patch.setattr(os, "dup", fail)
        for status in range(400, 440):
            record(metrics, status=status)
            record(metrics, status=300)
        assert scraped(metrics).status == "503 Service Unavailable"
        if not (is_first and number == errno.EMFILE):
            # What the other would answer is too small, too.
            assert scraped(other).status == "503 Service Unavailable"
    assert caplog.text.count("takes no more") == 1
    assert scraped(metrics).status == "200 OK"
    for reader in (metrics, other):
        assert figure(reader, REQUESTS) == counted + 80
        assert figure(reader, REQUESTS, status="300") == 40 + (not is_first)
        assert figure(reader, f"{DURATION}_bucket", le="+Inf") == counted + 80


def test_a_file_system_that_cannot_reserve_is_written_to(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot(*_: object) -> t.NoReturn:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    metrics = PrometheusMetrics()
    for status in range(100, 300):
        record(metrics, status=status)
    assert scraped(metrics).status == "200 OK"
    assert figure(metrics, REQUESTS) == 200
    for path in directory.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size >= 1 << 16


def test_a_mapping_that_fails_half_way_loses_nothing(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> t.NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    metrics = PrometheusMetrics()
    record(metrics)
    with monkeypatch.context() as patch:
        patch.setattr("mmap.mmap", fail)
        for status in range(200, 500):
            record(metrics, status=status)
        assert scraped(metrics).status == "503 Service Unavailable"
    assert figure(metrics, REQUESTS) == 301
    assert figure(metrics, f"{DURATION}_count") == 301


def test_a_file_that_is_not_whole_for_a_moment_is_waited_for(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = write_other(directory, f"counter_{DEAD}.db", 7)
    descriptor = os.open(directory / "counter_7-signalpost-1a.db", NEW, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    metrics = PrometheusMetrics()
    assert scraped(metrics).status == "503 Service Unavailable"
    unwritten = [whole.read_bytes()]

    def write_meanwhile(seconds: float) -> None:
        if unwritten:
            os.write(descriptor, unwritten.pop())

    monkeypatch.setattr(time, "sleep", write_meanwhile)
    assert figure(metrics, "orders_total") == 14
    assert unwritten == []
    os.close(descriptor)


def test_a_file_that_is_filled_is_not_read(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, other = PrometheusMetrics(), PrometheusMetrics()
    for status in range(200, 220):
        record(metrics, status=status)
    assert figure(other, REQUESTS) == 20
    entry_of, filled, statuses = _contents.entry_of, list[bytes](), list[str]()

    def filling(key: bytes, pair: tuple[float, float]) -> bytes:
        filled.append(key)
        if len(filled) == 30:
            statuses.append(scraped(other).status)
        return entry_of(key, pair)

    monkeypatch.setattr(_files, "entry_of", filling)
    empty(directory)
    assert figure(metrics, REQUESTS) == 20
    assert statuses == ["503 Service Unavailable"]
    assert figure(other, REQUESTS) == 20


def test_files_that_are_removed_from_a_full_disk_lose_nothing(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> t.NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    metrics, other = PrometheusMetrics(), PrometheusMetrics()
    record(metrics)
    record(other)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        empty(directory)
        for reader in (metrics, other):
            record(reader)
            assert scraped(reader).status == "503 Service Unavailable"
    # Each writes its own when it counts or reads.
    for reader in (metrics, other):
        scraped(reader)
    for reader in (metrics, other):
        assert figure(reader, REQUESTS) == 4


NO_DESCRIPTORS = """
import os, resource
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import figure, record, REQUESTS
from tests.integrations.test_prometheus_faults import scraped
metrics = PrometheusMetrics()
record(metrics)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open("/", os.O_RDONLY))
except OSError:
    pass
for status in range(150, 300):
    record(metrics, status=status)
print(scraped(metrics).status)
for one in held:
    os.close(one)
print(scraped(metrics).status, figure(metrics, REQUESTS))
"""


def test_a_real_lack_of_descriptors_loses_nothing(
    directory: Path,  # noqa: F811
) -> None:
    assert run(NO_DESCRIPTORS) == ["503 Service Unavailable", "200 OK 151.0"]


MANY = """
import resource
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import figure, record, REQUESTS
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
metrics = PrometheusMetrics()
record(metrics)
print(figure(metrics, "orders_total"), figure(metrics, REQUESTS))
"""


def test_more_files_of_the_dead_than_can_be_open_are_merged(
    directory: Path,  # noqa: F811
) -> None:
    for number in range(200):
        write_other(directory, f"counter_{DEAD}-signalpost-{number}.db", 1)
        write_other(directory, f"gauge_livesum_{DEAD}-signalpost-{number}.db", 1)
    assert run(MANY) == ["200.0 1.0"]
    assert len(names(directory)) < 30


def test_files_of_the_dead_that_cannot_be_removed_are_counted_once(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(folder: OwnFolder, name: str) -> t.NoReturn:
        raise PermissionError(errno.EPERM, "Operation not permitted", name)

    for number in range(100):
        write_other(directory, f"counter_{DEAD}-signalpost-{number}.db", 1)
    metrics = PrometheusMetrics()
    with monkeypatch.context() as patch:
        patch.setattr(OwnFolder, "remove", refuse)
        merge()
        assert figure(metrics, "orders_total") == 100
        merge()
        assert figure(metrics, "orders_total") == 100
    merge()
    assert figure(metrics, "orders_total") == 100
    assert len(names(directory)) == 1


def test_a_process_that_died_behind_does_not_fail_scrapes(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> t.NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    metrics = PrometheusMetrics()
    record(metrics)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        for status in range(200, 500):
            record(metrics, status=status)
    del metrics
    assert scraped(PrometheusMetrics()).status == "200 OK"
    merge()
    assert figure(PrometheusMetrics(), REQUESTS) >= 1


@pytest.mark.parametrize("is_merged", [True, False])
@pytest.mark.parametrize("is_scraped", [True, False])
def test_processes_that_come_and_go_leave_nothing_open(
    directory: Path,  # noqa: F811
    is_merged: bool,
    is_scraped: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_store, "_CHECK_SECONDS", 0)
    monkeypatch.setattr(_store, "_LOOK_SECONDS", 0)
    metrics = PrometheusMetrics()
    counts = []
    for _ in range(10):
        other = PrometheusMetrics()
        record(other)
        record(metrics)
        if is_scraped:
            scraped(metrics)
        del other
        if is_merged:
            merge()
        record(metrics)
        counts.append(len(os.listdir("/dev/fd")))
    # Merging closes some.
    assert counts[-1] <= counts[1]
    assert figure(metrics, REQUESTS) == 30


def test_merges_beneath_a_scrape_lose_and_double_nothing(
    directory: Path,  # noqa: F811
) -> None:
    metrics = PrometheusMetrics()
    is_over = threading.Event()

    def come_and_go() -> None:
        for number in range(60):
            record(PrometheusMetrics())
            write_other(directory, f"counter_{DEAD + number}.db", 1)
            merge(DEAD + number)
        is_over.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    seen = []
    while not is_over.is_set():
        seen.append(figure(metrics, REQUESTS))
    thread.join()
    assert seen == sorted(seen)
    assert figure(metrics, REQUESTS) == 60
    assert figure(metrics, "orders_total") == 60


def test_a_signal_in_the_midst_of_a_merge_merges_too(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gunicorn reaps in a signal's function, and so within another's merge."""
    write_other(directory, f"counter_{DEAD}.db", 7)
    write_other(directory, f"counter_{DEAD + 1}.db", 5)
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        merge(DEAD + 1)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    merge()
    assert names(directory) == ["counter_0-signalpost-merged.db"]
    assert figure(PrometheusMetrics(), "orders_total") == 12


def planted_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def planted_fifo(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def planted_directory(path: Path, victim: Path) -> None:
    path.mkdir()


def planted_list(path: Path, victim: Path) -> None:
    listed = [[str(victim), 1, 2], ["../victim", 1, 2], 7, ["counter_7.db"]]
    path.write_bytes(b"\x08\0\0\0\0\0\0\0" + json.dumps(listed).encode())


PLANTS = [planted_link, planted_fifo, planted_directory, planted_list]
PLACES = [
    "counter_0-signalpost-merged.db",
    "histogram_0-signalpost-merged.db",
    f"counter_{DEAD}.db",
    f"counter_{DEAD}-signalpost-1a.db",
    f"gauge_livesum_{DEAD}-signalpost-1a.db",
    f"gauge_max_{DEAD}.db",
    ".counter_0-signalpost-merged.db",
    ".signalpost-merge",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_harms_no_file_and_no_metric(
    directory: Path,  # noqa: F811
    place: str,
    plant: Callable[[Path, Path], None],
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    metrics = PrometheusMetrics()
    record(metrics)
    plant(directory / place, victim)
    for _ in range(2):
        assert scraped(metrics).status == "200 OK"
        assert figure(metrics, REQUESTS) == 1
        write_other(directory, f"counter_{DEAD + 1}.db", 1)
        merge(DEAD)
        merge(DEAD + 1)
    assert figure(metrics, REQUESTS) == 1
    clear_metrics(None)
    assert victim.read_text() == "precious"


def test_a_file_takes_no_more_memory_than_its_values(
    directory: Path,  # noqa: F811
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    with (directory / f"counter_{DEAD}.db").open("wb") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        assert figure(metrics, REQUESTS) == 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()


POWER_CUTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "no list": lambda data: data[: int.from_bytes(data[:4], "little")],
    "half a list": lambda data: data[:-3],
    "a list without an end": lambda data: (
        data[: int.from_bytes(data[:4], "little")] + b"[" * 100_000
    ),
    "another list": lambda data: data[:-1] + b", 7]",
}


@pytest.mark.parametrize("state", [*POWER_CUTS, *DAMAGES])
def test_a_merged_file_in_any_state_stops_no_start_and_no_scrape(
    directory: Path,  # noqa: F811
    state: str,
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    write_other(directory, f"counter_{DEAD}.db", 7)
    merge()
    change = POWER_CUTS.get(state) or DAMAGES[state]
    damaged(directory / "counter_0-signalpost-merged.db", change)
    assert scraped(metrics).status == "200 OK"
    assert figure(metrics, REQUESTS) == 1
    write_other(directory, f"counter_{DEAD}.db", 5)
    merge()
    assert 5 <= figure(metrics, "orders_total") <= 12
    del metrics
    clear_metrics(None)
    assert names(directory) == []


def test_half_a_file_of_a_merge_or_of_a_start_is_not_read(
    directory: Path,  # noqa: F811
) -> None:
    write_other(directory, f"counter_{DEAD}.db", 7).rename(
        directory / ".counter_0-signalpost-merged.db"
    )
    assert figure(PrometheusMetrics(), "orders_total") == 0
    write_other(directory, f"counter_{DEAD}.db", 5)
    merge()
    assert figure(PrometheusMetrics(), "orders_total") == 5


def test_no_damage_of_any_file_reaches_a_client(
    directory: Path,  # noqa: F811
) -> None:
    chance = random.Random(7)
    metrics = PrometheusMetrics()
    record(metrics)
    kinds = ["counter", "histogram", "summary", "gauge_max", "gauge_livesum"]
    for number in range(120):
        kind = chance.choice(kinds)
        name = chance.choice([f"{kind}_{DEAD}.db", f"{kind}_{DEAD}-signalpost-1.db"])
        if number % 5 == 0 and "gauge" not in kind:
            name = f"{kind}_0-signalpost-merged.db"
        (directory / name).unlink(missing_ok=True)
        path = write_other(directory, name, 7, chance.choice(["orders", REQUESTS[:-6]]))
        data = bytearray(path.read_bytes()[: chance.choice([300, 66_000])])
        for _ in range(chance.randrange(1, 9)):
            place = chance.choice([*range(12), chance.randrange(len(data))])
            data[place] = chance.choice([0, 1, 255, chance.randrange(256)])
        path.write_bytes(
            data[: chance.choice([len(data), chance.randrange(len(data))])]
        )
        found = scraped(metrics)
        assert found.status == "200 OK"
        if number % 10 == 0:
            merge()
            empty(directory)
    assert figure(metrics, REQUESTS, route="/a") == 1


def test_a_directory_that_others_can_write_to_is_refused(
    directory: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    directory.chmod(0o777)
    with pytest.raises(ConfigurationError, match="run chmod 755 on it"):
        PrometheusMetrics()
    with pytest.raises(ConfigurationError, match="run chmod 755 on it"):
        clear_metrics(None)
    directory.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(directory)
    with pytest.raises(ConfigurationError, match="must be a folder, and is not one"):
        PrometheusMetrics(directory=str(link))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_directory_of_another_user_is_refused_except_for_root(
    directory: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    os.chown(directory, 65534, 65534)
    record(PrometheusMetrics())
    assert {path.stat().st_uid for path in directory.iterdir()} == {65534}
    gc.collect()
    monkeypatch.setattr(os, "geteuid", lambda: 65533)
    with pytest.raises(ConfigurationError, match="must belong to the user 65533"):
        PrometheusMetrics()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_makes_a_removed_directory_again_for_its_user(
    directory: Path,  # noqa: F811
) -> None:
    os.chown(directory, 65534, 65534)
    metrics = PrometheusMetrics()
    record(metrics)
    shutil.rmtree(directory)
    assert figure(metrics, REQUESTS) == 1
    owned = [directory, *directory.iterdir()]
    assert {path.stat().st_uid for path in owned} == {65534}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_user_of_a_directory_can_merge_after_root(
    directory: Path,  # noqa: F811
) -> None:
    os.chown(directory, 65534, 65534)
    record(PrometheusMetrics())
    merge()
    assert (directory / ".signalpost-merge").stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_gives_a_directory_of_its_own_to_the_workers(
    directory: Path,  # noqa: F811
) -> None:
    server = SimpleNamespace(cfg=SimpleNamespace(uid=65534, gid=65534))
    (directory / "notes.txt").touch()
    with pytest.raises(ConfigurationError, match="run chown 65534 on it"):
        clear_metrics(server)
    (directory / "notes.txt").unlink()
    loaded = PrometheusMetrics()
    record(loaded)
    clear_metrics(server)
    assert directory.stat().st_uid == 65534
    assert {path.stat().st_uid for path in directory.iterdir()} == {65534}
    assert names(directory)
    with pytest.raises(ConfigurationError, match="run chown 7 on it"):
        clear_metrics(SimpleNamespace(cfg=SimpleNamespace(uid=7, gid=7)))


@pytest.mark.parametrize("umask", [0o077, 0o777, 0])
def test_files_can_be_read_by_their_user_alone_whatever_the_umask(
    directory: Path,  # noqa: F811
    umask: int,
) -> None:
    before = os.umask(umask)
    try:
        record(PrometheusMetrics())
        modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
        merge()
    finally:
        os.umask(before)
    modes |= {
        stat.S_IMODE((directory / one).stat().st_mode) for one in names(directory)
    }
    assert modes == {0o600}


def test_a_lost_exchange_is_counted_in_the_midst_of_all_there_is(
    directory: Path,  # noqa: F811
) -> None:
    """The garbage collection calls receivers in a thread that holds any lock."""
    metrics = PrometheusMetrics()
    metrics.connect(streamed)
    layer = SignalMiddleware(streamed)
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(20):
            body = Server().call(layer)
            next(iter(body))
            cycle: list[t.Any] = [body]
            cycle.append(cycle)
            del body, cycle
            record(metrics, f"/{number}")
            figure(metrics, REQUESTS)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert figure(metrics, REQUESTS, outcome="lost") == 20
    assert figure(metrics, REQUESTS) == 40
    metrics.disconnect(streamed)


def test_a_lock_of_a_reader_keeps_no_scrape_and_no_request(
    directory: Path,  # noqa: F811
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    with contextlib.ExitStack() as stack:
        for path in (directory, *directory.iterdir()):
            descriptor = os.open(path, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        record(metrics)
        assert figure(metrics, REQUESTS) == 2


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Counter("shop_orders", "Orders.", registry=registry).inc(3)
    return registry


def test_collectors_of_the_registry_are_in_a_scrape_of_files(
    directory: Path,  # noqa: F811
    registry: CollectorRegistry,
) -> None:
    metrics = PrometheusMetrics(registry=registry)
    record(metrics)
    pid = str(os.getpid())
    assert figure(metrics, "process_resident_memory_bytes", pid=pid) > 0
    assert figure(metrics, "shop_orders_total", pid=pid) == 3
    assert figure(metrics, REQUESTS) == 1
    # Metrics in files are summed, and are returned once.
    write_other(directory, "counter_7.db", 5, "shop_orders")
    assert figure(metrics, "shop_orders_total") == 5
    for selected, other in ((REQUESTS, "process_"), ("process_open_fds", REQUESTS)):
        server = Server()
        server.serve(metrics.metrics_app, QUERY_STRING=f"name[]={selected}")
        assert f"\n{selected}{{".encode() in server.written
        assert other.encode() not in server.written


def test_a_registry_with_our_names_is_refused_with_files_too(
    directory: Path,  # noqa: F811
) -> None:
    registry = CollectorRegistry()
    Counter(REQUESTS, "Requests.", registry=registry)
    with pytest.raises(ConfigurationError, match="give a namespace"):
        PrometheusMetrics(registry=registry)
    PrometheusMetrics(registry=registry, namespace="shop")


def test_an_exchange_in_flight_is_not_lost_with_its_file(
    directory: Path,  # noqa: F811
) -> None:
    metrics = PrometheusMetrics()
    exchange = Exchange({}, "shop")
    metrics.opened("shop", exchange=exchange)
    empty(directory)
    assert figure(metrics, IN_FLIGHT) == 1
