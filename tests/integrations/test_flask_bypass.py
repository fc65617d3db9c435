"""A layer that was put into ``app.wsgi_app`` and is called no more."""

from __future__ import annotations

import gc
import logging
import typing as t
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from signalpost import SignalMiddleware
from signalpost._engine.cleanup import deaths
from signalpost.errors import ExchangeNotRecordedError
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask_cli import signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from tests.integrations.shop import new_shop
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

NAME = "signalpost.exchanges"


@pytest.fixture(autouse=True)
def no_deaths() -> None:
    """Let no receiver of another test be logged in this one."""
    gc.collect()
    deaths.clear()


def note(sender: object, **extra: object) -> None:
    pass


def new_app() -> flask.Flask:
    app = new_shop()
    Signalpost(app)
    return app


def to_the_class(app: flask.Flask) -> None:
    del app.wsgi_app


def to_the_original(app: flask.Flask) -> None:
    app.wsgi_app = type(app).wsgi_app.__get__(app)  # type: ignore[method-assign]


def to_a_middleware(app: flask.Flask) -> None:
    inner = type(app).wsgi_app.__get__(app)
    app.wsgi_app = ProxyFix(inner)  # type: ignore[method-assign]


each_loss = pytest.mark.parametrize(
    "lose", [to_the_class, to_the_original, to_a_middleware]
)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == NAME]


@each_loss
@pytest.mark.parametrize("path", ["/hello", "/fail", "/nothing", "/template"])
def test_the_first_request_without_the_layer_is_logged_and_no_other(
    lose: Callable[[flask.Flask], None], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app()
    with exchange_closed.connected_to(note, app):
        Server().serve(app, path="/hello")
        assert logged(caplog) == []
        lose(app)
        for _ in range(3):
            Server().serve(app, path=path)
    (message,) = logged(caplog)
    assert repr(app) in message
    assert "is no longer in app.wsgi_app" in message
    assert "call Signalpost(app) after code that replaces it" in message


def test_nothing_is_logged_while_no_receiver_needs_the_layer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    to_the_class(app)
    with template_rendered.connected_to(note, app):
        Server().serve(app, path="/template")
    assert logged(caplog) == []
    with exchange_closed.connected_to(note):
        Server().serve(app, path="/hello")
    assert len(logged(caplog)) == 1


def around_all(app: flask.Flask) -> WSGIApplication:
    return SignalMiddleware(ProxyFix(app))


def copying(app: flask.Flask) -> WSGIApplication:
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: inner(  # type: ignore[method-assign]
        {**environ}, start_response
    )
    return app


def without_our_key(app: flask.Flask) -> WSGIApplication:
    inner = app.wsgi_app
    app.wsgi_app = ProxyFix(inner)  # type: ignore[method-assign]
    kept = app.wsgi_app

    def strip(environ: t.Any, start_response: t.Any) -> t.Any:
        own = {k: v for k, v in environ.items() if not k.startswith("signalpost")}
        return kept(own, start_response)

    return strip


def mounted(app: flask.Flask) -> WSGIApplication:
    outer = flask.Flask("outer")
    Signalpost(outer)
    dispatcher = DispatcherMiddleware(outer.wsgi_app, {"/mount": app})
    outer.wsgi_app = dispatcher  # type: ignore[method-assign]
    return outer


@pytest.mark.parametrize("prepare", [around_all, copying, without_our_key, mounted])
def test_nothing_is_logged_while_the_layer_is_called(
    prepare: Callable[[flask.Flask], WSGIApplication],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    called = prepare(app)
    path = "/mount/hello" if prepare is mounted else "/hello"
    with exchange_closed.connected_to(note):
        assert Server().serve(called, path=path) == b"hello"
    assert logged(caplog) == []


def test_a_layer_lost_within_another_application_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    called = mounted(app)
    to_the_original(app)
    with exchange_closed.connected_to(note):
        Server().serve(called, path="/mount/hello")
    assert len(logged(caplog)) == 1


def test_nothing_is_logged_for_a_receiver_connected_in_the_middle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()

    @app.url_value_preprocessor
    def connect(*_: object) -> None:
        exchange_closed.connect(note, app)

    # As if it had been there before the extension.
    app.url_value_preprocessors[None].reverse()
    Server().serve(app, path="/hello")
    assert logged(caplog) == []


def test_nothing_is_logged_for_a_test_that_calls_a_part_of_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    with (
        exchange_closed.connected_to(note, app),
        app.test_request_context("/hello"),
    ):
        app.preprocess_request()
        assert app.full_dispatch_request().status_code == 200
    assert logged(caplog) == []


def test_an_agent_that_takes_its_layer_out_takes_out_what_came_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_shop()
    agent: t.Any = FlaskInstrumentor()
    agent.instrument_app(app)
    Signalpost(app)
    with exchange_closed.connected_to(note, app):
        Server().serve(app, path="/hello")
        assert logged(caplog) == []
        agent.uninstrument_app(app)
        Server().serve(app, path="/hello")
    assert len(logged(caplog)) == 1


def test_several_threads_that_go_past_the_layer_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    to_the_original(app)
    with exchange_closed.connected_to(note, app), ThreadPoolExecutor(4) as pool:
        for _ in range(16):
            pool.submit(Server().serve, app, path="/hello")
    assert len(logged(caplog)) == 1


def test_call_on_close_raises_if_no_layer_closes_the_exchange() -> None:
    app = new_app()
    to_the_original(app)
    raised: list[ExchangeNotRecordedError] = []

    def acquire(sender: object, exchange: Exchange) -> None:
        with pytest.raises(ExchangeNotRecordedError) as caught:
            exchange.call_on_close(lambda: None)
        raised.append(caught.value)

    with request_started.connected_to(acquire, app):
        Server().serve(app, path="/hello")
        with app.test_request_context("/hello"):
            app.full_dispatch_request()
    assert len(raised) == 2
    assert "app.wsgi_app" in str(raised[0])
    with pytest.raises(ExchangeNotRecordedError):
        Exchange({}, "shop").call_on_close(lambda: None)


def test_call_on_close_is_called_where_a_layer_closes_the_exchange() -> None:
    app = new_app()
    calls: list[str] = []

    @app.get("/acquire")
    def acquire() -> str:
        exchange = current_exchange()
        assert exchange is not None
        exchange.call_on_close(calls.append, "released")
        return "acquired"

    with capture(exchange_closed, sender=app) as sent:
        Server().serve(app, path="/acquire")
    assert (exchange_of(sent).status, calls) == (200, ["released"])


@each_loss
def test_check_reports_a_layer_that_was_thrown_away(
    lose: Callable[[flask.Flask], None],
) -> None:
    app = new_app()
    runner = app.test_cli_runner()
    result = runner.invoke(signalpost, ["check"])
    assert (result.exit_code, "is right" in result.output) == (0, True)
    lose(app)
    result = runner.invoke(signalpost, ["check"])
    assert result.exit_code == 1
    assert app.name in result.output
    assert "call Signalpost(app) after code that replaces it" in result.output


@pytest.mark.parametrize("prepare", [copying, without_our_key, ProxyFix])
def test_check_finds_a_layer_that_something_is_around(
    prepare: Callable[[t.Any], t.Any],
) -> None:
    app = new_app()
    if prepare is ProxyFix:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    else:
        prepare(app)
    result = app.test_cli_runner().invoke(signalpost, ["check"])
    assert result.exit_code == 0


def test_the_message_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()
    to_the_original(app)
    with exchange_closed.connected_to(note, app):
        Server().serve(app, path="/hello")
    (record,) = [one for one in caplog.records if one.name == NAME]
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("mode", ["DEBUG", "TESTING", None])
def test_a_served_application_is_checked_no_more(
    mode: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app()
    if mode is not None:
        app.config[mode] = True
    calls: list[object] = []
    app.url_value_preprocessor(lambda endpoint, values: calls.append(endpoint))
    with exchange_closed.connected_to(note, app):
        for _ in range(150):
            Server().serve(app, path="/hello")
        assert len(calls) == 150
        assert len(app.url_value_preprocessors[None]) == (1 if mode is None else 2)
        to_the_original(app)
        Server().serve(app, path="/hello")
    assert len(logged(caplog)) == (0 if mode is None else 1)


def test_an_application_without_hooks_of_its_own_has_none_after_the_checks() -> None:
    app = new_app()
    for _ in range(150):
        Server().serve(app, path="/hello")
    assert None not in app.url_value_preprocessors
