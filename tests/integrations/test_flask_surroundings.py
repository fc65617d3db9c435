"""Around a request: other requests, mounts, commands and raising receivers."""

from __future__ import annotations

import ast
import contextlib
import contextvars
import inspect
import sys
from pathlib import Path

import flask
import pytest
from flask import signals as flasks
from webtest import TestApp
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost import SignalMiddleware
from signalpost.errors import ExtensionError
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.serving import sent_of
from tests.integrations.shop import fail
from tests.integrations.shop import FLASK
from tests.integrations.shop import hello
from tests.integrations.shop import Prepare
from tests.integrations.shop import propagate
from tests.integrations.shop import stream
from tests.integrations.shop import stream_in_context
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server


def new_site(prepare: Prepare | None = None) -> flask.Flask:
    """Return an application that has its pages in a blueprint."""
    pages = flask.Blueprint("pages", __name__)
    for view in (hello, fail, stream, stream_in_context):
        pages.add_url_rule(f"/{view.__name__}", view_func=view)
    app = flask.Flask(__name__)
    app.register_blueprint(pages, url_prefix="/pages")
    if prepare is not None:
        prepare(app)
    return app


def the_exchange(sent: list[Sent]) -> Exchange:
    """Return the exchange of one request, opened once and then closed once."""
    assert [one.signal for one in sent] == [exchange_opened, exchange_closed]
    assert sent[0]["exchange"] is sent[1]["exchange"]
    return exchange_of(sent)


def test_a_context_without_a_request_opens_no_exchange() -> None:
    app = new_site()
    Signalpost(app)
    with (
        capture(*EXCHANGE_SIGNALS, sender=app) as sent,
        app.app_context(),
    ):
        flask.g.user = "ada"
    assert sent == []


def test_a_command_opens_no_exchange() -> None:
    app = new_site()
    names: list[str] = []
    app.cli.command("count")(lambda: names.append(flask.current_app.name))
    Signalpost(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        result = app.test_cli_runner().invoke(args=["count"])
    assert (result.exit_code, names) == (0, [app.name])
    assert sent == []


def test_a_request_context_for_tests_opens_no_exchange() -> None:
    app = new_site()
    Signalpost(app)
    with (
        capture(*EXCHANGE_SIGNALS, sender=app) as sent,
        app.test_request_context("/pages/hello"),
    ):
        assert flask.request.endpoint == "pages.hello"
    assert sent == []


class HarmError(Exception):
    pass


# What a raising receiver of Flask's own does, up to Flask 3.1 and from 3.2 on.
HARM: dict[str, tuple[int | None, type[BaseException] | None]] = {
    "request-started": (500, None),
    "request-finished": (500, None),
    "got-request-exception": (None, HarmError),
    "request-tearing-down": (200, HarmError),
    "appcontext-tearing-down": (200, HarmError),
    "appcontext-popped": (200, HarmError),
    "appcontext-pushed": (None, LookupError),
}
if FLASK >= (3, 2):
    HARM |= {
        "request-tearing-down": (200, ExceptionGroup),
        "appcontext-tearing-down": (200, ExceptionGroup),
        "appcontext-popped": (200, ExceptionGroup),
        "appcontext-pushed": (500, None),
    }


@pytest.mark.parametrize("name", HARM)
def test_a_raising_receiver_of_flasks_own_leaves_the_record_whole(name: str) -> None:
    status, raises = HARM[name]
    page = "fail" if name == "got-request-exception" else "hello"
    expected = contextlib.nullcontext() if raises is None else pytest.raises(raises)
    app, server = new_site(), Server()
    Signalpost(app)

    def harmful(sender: object, **extra: object) -> None:
        raise HarmError

    theirs = getattr(flasks, name.replace("-", "_"))
    with (
        theirs.connected_to(harmful, app),
        capture(exchange_opened, exchange_closed, sender=app) as sent,
        expected,
    ):
        # A context that Flask 3.1 leaves pushed goes with the copy.
        contextvars.copy_context().run(server.serve, app, path=f"/pages/{page}")
    exchange = the_exchange(sent)
    assert exchange.status == status
    assert exchange.outcome == ("complete" if raises is None else "error")
    assert isinstance(exchange.exception, raises or HarmError)
    assert exchange.body_bytes == len(server.written)


@pytest.mark.parametrize("is_propagating", [False, True])
def test_a_failing_request_within_a_request_is_not_the_outer_ones_failure(
    *, is_propagating: bool
) -> None:
    app = new_site(propagate if is_propagating else None)

    def ask() -> str:
        client = flask.current_app.test_client()
        with contextlib.suppress(LookupError):
            client.get("/pages/fail", buffered=True)
        return "asked"

    app.add_url_rule("/ask", view_func=ask)
    Signalpost(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        assert TestApp(app).get("/ask").text == "asked"
    opened = sent_of(sent, exchange_opened)
    closed = sent_of(sent, exchange_closed)
    outer, inner = (one["exchange"] for one in opened)
    assert [one["exchange"] for one in closed] == [inner, outer]
    assert (outer.route, outer.endpoint, outer.blueprints) == ("/ask", "ask", ())
    assert (outer.status, outer.outcome, outer.body_bytes) == (200, "complete", 5)
    assert outer.exception is None
    assert (inner.route, inner.endpoint) == ("/pages/fail", "pages.fail")
    assert inner.outcome == ("error" if is_propagating else "complete")
    failed = sent_of(sent, got_request_exception)
    assert [one["exchange"] for one in failed] == [inner]


def test_an_exception_that_leaves_two_requests_is_sent_once_for_each() -> None:
    app = new_site(propagate)

    def ask() -> str:
        return flask.current_app.test_client().get("/pages/fail").text

    app.add_url_rule("/ask", view_func=ask)
    Signalpost(app)
    with (
        capture(got_request_exception, exchange_closed, sender=app) as sent,
        pytest.raises(LookupError),
    ):
        Server().serve(app, path="/ask")
    inner, outer = (one["exchange"] for one in sent_of(sent, exchange_closed))
    failed = sent_of(sent, got_request_exception)
    assert [one["exchange"] for one in failed] == [inner, outer]
    assert inner.exception is outer.exception


@pytest.mark.parametrize(
    ("page", "status"),
    [("hello", 200), ("fail", 500), ("stream", 200), ("stream_in_context", 200)],
)
def test_a_mounted_application_shows_where_it_is_mounted(
    page: str, status: int
) -> None:
    root, mounted = new_site(), new_site()
    Signalpost(root)
    Signalpost(mounted)
    site = DispatcherMiddleware(root, {"/shop/eu": mounted})
    server = Server()
    with capture(exchange_opened, exchange_closed) as sent:
        server.serve(site, path=f"/shop/eu/pages/{page}", SCRIPT_NAME="")
    exchange = the_exchange(sent)
    assert sent[0].sender is sent[1].sender is mounted
    assert (exchange.script_name, exchange.path) == ("/shop/eu", f"/pages/{page}")
    assert exchange.route == f"/shop/eu/pages/{page}"
    assert (exchange.endpoint, exchange.blueprints) == (f"pages.{page}", ("pages",))
    assert (exchange.status, exchange.outcome) == (status, "complete")
    assert exchange.body_bytes == len(server.written)


def test_a_layer_around_the_mounts_and_the_mounted_each_have_an_exchange() -> None:
    mounted = new_site()
    Signalpost(mounted)
    site = DispatcherMiddleware(new_site(), {"/shop": mounted})
    outer = SignalMiddleware(site, sender="outer")
    with capture(exchange_opened, exchange_closed) as sent:
        Server().serve(outer, path="/shop/pages/hello", SCRIPT_NAME="")
    assert [(one.signal, one.sender) for one in sent] == [
        (exchange_opened, "outer"),
        (exchange_opened, mounted),
        (exchange_closed, mounted),
        (exchange_closed, "outer"),
    ]
    within, around = sent[2]["exchange"], sent[3]["exchange"]
    assert (within.status, within.body_bytes, within.outcome) == (200, 5, "complete")
    assert (around.status, around.body_bytes, around.outcome) == (200, 5, "complete")
    assert within.route == "/shop/pages/hello"
    assert (around.script_name, around.path) == ("", "/shop/pages/hello")


def test_a_thousand_invented_requests_invent_no_label() -> None:
    app = new_site()
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        for number in range(1000):
            Server().serve(app, path=f"/wp-{number}.php", method=f"BREW{number}")
            Server().serve(app, path="/pages/hello", method=f"GET{number}")
    closed = [one["exchange"] for one in sent_of(sent, exchange_closed)]
    assert len(closed) == len(sent_of(sent, exchange_opened)) == 2000
    assert {
        (one.method, one.route, one.endpoint, one.blueprints, one.outcome)
        for one in closed
    } == {("_OTHER", None, None, (), "complete")}
    assert {one.status for one in closed} == {404, 405}


@pytest.mark.parametrize("port", ["http", "", "-1"])
def test_a_port_that_is_no_number_is_no_error(port: str) -> None:
    app = new_site()
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        Server().serve(app, path="/pages/hello", SERVER_PORT=port, HTTP_HOST="")
    exchange = the_exchange(sent)
    assert (exchange.status, exchange.outcome) == (200, "complete")
    assert exchange.route == "/pages/hello"


def test_a_flask_application_given_to_the_middleware_does_not_call_itself() -> None:
    app = new_site()
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]
    with capture(exchange_opened, exchange_closed) as sent:
        assert Server().serve(app, path="/pages/hello") == b"hello"
    exchange = the_exchange(sent)
    assert sent[0].sender is app
    assert exchange.route == "/pages/hello"
    assert exchange.blueprints == ("pages",)


def test_a_second_setup_of_an_app_reports_it_and_counts_nothing_twice() -> None:
    app = new_site()
    Signalpost(app)
    with pytest.raises(ExtensionError, match="set up by Signalpost already"):
        Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        Server().serve(app, path="/pages/hello")
    assert the_exchange(sent).status == 200


def test_nothing_private_of_flasks_is_used() -> None:
    folder = Path(inspect.getfile(sys.modules[Signalpost.__module__])).parent
    used = [
        node.attr
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("flask", "flasks")
    ]
    assert "request" in used
    assert [name for name in used if name.startswith("_") or name == "globals"] == []
