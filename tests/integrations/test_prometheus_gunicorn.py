from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import flask
import pytest

from signalpost.integrations.flask import Signalpost

pytest.importorskip("gunicorn", reason="gunicorn is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from signalpost.integrations.prometheus import PrometheusMetrics
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
ITEM = '"/items/<int:number>"'

# As a user writes it, with a counter of the client library, too.
CONFIGURATION = """\
def when_ready(server):
    with open({port_file!r}, "w") as file:
        file.write(str(server.LISTENERS[0].sock.getsockname()[1]) + "\\n")

{more}
"""
CLEAR = "from signalpost.integrations.prometheus import clear_metrics as on_starting\n"
HOOK = "from signalpost.integrations.prometheus import merge_worker as child_exit"
SERVER = """

from signalpost.integrations.gunicorn import install_server_hooks
from signalpost.integrations.gunicorn import server_signals
from signalpost.integrations.prometheus import GunicornMetrics

GunicornMetrics().connect(server_signals)
install_server_hooks(globals(), queue_header="X-Request-Start")
"""
PORT_OF_ITS_OWN = """
from signalpost.integrations.prometheus import PrometheusMetrics

ready = when_ready

def when_ready(server):
    server.served = PrometheusMetrics().serve()
    server.log.info("metrics at port %d,", server.served.port)
    ready(server)

def post_fork(server, worker):
    server.log.info("its socket in a worker is %d,", server.served._server.fileno())
"""


def new_app() -> flask.Flask:
    """Return what gunicorn serves to these tests."""
    from prometheus_client import Counter

    # The other user of one test may not be able to read Python's own modules.
    importlib.import_module("encodings.idna")
    app = flask.Flask("shop")
    Signalpost(app)
    metrics = PrometheusMetrics()
    metrics.connect(app)
    app.add_url_rule("/metrics", view_func=metrics.metrics_view)
    asked = Counter("shop_asked", "Items that were asked for.")
    gate = Path(os.environ["SHOP_GATE"])

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        asked.inc()
        return str(os.getpid())

    @app.get("/gate")
    def wait() -> t.Any:
        """Begin a body, and wait with the rest until a test opens."""

        def body() -> t.Iterator[str]:
            yield f"{os.getpid()}\n"
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not gate.exists() and time.monotonic() < deadline:
                # A process is not notified of a new file.
                time.sleep(0.02)

        return flask.Response(body())

    return app


class Served:
    """A gunicorn with several workers, and what it counts."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        scratch: Path,
        directory: Path,
        environ: dict[str, str],
    ) -> None:
        self.process = process
        self.directory = directory
        self.environ = environ
        self._scratch = scratch

    @property
    def port(self) -> int:
        path = self._scratch / "port"
        self.until(lambda: path.exists() and path.read_text().endswith("\n"))
        return int(path.read_text())

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            # Nothing else shows that another process has come so far.
            time.sleep(0.02)
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not in time\n{self.log()}\n{sorted(os.listdir(self.directory))}"
                )

    def log(self) -> str:
        return (self._scratch / "log").read_text()

    def get(self, path: str, **headers: str) -> str | None:
        """Return the text of an answer, or ``None`` if it did not come whole."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_SECONDS
        )
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException):
                return None
        assert response.status == 200, f"{text}\n{self.log()}"
        return text

    def figures(self) -> str:
        """Return a scrape; while a worker is killed, it may take a second try."""
        for _ in range(50):
            text = self.get("/metrics")
            if text is not None:
                return text
        raise AssertionError(f"no scrape came whole\n{self.log()}")

    def figure(self, name: str, *labels: str) -> float:
        return total(self.figures(), name, *labels)

    def counted(self) -> int:
        return int(self.figure("http_server_requests_total", ITEM))

    def ask(self, times: int) -> int:
        """Ask for items, and return how many answers came whole."""
        return sum(self.get("/items/7") is not None for _ in range(times))

    @contextlib.contextmanager
    def waiting(self) -> Generator[int]:
        """Keep a request open, and give the number of the worker that has it."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as it:
            it.sendall(b"GET /gate HTTP/1.1\r\nHost: shop\r\n\r\n")
            text = b""
            while not (found := re.search(rb"\r\n(\d+)\n", text)):
                text += it.recv(4096)
            yield int(found[1])

    def children(self) -> list[int]:
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(one) for one in Path(path).read_text().split()]

    def files_of(self, kind: str) -> list[str]:
        return sorted(path.name for path in self.directory.glob(f"{kind}_*.db"))


def total(text: str, name: str, *labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match(rf"{name}[{{ ]", line) and all(one in line for one in labels)
    )


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Start one gunicorn, and stop it and its workers at the end of the test."""
    started: list[Served] = []

    def start(
        kind: str = "sync",
        *options: str,
        more: str = HOOK,
        clear: str = CLEAR,
        command: tuple[str, ...] = (),
        directory: Path = tmp_path / "metrics",
    ) -> Served:
        if kind == "gevent" and importlib.util.find_spec("gevent") is None:
            pytest.skip("gevent is not installed")
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("COVERAGE_")
        }
        if not started:
            directory.mkdir()
            # Of a run before this one, whose numbers are not those of its processes.
            (directory / "counter_1.db").write_bytes(b"\x10\0\0\0 old figures")
        (tmp_path / "port").unlink(missing_ok=True)
        (tmp_path / "gunicorn.conf.py").write_text(
            CONFIGURATION.format(more=clear + more, port_file=str(tmp_path / "port"))
        )
        # As its command; by "-m", a new arbiter would find gunicorn's modules in place
        # of Python's.
        (tmp_path / "run.py").write_text(
            "from gunicorn.app.wsgiapp import run\n\nrun()\n"
        )
        environ = own | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "PROMETHEUS_MULTIPROC_DIR": str(directory),
            "SHOP_GATE": str(tmp_path / "gate"),
        }
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(*command, sys.executable, str(tmp_path / "run.py")),
                    f"{__name__}:new_app()",
                    *("--config", str(tmp_path / "gunicorn.conf.py")),
                    *("--bind", "127.0.0.1:0", "--worker-class", kind),
                    *("--graceful-timeout", "5", "--no-control-socket"),
                    *("--threads", "4", *options),
                ],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        served = Served(process, tmp_path, directory, environ)
        started.append(served)
        assert served.get("/items/7") is not None
        return served

    yield start
    for served in started:
        (tmp_path / "gate").touch()
        # The group is not shared, and is named by the arbiter's number, which is
        # not reaped before.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("kind", ["gthread", "gevent"])
def test_each_worker_shows_the_sum_of_all(kind: str, serve: Serve) -> None:
    served = serve(kind, "--workers", "2")
    served.ask(30)
    served.until(lambda: served.counted() == 31)
    assert {served.counted() for _ in range(10)} == {31}
    assert served.figure("shop_asked_total") == 31


def test_workers_that_are_recycled_lose_no_request(serve: Serve) -> None:
    served = serve("sync", "--workers", "4", "--max-requests", "10", "--preload")
    with never_falling(served) as seen:
        answered = 1 + served.ask(150)
        served.until(lambda: served.counted() == answered)
    assert answered == 151
    assert len(seen) > 10
    served.until(lambda: served.figure("shop_asked_total") == answered)
    # Each that is gone is in one file with the others.
    assert len(served.files_of("counter")) <= 2 * 4 + 2


def test_kills_and_reloads_count_nothing_twice(serve: Serve) -> None:
    served = serve("gthread", "--workers", "4")
    with never_falling(served):
        least, most = 1, 1
        for number in range(6):
            least += served.ask(20)
            most += 20
            if number % 2:
                served.process.send_signal(signal.SIGHUP)
            else:
                # What it has answered and not counted would be lost with it.
                served.until(lambda: served.counted() >= least)  # noqa: B023
                os.kill(served.children()[-1], signal.SIGKILL)
        served.until(lambda: served.counted() >= least)
    # The most is with what a killed worker had counted and not answered.
    assert least <= served.counted() <= most
    assert "not merged" not in served.log()


def test_a_killed_worker_has_nothing_in_flight(serve: Serve) -> None:
    served = serve("gthread", "--workers", "2")
    with served.waiting() as worker:
        served.until(
            # The scrape itself is the other.
            lambda: served.figure("http_server_requests_in_flight") == 2
        )
        os.kill(worker, signal.SIGKILL)
        served.until(lambda: served.figure("http_server_requests_in_flight") == 1)
    served.until(lambda: not any(f"_{worker}" in one for one in served.files_of("*")))


def test_without_the_hook_figures_are_right_all_the_same(serve: Serve) -> None:
    served = serve("gthread", "--workers", "2", more="")
    # Otherwise the killed one may have answered it, and not counted it yet.
    served.until(lambda: served.counted() == 1)
    with never_falling(served):
        with served.waiting() as worker:
            os.kill(worker, signal.SIGKILL)
        served.until(lambda: served.figure("http_server_requests_in_flight") == 1)
        answered = 1 + served.ask(20)
        served.until(lambda: served.counted() == answered)


def scrape_of(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def test_the_arbiter_serves_by_a_port_of_its_own(serve: Serve) -> None:
    served = serve("sync", "--workers", "2", more=HOOK + PORT_OF_ITS_OWN)
    served.ask(10)
    served.until(lambda: served.counted() == 11)
    # One worker may have answered all, before the other has begun.
    served.until(lambda: served.log().count("in a worker is") == 2)
    found = re.search(r"metrics at port (\d+),", served.log())
    assert found
    assert total(scrape_of(int(found[1])), "http_server_requests_total", ITEM) == 11
    assert re.findall(r"in a worker is (-?\d+),", served.log()) == ["-1", "-1"]


def test_a_new_arbiter_takes_over_and_no_count_falls(serve: Serve) -> None:
    port = free_port()
    own = PORT_OF_ITS_OWN.replace(".serve(", f".serve({port}, reuse_port=True")
    served = serve("sync", "--workers", "2", more=HOOK + SERVER + own)
    served.ask(10)
    served.until(lambda: served.counted() == 11)
    with never_falling(served):
        served.process.send_signal(signal.SIGUSR2)
        served.until(lambda: served.figure(WORKERS) == 4)
        answered = 11 + served.ask(10)
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(PATIENCE_SECONDS)
        served.until(lambda: served.figure(WORKERS) == 2)
        answered += served.ask(10)
        served.until(lambda: served.counted() == answered)
    assert answered == total(scrape_of(port), "http_server_requests_total", ITEM) == 31
    assert served.figure(STARTS) == 4
    assert "are kept" not in served.log()


STARTS = "gunicorn_worker_starts_total"
EXITS = "gunicorn_worker_exits_total"
WORKERS = "gunicorn_workers"
BUSY = "gunicorn_busy_workers"
QUEUE = "gunicorn_request_queue_seconds"


def test_a_killed_worker_is_a_silent_exit_and_a_start(serve: Serve) -> None:
    served = serve("gthread", "--workers", "2", more=HOOK + SERVER)
    served.until(lambda: served.figure(WORKERS) == 2)
    assert served.figure(STARTS) == 2
    with served.waiting() as worker:
        served.until(lambda: served.figure(BUSY) >= 1)
        os.kill(worker, signal.SIGKILL)
        served.until(lambda: served.figure(EXITS, 'reason="silent"') == 1)
    served.until(lambda: served.figure(WORKERS) == 2)
    assert served.figure(STARTS) == 3
    # The scrape itself is what one of them does.
    served.until(lambda: served.figure(BUSY) == 1)
    assert served.figure(EXITS) == 1


def test_a_timeout_is_an_aborted_exit(serve: Serve) -> None:
    # Preloaded, so that none is too late while it loads.
    options = ("--workers", "2", "--threads", "1", "--timeout", "3", "--preload")
    served = serve("sync", *options, more=HOOK + SERVER)
    with served.waiting():
        served.until(lambda: served.figure(EXITS, 'reason="aborted"') == 1)
    served.until(lambda: served.figure(STARTS) == 3)
    assert served.figure(EXITS) == 1


def test_recycled_workers_are_exits_also_after_a_reload(serve: Serve) -> None:
    served = serve("sync", "--workers", "2", "--max-requests", "10", more=HOOK + SERVER)
    served.ask(40)
    served.until(lambda: served.figure(EXITS, 'reason="exited"') >= 3)
    served.until(lambda: served.figure(STARTS) == served.figure(EXITS) + 2)
    before = served.figure(STARTS)
    served.process.send_signal(signal.SIGHUP)
    served.until(lambda: served.figure(STARTS) >= before + 2)
    served.until(lambda: served.figure(STARTS) == served.figure(EXITS) + 2)
    served.until(lambda: served.figure(WORKERS) == 2)
    # Once each, also by the second run of the configuration.
    assert served.figure(STARTS) < before + 2 + 10
    # A scrape is a request, after which another worker may exit.
    served.until(lambda: served.log().count("Booting worker") == served.figure(STARTS))
    text = served.figures()
    assert total(text, EXITS) == total(text, EXITS, 'reason="exited"')


def test_the_time_in_the_queue_is_that_of_the_header(serve: Serve) -> None:
    served = serve("gthread", "--workers", "2", more=HOOK + SERVER)
    assert served.figure(f"{QUEUE}_count") == 0
    before = time.monotonic()
    for seconds_ago in (5.5, 31):
        begun = f"t={time.time() - seconds_ago:.3f}"
        assert served.get("/items/7", **{"X-Request-Start": begun}) is not None
    most = 36.5 + time.monotonic() - before
    served.until(lambda: served.figure(f"{QUEUE}_count") == 2)
    assert served.figure(f"{QUEUE}_bucket", 'le="5.0"') == 0
    assert served.figure(f"{QUEUE}_bucket", 'le="30.0"') == 1
    assert 36.5 <= served.figure(f"{QUEUE}_sum") < most


def test_files_that_are_removed_lose_nothing(serve: Serve) -> None:
    served = serve("gthread", "--workers", "3")
    answered = 1
    with never_falling(served):
        for _ in range(3):
            answered += served.ask(20)
            # Each worker must have scraped, and so have seen the files of the others.
            served.until(
                lambda: served.counted() == answered and hold_all(served)  # noqa: B023
            )
            for path in served.directory.glob("*-signalpost-*"):
                path.unlink(missing_ok=True)
        counts = [served.counted() for _ in range(20)]
        assert counts == [answered] * 20
    assert served.log().count("written again from memory") <= 3


def hold_all(served: Served) -> bool:
    """Return whether each worker has the files of all of them open."""
    files = {path.name for path in served.directory.glob("*-signalpost-*")}
    for worker in served.children():
        links = Path(f"/proc/{worker}/fd").iterdir()
        with contextlib.suppress(FileNotFoundError):
            if not files <= {Path(os.readlink(link)).name for link in links}:
                return False
    return True


def test_a_second_start_on_a_bound_port_costs_nothing(serve: Serve) -> None:
    served = serve("gthread", "--workers", "2")
    with never_falling(served):
        answered = 1 + served.ask(20)
        # A thread counts a request after the client has its response.
        served.until(lambda: served.counted() == answered)
        os.kill(served.children()[-1], signal.SIGKILL)
        port = served.port
        second = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", f"{__name__}:new_app()"),
                *("--config", str(served.directory.parent / "gunicorn.conf.py")),
                *("--bind", f"127.0.0.1:{port}", "--no-control-socket"),
            ],
            cwd=ROOT,
            env=served.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            text = ""
            while "in use" not in text:
                line = second.stdout.readline() if second.stdout else ""
                assert line, text
                text += line
            answered += served.ask(20)
            served.until(lambda: served.counted() == answered)
        finally:
            second.kill()
            second.communicate()
    assert "processes of another run use" in text


@pytest.fixture
def open_folder() -> Generator[Path]:
    """Return a folder that other users may pass; it goes after gunicorn has ended."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root serves as another user")
def test_workers_of_another_user_have_right_sums(
    open_folder: Path, serve: Serve
) -> None:
    """With ``--user``, a tight umask, and workers that are recycled by root."""
    before = os.umask(0o077)
    try:
        served = serve(
            *("sync", "--workers", "3", "--max-requests", "10", "--preload"),
            *("--user", "nobody", "--umask", "077"),
            more=HOOK + SERVER,
            directory=open_folder / "metrics",
        )
    finally:
        os.umask(before)
    with never_falling(served):
        answered = 1 + served.ask(60)
        served.until(lambda: served.counted() == answered)
    assert answered == 61
    served.until(lambda: served.figure("shop_asked_total") == answered)
    owners = {path.stat().st_uid for path in served.directory.glob("*.db")}
    assert served.files_of("counter")[0] == "counter_0-signalpost-merged.db"
    assert owners == {pwd.getpwnam("nobody").pw_uid}
    # What root's arbiter counts is read by the workers.
    served.until(lambda: served.figure(EXITS) >= 3)
    assert served.figure(STARTS) >= 6


def can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--kill-child", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="no process namespace can be made here")
def test_numbers_that_come_again_have_nothing_in_flight(serve: Serve) -> None:
    """As in a container, where the same numbers come with each start."""
    command = ("unshare", "--pid", "--fork", "--kill-child")
    served = serve("gthread", "--workers", "2", command=command)
    # The worker that is killed may have answered, and not have counted yet.
    served.until(lambda: served.counted() == 1)
    with served.waiting() as worker:
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(PATIENCE_SECONDS)
    again = serve("gthread", "--workers", "2", command=command, clear="")
    assert any(f"gauge_livesum_{worker}-" in one for one in again.files_of("gauge"))
    again.until(lambda: again.counted() == 2)
    with again.waiting() as other:
        again.until(lambda: again.figure("http_server_requests_in_flight") == 2)
    assert other <= worker + 2


@contextlib.contextmanager
def never_falling(served: Served) -> Generator[list[int]]:
    """Scrape meanwhile, and fail if a counter falls."""
    seen: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.01):
            seen.append(served.counted())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join(2 * PATIENCE_SECONDS)
    assert seen == sorted(seen)
