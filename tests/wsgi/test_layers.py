from __future__ import annotations

import typing as t
from collections.abc import Iterable
from contextlib import nullcontext

import pytest

from signalpost import named
from signalpost import SignalMiddleware
from signalpost.exchange import EXCHANGE_KEY
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import request_finished
from signalpost.testing import capture
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


class Framework:
    """An application object with a ``wsgi_app``, as Flask's."""

    def __init__(self) -> None:
        self.wsgi_app: WSGIApplication = self.answer

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return hello(environ, start_response)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self.wsgi_app(environ, start_response)


def test_an_application_object_is_wrapped_inside_and_is_the_sender() -> None:
    app = Framework()
    app.wsgi_app = SignalMiddleware(app)
    with capture(exchange_closed) as sent:
        assert Server().serve(app) == b"hello"
    assert [one.sender for one in sent] == [app]


class Marking:
    """A middleware that keeps what it is around under the name that Flask uses."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self.wsgi_app = wsgi_app
        self.calls = 0

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.calls += 1
        return self.wsgi_app(environ, start_response)


# It was left out without a word, as if it were the application.
@pytest.mark.parametrize("has_receiver", [True, False])
def test_a_middleware_with_a_wsgi_app_is_called_itself(has_receiver: bool) -> None:
    marking = Marking(hello)
    app = SignalMiddleware(marking)
    with capture(exchange_closed, sender=marking) if has_receiver else nullcontext():
        assert Server().serve(app) == b"hello"
        assert marking.calls == 1
        # As Flask-SocketIO does for the debugger.
        marking.wsgi_app = inner = Marking(marking.wsgi_app)
        assert Server().serve(app) == b"hello"
    assert (marking.calls, inner.calls) == (2, 1)


def test_an_object_with_a_wsgi_app_that_is_not_called_is_an_application() -> None:
    class App:
        def __init__(self) -> None:
            self.wsgi_app = hello

    app = App()
    with capture(exchange_closed, sender=app) as sent:
        assert Server().serve(SignalMiddleware(app)) == b"hello"
    assert len(sent) == 1


def test_a_bound_wsgi_app_sends_from_its_object() -> None:
    class App:
        def wsgi_app(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return hello(environ, start_response)

    app = App()
    assert SignalMiddleware(app.wsgi_app).sender is app


def test_a_sender_can_be_named() -> None:
    app = SignalMiddleware(hello, sender="shop")
    with capture(exchange_closed, sender="shop") as sent:
        Server().serve(app)
    assert len(sent) == 1


def test_receivers_may_change_between_any_two_requests() -> None:
    app = SignalMiddleware(hello, sender="shop")
    names: list[str] = []

    def note(sender: object, **_: object) -> None:
        names.append(str(sender))

    def served() -> list[str]:
        names.clear()
        Server().serve(app)
        return [*names]

    assert served() == []
    for signal in (request_finished, exchange_opened, exchange_closed):
        signal.connect(note, "shop")
        assert served() == ["shop"]
        app.sender = "bank"
        signal.connect(note, "bank")
        app.sender = "shop"
        signal.disconnect(note, "shop")
        assert served() == []
        app.sender = "bank"
        assert served() == ["bank"]
        app.sender = "shop"
        assert served() == []
        signal.disconnect(note)
    kiosk = app.sender = Framework()
    exchange_closed.connect(note, named("kiosk of the layers"))
    assert served() == []
    named("kiosk of the layers").bind(kiosk)
    assert served() == [str(kiosk)]


def test_a_second_layer_with_the_same_sender_adds_nothing() -> None:
    app = SignalMiddleware(SignalMiddleware(hello))
    assert app.sender is hello
    with capture(*EXCHANGE_SIGNALS) as sent:
        Server().serve(app)
    assert len(sent) == 4


def test_a_mounted_application_has_its_own_exchange() -> None:
    inner = SignalMiddleware(hello, sender="inner")
    outer = SignalMiddleware(inner, sender="outer")
    environ = environ_of()
    with capture(*EXCHANGE_SIGNALS) as sent:
        body = outer(environ, Server().start_response)
        t.cast("t.Any", body).close()
    assert [one.sender for one in sent if one.signal is exchange_closed] == [
        "inner",
        "outer",
    ]
    assert len(sent) == 8
    assert EXCHANGE_KEY not in environ


def test_a_route_is_read_from_werkzeugs_request() -> None:
    class Rule:
        rule = "/items/<int:id>"
        endpoint = "shop.item"

    class Request:
        url_rule = Rule()
        blueprints = ("shop",)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["werkzeug.request"] = Request()
        return hello(environ, start_response)

    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(app), SCRIPT_NAME="/mount")
    exchange = exchange_of(sent)
    assert exchange.route == "/mount/items/<int:id>"
    assert exchange.endpoint == "shop.item"
    assert exchange.blueprints == ("shop",)


def test_what_is_no_exchange_in_the_environ_is_no_outer_layer() -> None:
    server = Server()
    with capture(exchange_closed) as sent:
        server.serve(SignalMiddleware(hello), **{"signalpost.exchange": "not ours"})
    assert server.status == "200 OK"
    assert exchange_of(sent).outer is None
    assert exchange_of(sent).outcome == "complete"
