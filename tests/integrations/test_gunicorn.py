from __future__ import annotations

import contextlib
import gc
import http.client
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import typing as t
import weakref
from collections import Counter
from collections.abc import Callable
from collections.abc import Generator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

from gunicorn.config import Config  # type: ignore[import-untyped]  # it has no types

from signalpost.integrations.gunicorn import child_exit
from signalpost.integrations.gunicorn import install_server_hooks
from signalpost.integrations.gunicorn import on_exit
from signalpost.integrations.gunicorn import post_request
from signalpost.integrations.gunicorn import pre_request
from signalpost.integrations.gunicorn import server_signals
from signalpost.integrations.gunicorn import worker_abort
from signalpost.integrations.gunicorn import worker_exit

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 15.0
SHOP = "tests.integrations.gunicorn_site.shop"
ITEM = "/items/<int:number>"

CONFIGURATION = """\
from signalpost.integrations.gunicorn import install_server_hooks
from signalpost.integrations.gunicorn import server_signals
from tests.integrations.gunicorn_site import notes

@server_signals.connect
def note(sender, signal, **payload):
    notes.note("{run}", sender, signal, payload)

{more}
install_server_hooks(globals(), queue_header="X-Request-Start")
"""

Line = dict[str, t.Any]


class Served:
    """A gunicorn that runs, and its recorded signals."""

    def __init__(self, process: subprocess.Popen[bytes], scratch: Path) -> None:
        self.process = process
        self._scratch = scratch
        self._gate = scratch / "notes.gate"

    def configure(self, run: str) -> None:
        configure(self._scratch, run)

    def lines(self, signal_name: str = "", **wanted: object) -> list[Line]:
        """Return the records, in order: of one signal, or of all."""
        path = self._scratch / "notes"
        text = path.read_text() if path.exists() else ""
        # The last may be in the making.
        whole = [json.loads(line) for line in text.split("\n")[:-1]]
        return [
            line
            for line in whole
            if signal_name in ("", line["signal"])
            and all(line.get(name) == value for name, value in wanted.items())
        ]

    def line(self, signal_name: str, **wanted: object) -> Line:
        """Wait for a line of this signal, and return the first."""
        self.until(lambda: bool(self.lines(signal_name, **wanted)), signal_name, wanted)
        return self.lines(signal_name, **wanted)[0]

    def until(self, is_so: Callable[[], bool], *what: object) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            # Nothing else shows that another process has come so far.
            time.sleep(0.02)
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}\n{self.log()}")

    def log(self) -> str:
        told = "\n".join(map(str, self.lines()))
        return f"{told}\n{(self._scratch / 'log').read_text()}"

    def get(self, path: str, **headers: str) -> str:
        """Return the text of an answer, or why there is none."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.line("when-ready")["port"], timeout=PATIENCE_SECONDS
        )
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers=names)
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException) as error:
                return type(error).__name__

    @contextlib.contextmanager
    def asking(self, *paths: str) -> Generator[list[str]]:
        """Ask meanwhile, until gunicorn has begun; answers are there after."""
        self._gate.unlink(missing_ok=True)
        before = len(self.lines("pre-request"))
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda path=path: answers.append(self.get(path)))
            for path in paths
        ]
        for thread in threads:
            thread.start()
        self.until(lambda: len(self.lines("pre-request")) == before + len(paths), paths)
        yield answers
        self.open_gate()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)

    def open_gate(self) -> None:
        self._gate.touch()

    def tell(self, number: signal.Signals, pid: int | None = None) -> None:
        os.kill(self.process.pid if pid is None else pid, number)

    def stop(self) -> None:
        """Stop it as an init system does, and wait for all records."""
        self.open_gate()
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)


def configure(scratch: Path, run: str, more: str = "") -> None:
    text = CONFIGURATION.format(run=run, more=more)
    (scratch / "gunicorn.conf.py").write_text(text)


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Start one gunicorn, and stop it and its workers at the end of the test."""
    started: list[Served] = []

    def start(
        kind: str = "sync", *options: str, app: str = f"{SHOP}:app", more: str = ""
    ) -> Served:
        if kind == "gevent" and importlib.util.find_spec("gevent") is None:
            pytest.skip("gevent is not installed")
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("COVERAGE_")
        }
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with (tmp_path / "log").open("wb") as log:
            configure(tmp_path, "first", more)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", app),
                    *("--config", str(tmp_path / "gunicorn.conf.py")),
                    *("--bind", "127.0.0.1:0", "--worker-class", kind),
                    *("--graceful-timeout", "5", "--no-control-socket", *options),
                ],
                cwd=ROOT,
                env=own | {"PYTHONPATH": paths, "SHOP_NOTES": str(tmp_path / "notes")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        served = Served(process, tmp_path)
        started.append(served)
        served.line("post-worker-init")
        return served

    yield start
    for served in started:
        served.open_gate()
        # A worker outlives its arbiter for a while. The group is not shared, and
        # is named by the arbiter's number, which is not reaped before.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(PATIENCE_SECONDS)


def names(lines: list[Line]) -> list[str]:
    return [line["signal"] for line in lines]


def is_balanced(served: Served) -> bool:
    """Return whether each request that began has also ended, in its worker."""
    begun = Counter((one["pid"], one["path"]) for one in served.lines("pre-request"))
    ended = Counter((one["pid"], one["path"]) for one in served.lines("post-request"))
    return begun == ended


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_each_moment_of_a_server_is_reported_once(kind: str, serve: Serve) -> None:
    served = serve(kind, "--threads", "2")
    started_at = time.time() - 2
    served.get("/items/7", X_Request_Start=f"t={started_at:.3f}")
    served.line("post-request")
    served.stop()
    arbiter = served.process.pid
    ends = [line for line in served.lines() if line["signal"].endswith("exit")]
    assert names(served.lines(pid=arbiter))[:4] == [
        *("nworkers-changed", "on-starting", "when-ready", "pre-fork")
    ]
    worker = served.line("post-fork")["pid"]
    assert names(served.lines(pid=worker)) == [
        *("post-fork", "post-worker-init", "pre-request", "post-request"),
        "worker-exit",
    ]
    assert names(ends) == ["worker-exit", "child-exit", "on-exit"]
    assert ends[1]["worker"] == worker
    assert ends[1]["is_silent"] is False
    assert ends[1]["requests"] == []


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_a_request_is_reported_with_its_exchange(kind: str, serve: Serve) -> None:
    served = serve(kind, "--threads", "2")
    served.get("/items/7", X_Request_Start=f"t={time.time() - 2:.3f}")
    line = served.line("post-request")
    assert (line["route"], line["outcome"]) == (ITEM, "complete")
    assert 2 <= line["queue_seconds"] < 2 + PATIENCE_SECONDS
    assert 0 < line["duration_seconds"] < PATIENCE_SECONDS


def test_a_copied_environment_still_leads_to_the_exchange(serve: Serve) -> None:
    served = serve(app=f"{SHOP}:copying")
    served.get("/items/7")
    line = served.line("post-request")
    assert (line["route"], line["outcome"]) == (ITEM, "complete")
    assert line["exchange_path"] == "/items/7"


# Preloaded, so that none is too late while it loads.
SOON = ("--timeout", "1", "--preload")


def test_a_timeout_is_reported_with_the_request_that_took_too_long(
    serve: Serve,
) -> None:
    served = serve("sync", *SOON)
    with served.asking("/gate") as answers:
        told = served.line("worker-abort", requests=["GET /gate"])
        ended = served.line("post-request", path="/gate")
        gone = served.line("child-exit", worker=told["pid"])
    assert "open" in told["exchanges"][0]
    assert (ended["outcome"], ended["exception"]) == ("error", "SystemExit")
    assert (gone["is_silent"], gone["aborted"]) == (False, True)
    assert gone["requests"] == []
    assert answers != ["open"]


def test_a_worker_that_ignores_sigabrt_is_reported_by_the_arbiter(serve: Serve) -> None:
    served = serve("sync", *SOON)
    with served.asking("/stuck"):
        gone = served.line("child-exit", requests=["GET /stuck"])
    assert (gone["is_silent"], gone["aborted"]) == (True, True)
    assert served.lines("worker-abort", pid=gone["worker"]) == []


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_a_killed_worker_is_reported_with_its_requests(kind: str, serve: Serve) -> None:
    served = serve(kind, "--threads", "2")
    paths = ["/gate"] if kind == "sync" else ["/gate", "/long"]
    worker = served.line("post-fork")["pid"]
    with served.asking(*paths):
        served.tell(signal.SIGKILL, worker)
        gone = served.line("child-exit", worker=worker)
        served.until(lambda: len(served.lines("post-worker-init")) == 2)
    assert sorted(gone["requests"]) == [f"GET {path}" for path in paths]
    assert (gone["is_silent"], gone["aborted"]) == (True, False)
    assert served.lines("post-request", pid=worker) == []


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_a_stop_under_load_ends_each_request(kind: str, serve: Serve) -> None:
    served = serve(kind, "--threads", "4")
    paths = ["/gate"] if kind == "sync" else ["/gate", "/long", "/gate"]
    bodies = ["open" if path == "/gate" else "begundone" for path in paths]
    with served.asking(*paths) as answers:
        served.tell(signal.SIGTERM)
        served.until(lambda: "Handling signal: term" in served.log())
    served.process.wait(PATIENCE_SECONDS)
    assert sorted(answers) == sorted(bodies)
    assert is_balanced(served)
    for line in served.lines("post-request"):
        assert line["exchange_path"] == line["path"]
    assert {one["outcome"] for one in served.lines("post-request")} == {"complete"}
    assert names(served.lines())[-1] == "on-exit"
    assert served.line("child-exit")["is_silent"] is False


def test_a_quick_stop_shows_what_it_cuts_off(serve: Serve) -> None:
    served = serve()
    with served.asking("/gate"):
        served.tell(signal.SIGQUIT)
        assert served.line("worker-int")["requests"] == ["GET /gate"]
        served.process.wait(PATIENCE_SECONDS)
    assert is_balanced(served)


def test_a_reload_leaves_each_receiver_connected_once(serve: Serve) -> None:
    served = serve()
    old = served.line("post-fork")["pid"]
    served.get("/items/1")
    served.configure("second")
    served.tell(signal.SIGHUP)
    served.line("child-exit", worker=old)
    served.get("/items/2")
    served.line("post-request", path="/items/2")
    served.stop()
    new = served.lines("post-fork")[1]["pid"]
    assert names(served.lines(pid=new, run="second")) == [
        *("post-fork", "post-worker-init", "pre-request", "post-request"),
        "worker-exit",
    ]
    assert served.lines(pid=new, run="first") == []
    assert len(served.lines("on-reload")) == 1
    assert served.lines("on-reload", run="second") != []
    assert names(served.lines(pid=old))[-1] == "worker-exit"
    gone = served.lines("child-exit")
    assert [(one["worker"], one["is_silent"]) for one in gone] == [
        *((old, False), (new, False))
    ]


def test_one_worker_more_is_reported(serve: Serve) -> None:
    served = serve()
    served.tell(signal.SIGTTIN)
    served.line("nworkers-changed", new_value=2)
    served.until(lambda: len(served.lines("post-worker-init")) == 2)
    served.stop()
    assert len(served.lines("child-exit", is_silent=False)) == 2


@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_workers_that_take_turns_show_each_request_once(
    options: tuple[str, ...], serve: Serve
) -> None:
    served = serve("sync", "--max-requests", "2", *options)
    for number in range(5):
        served.get(f"/items/{number}")
        served.line("post-request", path=f"/items/{number}")
    served.stop()
    assert is_balanced(served)
    assert len(served.lines("post-request")) == 5
    assert {one["route"] for one in served.lines("post-request")} == {ITEM}
    for name in ("post-fork", "post-worker-init", "worker-exit", "child-exit"):
        assert len(served.lines(name)) == len(served.lines("pre-fork"))
    assert {one["is_silent"] for one in served.lines("child-exit")} == {False}


OWN_HOOKS = """\
def refuse(sender, **extra):
    raise RuntimeError("the receiver's")

for each in server_signals.values():
    each.connect(refuse)

def post_fork(server, worker):
    worker.log.info("own post_fork")

def post_request(worker, req):
    worker.log.info("own post_request of %s", req.path)
    raise RuntimeError("the file's own")
"""


def test_receivers_that_raise_and_own_hooks_leave_the_server_as_it_is(
    serve: Serve,
) -> None:
    served = serve(more=OWN_HOOKS)
    assert served.get("/items/1").startswith("1 by")
    assert served.get("/items/2").startswith("2 by")
    served.stop()
    log = served.log()
    assert served.process.returncode == 0
    assert "own post_fork" in log
    assert "own post_request of /items/2" in log
    assert "RuntimeError: the receiver's" in log
    assert len(served.lines("post-request")) == 2


def test_the_configuration_of_the_how_to_page_does_what_it_shows(serve: Serve) -> None:
    page = (ROOT / "docs" / "howto" / "gunicorn.rst").read_text(encoding="utf-8")
    block = page.split(".. code-block:: python\n\n")[1].split("\n\nThe sender is")[0]
    served = serve("sync", *SOON, more=textwrap.dedent(block))
    served.get("/items/7")
    with served.asking("/gate"):
        served.line("worker-abort", requests=["GET /gate"])
    with served.asking("/stuck"):
        served.line("child-exit", requests=["GET /stuck"])
    # Our own receiver is called before those of the page.
    for text in (
        "GET '/items/7' complete",
        "aborted in GET '/gate'",
        "died in ['/stuck']",
    ):
        served.until(lambda: text in served.log(), text)  # noqa: B023


@dataclass(eq=False)
class Worker:
    """The values of a worker in hooks."""

    pid: int = 7
    aborted: bool = False
    log: logging.Logger = field(default_factory=logging.getLogger)


class Server:
    """The values of the arbiter in hooks."""


@dataclass(eq=False)
class Request:
    """The values of a request in hooks."""

    path: str = "/items/7"
    method: str = "GET"
    headers: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def tidy() -> Generator[None]:
    """Disconnect what a test has connected, directly or not."""
    signals = [*server_signals.values(), *catalogue.values()]
    before = {one: {info.receiver for info in one.connections} for one in signals}
    yield
    for one in signals:
        for info in one.connections:
            if info.receiver not in before[one]:
                one.disconnect(info.receiver)


def installed(**namespace: t.Any) -> dict[str, t.Any]:
    install_server_hooks(namespace)
    return namespace


IN_GUNICORN = {"gunicorn.socket": None}


def serve_here(
    hooks: dict[str, t.Any], worker: Worker, app: t.Any, **environ: t.Any
) -> None:
    """Do with a request what gunicorn does."""
    req = Request()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": req.path, **environ}
    hooks["pre_request"](worker, req)
    body = app(environ, lambda status, headers, exc_info=None: None)
    b"".join(body)
    getattr(body, "close", lambda: None)()
    hooks["post_request"](worker, req, environ, None)


def hello(environ: object, start_response: t.Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_each_server_hook_has_a_signal_but_the_one_that_is_asked() -> None:
    hooks = {
        name.replace("_", "-")
        for name, setting in Config().settings.items()
        if setting.section == "Server Hooks" and name != "ssl_context"
    }
    assert server_signals.keys() == hooks


@pytest.mark.parametrize("name", list(server_signals))
def test_a_function_that_was_written_as_a_hook_connects_as_it_is(name: str) -> None:
    hook = Config().settings[name.replace("-", "_")].get()
    one = server_signals[name]
    assert one.connect(hook) is hook
    assert one.disconnect(hook)


def test_gunicorn_takes_each_hook() -> None:
    settings = Config().settings
    for name, hook in installed().items():
        settings[name].set(hook)
        assert settings[name].get() is hook


@pytest.mark.parametrize(
    "own",
    [
        lambda worker, req: [worker, req],
        lambda worker, req, environ: [worker, req],
        lambda worker, req, environ, resp: [worker, req],
    ],
)
def test_an_own_hook_is_given_as_much_as_it_takes(own: Callable[..., object]) -> None:
    hooks = installed(post_request=own)
    worker, req = Worker(), Request()
    assert hooks["post_request"](worker, req, {}, None) == [worker, req]


def own_hook(server: object) -> str:
    return "from afar"


def test_an_own_hook_may_be_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shop_hooks", sys.modules[__name__])
    assert installed(on_exit="shop_hooks.own_hook")["on_exit"](Server()) == "from afar"


def test_what_gunicorn_does_without_own_hooks_is_still_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        installed()["pre_request"](Worker(), Request())
    assert caplog.messages == ["GET /items/7"]


def test_a_hook_that_gunicorn_would_refuse_is_named_with_its_file() -> None:
    with pytest.raises(ConfigurationError, match="post_fork must be") as raised:
        installed(post_fork=lambda server: None, __file__="gunicorn.conf.py")
    assert (raised.value.source, raised.value.key) == ("gunicorn.conf.py", "post_fork")


def test_what_is_no_namespace_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"install_server_hooks\(globals\(\)"):
        install_server_hooks(t.cast("dict[str, t.Any]", "gunicorn.conf.py"))


@pytest.mark.parametrize("header", ["", "X-Request-Start:", 7])
def test_what_is_no_name_of_a_header_is_refused(header: t.Any) -> None:
    with pytest.raises(ConfigurationError, match="queue_header must be the name"):
        install_server_hooks({}, queue_header=header)


def test_a_file_that_takes_another_in_sends_once() -> None:
    calls: list[object] = []
    first = installed(on_exit=lambda server: calls.append(server))
    second = installed(**first)
    server = Server()
    with capture(on_exit) as sent:
        second["on_exit"](server)
    assert [one.sender for one in sent] == calls == [server]


def test_a_receiver_that_has_the_name_of_its_hook_is_called_once() -> None:
    calls: list[object] = []

    def keep(server: object) -> None:
        calls.append(server)

    server = Server()
    with on_exit.connected_to(keep):
        installed(on_exit=keep)["on_exit"](server)
    assert calls == [server]


def test_an_async_receiver_is_logged_and_not_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def note(server: object) -> None: ...

    with on_exit.connected_to(note):
        installed()["on_exit"](Server())
    assert "is async" in caplog.text


CONFIGURED = """\
from signalpost.integrations.gunicorn import on_exit
from signalpost.lifecycle import exchange_closed
from tests.integrations.test_gunicorn import own_hook

class Keeper:
    def keep(self, sender):
        pass

    def __call__(self, sender):
        pass

def note(sender):
    pass

keeper, callable_keeper = Keeper(), Keeper()
for receiver in (note, keeper.keep, callable_keeper, own_hook):
    on_exit.connect(receiver, weak=False)
exchange_closed.connect(note)
"""


def run(path: str) -> dict[str, t.Any]:
    """Run a configuration file again, as gunicorn does."""
    namespace: dict[str, t.Any] = {"__file__": path}
    exec(CONFIGURED, namespace)
    install_server_hooks(namespace)
    return namespace


@pytest.mark.usefixtures("tidy")
def test_a_file_that_is_run_again_leaves_nothing_connected_twice() -> None:
    run("gunicorn.conf.py")
    other = run("other.conf.py")
    again = run("gunicorn.conf.py")
    install_server_hooks(again)
    receivers = [info.receiver for info in on_exit.connections]
    own = again["own_hook"]
    made = [
        one
        for each in (other, again)
        for one in (each["note"], each["keeper"].keep, each["callable_keeper"])
    ]
    assert len(receivers) == len(made) + 1
    assert all(one in receivers for one in [*made, own])
    closed = [info.receiver for info in exchange_closed.connections]
    assert closed == [other["note"], again["note"]]


NOW = 1_800_000_000.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["t=1800000000.000"], 0.5),
        (["1800000000"], 0.5),
        ([" t=1799999999.5 "], 1.0),
        (["1800000000250"], 0.25),
        (["t=1800000000250.5"], 0.2495),
        (["t=1800000000250000"], 0.25),
        (["1799996400.5"], 3600.0),
        (["1800000001.25"], 0.0),
        (["1800000002"], None),
        (["1799996399"], None),
        (["18000000002500000000"], None),
        (["t=1800000000.000", "t=1800000000.000"], None),
        (["1800000000, 1800000000"], None),
        (["t=soon"], None),
        (["-1800000000"], None),
        (["1.8e9"], None),
        (["١٨٠٠٠٠٠٠٠٠"], None),
        (["7"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_queue_time_is_reported_if_it_can_be_one(
    values: list[str], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    hooks: dict[str, t.Any] = {}
    install_server_hooks(hooks, queue_header="X-Request-Start")
    req = Request(headers=[("X-REQUEST-START", value) for value in values])
    with capture(pre_request) as sent:
        hooks["pre_request"](Worker(), req)
    assert sent[0]["queue_seconds"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("tidy")
def test_without_receivers_no_exchange_is_recorded() -> None:
    seen = []

    def app(environ: dict[str, t.Any], start_response: t.Any) -> list[bytes]:
        seen.append(environ.get("signalpost.exchange"))
        return hello(environ, start_response)

    serve_here(installed(), Worker(), SignalMiddleware(app), **IN_GUNICORN)
    assert seen == [None]


@pytest.mark.usefixtures("tidy")
def test_a_request_that_began_without_receivers_has_no_exchange() -> None:
    hooks, worker, req = installed(), Worker(), Request()
    hooks["pre_request"](worker, req)
    with capture(post_request) as sent:
        hooks["post_request"](worker, req, {}, None)
    assert sent[0]["exchange"] is None
    assert sent[0]["duration_seconds"] is None


@pytest.mark.usefixtures("tidy")
def test_the_outermost_exchange_is_that_of_the_request() -> None:
    inner = SignalMiddleware(hello)

    def app(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        return inner(environ, start_response)

    outer = SignalMiddleware(app)
    with capture(post_request) as sent, capture(exchange_closed) as closed:
        serve_here(installed(), Worker(), outer, **IN_GUNICORN)
    assert len(closed) == 2
    assert sent[0]["exchange"] is closed[1]["exchange"]
    assert closed[1].sender is app


@pytest.mark.usefixtures("tidy")
def test_a_request_inside_the_request_is_another() -> None:
    with capture(post_request) as sent:
        serve_here(installed(), Worker(), SignalMiddleware(hello))
    assert sent[0]["exchange"] is None


@pytest.mark.usefixtures("tidy")
def test_an_exchange_outside_of_a_request_is_left_alone() -> None:
    hooks = installed()
    app = SignalMiddleware(hello)
    with capture(post_request) as sent:
        serve_here(hooks, Worker(), app, **IN_GUNICORN)
        b"".join(app({**IN_GUNICORN}, lambda *_: lambda _: None))
    assert sent[0]["exchange"].path == "/items/7"


@pytest.mark.usefixtures("tidy")
def test_an_exchange_does_not_outlive_its_request() -> None:
    with capture(exchange_closed) as closed, post_request.connected_to(note_nothing):
        serve_here(installed(), Worker(), SignalMiddleware(hello), **IN_GUNICORN)
        exchange = weakref.ref(closed.pop()["exchange"])
    gc.collect()
    assert exchange() is None


def note_nothing(sender: object, **payload: object) -> None:
    """Receive it."""


@pytest.mark.usefixtures("tidy")
def test_the_arbiter_names_sixteen_requests_at_the_most() -> None:
    hooks, server, worker = installed(), Server(), Worker()
    requests = [Request(f"/items/{number}") for number in range(20)]
    with capture(child_exit) as sent:
        hooks["pre_fork"](server, worker)
        for req in requests:
            hooks["pre_request"](worker, req)
        for req in [*requests[:4], requests[19]]:
            hooks["post_request"](worker, req, {}, None)
        hooks["pre_request"](worker, Request("/last"))
        hooks["child_exit"](server, worker)
    assert [one.path for one in sent[0]["requests"]] == [
        *(f"/items/{number}" for number in range(4, 16)),
        "/last",
    ]
    assert sent[0]["is_silent"] is True


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("path", ["/" + "x" * 5000, "/" + "é" * 5000, "/\ud800", ""])
def test_the_arbiter_names_a_path_of_any_kind(path: str) -> None:
    hooks, server, worker = installed(), Server(), Worker()
    with capture(child_exit) as sent:
        hooks["pre_fork"](server, worker)
        hooks["pre_request"](worker, Request(path, "PUT"))
        hooks["child_exit"](server, worker)
    told = sent[0]["requests"][0]
    assert told.method == "PUT"
    assert path.startswith(told.path[:200].replace("?", "\ud800"))
    assert len(told.path) < 250


@pytest.mark.usefixtures("tidy")
def test_requests_whose_end_is_never_reported_are_released() -> None:
    hooks, worker = installed(), Worker()
    with capture(worker_abort) as sent:
        first = Request()
        hooks["pre_request"](worker, first)
        reference = weakref.ref(first)
        del first
        for number in range(5000):
            hooks["pre_request"](worker, Request(f"/items/{number}"))
        hooks["worker_abort"](worker)
    assert len(sent[0]["requests"]) == 4096
    assert sent[0]["requests"][-1].path == "/items/4999"
    assert reference() is None


@pytest.mark.usefixtures("tidy")
def test_a_worker_does_not_see_its_siblings() -> None:
    hooks, server, old, new = installed(), Server(), Worker(1), Worker(2)
    hooks["pre_fork"](server, old)
    hooks["pre_fork"](server, new)
    hooks["post_fork"](server, new)
    with capture(child_exit) as sent:
        hooks["child_exit"](server, old)
        hooks["child_exit"](server, new)
    assert [one["is_silent"] for one in sent] == [None, True]
    assert [one["requests"] for one in sent] == [(), ()]


@pytest.mark.usefixtures("tidy")
def test_a_worker_that_leaves_with_work_undone_reports_it() -> None:
    hooks, server, worker = installed(), Server(), Worker()
    with capture(worker_exit, child_exit) as sent:
        hooks["pre_fork"](server, worker)
        hooks["pre_request"](worker, Request())
        hooks["worker_exit"](server, worker)
        hooks["child_exit"](server, worker)
    left, gone = sent
    assert [one.path for one in left["requests"]] == ["/items/7"]
    assert [one.path for one in gone["requests"]] == ["/items/7"]
    assert gone["is_silent"] is False
