"""The live page in workers of a real server, and in a separate process."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.ports import free_port

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

ROOT = Path(__file__).parents[2]
APP = "tests.servers.live_shop:app"
COUNTED = "tests.servers.live_counted:app"
TOKEN = "a-token-that-is-long-enough"
PATIENCE_SECONDS = 20.0


class Address(t.NamedTuple):
    """Where a server listens."""

    port: int

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_SECONDS
        )
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()

    def leave(self, path: str) -> None:
        """Send a request, and leave in the middle of its response."""
        at = "127.0.0.1", self.port
        with socket.create_connection(at, PATIENCE_SECONDS) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(1)

    def data(self, prefix: str = "/_signalpost", token: str = TOKEN) -> t.Any:
        path = f"{prefix}/data.json"
        status, body = self.get(path, Authorization=f"Bearer {token}")
        assert status == 200, body
        return json.loads(body)


def environment(instance: Path) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COVERAGE_", "FLASK_", "SIGNALPOST_DISABLED"))
    }
    return own | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
        "SHOP_INSTANCE": str(instance),
        "LIVE_TOKEN": TOKEN,
    }


@contextlib.contextmanager
def served(tmp_path: Path, *options: str, app: str = APP) -> Generator[Address]:
    """Run two workers, with an access log."""
    address = Address(free_port())
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", app, "--workers", "2"),
                *("--bind", f"127.0.0.1:{address.port}", "--no-control-socket"),
                *("--access-logfile", str(tmp_path / "access"), *options),
            ],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: accepts(address), log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def accepts(address: Address) -> bool:
    try:
        socket.create_connection(("127.0.0.1", address.port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(is_so: t.Callable[[], bool], log: Path | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        text = log.read_text() if log is not None else ""
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


def test_numbers_of_two_workers_are_those_of_the_access_log(tmp_path: Path) -> None:
    paths = ["/items/mug"] * 150 + ["/boom"] * 30 + ["/nothing"] * 20
    with served(tmp_path) as address:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = [*pool.map(address.get, paths)]
        # A client has its response before the server has closed and logged it.
        wait_until(lambda: requests_on(address.data()) == len(paths))
        wait_until(lambda: len(own_access_lines(tmp_path)) >= len(paths))
        lines = own_access_lines(tmp_path)
        # Any worker answers with the numbers of both.
        pages = [address.data() for _ in range(6)]
    logged = [line.split('"')[2].split()[0] for line in lines]
    assert len(logged) == len(paths)
    for page in pages:
        total = page["total"]
        assert total["requests_since_start"] == len(logged)
        assert total["failed_since_start"] == logged.count("500") == 30
        assert sum(page["seconds"]["requests"]) == len(logged)
        routes = {row["route"]: row["requests_since_start"] for row in page["routes"]}
        assert routes == {"/items/<name>": 150, "/boom": 30, "<unmatched>": 20}
        assert {row["state"] for row in page["workers"]} == {"alive"}
        assert len(page["exchanges"]) + page["exchanges_left_out"] == len(logged)
    assert sum(status == 500 for status, _ in answers) == 30
    assert 1 <= len(pages[0]["workers"]) <= 2


def test_the_page_prometheus_and_the_access_log_count_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    paths = ["/items/mug"] * 120 + ["/boom"] * 30 + ["/nothing"] * 20
    log = ("--access-logformat", "%(s)s %(U)s")
    gthread = ("--worker-class", "gthread", "--threads", "4")
    with served(tmp_path, *gthread, *log, app=COUNTED) as address:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in pool.map(address.get, paths):
                pass
            for _ in pool.map(address.leave, ["/stream"] * 9):
                pass
        wait_until(lambda: requests_on(address.data()) == len(paths) + 9)
        wait_until(lambda: sum(scraped(address).values()) == len(paths) + 9)
        page, samples = address.data(), scraped(address)
    lines = access_lines(tmp_path)
    logged = collections.Counter(
        (route_of(path), int(status))
        for status, path in map(str.split, lines)
        if not path.startswith(("/_signalpost", "/metrics"))
    )
    by_route = {row["route"]: row for row in page["routes"]}
    for route in ("/items/<name>", "/boom", "/stream", "<unmatched>"):
        row = by_route.pop(route)
        of_route = {key: count for key, count in samples.items() if key[0] == route}
        assert row["requests_since_start"] == sum(of_route.values())
        assert row["requests_since_start"] == sum(
            count for (name, _), count in logged.items() if name == route
        )
        assert row["failed_since_start"] == logged[route, 500]
        assert row["failed_since_start"] == counted(of_route, status="500")
        assert row["aborted_since_start"] == counted(of_route, outcome="aborted")
    assert by_route == {}
    total = page["total"]
    assert total["requests_since_start"] == sum(samples.values()) == logged.total()
    assert total["failed_since_start"] == counted(samples, status="500") == 30
    assert total["aborted_since_start"] == counted(samples, outcome="aborted") == 9


def access_lines(folder: Path) -> list[str]:
    # The last line may be half written.
    return (folder / "access").read_text().split("\n")[:-1]


def own_access_lines(folder: Path) -> list[str]:
    """Return those of the shop, without those of the live page."""
    return [one for one in access_lines(folder) if "/_signalpost" not in one]


def requests_on(page: t.Any) -> int:
    return int(page["total"]["requests_since_start"])


def route_of(path: str) -> str:
    if path.startswith("/items/"):
        return "/items/<name>"
    return path if path in ("/boom", "/stream") else "<unmatched>"


def scraped(address: Address) -> dict[tuple[str, tuple[str, str]], int]:
    """Return counts of requests by route, and by status and outcome."""
    found: collections.Counter[tuple[str, tuple[str, str]]] = collections.Counter()
    scrape = address.get("/metrics")[1].decode()
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            if sample.name == "http_server_requests_total":
                labels = sample.labels
                kind = labels["status"], labels["outcome"]
                found[labels["route"], kind] += int(sample.value)
    return found


def counted(
    samples: t.Mapping[tuple[str, tuple[str, str]], int],
    status: str | None = None,
    outcome: str | None = None,
) -> int:
    return sum(
        count
        for (_, kind), count in samples.items()
        if kind[0] == (status or kind[0]) and kind[1] == (outcome or kind[1])
    )


def test_a_worker_that_is_killed_is_shown_with_its_request(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        address.get("/items/mug")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            address.get("/die")
        wait_until(lambda: any(row["is_dead"] for row in address.data()["in_flight"]))
        wait_until(lambda: requests_on(address.data()) == 1)
        page = address.data()
    (row,) = [row for row in page["in_flight"] if row["is_dead"]]
    assert row["path"] == "/die"
    states = {one["worker"]: one["state"] for one in page["workers"]}
    assert states[row["worker"]] == "killed"
    assert page["total"]["requests_since_start"] == 1


def test_workers_that_are_recycled_have_ended_and_their_numbers_stay(
    tmp_path: Path,
) -> None:
    with served(tmp_path, "--max-requests", "10") as address:
        for _ in range(25):
            address.get("/items/mug")
        wait_until(
            lambda: any(row["state"] == "ended" for row in address.data()["workers"])
        )
        wait_until(lambda: requests_on(address.data()) == 25)
        page = address.data()
    assert page["total"]["requests_since_start"] == 25
    assert {row["state"] for row in page["workers"]} <= {"alive", "ended"}


def test_a_page_of_its_own_answers_while_every_worker_hangs(tmp_path: Path) -> None:
    with served(tmp_path) as address, own_page(tmp_path) as (own, token):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            hung = [pool.submit(address.get, "/wait") for _ in range(2)]
            try:
                wait_until(lambda: len(own.data("", token)["in_flight"]) == 2)
                page = own.data("", token)
                assert not any(one.done() for one in hung)
            finally:
                (tmp_path / "gate").touch()
        assert [one.result() for one in hung] == [(200, b"waited")] * 2
        assert [row["path"] for row in page["in_flight"]] == ["/wait"] * 2
        assert [row["is_busy"] for row in page["workers"]] == [True, True]
        wait_until(lambda: requests_on(own.data("", token)) == 2)
        assert own.data("", token)["in_flight"] == []


@contextlib.contextmanager
def own_page(tmp_path: Path) -> Generator[tuple[Address, str]]:
    """Run ``flask signalpost live``, and return where it is and its token."""
    process = subprocess.Popen(
        [*(sys.executable, "-m", "flask", "--app", APP), "signalpost", "live"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            url = process.stdout.readline().strip()
            begin, _, token = url.partition("/#token=")
            yield Address(int(begin.rpartition(":")[2])), token
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_SECONDS)
        assert "Traceback" not in process.stderr.read()


def test_a_page_of_its_own_is_for_its_host_and_its_token(tmp_path: Path) -> None:
    with own_page(tmp_path) as (own, token):
        bearer = f"Bearer {token}"
        assert own.get("/", Authorization=bearer)[0] == 200
        assert own.get("/", Authorization=bearer, Host="evil.example")[0] == 421
        host = f"localhost:{own.port}"
        assert own.get("/", Authorization=bearer, Host=host)[0] == 200
        assert own.get("/data.json")[0] == 401
        assert len(token) > 30
    with own_page(tmp_path) as (_, another):
        assert another != token
