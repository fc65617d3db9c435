"""Work that a request hands on: who sees its exchange, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ExchangeClosedError
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import sql_executed
from signalpost.receivers.sql_totals import count_sql
from signalpost.receivers.sql_totals import sql_totals
from signalpost.testing import capture
from tests.wsgi.current import path_now
from tests.wsgi.current import receive
from tests.wsgi.current import recorded_and_taken_back
from tests.wsgi.current import WAIT_SECONDS
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

sa = pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")
asyncio_engines = importlib.import_module("sqlalchemy.ext.asyncio")
instrument = importlib.import_module("signalpost.integrations.sqlalchemy").instrument

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

ROOT = Path(__file__).parents[2]
TOGETHER = 3
"""How many requests are in flight at the same time."""

Found = t.TypeVar("Found")
Work = Callable[[], t.Any]
Start = Callable[[Work], t.Any]
"""Starts work elsewhere, and returns what it returns."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    with recorded_and_taken_back():
        yield


@pytest.fixture
def pool() -> Generator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def engine() -> Generator[t.Any]:
    # Each connection is opened and closed in the thread that needs it.
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    with instrument(engine):
        yield engine
    engine.dispose()


def bare(view: Callable[[], Iterable[bytes]]) -> SignalMiddleware:
    """Return an application of which only what it calls matters."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return view()

    return SignalMiddleware(app)


def found_in_view(work: Callable[[], Found], path: str = "/a") -> Found:
    """Return what ``work`` does in a view."""
    found: list[Found] = []

    def view() -> Iterable[bytes]:
        found.append(work())
        return [b"one"]

    Server().serve(bare(view), path=path)
    return found[0]


def in_pool(work: Work) -> t.Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(WAIT_SECONDS)


def in_map(work: Work) -> t.Any:
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(lambda _: work(), [None], timeout=WAIT_SECONDS))


def in_executor(work: Work) -> t.Any:
    async def run() -> t.Any:
        return await asyncio.get_running_loop().run_in_executor(None, work)

    return asyncio.run(run())


def by_thread(new: Callable[[Work], threading.Thread]) -> Start:
    def start(work: Work) -> t.Any:
        found: list[t.Any] = []
        thread = new(lambda: found.append(work()))
        thread.start()
        thread.join(WAIT_SECONDS)
        return found.pop()

    return start


def by_gevent(start: Callable[[t.Any, Work], t.Any]) -> Start:
    def started(work: Work) -> t.Any:
        gevent = pytest.importorskip("gevent", reason="gevent is not installed")
        importlib.import_module("gevent.pool")
        try:
            return start(gevent, work)
        finally:
            gevent.get_hub().destroy()

    return started


STARTS: dict[str, Start] = {
    "pool": in_pool,
    "map": in_map,
    "executor": in_executor,
    "thread": by_thread(lambda work: threading.Thread(target=work)),
    "timer": by_thread(lambda work: threading.Timer(0, work)),
    "spawn": by_gevent(lambda gevent, work: gevent.spawn(work).get()),
    "spawn_later": by_gevent(lambda gevent, work: gevent.spawn_later(0, work).get()),
    "greenlet pool": by_gevent(lambda gevent, work: gevent.pool.Pool(1).apply(work)),
    "gevent's threads": by_gevent(
        lambda gevent, work: gevent.get_hub().threadpool.apply(work)
    ),
}
"""Functions that start work in an empty context."""


async def soon(work: Work) -> t.Any:
    await asyncio.sleep(0)
    return work()


async def in_task(work: Work) -> t.Any:
    return await asyncio.create_task(soon(work))


async def in_group(work: Work) -> t.Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(soon(work))
    return task.result()


async def in_call_soon(work: Work) -> t.Any:
    loop = asyncio.get_running_loop()
    found = loop.create_future()
    loop.call_soon(lambda: found.set_result(work()))
    return await found


COPYING: dict[str, Callable[[Work], t.Any]] = {
    "task": in_task,
    "group": in_group,
    "gather": lambda work: asyncio.gather(soon(work)),
    "timeout": lambda work: asyncio.wait_for(soon(work), WAIT_SECONDS),
    "call_soon": in_call_soon,
    "thread": asyncio.to_thread,
}
"""Functions that start work in a copy of the context."""


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_work_sees_the_exchange_by_a_copy_of_the_context(start: Start) -> None:
    def work() -> t.Any:
        return start(partial(copy_context().run, path_now))

    assert found_in_view(work) == "/a"
    assert start(path_now) is None


@pytest.mark.skipif(
    getattr(sys.flags, "thread_inherit_context", False),
    reason="this Python copies the context into each thread",
)
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_work_sees_no_exchange_without_a_copy(start: Start) -> None:
    assert found_in_view(lambda: start(path_now)) is None


@pytest.mark.parametrize("start", COPYING.values(), ids=COPYING)
def test_an_async_view_hands_its_exchange_on(start: Callable[[Work], t.Any]) -> None:
    app = flask.Flask("async")
    Signalpost(app)

    @app.get("/a")
    async def view() -> flask.Response:
        found = await start(path_now)
        return flask.jsonify([found[0] if isinstance(found, list) else found])

    assert flask.json.loads(Server().serve(app, path="/a")) == ["/a"]


def test_a_loop_of_another_thread_takes_the_context_of_who_asks_it() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def ask() -> t.Any:
        asked = asyncio.run_coroutine_threadsafe(soon(path_now), loop)
        return asked.result(WAIT_SECONDS)

    try:
        assert [found_in_view(ask, path) for path in ("/a", "/b")] == ["/a", "/b"]
        assert ask() is None
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_SECONDS)
        loop.close()


@pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda one: one.name)
def test_a_receiver_passes_on_the_exchange_that_it_receives(signal: t.Any) -> None:
    seen: list[object] = []

    def ask(sender: object) -> None:
        seen.append(in_pool(partial(copy_context().run, path_now)))

    def fail() -> Iterator[bytes]:
        yield b"one"
        raise LookupError

    app = bare(fail)
    with signal.connected_to(ask, app.sender), pytest.raises(LookupError):
        Server().serve(app, path="/a")
    # A failure of the body is sent within the body, whose context has no exchange.
    is_told_in_body = signal.name == "got-request-exception"
    assert seen == [None if is_told_in_body else "/a"]


def test_what_runs_at_the_close_hands_its_exchange_on() -> None:
    seen: list[object] = []

    def ask() -> None:
        seen.append(in_pool(partial(copy_context().run, path_now)))

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter((b"one",))

        def close(self) -> None:
            ask()

    def view() -> Iterable[bytes]:
        exchange = current_exchange()
        assert exchange is not None
        exchange.call_on_close(ask)
        return Body()

    Server().serve(bare(view), path="/a")
    assert seen == ["/a", "/a"]


def test_a_copy_made_in_a_body_has_no_exchange_but_one_of_the_view_has() -> None:
    def view() -> Iterable[bytes]:
        context = copy_context()

        def chunks() -> Iterator[bytes]:
            for one in (copy_context(), context.copy(), context.copy()):
                yield f"{in_pool(partial(one.run, path_now))} ".encode()
            exchange = current_exchange()
            yield in_pool(lambda: exchange.path if exchange else "").encode()

        return chunks()

    assert Server().serve(bare(view), path="/a") == b"None /a /a /a"


def test_a_task_in_a_body_sees_its_exchange_but_a_thread_of_it_does_not() -> None:
    async def ask() -> list[str | None]:
        return [await in_task(path_now), await asyncio.to_thread(path_now)]

    def chunks() -> Iterator[bytes]:
        yield json.dumps(asyncio.run(ask())).encode()

    assert json.loads(Server().serve(bare(chunks), path="/a")) == ["/a", None]


def test_each_piece_of_work_needs_a_copy_of_its_own(pool: ThreadPoolExecutor) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def work() -> str | None:
        has_begun.set()
        assert may_end.wait(WAIT_SECONDS)
        return path_now()

    def view() -> list[str | None]:
        context = copy_context()
        begun = pool.submit(context.run, work)
        assert has_begun.wait(WAIT_SECONDS)
        with pytest.raises(RuntimeError, match="already entered"):
            context.run(path_now)
        of_its_own = context.copy().run(path_now)
        may_end.set()
        return [of_its_own, begun.result(WAIT_SECONDS)]

    assert found_in_view(view) == ["/a", "/a"]


def test_nothing_stays_on_the_thread_of_a_pool(pool: ThreadPoolExecutor) -> None:
    def fail() -> None:
        raise LookupError(path_now())

    def view() -> weakref.ref[Exchange]:
        exchange = current_exchange()
        assert exchange is not None
        done = pool.submit(copy_context().run, path_now)
        failed = pool.submit(copy_context().run, fail)
        assert done.result(WAIT_SECONDS) == "/a"
        with pytest.raises(LookupError, match="/a"):
            failed.result(WAIT_SECONDS)
        return weakref.ref(exchange)

    exchange = found_in_view(view)
    left = [pool.submit(path_now) for _ in range(8)]
    assert {one.result(WAIT_SECONDS) for one in left} == {None}
    gc.collect()
    assert exchange() is None


def test_work_of_many_requests_in_one_pool_is_not_mixed_up(
    pool: ThreadPoolExecutor,
) -> None:
    def ask_often(path: str) -> set[object]:
        def view() -> set[object]:
            works = [pool.submit(copy_context().run, path_now) for _ in range(5)]
            return {one.result(WAIT_SECONDS) for one in works}

        return found_in_view(view, path)

    paths = [f"/{number}" for number in range(100)]
    with ThreadPoolExecutor(4) as clients:
        found = list(clients.map(ask_often, paths, timeout=WAIT_SECONDS))
    assert found == [{path} for path in paths]


def test_a_request_within_the_work_has_its_own(pool: ThreadPoolExecutor) -> None:
    def work() -> list[object]:
        before = path_now()
        return [before, found_in_view(path_now, "/inner"), path_now()]

    def view() -> t.Any:
        return pool.submit(copy_context().run, work).result(WAIT_SECONDS)

    assert found_in_view(view, "/outer") == ["/outer", "/inner", "/outer"]


def test_work_hands_on_what_it_was_given(pool: ThreadPoolExecutor) -> None:
    def work() -> t.Any:
        return in_executor(partial(copy_context().run, path_now))

    def view() -> t.Any:
        return pool.submit(copy_context().run, work).result(WAIT_SECONDS)

    assert found_in_view(view) == "/a"


def test_an_exchange_is_over_for_work_that_goes_on(pool: ThreadPoolExecutor) -> None:
    has_closed = threading.Event()

    def work(exchange: Exchange) -> list[object]:
        assert has_closed.wait(WAIT_SECONDS)
        with pytest.raises(ExchangeClosedError, match="release the resource"):
            exchange.call_on_close(print)
        with pytest.raises(ExchangeClosedError):
            _ = exchange.environ
        return [path_now(), exchange.is_open, exchange.path, exchange.outcome]

    def view() -> Future[list[object]]:
        exchange = current_exchange()
        assert exchange is not None
        return pool.submit(copy_context().run, work, exchange)

    going_on = found_in_view(view)
    has_closed.set()
    assert going_on.result(WAIT_SECONDS) == [None, False, "/a", "complete"]


def test_a_thread_may_add_what_is_called_on_close(pool: ThreadPoolExecutor) -> None:
    called: list[str | None] = []

    def work() -> None:
        exchange = current_exchange()
        assert exchange is not None
        exchange.call_on_close(lambda: called.append(path_now()))

    found_in_view(lambda: pool.submit(copy_context().run, work).result(WAIT_SECONDS))
    assert called == ["/a"]


def test_flasks_context_comes_along_and_alone_has_no_exchange() -> None:
    app = flask.Flask("contexts")
    Signalpost(app)

    def work() -> list[object]:
        return [path_now(), flask.request.path]

    @app.get("/a")
    def view() -> list[object]:
        alone = flask.copy_current_request_context(work)
        return [in_pool(partial(copy_context().run, work)), in_pool(alone)]

    served = flask.json.loads(Server().serve(app, path="/a"))
    assert served == [["/a", "/a"], [None, "/a"]]


def test_session_of_flask_sqlalchemy_comes_along_too() -> None:
    package = pytest.importorskip(
        "flask_sqlalchemy", reason="flask-sqlalchemy is not installed"
    )
    app = flask.Flask("sessions")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    database = package.SQLAlchemy(app)

    with app.app_context():
        here = database.session()
        there = in_pool(partial(copy_context().run, database.session))
        database.engine.dispose()
    assert here is there


def statement_of(engine: t.Any, text: str) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text(text))


def paths_of(sent: Iterable[t.Any]) -> dict[str, str | None]:
    """Return the path of the exchange of each statement, by its text."""
    return {
        one["statement"]: None if one["exchange"] is None else one["exchange"].path
        for one in sent
    }


def test_a_statement_of_a_thread_has_its_exchange_by_a_copy(
    engine: t.Any, pool: ThreadPoolExecutor
) -> None:
    def view() -> None:
        statement_of(engine, "SELECT 1")
        works = [
            pool.submit(copy_context().run, statement_of, engine, "SELECT 2"),
            pool.submit(statement_of, engine, "SELECT 3"),
        ]
        for one in works:
            one.result(WAIT_SECONDS)

    with capture(sql_executed) as sent:
        found_in_view(view)
    assert paths_of(sent) == {"SELECT 1": "/a", "SELECT 2": "/a", "SELECT 3": None}


def test_a_statement_that_fails_in_a_thread_has_its_exchange(
    engine: t.Any, pool: ThreadPoolExecutor
) -> None:
    def view() -> None:
        run = copy_context().run
        work = pool.submit(run, statement_of, engine, "SELECT * FROM cups")
        with pytest.raises(sa.exc.OperationalError):
            work.result(WAIT_SECONDS)

    with capture(sql_executed) as sent:
        found_in_view(view)
    assert paths_of(sent) == {"SELECT * FROM cups": "/a"}
    assert sent[0]["exception"] is not None


def test_statements_of_all_threads_are_in_the_totals(
    engine: t.Any, pool: ThreadPoolExecutor
) -> None:
    counts: list[object] = []

    def note(sender: object, exchange: Exchange) -> None:
        totals = sql_totals(exchange)
        counts.append(totals and totals.count)

    def view() -> None:
        works = [
            pool.submit(copy_context().run, statement_of, engine, "SELECT 1")
            for _ in range(40)
        ]
        for one in works:
            one.result(WAIT_SECONDS)

    with sql_executed.connected_to(count_sql), exchange_closed.connected_to(note):
        found_in_view(view)
    assert counts == [40]


def test_a_statement_after_the_close_has_no_exchange(
    engine: t.Any, pool: ThreadPoolExecutor
) -> None:
    has_executed, has_closed = threading.Event(), threading.Event()

    def work() -> None:
        statement_of(engine, "SELECT 1")
        has_executed.set()
        assert has_closed.wait(WAIT_SECONDS)
        statement_of(engine, "SELECT 2")

    def view() -> Future[None]:
        begun = pool.submit(copy_context().run, work)
        assert has_executed.wait(WAIT_SECONDS)
        return begun

    with capture(sql_executed) as sent:
        going_on = found_in_view(view)
        has_closed.set()
        going_on.result(WAIT_SECONDS)
    assert paths_of(sent) == {"SELECT 1": "/a", "SELECT 2": None}


def test_a_statement_in_a_body_has_its_exchange(engine: t.Any) -> None:
    def view() -> Iterable[bytes]:
        context = copy_context()

        def chunks() -> Iterator[bytes]:
            statement_of(engine, "SELECT 1")
            yield b"one"
            in_pool(partial(context.copy().run, statement_of, engine, "SELECT 2"))
            in_pool(partial(copy_context().run, statement_of, engine, "SELECT 3"))
            yield b"two"

        return chunks()

    with capture(sql_executed) as sent:
        Server().serve(bare(view), path="/a")
    assert paths_of(sent) == {"SELECT 1": "/a", "SELECT 2": "/a", "SELECT 3": None}


def test_statements_of_an_async_view_know_their_exchange(engine: t.Any) -> None:
    pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")
    app = flask.Flask("statements")
    Signalpost(app)

    @app.get("/<name>")
    async def view(name: str) -> list[str]:
        async_engine = asyncio_engines.create_async_engine(
            "sqlite+aiosqlite://", poolclass=sa.NullPool
        )

        async def ask(text: str) -> None:
            async with async_engine.connect() as connection:
                await connection.execute(sa.text(text))

        with instrument(async_engine):
            await asyncio.gather(ask("SELECT 1"), asyncio.create_task(ask("SELECT 2")))
            await asyncio.to_thread(statement_of, engine, "SELECT 3")
        await async_engine.dispose()
        return []

    with capture(sql_executed) as sent:
        Server().serve(app, path="/a")
    expected = {f"SELECT {number}": "/a" for number in (1, 2, 3)}
    assert paths_of(sent) == expected


def in_greenlets(work: Callable[[t.Any], Found]) -> Found:
    """Return what ``work`` does with gevent, whose hub goes with its thread."""
    gevent = pytest.importorskip("gevent", reason="gevent is not installed")

    def run() -> Found:
        try:
            return work(gevent)
        finally:
            gevent.get_hub().destroy()

    found: Found = in_pool(run)
    return found


def test_greenlets_of_several_requests_in_turns_see_each_their_own() -> None:
    def ask_in_turns(gevent: t.Any) -> list[object]:
        seen: list[tuple[str, object]] = []

        def child(path: str) -> None:
            for _ in range(5):
                gevent.idle()
                seen.append((path, path_now()))

        def request(path: str) -> None:
            def view() -> None:
                contexts = [copy_context() for _ in range(2)]
                children = [gevent.spawn(one.run, child, path) for one in contexts]
                gevent.joinall(children, WAIT_SECONDS, raise_error=True)
                seen.append((path, path_now()))

            found_in_view(view, path)

        requests = [gevent.spawn(request, f"/{number}") for number in range(8)]
        gevent.joinall(requests, WAIT_SECONDS, raise_error=True)
        return [seen, path_now()]

    seen, after = in_greenlets(ask_in_turns)
    assert after is None
    assert isinstance(seen, list)
    assert len(seen) == 8 * 11
    assert all(path == found for path, found in seen)


@pytest.mark.parametrize("how", ["timeout", "kill"])
def test_a_greenlet_that_is_stopped_in_a_view_leaves_nothing(how: str) -> None:
    def stop(gevent: t.Any) -> list[object]:
        stopped = gevent.Timeout if how == "timeout" else gevent.GreenletExit
        has_begun = gevent.event.Event()
        left: list[object] = []

        def request() -> None:
            def view() -> None:
                with gevent.Timeout(0, exception=False):
                    gevent.sleep(WAIT_SECONDS)
                left.append(path_now())
                has_begun.set()
                with gevent.Timeout(0.01 if how == "timeout" else None):
                    gevent.sleep(WAIT_SECONDS)

            try:
                found_in_view(view)
            except stopped:
                left.append(path_now())

        greenlet = gevent.spawn(request)
        assert has_begun.wait(WAIT_SECONDS)
        if how == "kill":
            greenlet.kill()
        greenlet.join(WAIT_SECONDS)
        return left

    importlib.import_module("gevent.event")
    with capture(exchange_closed) as sent:
        assert in_greenlets(stop) == ["/a", None]
    assert [one["exchange"].outcome for one in sent] == ["error"]


def new_site() -> WSGIApplication:
    """Return what gunicorn serves in a process where gevent has patched all it can."""
    gevent = importlib.import_module("gevent")
    app = flask.Flask("site")
    Signalpost(app)
    exchange_opened.connect(receive)
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    instrument(engine)
    statements: list[tuple[str, str | None]] = []
    together = threading.Barrier(TOGETHER)
    starts: dict[str, Start] = {
        **{name: STARTS[name] for name in ("pool", "thread")},
        "spawn": lambda work: gevent.spawn(work).get(),
        "native": lambda work: gevent.get_hub().threadpool.apply(work),
    }

    @sql_executed.connect_via(engine)
    def note(sender: object, statement: str) -> None:
        statements.append((statement, path_now()))

    @app.get("/starts")
    def show_starts() -> dict[str, object]:
        return {
            name: [start(path_now), start(partial(copy_context().run, path_now))]
            for name, start in starts.items()
        }

    @app.get("/together/<name>")
    def meet(name: str) -> list[object]:
        def wait() -> list[object]:
            before = path_now()
            together.wait(WAIT_SECONDS)
            statement_of(engine, f"SELECT '{name}'")
            return [before, path_now()]

        return [*gevent.spawn(copy_context().run, wait).get(), path_now()]

    @app.get("/stream")
    def stream() -> flask.Response:
        context = copy_context()

        def chunks() -> Iterator[str]:
            for one in (copy_context(), context.copy()):
                gevent.sleep(0)
                yield f"{path_now()} {gevent.spawn(one.run, path_now).get()} "

        return flask.Response(chunks())

    @app.get("/statements")
    def show_statements() -> list[tuple[str, str | None]]:
        return statements

    return app


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    for package in ("gunicorn", "gevent"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_")
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", f"{__name__}:new_site()"),
                *("--bind", "127.0.0.1:0", "--worker-class", "gevent"),
                *("--graceful-timeout", "5", "--no-control-socket"),
            ],
            cwd=ROOT,
            env=own | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield port_in(log, process)
    finally:
        process.terminate()
        try:
            process.wait(WAIT_SECONDS)
        finally:
            process.kill()


def port_in(log: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until a server prints its address."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        # Another process writes it, without a notification.
        time.sleep(0.02)
    raise AssertionError(f"gunicorn does not listen:\n{log.read_text()}")


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text


def test_all_that_gevent_has_patched_sees_the_exchange_by_a_copy(port: int) -> None:
    found = json.loads(get(port, "/starts"))
    names = ("pool", "thread", "spawn", "native")
    assert found == {name: [None, "/starts"] for name in names}


def test_greenlets_of_requests_at_the_same_time_are_not_mixed_up(port: int) -> None:
    paths = [f"/together/{name}" for name in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as clients:
        answers = list(clients.map(partial(get, port), paths, timeout=WAIT_SECONDS))
    assert [json.loads(one) for one in answers] == [[path] * 3 for path in paths]
    found = dict(json.loads(get(port, "/statements")))
    assert found == {f"SELECT '{name}'": path for name, path in enumerate(paths)}


def test_a_greenlet_of_a_body_sees_the_exchange_by_the_copy_of_the_view(
    port: int,
) -> None:
    assert get(port, "/stream") == "/stream None /stream /stream "
