"""The id of a request in its response and on all its lines, by real servers."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import typing as t
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.launch import Address
from tests.servers.launch import missing
from tests.servers.launch import ROOT
from tests.servers.launch import serving

APP = "tests.integrations.ids_site.shop:app"
PATIENCE_SECONDS = 20.0
EXPECTED = {
    "mugs": ["body", "thread", "view"],
    "orders": ["error", "thread", "thread", "view"],
}


class Answer(t.NamedTuple):
    number: int
    status: int
    ids: list[str]


def get(address: Address, path: str, number: int, **headers: str) -> Answer:
    return request("GET", address, path, number, **headers)


def request(
    method: str, address: Address, path: str, number: int, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_SECONDS)
    try:
        connection.request(
            method,
            f"/{path}/{number}",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        response = connection.getresponse()
        response.read()
        ids = [
            value
            for name, value in response.getheaders()
            if name.lower() == "x-request-id"
        ]
        return Answer(number, response.status, ids)
    finally:
        connection.close()


def lines_in(path: Path, closed: int) -> list[dict[str, t.Any]]:
    """Return the lines, once so many requests have closed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        # The last line may be half written.
        whole = path.read_text().split("\n")[:-1]
        lines = [json.loads(line) for line in whole]
        ends = [line for line in lines if line.get("line") == "latency"]
        if len(ends) >= closed or time.monotonic() > deadline:
            assert len(ends) == closed
            return lines
        time.sleep(0.02)


@pytest.mark.parametrize("server", ["gunicorn-sync", "gunicorn-gthread", "werkzeug"])
def test_each_line_and_the_response_have_one_id(server: str, tmp_path: Path) -> None:
    reason = missing(server)
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path / "lines"
    count = 20
    with serving(server, APP, LINES=str(path)) as address:
        with ThreadPoolExecutor(4) as pool:
            works = [
                (kind, pool.submit(get, address, kind, number))
                for number in range(count)
                for kind in EXPECTED
            ]
        answers = [(kind, work.result()) for kind, work in works]
        lines = lines_in(path, closed=2 * count)
    assert len({answer.ids[0] for _, answer in answers}) == 2 * count
    for kind, answer in answers:
        assert answer.status == (200 if kind == "mugs" else 404)
        (sent,) = answer.ids
        own = [line for line in lines if line["request_id"] == sent]
        assert {line["route"] for line in own} == {f"/{kind}/<int:number>"}
        words = sorted(line["message"] for line in own if "line" not in line)
        assert words == [f"{word} {answer.number}" for word in EXPECTED[kind]]
        assert len(own) == len(words) + 1
    assert len(lines) == sum(len(words) + 1 for words in EXPECTED.values()) * count


def test_the_id_of_the_front_is_used_unless_it_is_hostile(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    hostile = "f3 admin=yes"
    with serving("gunicorn-sync", APP, LINES=str(path)) as address:
        first = get(address, "mugs", 1, X_Request_ID="f3-09")
        second = get(address, "orders", 2, X_Request_ID=hostile)
        third = get(address, "orders", 3, X_Request_ID="x" * 4_000)
        lines = lines_in(path, closed=3)
    assert first.ids == ["f3-09"]
    assert {line["request_id"] for line in lines} == {
        "f3-09",
        *second.ids,
        *third.ids,
    }
    assert not {hostile, "x" * 4_000} & {*second.ids, *third.ids}
    assert hostile not in path.read_text()


@contextmanager
def worker(output: Path, **environment: str) -> Generator[None]:
    """Run a worker of Celery until the block ends."""
    module = "tests.integrations.ids_site.jobs"
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    own = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    with output.open("w") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", module, "worker"),
                *("--pool", "solo", "--without-gossip", "--without-mingle"),
                *("--without-heartbeat", "--loglevel", "ERROR"),
            ],
            cwd=ROOT,
            env={**own, **environment, "PYTHONPATH": paths, "WORKER": "yes"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("server", ["gunicorn-sync", "gunicorn-gthread", "werkzeug"])
def test_tasks_of_a_worker_have_the_id_of_their_request(
    server: str, tmp_path: Path
) -> None:
    reason = missing(server)
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path / "lines"
    broker = tmp_path / "broker"
    for folder in (broker, broker / "control", broker / "processed"):
        folder.mkdir()
    environment = {"LINES": str(path), "BROKER": str(broker)}
    wanted = [(kind, number) for number in range(4) for kind in EXPECTED]
    with serving(server, APP, **environment) as address:
        # The first makes the queue's file, which others must not read half-written.
        # Messages must not be read so, either: the worker starts when all are there.
        answers = [(kind, request("POST", address, kind, n)) for kind, n in wanted[:1]]
        with ThreadPoolExecutor(4) as pool:
            works = [
                (kind, pool.submit(request, "POST", address, kind, number))
                for kind, number in wanted[1:]
            ]
        answers += [(kind, work.result()) for kind, work in works]
        lines_in(path, closed=len(wanted))
    output = tmp_path / "output"
    with worker(output, **environment):
        deadline = time.monotonic() + 3 * PATIENCE_SECONDS
        while path.read_text().count('"shipped ') < len(wanted):
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)
    lines = lines_in(path, closed=len(wanted))
    assert len({answer.ids[0] for _, answer in answers}) == len(wanted)
    for kind, answer in answers:
        assert answer.status == 200
        (sent,) = answer.ids
        own = [line for line in lines if line.get("request_id") == sent]
        route = f"/{kind}/<int:number>"
        assert {line["route"] for line in own} == {route, "pack", "ship"}
        words = sorted(line["message"] for line in own if "line" not in line)
        assert words == [
            f"{word} {answer.number}"
            for word in ("packed", "shipped", "thread", "tried", "view")
        ]
