from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import struct
import subprocess
import sys
import typing as t
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest
from prometheus_client import multiprocess
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser

from signalpost.integrations.prometheus import _directory
from signalpost.integrations.prometheus import _store
from signalpost.integrations.prometheus import clear_metrics
from signalpost.integrations.prometheus import DIRECTORY_VARIABLE
from signalpost.integrations.prometheus import merge_worker
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import DURATION
from tests.integrations.test_prometheus import figure
from tests.integrations.test_prometheus import IN_FLIGHT
from tests.integrations.test_prometheus import record
from tests.integrations.test_prometheus import REQUESTS

# No process has it: numbers end before.
DEAD = 2**22 + 1


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "metrics"
    path.mkdir()
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(path))
    return path


def write_other(
    directory: Path, name: str, value: float, metric: str = "orders", **labels: str
) -> Path:
    """Write a file as the client library does."""
    make: Callable[..., t.Any] = MmapedDict
    key: Callable[..., str] = mmap_key
    path = directory / name
    file = make(str(path))
    sample = f"{metric}_total" if name.startswith("counter") else metric
    file.write_value(
        key(metric, sample, [*labels], [*labels.values()], "What was ordered."),
        value,
        1.0,
    )
    file.close()
    return path


def merge(pid: int = DEAD) -> None:
    merge_worker(None, SimpleNamespace(pid=pid))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.db"))


def test_processes_have_one_sum(directory: Path) -> None:
    record(PrometheusMetrics(), seconds=0.1)  # gone at once, as a process that ended
    metrics = PrometheusMetrics()
    record(metrics, seconds=0.1)
    record(metrics, "/b", seconds=70)
    assert figure(metrics, REQUESTS) == 3
    assert figure(metrics, REQUESTS, route="/a") == 2
    assert figure(metrics, f"{DURATION}_count", route="/a") == 2
    assert figure(metrics, f"{DURATION}_bucket", route="/a", le="0.05") == 0
    assert figure(metrics, f"{DURATION}_bucket", route="/a", le="0.1") == 2
    assert figure(metrics, f"{DURATION}_bucket", route="/b", le="+Inf") == 1
    assert figure(metrics, f"{DURATION}_bucket", route="/b", le="60.0") == 0
    assert figure(metrics, f"{DURATION}_sum") == pytest.approx(70.2)


def test_a_scrape_is_the_same_from_files_and_from_memory(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed = PrometheusMetrics()
    monkeypatch.delenv(DIRECTORY_VARIABLE)
    kept = PrometheusMetrics()
    for metrics in (filed, kept):
        for number in range(5):
            record(metrics, f"/{number}", seconds=number)
    lines = [
        sorted(
            line
            for line in generate_latest(metrics.registry).decode().splitlines()
            # Metrics that nothing was counted for have no file.
            if "failures" not in line and "sql_" not in line
        )
        for metrics in (filed, kept)
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("is_filed", [True, False])
def test_a_strict_reader_takes_a_scrape(
    directory: Path, is_filed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_filed:
        monkeypatch.delenv(DIRECTORY_VARIABLE)
    metrics = PrometheusMetrics(exemplar=lambda exchange: {"trace_id": "7"})
    for number in range(5):
        record(metrics, f"/{number}", seconds=number)
    write: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
    read: Callable[[str], t.Any] = parser.text_string_to_metric_families
    found = {one.name: one for one in read(write(metrics.registry).decode())}
    assert len(found["http_server_requests"].samples) == 5
    assert found["http_server_request_duration_seconds"].type == "histogram"


def test_the_libraries_own_collector_reads_the_files(directory: Path) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    registry = CollectorRegistry()
    collect: Callable[..., object] = multiprocess.MultiProcessCollector
    collect(registry)
    labels = {"method": "GET", "route": "/a", "status": "200", "outcome": "complete"}
    assert registry.get_sample_value(REQUESTS, labels) == 1
    assert registry.get_sample_value(f"{DURATION}_count", labels) == 1
    assert registry.get_sample_value(IN_FLIGHT) == 0


def test_the_libraries_own_files_are_read(directory: Path) -> None:
    metrics = PrometheusMetrics()
    write_other(directory, "counter_7.db", 2, shop="tea")
    write_other(directory, "counter_8.db", 3, shop="tea")
    write_other(directory, "gauge_max_7.db", 4, "queue")
    write_other(directory, "gauge_max_8.db", 5, "queue")
    write_other(directory, "summary_8.db", 5, "weights_sum")
    assert figure(metrics, "orders_total", shop="tea") == 5
    assert figure(metrics, "queue") == 5
    assert figure(metrics, "weights_sum") == 5


def test_a_file_grows_with_what_is_in_it(directory: Path) -> None:
    metrics = PrometheusMetrics()
    for number in range(100):
        record(metrics, f"/{number}")
    record(metrics, "/0")
    assert figure(metrics, REQUESTS) == 101
    assert figure(metrics, REQUESTS, route="/0") == 2
    assert max(path.stat().st_size for path in directory.iterdir()) > 1 << 17


def test_the_dead_are_merged_into_one_file(directory: Path) -> None:
    metrics = PrometheusMetrics()
    for _ in range(5):
        record(PrometheusMetrics())
        write_other(directory, f"counter_{DEAD}.db", 2)
        write_other(directory, f"gauge_livesum_{DEAD}.db", 1, "queue")
        write_other(directory, f"gauge_max_{DEAD}.db", 1, "queue_most")
        before = figure(metrics, REQUESTS), figure(metrics, f"{DURATION}_sum")
        merge()
        assert (figure(metrics, REQUESTS), figure(metrics, f"{DURATION}_sum")) == before
    assert figure(metrics, REQUESTS) == 5
    assert figure(metrics, "orders_total") == 10
    assert figure(metrics, "queue") == 0
    assert figure(metrics, f"{DURATION}_bucket", le="0.1") == 5
    assert [name for name in names(directory) if str(os.getpid()) not in name] == [
        "counter_0-signalpost-merged.db",
        f"gauge_max_{DEAD}.db",
        "histogram_0-signalpost-merged.db",
    ]


def test_what_is_merged_is_readable_by_the_library(directory: Path) -> None:
    write_other(directory, f"counter_{DEAD}.db", 2, shop="té \N{SNOWMAN}")
    merge()
    registry = CollectorRegistry()
    collect: Callable[..., object] = multiprocess.MultiProcessCollector
    collect(registry)
    labels = {"shop": "té \N{SNOWMAN}"}
    assert registry.get_sample_value("orders_total", labels) == 2


@pytest.mark.parametrize("number", range(1, 12))
def test_a_merge_that_dies_half_way_loses_and_doubles_nothing(
    directory: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = PrometheusMetrics()
    write_other(directory, f"counter_{DEAD + 1}.db", 5)
    merge(DEAD + 1)
    write_other(directory, f"counter_{DEAD}.db", 2)
    record(PrometheusMetrics())
    steps = 0

    def dying(step: Callable[..., t.Any]) -> Callable[..., t.Any]:
        def do(*arguments: t.Any, **more: t.Any) -> t.Any:
            nonlocal steps
            steps += 1
            if steps >= number:
                # What the process would do next is not done.
                raise KeyboardInterrupt
            return step(*arguments, **more)

        return do

    with monkeypatch.context() as patch:
        for name in ("rename", "fsync", "unlink", "fchmod"):
            patch.setattr(os, name, dying(getattr(os, name)))
        with contextlib.suppress(KeyboardInterrupt):
            merge()
    for _ in range(2):
        assert figure(PrometheusMetrics(), "orders_total") == 7
        assert figure(metrics, REQUESTS) == 1
        merge()
    assert not [name for name in names(directory) if "merged" not in name]
    # The number of a process, and so the name of its file, comes again.
    write_other(directory, f"counter_{DEAD}.db", 1)
    assert figure(metrics, "orders_total") == 8
    merge()
    assert figure(metrics, "orders_total") == 8


def test_a_live_gauge_of_a_dead_process_is_left_out(directory: Path) -> None:
    metrics = PrometheusMetrics()
    metrics.opened("shop", exchange=Exchange({}, "shop"))
    opened = Exchange({}, "shop")
    metrics.opened("shop", exchange=opened)
    other = PrometheusMetrics()
    assert figure(other, IN_FLIGHT) == 1
    # Its number is that of a living process: this one.
    del metrics
    assert figure(other, IN_FLIGHT) == 0


def damaged(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a few bytes": lambda data: data[:5],
    "header only": lambda data: data[:8],
    "cut in a key": lambda data: data[:30],
    "cut in a value": lambda data: data[: struct.unpack_from("i", data)[0] - 10],
    "zeros": lambda data: bytes(len(data)),
    "garbage": lambda data: bytes(range(1, 256)) * 50,
    "used is negative": lambda data: struct.pack("i", -5) + data[4:],
    "used is huge": lambda data: struct.pack("i", 2**31 - 1) + data[4:],
    "a key is empty": lambda data: data[:8] + struct.pack("i", 0) + data[12:],
    "a key is negative": lambda data: data[:8] + struct.pack("i", -9) + data[12:],
    "a key is huge": lambda data: data[:8] + struct.pack("i", 2**30) + data[12:],
    "no JSON": lambda data: data.replace(b"[", b"{"),
    "no text": lambda data: data.replace(b"orders", b"\xff\xfe\xff\xfe\xff\xfe"),
    "another JSON": lambda data: data.replace(b'"orders",', b"7       ,"),
    "a key without an end": lambda data: (
        struct.pack("iii", 100_036, 0, 100_000) + b"[" * 100_004 + data[-16:]
    ),
    "a lone surrogate": lambda data: data.replace(b"ordered", b"\\ud800 "),
    "no number": lambda data: data.replace(
        struct.pack("d", 7.0), struct.pack("d", float("nan"))
    ),
}


@pytest.mark.parametrize("kind", ["counter", "gauge_max", "gauge_livesum", "histogram"])
@pytest.mark.parametrize("damage", [*DAMAGES])
def test_a_damaged_file_breaks_neither_scrape_nor_merge(
    directory: Path, damage: str, kind: str
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    damaged(write_other(directory, f"{kind}_{DEAD}.db", 7), DAMAGES[damage])
    for _ in range(2):
        assert b"\nhttp_server_requests_total{" in generate_latest(metrics.registry)
        assert figure(metrics, REQUESTS) == 1
    merge()
    assert figure(metrics, REQUESTS) == 1


def test_lines_before_a_damage_count(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics()
    path = write_other(directory, f"counter_{DEAD}.db", 7)
    damaged(path, lambda data: struct.pack("i", 5000) + data[4:200])
    for _ in range(3):
        assert figure(metrics, "orders_total") == 7
    assert [one.levelno for one in caplog.records] == [logging.WARNING]
    merge()
    assert figure(metrics, "orders_total") == 7


def test_a_file_that_cannot_be_opened_is_left_out(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics()
    (directory / "counter_7.db").mkdir()
    (directory / "gauge_all_7.db").mkdir()
    record(metrics)
    assert figure(metrics, REQUESTS) == 1
    assert len(caplog.records) == 2


def test_files_that_are_none_of_these_are_left_alone(directory: Path) -> None:
    metrics = PrometheusMetrics()
    for name in ("counter.db", "histogram_x.db", "notes_7.db", "counter_7.db.bak"):
        (directory / name).write_bytes(b"notes")
    assert figure(metrics, REQUESTS) == 0
    clear_metrics(None)
    assert len(names(directory)) == 3


def test_a_start_clears_what_was_left(directory: Path) -> None:
    record(PrometheusMetrics())
    write_other(directory, "counter_7.db", 7)
    clear_metrics(None)
    assert names(directory) == []


def test_a_server_that_takes_over_clears_nothing(directory: Path) -> None:
    record(PrometheusMetrics())
    clear_metrics(SimpleNamespace(master_pid=7))
    assert figure(PrometheusMetrics(), REQUESTS) == 1
    clear_metrics(SimpleNamespace(master_pid=0))
    assert figure(PrometheusMetrics(), REQUESTS) == 0


@pytest.mark.parametrize("value", ["", "/no/such/directory"])
def test_a_server_without_a_directory_is_reported(
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="must name a directory"):
        clear_metrics(None)
    merge()
    assert f"the metrics of worker {DEAD} are not merged" in caplog.text
    assert os.listdir(tmp_path) == []


def test_a_lock_that_stays_delays_a_merge_and_no_scrape(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_directory, "_PATIENCE_SECONDS", 0.05)
    metrics = PrometheusMetrics()
    write_other(directory, f"counter_{DEAD}.db", 7)
    with (directory / ".signalpost-merge").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merge()
        assert "was locked for too long" in caplog.text
        assert figure(metrics, "orders_total") == 7
    # What was left is done with the next.
    merge(DEAD + 1)
    assert names(directory) == ["counter_0-signalpost-merged.db"]
    assert figure(metrics, "orders_total") == 7


FORK = """
import ctypes, json, os, sys, threading
from signalpost.exchange import Exchange
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import IN_FLIGHT, REQUESTS, figure, record

metrics = PrometheusMetrics()
record(metrics)
opened = Exchange({}, "shop")
metrics.opened("shop", exchange=opened)
# As if a thread of this process was counting at the moment of the fork.
metrics._store._lock.acquire()
child = FORKED_BY
if child == 0:
    record(metrics)
    record(metrics)
    os._exit(0)
metrics._store._lock.release()
os.waitpid(child, 0)
record(metrics)
print(json.dumps([figure(metrics, REQUESTS), figure(metrics, IN_FLIGHT)]))
"""


# uWSGI forks by itself, and Python does not learn of it.
UNTOLD_FORK = "ctypes.PyDLL(None).fork()"


@pytest.mark.parametrize(
    ("is_filed", "forked_by"),
    [(True, "os.fork()"), (True, UNTOLD_FORK), (False, "os.fork()")],
)
def test_a_fork_begins_with_metrics_of_its_own(
    directory: Path, is_filed: bool, forked_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_filed:
        monkeypatch.delenv(DIRECTORY_VARIABLE)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FORK.replace("FORKED_BY", forked_by)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout) == [4 if is_filed else 2, 1]


def test_a_child_writes_no_file_of_its_parent(directory: Path) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    files = set(names(directory))
    # What runs in a child; a child's own lines are not seen by who measures.
    metrics._store._process = DEAD
    _store._begin_in_child()
    record(metrics, "/b")
    assert files < set(names(directory))
    assert figure(metrics, REQUESTS) == 2
    assert figure(metrics, REQUESTS, route="/b") == 1


def test_a_child_of_an_unnoticed_fork_writes_no_file_of_its_parent(
    directory: Path,
) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    files = set(names(directory))
    metrics._store._process = DEAD
    exchange = Exchange({}, "shop")
    metrics.opened("shop", exchange=exchange)
    assert figure(metrics, IN_FLIGHT) == 1
    record(metrics, "/b")
    assert files < set(names(directory))
    assert figure(metrics, REQUESTS, route="/b") == 1


def test_a_child_of_one_process_goes_on_with_a_copy(tmp_path: Path) -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    metrics._store._lock.acquire()
    metrics._store._process = DEAD
    _store._begin_in_child()
    record(metrics)
    assert figure(metrics, REQUESTS) == 2
