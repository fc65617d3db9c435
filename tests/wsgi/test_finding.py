"""Which application a layer sends from, through the middlewares between them."""

from __future__ import annotations

import functools
import gc
import sys
import typing as t
import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager

import flask
import pytest
import wrapt
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from werkzeug.debug import DebuggedApplication
from werkzeug.local import LocalProxy
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.http_proxy import ProxyMiddleware
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.errors import SenderWarning
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from signalpost.wsgi.finding import sender_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

Middleware = Callable[[t.Any], t.Any]


class Around:
    """A middleware as people write them."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self.app(environ, start_response)


class Named(Around):
    """A middleware that keeps its application under a name of one's choice."""

    name = "application"

    def __init__(self, app: WSGIApplication) -> None:
        setattr(self, self.name, app)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        app: WSGIApplication = getattr(self, self.name)
        return app(environ, start_response)


class AsSocketIO(Named):
    name = "wsgi_app"


class Private(Named):
    name = "_app"


class Slotted:
    __slots__ = ("app",)

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self.app(environ, start_response)


class Answering(Around):
    def __getattr__(self, name: str) -> t.Any:
        raise RuntimeError(name)


class Method(Around):
    def handle(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self.app(environ, start_response)


def by_wrapt(app: WSGIApplication) -> WSGIApplication:
    def call(
        wrapped: WSGIApplication, instance: object, args: t.Any, kwargs: t.Any
    ) -> Iterable[bytes]:
        return wrapped(*args, **kwargs)

    return t.cast("WSGIApplication", wrapt.FunctionWrapper(app, call))


def mounting(app: WSGIApplication) -> WSGIApplication:
    return DispatcherMiddleware(app, {"/metrics": hello})


def by_wraps(app: WSGIApplication) -> WSGIApplication:
    @functools.wraps(app)
    def wrapper(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    return wrapper


MIDDLEWARES: dict[str, Middleware] = {
    "ProxyFix": ProxyFix,
    "ProxyMiddleware": lambda app: ProxyMiddleware(app, {}),
    "SharedDataMiddleware": lambda app: SharedDataMiddleware(app, {}),
    "ProfilerMiddleware": ProfilerMiddleware,
    "LintMiddleware": LintMiddleware,
    "DebuggedApplication": DebuggedApplication,
    "DispatcherMiddleware": mounting,
    "OpenTelemetryMiddleware": OpenTelemetryMiddleware,
    "one's own": Around,
    "application": Named,
    "wsgi_app": AsSocketIO,
    "_app": Private,
    "slots": Slotted,
    "raising": Answering,
    "a method": lambda app: Method(app).handle,
    "wrapt": by_wrapt,
    "wrapt's proxy": wrapt.CallableObjectProxy,
    "functools.wraps": by_wraps,
    "a proxy": lambda app: LocalProxy(lambda: Around(app)),
    "a layer": lambda app: SignalMiddleware(ProxyFix(app)),
    "two": lambda app: ProxyFix(Named(app)),
}
each_middleware = pytest.mark.parametrize(
    "middleware", MIDDLEWARES.values(), ids=MIDDLEWARES.keys()
)

# A profiler of Werkzeug's prints, and its lint is tested elsewhere.
SERVED = {
    name: one
    for name, one in MIDDLEWARES.items()
    if name not in {"ProfilerMiddleware", "LintMiddleware"}
}
each_served = pytest.mark.parametrize("middleware", SERVED.values(), ids=SERVED.keys())


def new_app(name: str = "shop") -> flask.Flask:
    app = flask.Flask(name)
    app.add_url_rule("/items/<int:number>", "item", lambda number: "hello")
    return app


@each_middleware
@pytest.mark.parametrize("is_whole", [True, False])
def test_the_sender_is_the_application_behind_a_middleware(
    middleware: Middleware, is_whole: bool
) -> None:
    app = new_app()
    around = middleware(app if is_whole else app.wsgi_app)
    assert SignalMiddleware(around).sender is app
    assert sender_of(around) is app


@each_served
def test_a_layer_around_a_middleware_calls_it_and_sends_from_the_application(
    middleware: Middleware,
) -> None:
    app = new_app()
    app.wsgi_app = SignalMiddleware(  # type: ignore[method-assign]
        middleware(app.wsgi_app)
    )
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Server().serve(app, path="/items/3") == b"hello"
    assert [one.sender for one in sent] == [app] * 4
    assert sent[-1]["exchange"].route == "/items/<int:number>"


@each_served
def test_a_layer_around_a_middleware_and_the_extension_make_one_record(
    middleware: Middleware,
) -> None:
    app = new_app()
    Signalpost(app)
    called = SignalMiddleware(middleware(app))
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Server().serve(called, path="/items/3") == b"hello"
    assert [one.sender for one in sent] == [app] * 4


class WithInstanceApp:
    """An application object whose ``wsgi_app`` is set in each instance."""

    def __init__(self) -> None:
        self.wsgi_app: WSGIApplication = self.answer

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return hello(environ, start_response)


def test_an_application_is_found_by_the_method_that_its_wsgi_app_is() -> None:
    app = WithInstanceApp()
    assert SignalMiddleware(ProxyFix(app.wsgi_app)).sender is app
    assert SignalMiddleware(app).sender is app


def test_behind_a_known_middleware_any_callable_is_the_application() -> None:
    assert SignalMiddleware(ProxyFix(DebuggedApplication(hello))).sender is hello
    assert SignalMiddleware(ProxyFix(Around(hello))).sender is not hello


def test_a_class_of_ones_own_may_hold_an_application_that_is_not_its_own() -> None:
    around = Around(hello)
    assert SignalMiddleware(around).sender is around


def test_a_dispatcher_of_several_applications_is_the_sender_itself() -> None:
    front, back = new_app("front"), new_app("back")
    dispatcher = DispatcherMiddleware(front, {"/back": ProxyFix(back)})
    assert SignalMiddleware(dispatcher).sender is dispatcher
    # It is in the wsgi_app of one of them.
    dispatcher = DispatcherMiddleware(front.wsgi_app, {"/back": back})
    assert SignalMiddleware(dispatcher).sender is front
    same = DispatcherMiddleware(front, {"/again": front})
    assert SignalMiddleware(same).sender is front


def test_middlewares_in_a_circle_lead_to_no_application() -> None:
    one: t.Any = Named(hello)
    one.application = ProxyFix(Around(one))
    assert SignalMiddleware(one).sender is one
    known: t.Any = ProxyFix(hello)
    known.app = ProxyFix(known)
    assert sender_of(known) is not None


def test_a_thousand_middlewares_are_too_many_to_look_through() -> None:
    app: t.Any = new_app()
    around = app
    for _ in range(100):
        around = Around(around)
    assert SignalMiddleware(around).sender is app
    limit = sys.getrecursionlimit()
    for _ in range(3 * limit):
        around = Around(around)
    assert SignalMiddleware(around).sender is around


def through(app: WSGIApplication) -> WSGIApplication:
    def middleware(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    return middleware


def by_default(app: WSGIApplication) -> WSGIApplication:
    def middleware(
        environ: WSGIEnvironment,
        start_response: StartResponse,
        inner: WSGIApplication = app,
    ) -> Iterable[bytes]:
        return inner(environ, start_response)

    return middleware


def by_partial(app: WSGIApplication) -> WSGIApplication:
    def middleware(
        inner: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return inner(environ, start_response)

    return functools.partial(middleware, app)


class InList:
    def __init__(self, app: WSGIApplication) -> None:
        self.chain = {"inner": [app]}

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self.chain["inner"][0](environ, start_response)


def copying(app: WSGIApplication) -> WSGIApplication:
    return lambda environ, start_response: app({**environ}, start_response)


OPAQUE: dict[str, Middleware] = {
    "a closure": through,
    "a default": by_default,
    "a partial": by_partial,
    "a list": InList,
    "a copy": copying,
}
each_opaque = pytest.mark.parametrize("opaque", OPAQUE.values(), ids=OPAQUE.keys())


def note(sender: object, exchange: Exchange) -> None:
    pass


@contextmanager
def warned(*parts: str) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [one.category for one in caught] == [SenderWarning]
    for part in parts:
        assert part in str(caught[0].message)
    assert caught[0].filename == __file__


@each_opaque
def test_where_no_application_is_found_the_sender_is_what_was_given(
    opaque: Middleware,
) -> None:
    app = new_app()
    around = opaque(app.wsgi_app)
    assert SignalMiddleware(around).sender is around


@each_opaque
def test_connecting_to_an_application_that_its_layer_does_not_find_warns(
    opaque: Middleware,
) -> None:
    app = new_app()
    app.wsgi_app = SignalMiddleware(  # type: ignore[method-assign]
        opaque(app.wsgi_app)
    )
    parts = ("note", "'shop'", "SignalMiddleware(..., sender=app)")
    for signal in EXCHANGE_SIGNALS:
        with warned(*parts):
            signal.connect(note, app)
        signal.disconnect(note)
    with warned(*parts):
        exchange_closed.connect_via(app)(note)
    exchange_closed.disconnect(note)
    with warned(*parts):
        catalogue["exchange-closed"].connect(note, app, dispatch_uid="note")
    exchange_closed.disconnect(note)


@each_opaque
def test_a_configuration_of_an_application_that_its_layer_does_not_find_warns(
    opaque: Middleware,
) -> None:
    app = new_app()
    app.wsgi_app = SignalMiddleware(  # type: ignore[method-assign]
        opaque(app.wsgi_app)
    )
    with warned("'shop'", "sender=app"):
        enabled = Configuration.from_mapping(
            {"signalpost.receivers": {"latency": True}}
        ).load(app)
    enabled.disable("latency")


@each_opaque
def test_a_layer_that_does_not_find_an_application_with_receivers_warns(
    opaque: Middleware,
) -> None:
    app = new_app()
    with exchange_closed.connected_to(note, app):
        with warned("'shop'", "sender=app"):
            SignalMiddleware(opaque(app.wsgi_app))
        app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]
        # Its receivers are called by that layer.
        SignalMiddleware(opaque(app.wsgi_app))


@each_opaque
def test_no_warning_is_given_where_the_application_sends(opaque: Middleware) -> None:
    app, other = new_app(), new_app("other")
    app.wsgi_app = SignalMiddleware(  # type: ignore[method-assign]
        opaque(app.wsgi_app), sender=app
    )
    exchange_closed.connect(note, app)
    # As a page that another application serves.
    other.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        other.wsgi_app, {"/page": SignalMiddleware(hello)}
    )
    exchange_closed.connect(note, other)
    exchange_closed.connect(note, new_app("without a layer"))
    exchange_closed.connect(note)
    template_rendered.connect(lambda sender, **extra: None, other, weak=False)
    exchange_closed.disconnect(note)


@each_opaque
def test_the_extension_names_the_sender_of_a_layer_within(opaque: Middleware) -> None:
    app = new_app()
    app.wsgi_app = SignalMiddleware(  # type: ignore[method-assign]
        opaque(app.wsgi_app)
    )
    Signalpost(app)
    exchange_closed.connect(note, app)
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Server().serve(app, path="/items/3") == b"hello"
    assert [one.sender for one in sent] == [app] * 4


@each_opaque
def test_a_layer_that_comes_around_the_extension_takes_its_sender(
    opaque: Middleware,
) -> None:
    app = new_app()
    Signalpost(app)
    app.wsgi_app = SignalMiddleware(  # type: ignore[method-assign]
        opaque(app.wsgi_app)
    )
    with capture(*EXCHANGE_SIGNALS) as sent:
        for _ in range(2):
            assert Server().serve(app, path="/items/3") == b"hello"
    # The first request shows whose it is.
    assert [one.sender for one in sent[-5:]] == [app] * 5
    assert len(sent) == 9
    assert len({id(one["exchange"]) for one in sent}) == 2


def test_a_function_that_leads_to_several_applications_keeps_its_own_record() -> None:
    front, back = new_app("front"), new_app("back")
    front.wsgi_app = SignalMiddleware(front)  # type: ignore[method-assign]
    back.wsgi_app = SignalMiddleware(back)  # type: ignore[method-assign]

    def choose(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        chosen = back if environ.get("HTTP_HOST") == "back" else front
        return chosen(environ, start_response)

    called = SignalMiddleware(choose)
    with capture(exchange_closed) as sent:
        for host in ("back", "front") * 2:
            Server().serve(called, path="/items/3", HTTP_HOST=host)
    assert [one.sender for one in sent] == [back, choose, front, choose] * 2


def test_finding_an_application_keeps_nothing_alive() -> None:
    app = new_app()
    SignalMiddleware(through(ProxyFix(app.wsgi_app)))
    exchange_closed.connect(note, app)
    exchange_closed.disconnect(note)
    alive = [one for one in gc.get_referrers(app) if type(one) is dict]
    assert not [one for one in alive if one.get(id(app)) is app]


def test_a_function_within_a_known_middleware_is_no_application() -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "hello")
    inner = app.wsgi_app
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        lambda environ, start_response: inner(environ, start_response)
    )
    app.wsgi_app = SignalMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    def receive(sender: object, exchange: Exchange) -> None: ...

    with (
        pytest.warns(SenderWarning, match="it cannot be seen which application"),
        exchange_closed.connected_to(receive, app),
    ):
        pass
    Signalpost(app)
    with capture(exchange_closed) as sent:
        Server().serve(app)
    assert [one.sender for one in sent] == [app]
