"""The pages about queues are true: with real workers on a real Redis."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.live import LiveSnapshot
from signalpost.live import read_live
from tests.missing import needs
from tests.ports import free_port
from tests.servers.launch import ROOT

PAGES = ROOT / "docs" / "howto"
PATIENCE_SECONDS = 60.0
REDIS = shutil.which("redis-server")

pytestmark = needs("redis-server", "redis-server")


def code_of(page: str) -> str:
    """Return the module that a page shows."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (code,) = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    return textwrap.dedent(code)


def place_in(page: str) -> str:
    """Return where the code of a page fails, as the page itself has it."""
    lines = enumerate(code_of(page).splitlines(), 1)
    (number,) = [number for number, line in lines if "raise LookupError" in line]
    place = f"shop.py:{number}:ship"
    assert f"at=/srv/shop/{place}" in (PAGES / page).read_text(encoding="utf-8")
    return place


def stopped(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(str(REDIS), "--bind", "127.0.0.1", "--port", str(port)),
                *("--dir", str(folder), "--save", "", "--appendonly", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        wait_for(lambda: has_answer(port), lambda: (folder / "log").read_text())
        yield f"redis://127.0.0.1:{port}"
    finally:
        stopped(process)


def has_answer(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def wait_for(is_there: Callable[[], object], report: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_there():
        assert time.monotonic() < deadline, report()
        time.sleep(0.02)


class Shop:
    """The page's module in a separate folder, and processes that import it."""

    def __init__(self, folder: Path, code: str, redis_url: str, number: int) -> None:
        self.folder = folder
        self.output = folder / "worker"
        (folder / "shop.py").write_text(code, encoding="utf-8")
        (folder / "figures").mkdir()
        own = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        paths = [str(folder), str(ROOT / "src")]
        self.environment = {
            **own,
            "PYTHONPATH": os.pathsep.join(paths),
            # A database of Redis for each test.
            "REDIS_URL": f"{redis_url}/{number}",
            "FIGURES": str(folder / "figures"),
            "LIVE": str(folder / "live"),
        }

    def run(self, code: str) -> str:
        """Run code as the web server, and return what it logs."""
        done = subprocess.run(
            [sys.executable, "-c", f"import shop\n{code}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def order(self, *ids: str, also: str = "") -> str:
        """Serve requests with these ids."""
        return self.run(
            "client = shop.app.test_client()\n"
            f"for number, one in enumerate({ids!r}):\n"
            "    headers = {'X-Request-ID': one}\n"
            "    client.post(f'/orders/{number}', headers=headers).close()\n" + also
        )

    @contextmanager
    def worker(self, *command: str) -> Generator[subprocess.Popen[str]]:
        with self.output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                text=True,
            )
        try:
            yield process
        finally:
            stopped(process)

    def scrape(self) -> str:
        """Return the metrics of all processes, as another one has them."""
        metrics = PrometheusMetrics(directory=self.environment["FIGURES"])
        return generate_latest(metrics.registry).decode()

    def shown(self) -> tuple[LiveSnapshot, dict[str, tuple[int, int, int]]]:
        """Return what the live page shows, and the counts of work by name."""
        snapshot = read_live(self.environment["LIVE"])
        return snapshot, {
            one.name: (
                *(one.done_since_start, one.failed_since_start),
                one.aborted_since_start,
            )
            for one in snapshot.work
        }

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def lines(self) -> list[str]:
        """Return what the worker has logged of its work."""
        return lines_in(self.text())


def lines_in(text: str) -> list[str]:
    """Return the lines of latency and failures, without times."""
    found = re.findall(r"signalpost\.(?:latency|failures) (.*)", text)
    # A busy machine makes a stream of a response.
    lines = [re.sub(r" \(headers \S+ ms\)", "", one) for one in found]
    lines = [re.sub(r"\d+\.\d ms", "… ms", one) for one in lines]
    return [re.sub(r" at=\S*/(\S+) .*", r" at=\1", one) for one in lines]


FIGURES = """
from signalpost.integrations.prometheus import PrometheusMetrics

metrics = PrometheusMetrics(directory=os.environ["FIGURES"])
metrics.connect(app)
"""

LIVE = """
from signalpost.live import LiveRecorder

LiveRecorder(folder=os.environ["LIVE"]).connect(app)
"""

EXTRA = f"""{FIGURES}
import time

from billiard import popen_fork
from celery.exceptions import Reject

wait = popen_fork.Popen.wait


def wait_longer(process, timeout=None):
    # A process at its time limit has 0.1 seconds to end by itself before it is killed.
    return wait(process, timeout and max(timeout, 20))


popen_fork.Popen.wait = wait_longer


@queue.task(acks_late=True)
def refuse():
    raise Reject("not now", requeue=False)


@app.post("/refuse")
def refuse_now():
    refuse.delay()
    return "accepted"


@queue.task(time_limit=1)
def hang():
    time.sleep(60)


@app.post("/hang")
def hang_now():
    hang.delay()
    return "accepted"
"""

HANG = "client.post('/hang', headers={'X-Request-ID': 'f3-12'}).close()\n"
REFUSE = "client.post('/refuse', headers={'X-Request-ID': 'f3-13'}).close()\n"

REFUSED = "WORK shop.refuse aborted … ms id=f3-13"
HUNG = [f"WORK shop.hang {end} … ms id=f3-12" for end in ("aborted", "lost")]

POOLS = {"prefork": ("-c", "2"), "solo": (), "threads": ("-c", "4")}
IDS = ("f3-09", "f3-10", "f3-11")


def worker_of_celery(pool: str) -> list[str]:
    return [
        *("celery", "-A", "shop:queue", "worker", "--pool", pool, *POOLS[pool]),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "ERROR"),
    ]


@pytest.mark.parametrize("pool", POOLS)
def test_tasks_of_celery_are_units_of_work(
    pool: str, redis_url: str, tmp_path: Path
) -> None:
    shop = Shop(
        tmp_path, code_of("celery.rst") + EXTRA + LIVE, redis_url, [*POOLS].index(pool)
    )
    with shop.worker(*worker_of_celery(pool)):
        # Meanwhile, the worker starts.
        also = REFUSE + (HANG if pool == "prefork" else "")
        served = shop.order(*IDS, also=also)
        wait_for(lambda: has_finished(shop, pool), shop.text)
        # A line is logged before the unit is counted.
        count = 3 * len(IDS) + 1 + 2 * (pool == "prefork")
        wait_for(lambda: units_in(shop.scrape()) == count, shop.scrape)
        scraped = shop.scrape()
    assert lines_in(served)[:3] == [
        f"POST /orders/<int:number> 200 complete … ms 8 bytes id={one}" for one in IDS
    ]
    lines = shop.lines()
    for one in IDS:
        # A retry may run in another process before the first try has ended.
        assert sorted(line for line in lines if f"id={one}" in line) == [
            f"WORK shop.pack complete … ms 1 statement in … ms id={one}",
            f"WORK shop.ship aborted … ms id={one}",
            f"WORK shop.ship error … ms id={one}",
        ]
    # A rejected task is not lost, though Celery sends the signal of a lost one.
    assert [line for line in lines if "shop.refuse" in line] == [REFUSED]
    failed = [line for line in lines if " - call " in line]
    if pool == "prefork":
        limit = "billiard.exceptions.TimeLimitExceeded"
        hung = [re.sub(r":\d+:", ":", one) for one in lines if "shop.hang" in one]
        assert sorted(hung) == [
            f"WORK shop.hang - call {limit} at=pool.py:TimeoutHandler.on_hard_timeout",
            *HUNG,
        ]
        failed = [line for line in failed if "shop.hang" not in line]
    assert failed
    # A process shows the traceback of the first, and counts the others.
    (line,) = {*failed}
    assert line == f"WORK shop.ship - call LookupError at={place_in('celery.rst')}"
    assert statements_in(scraped) == {"shop.pack": len(IDS)}
    number = len(IDS)
    units = values_in(scraped, "work_units_total")
    if pool == "prefork":
        assert units.pop(("shop.hang", "aborted")) == 1
        assert units.pop(("shop.hang", "lost")) == 1
    assert units == {
        ("shop.pack", "complete"): number,
        ("shop.refuse", "aborted"): 1,
        ("shop.ship", "aborted"): number,
        ("shop.ship", "error"): number,
    }
    timed = values_in(scraped, "work_duration_seconds_count")
    assert timed["shop.pack", "complete"] == number
    assert ("shop.hang", "lost") not in timed
    assert not any(values_in(scraped, "work_in_flight").values())
    snapshot, counts = shop.shown()
    killed = {"shop.hang": (2, 1, 1)} if pool == "prefork" else {}
    assert counts == {
        "shop.pack": (number, 0, 0),
        "shop.refuse": (1, 0, 1),
        "shop.ship": (2 * number, number, number),
        **killed,
    }
    assert snapshot.total.requests_since_start == number + 1 + len(killed)
    assert snapshot.in_flight == ()
    assert {one.state for one in snapshot.workers} == {"ended"}


def has_finished(shop: Shop, pool: str) -> bool:
    lines = shop.lines()
    done = sum(line.startswith("WORK shop.ship error") for line in lines)
    others = {REFUSED, *(HUNG if pool == "prefork" else ())}
    return done == len(IDS) and others <= {*lines}


def units_in(scraped: str) -> float:
    """Return how many units of work were counted, if none is in flight any more."""
    if any(values_in(scraped, "work_in_flight").values()):
        return -1
    return sum(values_in(scraped, "work_units_total").values())


def values_in(scraped: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by those of its labels, in their order."""
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", scraped, re.MULTILINE)
    return {
        tuple(re.findall(r'="([^"]*)"', labels)): float(value)
        for labels, value in found
    }


def statements_in(scraped: str) -> dict[str, float]:
    """Return how many statements were counted, by route."""
    values = values_in(scraped, "sql_statements_total")
    return {route: value for (_, _, route), value in values.items()}


@pytest.mark.parametrize("kind", ["rq.worker.Worker", "rq.worker.SimpleWorker"])
def test_jobs_of_rq_are_units_of_work(
    kind: str, redis_url: str, tmp_path: Path
) -> None:
    number = 4 if kind.endswith(".Worker") else 5
    shop = Shop(tmp_path, code_of("rq.rst") + FIGURES + LIVE, redis_url, number)
    served = shop.order(*IDS)
    assert lines_in(served) == [
        f"POST /orders/<int:number> 200 complete … ms 8 bytes id={one}" for one in IDS
    ]
    with shop.worker(
        *("rq.cli", "worker", "--url", shop.environment["REDIS_URL"], "--burst"),
        *("--job-class", "shop.ShopJob", "--worker-class", kind),
    ) as process:
        process.wait(PATIENCE_SECONDS)
    scraped = shop.scrape()
    assert statements_in(scraped) == {"shop.pack": len(IDS)}
    assert values_in(scraped, "work_units_total") == {
        ("shop.pack", "complete"): len(IDS),
        ("shop.ship", "error"): len(IDS),
    }
    # The processes have ended, and what they had in flight with them.
    assert not any(values_in(scraped, "work_in_flight").values())
    lines = shop.lines()
    for one in IDS:
        assert [line for line in lines if f"id={one}" in line] == [
            f"WORK shop.pack complete … ms 1 statement in … ms id={one}",
            f"WORK shop.ship error … ms id={one}",
        ]
    failed = [line for line in lines if " - call " in line]
    # A process for each job, or one for all: the first has the traceback.
    assert len(failed) == (3 if kind.endswith(".Worker") else 1)
    (line,) = {*failed}
    assert line == f"WORK shop.ship - call LookupError at={place_in('rq.rst')}"
    snapshot, counts = shop.shown()
    assert counts == {
        "shop.pack": (len(IDS), 0, 0),
        "shop.ship": (len(IDS), len(IDS), 0),
    }
    assert {one.state for one in snapshot.workers} == {"ended"}
    assert snapshot.failures is not None
    assert [(one.route, one.times) for one in snapshot.failures.rows] == [
        ("shop.ship", len(IDS))
    ]
    assert snapshot.statements is not None
    assert [one.times for one in snapshot.statements.rows] == [len(IDS)]
    assert snapshot.total.requests_since_start == len(IDS)
