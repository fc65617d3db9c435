"""Events of tasks and jobs are sent, although the processes end without atexit."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.brokers import running_redis
from tests.integrations.relay.listening import eventually

pytest.importorskip("celery", reason="celery is not installed")
pytest.importorskip("rq", reason="rq is not installed")

COUNT = 2
SHOP = """
    import os

    import redis
    from celery import Celery
    from rq import Queue
    from rq.job import Job

    from signalpost import Namespace
    from signalpost.integrations.celery import connect_celery
    from signalpost.integrations.relay import Relay
    from signalpost.integrations.rq import WorkJob

    URL = os.environ["REDIS_URL"]
    order_placed = Namespace().signal("order-placed", payload=("order",))
    Relay(URL, source="shop").forward(order_placed)

    tasks = Celery("shop", broker=URL)
    tasks.conf.task_ignore_result = True
    connect_celery(tasks)

    class ShopJob(WorkJob, Job):
        application = "shop"

    jobs = Queue(connection=redis.from_url(URL), job_class=ShopJob)

    def pack(number):
        order_placed.send("job", order=number)

    @tasks.task
    def ship(number):
        for order in range(2000):
            order_placed.send("task", order=order)
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from running_redis(tmp_path_factory.mktemp("redis"))


class Site:
    """A module with tasks and jobs, and processes that import it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self._url = url
        self._environment = os.environ | {"REDIS_URL": url}
        (folder / "shop.py").write_text(textwrap.dedent(SHOP), "utf-8")

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run Python until the block ends."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def order(self, call: str) -> None:
        """Order some tasks or jobs."""
        code = f"import shop\nfor number in range({COUNT}): {call}"
        with self.started("-c", code) as process:
            assert process.wait(30) == 0, (self.folder / "log").read_text()

    def sent(self) -> int:
        """Return how many events are in the stream."""
        with redis.from_url(self._url) as connection:
            return int(connection.xlen("signalpost:order-placed"))


@pytest.fixture
def site(tmp_path: Path, server: RedisServer) -> Site:
    return Site(tmp_path, server.url)


def test_events_of_jobs_of_rq_are_sent(site: Site, server: RedisServer) -> None:
    site.order('shop.jobs.enqueue("shop.pack", number)')
    words = ("--url", server.url, "--burst", "--job-class", "shop.ShopJob")
    with site.started("-m", "rq.cli", "worker", *words) as worker:
        assert worker.wait(60) == 0
    assert site.sent() == COUNT


def test_events_of_tasks_of_celery_are_sent(site: Site) -> None:
    site.order("shop.ship.delay(number)")
    # A process for each task: it ends when its task has returned.
    pool = ("--pool", "prefork", "-c", "1", "--max-tasks-per-child", "1")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    with site.started("-m", "celery", "-A", "shop:tasks", "worker", *pool, *quiet):
        # So many that they are not all sent when the task returns.
        eventually(lambda: site.sent() == COUNT * 2000)
