from __future__ import annotations

import asyncio
import contextvars
import typing as t
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_popped
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import request_tearing_down
from signalpost.lifecycle import template_rendered
from tests.wsgi.current import Moments
from tests.wsgi.current import path_now
from tests.wsgi.current import recorded_and_taken_back
from tests.wsgi.current import WAIT_SECONDS
from tests.wsgi.serving import Server


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    with recorded_and_taken_back():
        yield


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask("current")
    Signalpost(app)
    return app


def visit(app: t.Any, path: str) -> str:
    return Server().serve(app, path=path).decode()


def test_each_function_of_a_request_sees_its_exchange(app: flask.Flask) -> None:
    moments: Moments = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *_: moments.append((name, path_now()))

    app.before_request(noting("before"))
    app.teardown_request(noting("teardown"))
    app.teardown_appcontext(noting("teardown of the application's"))
    app.template_filter("whose")(lambda _: path_now())

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        moments.append(("after", path_now()))
        response.call_on_close(noting("close"))
        return response

    @app.get("/a")
    def view() -> str:
        assert current_exchange() is flask.request.environ["signalpost.exchange"]
        return flask.render_template_string("{{ 1 | whose }}")

    assert visit(app, "/a") == "/a"
    assert moments == [
        (name, "/a")
        for name in (
            "before",
            "after",
            "teardown",
            "teardown of the application's",
            "close",
        )
    ]


def test_an_error_page_sees_its_exchange(app: flask.Flask) -> None:
    app.register_error_handler(404, lambda _: str(path_now()))
    assert visit(app, "/missing") == "/missing"


@pytest.mark.parametrize("keeps_context", [True, False])
def test_a_stream_sees_its_exchange_to_its_end(
    app: flask.Flask, keeps_context: bool
) -> None:
    ends: list[str | None] = []

    @app.get("/<name>")
    def view(name: str) -> flask.Response:
        def chunks() -> Iterator[str]:
            try:
                for _ in range(3):
                    yield str(path_now())
            finally:
                ends.append(path_now())

        stream = flask.stream_with_context(chunks()) if keeps_context else chunks()
        return flask.Response(stream)

    assert visit(app, "/a") == "/a/a/a"
    assert ends == ["/a"]


def test_a_streamed_template_sees_its_exchange(app: flask.Flask) -> None:
    app.template_filter("whose")(lambda _: path_now())

    @app.get("/a")
    def view() -> t.Any:
        return flask.stream_template_string("{{ 1 | whose }}{{ 1 | whose }}")

    assert visit(app, "/a") == "/a/a"


@pytest.mark.parametrize(
    "signal",
    [*EXCHANGE_SIGNALS, request_tearing_down, appcontext_popped, template_rendered],
    ids=lambda one: one.name,
)
def test_receivers_see_the_exchange_of_the_request(
    app: flask.Flask, signal: t.Any
) -> None:
    seen: list[str | None] = []

    def ask(sender: object) -> None:
        seen.append(path_now())

    @app.get("/a")
    def view() -> str:
        return flask.render_template_string("one")

    @app.get("/fail")
    def fail() -> str:
        raise LookupError

    path = "/fail" if signal.name == "got-request-exception" else "/a"
    with signal.connected_to(ask, app):
        visit(app, path)
    assert seen == [path]


def test_an_async_view_and_its_task_see_the_exchange(app: flask.Flask) -> None:
    @app.get("/<name>")
    async def view(name: str) -> list[str | None]:
        async def work() -> str | None:
            await asyncio.sleep(0)
            return path_now()

        before = path_now()
        together = await asyncio.gather(work(), asyncio.create_task(work()))
        in_thread = await asyncio.to_thread(path_now)
        return [before, *together, in_thread, path_now()]

    assert flask.json.loads(visit(app, "/a")) == ["/a"] * 5
    assert flask.json.loads(visit(app, "/b")) == ["/b"] * 5


def test_an_async_receiver_sees_the_exchange(app: flask.Flask) -> None:
    seen: list[bool] = []

    async def ask(sender: object, exchange: Exchange) -> None:
        await asyncio.sleep(0)
        seen.append(current_exchange() is exchange)

    with exchange_opened.connected_to(ask, app):
        visit(app, "/missing")
    assert seen == [True]


def test_a_loop_that_a_stream_runs_sees_the_exchange(app: flask.Flask) -> None:
    async def numbers() -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield str(path_now())

    @app.get("/a")
    def view() -> flask.Response:
        def chunks() -> Iterator[str]:
            with asyncio.Runner() as runner:
                produced = numbers()
                yield runner.run(t.cast("t.Any", anext(produced)))
                yield runner.run(t.cast("t.Any", anext(produced)))
                runner.run(t.cast("t.Any", produced).aclose())

        return flask.Response(chunks())

    assert visit(app, "/a") == "/a/a"


def test_a_pool_sees_the_exchange_by_a_copy_of_the_context(app: flask.Flask) -> None:
    with ThreadPoolExecutor(1) as pool:

        @app.get("/a")
        def view() -> list[str | None]:
            context = contextvars.copy_context()
            works = (pool.submit(context.run, path_now), pool.submit(path_now))
            return [one.result(WAIT_SECONDS) for one in works]

        assert flask.json.loads(visit(app, "/a")) == ["/a", None]
        assert pool.submit(path_now).result(WAIT_SECONDS) is None


def test_a_request_of_the_test_client_inside_a_view_has_its_own(
    app: flask.Flask,
) -> None:
    @app.get("/inner")
    def inner() -> flask.Response:
        return flask.Response(str(path_now()) for _ in range(2))

    @app.get("/outer")
    def outer() -> list[str | None]:
        before = path_now()
        response = app.test_client().get("/inner")
        between = path_now()
        text = response.text
        response.close()
        return [before, between, text, path_now()]

    served = flask.json.loads(visit(app, "/outer"))
    assert served == ["/outer", "/outer", "/inner/inner", "/outer"]


def test_a_request_of_the_test_client_inside_a_stream_has_its_own(
    app: flask.Flask,
) -> None:
    @app.get("/inner")
    def inner() -> flask.Response:
        return flask.Response(str(path_now()) for _ in range(2))

    @app.get("/outer")
    def outer() -> flask.Response:
        def chunks() -> Iterator[str]:
            yield str(path_now())
            response = app.test_client().get("/inner")
            yield str(path_now())
            yield response.text
            response.close()
            yield str(path_now())

        return flask.Response(chunks())

    assert visit(app, "/outer") == "/outer/outer/inner/inner/outer"


def test_streams_of_two_applications_in_turns_see_each_their_own() -> None:
    apps = {}
    for name in ("one", "two"):
        app = apps[f"/{name}"] = flask.Flask(name)
        Signalpost(app)
        app.add_url_rule(
            "/", view_func=lambda: flask.Response(script_name() for _ in range(2))
        )
    mounted = DispatcherMiddleware(flask.Flask("root"), t.cast("t.Any", apps))
    bodies = [
        t.cast("t.Any", Server().call(mounted, path=path))
        for path in ("/one/", "/two/")
    ]
    assert list(zip(*bodies, strict=True)) == [(b"/one", b"/two")] * 2
    for body in bodies:
        body.close()


def script_name() -> str:
    exchange = current_exchange()
    return "" if exchange is None else exchange.script_name


def test_a_view_that_fails_leaves_nothing(app: flask.Flask) -> None:
    app.testing = True

    @app.get("/a")
    def view() -> str:
        raise LookupError

    with pytest.raises(LookupError):
        visit(app, "/a")
    assert current_exchange() is None


def test_no_exchange_is_current_outside_of_a_request(app: flask.Flask) -> None:
    assert current_exchange() is None
    with app.app_context():
        assert current_exchange() is None
    with app.test_request_context("/a"):
        assert current_exchange() is None
