"""The mistakes that are made most often, and the whole message of each."""

from __future__ import annotations

import copy
import functools
import importlib
import logging
import pickle
import re
import sys
import typing as t
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from reprlib import repr as short_repr

import flask
import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

import signalpost
from signalpost import named
from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost._moved import MODULES
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.errors import ApplicationError
from signalpost.errors import ExtensionError
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError
from signalpost.errors import SenderWarning
from signalpost.errors import WeakReceiverWarning
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.sqlalchemy import EveryEngine
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import sql_executed
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.recorder import LatencyRecorder
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\.\.\.x?[0-9a-f]+", "0x0", text)


def message_of(kind: type[Exception], mistake: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        mistake()
    assert type(caught.value) is kind
    return without_addresses(str(caught.value)).replace(f"{__name__}.", "")


def warning_of(kind: type[Warning], mistake: Callable[[], object]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mistake()
    (one,) = caught
    assert one.category is kind
    assert one.filename == __file__
    return without_addresses(str(one.message)).replace(f"{__name__}.", "")


def receive(sender: object, exchange: Exchange) -> None:
    pass


def anything_else(sender: object, **extra: object) -> None:
    pass


async def receive_async(sender: object, exchange: Exchange) -> None:
    pass


# Imports.


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "from signalpost import Signalpost",
            (
                "signalpost has no Signalpost; write: from"
                " signalpost.integrations.flask import Signalpost"
            ),
        ),
        (
            "from signalpost import flask",
            (
                "signalpost has no flask; write: from signalpost.integrations import"
                " flask"
            ),
        ),
        (
            "from signalpost import request_started",
            (
                "signalpost has no request_started; write: from signalpost.lifecycle"
                " import request_started"
            ),
        ),
        (
            "from signalpost.receivers import log_latency",
            (
                "signalpost.receivers has no log_latency; write: from"
                " signalpost.receivers.latency import log_latency"
            ),
        ),
        (
            "from signalpost.integrations import Signalpost",
            (
                "signalpost.integrations has no Signalpost; write: from"
                " signalpost.integrations.flask import Signalpost"
            ),
        ),
        (
            "from signalpost.receivers import SignalMiddleware",
            (
                "signalpost.receivers has no SignalMiddleware; write: from signalpost"
                " import SignalMiddleware"
            ),
        ),
    ],
)
def test_a_name_that_another_module_has_is_imported_from_there(
    statement: str, expected: str
) -> None:
    assert message_of(ImportError, lambda: exec(statement)) == expected


@pytest.mark.parametrize("name", sorted(MODULES))
def test_each_place_has_the_name(name: str) -> None:
    module = importlib.import_module(MODULES[name])
    # The package of an integration need not be installed.
    assert hasattr(module, name) or find_spec(f"{module.__name__}.{name}")


@pytest.mark.parametrize(
    "module", ["signalpost", "signalpost.receivers", "signalpost.integrations"]
)
def test_a_name_that_no_module_has_is_missing_as_usual(module: str) -> None:
    found = importlib.import_module(module)
    assert not hasattr(found, "request_begun")
    assert message_of(AttributeError, lambda: found.request_begun) == (
        f"module {module!r} has no attribute 'request_begun'"
    )
    with pytest.raises(ImportError, match="cannot import name 'request_begun'"):
        exec(f"from {module} import request_begun")


# The layer.


class Shop(flask.Flask):
    def reopen(self) -> None: ...


def test_a_layer_lacks_what_each_application_has() -> None:
    app: t.Any = SignalMiddleware(Shop("shop"))
    hello_app: t.Any = SignalMiddleware(hello)
    assert "its application has" in message_of(AttributeError, lambda: app.reopen)
    # Another application, which has it not.
    assert message_of(AttributeError, lambda: hello_app.reopen) == (
        "a SignalMiddleware has no 'reopen'"
    )
    assert not hasattr(app, "reopen")
    assert not hasattr(app, "wsgi_app")
    hello_app.sender = Shop("shop")
    assert "its application has" in message_of(AttributeError, lambda: hello_app.run)
    # A subclass may have it, and so may an object.
    app.reopen = 7
    assert app.reopen == 7
    assert type("Own", (SignalMiddleware,), {"run": 7})(flask.Flask("shop")).run == 7


def test_applications_with_odd_attributes_can_be_wrapped() -> None:
    class Odd:
        __slots__ = ("__weakref__",)

        def __getattr__(self, name: str) -> t.NoReturn:
            raise RuntimeError(name)

        def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
            return hello(environ, start_response)

    app = flask.Flask("shop")
    vars(app).update({"not an identifier": 1, "_private": 2})
    vars(app).update({f"name_{number}": number for number in range(5_000)})
    for one in (Odd(), type("Many", (flask.Flask,), {})("shop"), app):
        layer: t.Any = SignalMiddleware(one)
        assert not hasattr(layer, "_private")
    assert len(vars(SignalMiddleware)) < 3_000


def test_a_layer_that_has_replaced_its_application() -> None:
    app: t.Any = SignalMiddleware(flask.Flask("shop"))
    for name in ("route", "run", "config", "test_client"):
        assert message_of(AttributeError, functools.partial(getattr, app, name)) == (
            f"a SignalMiddleware has no {name!r}; its application has: keep that"
            " object, and put the layer into it, as in app.wsgi_app ="
            " SignalMiddleware(app)"
        )
    assert message_of(AttributeError, lambda: app.rout) == (
        "'SignalMiddleware' object has no attribute 'rout'"
    )
    assert not hasattr(app, "__await__")
    with suppress(TypeError, AttributeError, pickle.PicklingError):
        pickle.dumps(SignalMiddleware(hello))
    assert copy.copy(SignalMiddleware(hello)).sender is hello


def create_app() -> flask.Flask:
    return flask.Flask("shop")


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (
            create_app,
            (
                "app must be a WSGI application, called with environ and"
                " start_response, got the function create_app, which does not take two"
                " arguments; if it creates the application, call it, and pass its"
                " result"
            ),
        ),
        (
            flask.Flask,
            "app must be an application, got the class Flask; pass an instance of it",
        ),
        (
            "shop:app",
            (
                "app must be a WSGI application, called with environ and"
                " start_response, got 'shop:app'; pass the application object"
            ),
        ),
        (
            None,
            (
                "app must be a WSGI application, called with environ and"
                " start_response, got None; pass the application object"
            ),
        ),
    ],
)
def test_what_is_no_application(app: object, expected: str) -> None:
    assert message_of(ApplicationError, lambda: SignalMiddleware(app)) == expected


def takes_more(environ: object, start_response: object, *, more: int = 0) -> None:
    pass


@pytest.mark.parametrize(
    "app",
    [
        takes_more,
        lambda *arguments: hello(*arguments),
        lambda environ, start_response, inner=hello: inner(environ, start_response),
    ],
)
def test_a_function_that_takes_two_arguments_is_an_application(app: t.Any) -> None:
    assert SignalMiddleware(app).sender is app


def test_an_async_receiver_in_a_plain_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = SignalMiddleware(hello)
    with exchange_closed.connected_to(receive_async):
        assert Server().serve(layer) == b"hello"
    (record,) = [one for one in caplog.records if one.name == "signalpost.signals"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert without_addresses(str(record.exc_info[1])).replace(f"{__name__}.", "") == (
        "receiver receive_async is async, and a plain WSGI application has nothing that"
        " runs it; connect a function that is not async, or set up a Flask application"
        " by Signalpost(app), which uses app.ensure_sync"
    )


# The extension.


def test_an_application_that_is_set_up_twice() -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    expected = (
        "<Flask 'shop'> is set up by Signalpost already; call init_app once for each"
        " application, or Signalpost(app) without init_app"
    )
    assert message_of(ExtensionError, lambda: Signalpost(app)) == expected
    assert message_of(ExtensionError, lambda: Signalpost(app).init_app(app)) == (
        expected
    )


class Dash:
    """An object around a Flask application, as Dash is."""

    def __init__(self) -> None:
        self.server = flask.Flask("dash")


class Raising:
    def __getattr__(self, name: str) -> t.Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("given", "got", "advice"),
    [
        (Dash(), "<tests.test_m", "its application is its attribute 'server'"),
        (create_app, "<function cre", "if it creates the application"),
        (flask.Flask, "<class 'flask.app.Flask'>", "pass an instance of it"),
        ("shop", "'shop'", "pass the application object, not its name"),
        (flask.Flask("shop").wsgi_app, "<bound method", "pass the application that it"),
        (ProxyFix(flask.Flask("shop")), "<werkzeug.mid", "pass the application that"),
        (flask.Blueprint("pages", "pages"), "<Blueprint", "pass the application that"),
        (hello, "<function hel", "if it creates the application, call it"),
        (None, "None", "for another WSGI application use signalpost.SignalMiddleware"),
        pytest.param(Raising(), "<tests.test_m", "for another WSGI app", id="raising"),
    ],
)
def test_what_is_no_flask_application(given: t.Any, got: str, advice: str) -> None:
    message = message_of(ExtensionError, lambda: Signalpost().init_app(given))
    start, _, rest = message.partition("; ")
    assert start.startswith(f"app must be a Flask application, got {got}")
    assert rest.startswith(advice)


def test_a_setting_that_comes_after_the_setup(caplog: pytest.LogCaptureFixture) -> None:
    app = flask.Flask("shop")
    app.config["SIGNALPOST_STRICT"] = False
    Signalpost(app)
    app.config["SIGNALPOST_RECEIVERS"] = {"latency": True}
    app.config["SIGNALPOST_STRICT"] = True
    for _ in range(2):
        app.test_client().get("/", buffered=True)
    assert [one.getMessage() for one in caplog.records] == [
        f"{key} of <Flask 'shop'> was set after Signalpost(app), which reads the"
        " configuration once; set it before"
        for key in ("SIGNALPOST_STRICT", "SIGNALPOST_RECEIVERS")
    ]


# Receivers.


def test_a_receiver_that_is_called_instead_of_passed() -> None:
    def connect() -> None:
        called: t.Any = receive
        exchange_closed.connect(called(None, None))

    assert message_of(ReceiverError, connect) == (
        "receiver must be callable, got None; pass the function itself, not its result"
    )


def test_a_receiver_whose_methods_are_connected() -> None:
    app = flask.Flask("shop")
    connect = connected(exchange_closed, app, LatencyRecorder())
    message = message_of(ReceiverError, connect)
    assert message.startswith("receiver must be callable, got <")
    assert message.endswith(
        "; connect its methods: .opened to exchange-opened and .closed to"
        " exchange-closed"
    )


def test_a_receiver_that_connects_itself() -> None:
    connect = connected(exchange_closed, flask.Flask("shop"), EveryEngine())
    assert message_of(ReceiverError, connect).endswith(
        "; it connects itself: call its method connect"
    )


def test_a_signal_as_the_receiver() -> None:
    connect = connected(exchange_closed, flask.Flask("shop"), request_started)
    assert message_of(ReceiverError, connect).endswith(
        "; pass the function itself, not its result"
    )


def test_a_receiver_with_a_wrong_parameter() -> None:
    def note(sender: object, request: object) -> None:
        pass

    assert message_of(PayloadError, lambda: request_started.connect(note)) == (
        "receiver test_a_receiver_with_a_wrong_parameter.<locals>.note takes"
        " 'request', which <NamedSignal 'request-started'> does not send; it sends"
        " environ, exchange"
    )


class Shelves:
    def count(self, sender: object, exchange: Exchange) -> None:
        pass

    def count_later(self, sender: object, **extra: object) -> Iterator[None]:
        yield


def test_a_method_that_is_taken_from_its_class() -> None:
    mistake: t.Any = Shelves.count
    assert message_of(PayloadError, lambda: exchange_closed.connect(mistake)) == (
        "receiver Shelves.count takes 'sender', which <NamedSignal 'exchange-closed'>"
        " does not send; it is a method of a class: connect that of an object"
    )


class Later:
    def __call__(self, sender: object, **extra: object) -> Iterator[None]:
        yield


def later(sender: object, **extra: object) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("receiver", "name"),
    [
        (later, "later"),
        (functools.partial(later, note=1), "later"),
        (Shelves().count_later, "Shelves.count_later"),
        (Later(), "Later object"),
    ],
)
@pytest.mark.parametrize("to_any", [True, False])
def test_a_generator_function_whose_body_would_not_run(
    receiver: t.Any, name: str, to_any: bool
) -> None:
    senders = () if to_any else (flask.Flask("shop"),)

    before = exchange_closed.connections

    def connect() -> None:
        exchange_closed.connect(receiver, *senders)

    def connect_for_a_block() -> None:
        with exchange_closed.connected_to(receiver, *senders):
            pass

    for mistake in (connect, connect_for_a_block):
        message = message_of(ReceiverError, mistake)
        assert message.startswith("receiver ")
        assert message.endswith(
            f"{name} is a generator function, whose body would never run, as nothing"
            " reads what receivers of exchange-closed return; connect a function"
            " without yield"
        )
    assert exchange_closed.connections == before


def test_a_decorator_that_runs_a_generator_is_no_mistake() -> None:
    ran: list[None] = []

    @functools.wraps(later)
    def run(sender: object, **extra: object) -> None:
        ran.extend(later(sender))

    with exchange_closed.connected_to(run):
        exchange_closed.send(None, environ={}, exchange=None)
    assert ran == [None]


def test_a_generator_of_a_signal_whose_results_are_read_is_no_mistake() -> None:
    collecting = signalpost.NamedSignal("collecting")
    with collecting.connected_to(later):
        ((_, found),) = collecting.send(None)
    assert [*found] == [None]


@pytest.mark.parametrize("receiver", [receive, anything_else])
def test_connect_via_without_its_sender(receiver: t.Any) -> None:
    mistake = functools.partial(exchange_closed.connect_via, receiver)
    assert message_of(PayloadError, mistake) == (
        f"connect_via() takes the sender, got {receiver.__name__}, which looks like a"
        " receiver of <NamedSignal 'exchange-closed'>; write @connect_via(sender) above"
        " it, or @connect for any sender"
    )


def test_a_function_that_is_an_application_is_a_sender() -> None:
    found: list[object] = []

    @exchange_closed.connect_via(hello)
    def note(sender: object, exchange: Exchange) -> None:
        found.append(sender)

    Server().serve(SignalMiddleware(hello))
    assert found == [hello]
    assert exchange_closed.disconnect(note, hello)


def test_a_function_that_takes_what_it_sends_is_a_sender() -> None:
    charged = signalpost.Namespace().signal("charged", payload=("total",))

    def charge(account: str, total: int) -> None:
        charged.send(charge, total=total)

    found: list[int] = []

    @charged.connect_via(charge)
    def note(sender: object, total: int) -> None:
        found.append(total)

    charge("Ada", 7)
    assert found == [7]


def test_the_name_of_a_signal_in_its_place() -> None:
    mistake: t.Any = "exchange-closed"
    assert message_of(TypeError, lambda: signalpost.receiver(mistake)(receive)) == (
        "receiver() takes a signal or several, got 'exchange-closed'"
    )


def test_a_receiver_without_a_place_for_the_sender() -> None:
    def note(exchange: Exchange) -> None:
        pass

    assert message_of(PayloadError, lambda: exchange_closed.connect(note)) == (
        "receiver test_a_receiver_without_a_place_for_the_sender.<locals>.note would"
        " get the sender of <NamedSignal 'exchange-closed'> as 'exchange', which is a"
        " name of its payload; put the sender first, as in def receiver(sender,"
        " exchange)"
    )

    def nothing() -> None:
        pass

    assert message_of(PayloadError, lambda: exchange_closed.connect(nothing)) == (
        "receiver test_a_receiver_without_a_place_for_the_sender.<locals>.nothing"
        " cannot take the sender of <NamedSignal 'exchange-closed'>; put the sender"
        " first, as in def receiver(sender, **extra)"
    )


def test_a_class_that_is_connected_instead_of_an_object() -> None:
    assert message_of(PayloadError, lambda: exchange_closed.connect(LatencyLogger)) == (
        "receiver signalpost.receivers.latency.LatencyLogger cannot take the sender of"
        " <NamedSignal 'exchange-closed'>; it is a class: connect an object of it"
    )


def test_a_sender_in_the_place_of_the_receiver() -> None:
    app = flask.Flask("shop")
    for mistake in (
        lambda: exchange_closed.connect(app, receive),
        lambda: exchange_closed.connect(app),
    ):
        assert message_of(PayloadError, mistake) == (
            "receiver flask.app.Flask object would get the sender of <NamedSignal"
            " 'exchange-closed'> as 'environ', which is a name of its payload; put the"
            " sender first, as in def __call__(self, sender, environ); if it is the"
            " sender, pass it second: connect(receiver, sender)"
        )


def test_an_object_that_dies_as_connect_returns() -> None:
    def connect() -> None:
        exchange_closed.connect(LatencyLogger())

    assert warning_of(WeakReceiverWarning, connect) == (
        "receiver signalpost.receivers.latency.LatencyLogger object is freed as"
        " connect() returns: <NamedSignal 'exchange-closed'> holds it weakly and"
        " nothing else"
        " holds it; keep it in a variable or connect it with weak=False"
    )


# Senders.


def connected(
    signal: NamedSignal, sender: object, receiver: t.Any = None
) -> Callable[[], None]:
    def connect() -> None:
        signal.connect(receiver or anything, sender)
        signal.disconnect(receiver or anything)

    return connect


def anything(sender: object, **extra: object) -> None:
    pass


@pytest.mark.parametrize("name", sorted(catalogue))
def test_a_string_as_the_sender(name: str) -> None:
    assert warning_of(SenderWarning, connected(catalogue[name], "shop")) == (
        "anything was connected to 'shop'; a string sends no signals: write"
        " named('shop') for the application"
    )


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (
            flask.Flask,
            (
                "anything was connected to <class 'flask.app.Flask'>; a class sends no"
                " signals: connect to the application object"
            ),
        ),
        (
            None,
            (
                "anything was connected to None; a value sends no signals: connect to"
                " the application object"
            ),
        ),
        (
            [flask.Flask("shop")],
            (
                "anything was connected to [<Flask 'shop'>]; a collection sends no"
                " signals: connect to each application"
            ),
        ),
        (
            sys,
            (
                "anything was connected to <module 'sys' (built-in)>; a module sends no"
                " signals: connect to the application object"
            ),
        ),
        (
            8000,
            (
                "anything was connected to 8000; a value sends no signals: connect to"
                " the application object"
            ),
        ),
    ],
)
def test_a_value_as_the_sender(sender: object, expected: str) -> None:
    for signal in (exchange_closed, sql_executed):
        message = warning_of(SenderWarning, connected(signal, sender))
        assert message == without_addresses(expected)


def test_a_layer_as_the_sender() -> None:
    layer = SignalMiddleware(hello)
    assert warning_of(SenderWarning, connected(exchange_closed, layer)).endswith(
        "; a layer sends no signals, its application does: connect to that"
    )
    around = SignalMiddleware(hello, sender=layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connected(exchange_closed, around.sender)()


ENGINES_SEND = (
    "applications do not send it, engines do: connect without a sender, or to the"
    " engine"
)
SENT_BY_NO_APPLICATION = [
    ("sql-executed", ENGINES_SEND),
    ("sql-failed", ENGINES_SEND),
    (
        "post-config-load",
        "applications do not send it, configurations do: connect without a sender",
    ),
]


@pytest.mark.parametrize(("name", "reason"), SENT_BY_NO_APPLICATION)
def test_an_application_as_the_sender_of_what_it_does_not_send(
    name: str, reason: str
) -> None:
    signal, app = catalogue[name], flask.Flask("shop")
    expected = f"anything was connected to <Flask 'shop'>; {reason}"
    assert warning_of(SenderWarning, connected(signal, app)) == expected
    layer = SignalMiddleware(app)
    assert warning_of(SenderWarning, connected(signal, layer.sender)) == expected
    Signalpost(other := flask.Flask("shop"))
    expected = f"anything was connected to named('shop'); {reason}"
    assert warning_of(SenderWarning, connected(signal, named(other.name))) == expected


@pytest.mark.parametrize(("name", "reason"), SENT_BY_NO_APPLICATION)
def test_a_callable_as_the_sender_of_what_applications_do_not_send(
    name: str, reason: str
) -> None:
    signal = catalogue[name]

    def shop(environ: object, start_response: object) -> t.NoReturn:
        raise NotImplementedError

    expected = f"anything was connected to {short_repr(shop)}; {reason}"
    expected = without_addresses(expected).replace(f"{__name__}.", "")
    # Before it has a layer, any callable may be an engine of another kind.
    with signal.connected_to(anything, shop):
        assert warning_of(SenderWarning, lambda: SignalMiddleware(shop)) == expected
    layer = SignalMiddleware(shop)
    assert warning_of(SenderWarning, connected(signal, shop)) == expected
    assert layer.sender is shop


@pytest.mark.parametrize(("name", "reason"), SENT_BY_NO_APPLICATION)
def test_a_value_of_a_layer_as_the_sender_of_what_it_does_not_send(
    name: str, reason: str
) -> None:
    layer = SignalMiddleware(hello, sender="shop")
    assert warning_of(SenderWarning, connected(catalogue[name], layer.sender)) == (
        f"anything was connected to 'shop'; {reason}"
    )


class Engine:
    """Sends statements, and is no application."""


def test_what_may_send_statements_is_no_mistake() -> None:
    engine, app, unbound = Engine(), flask.Flask("shop"), named("later")
    named("engine").bind(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalogue.connect(anything, app)
        layer = SignalMiddleware(app)
        for sender in (engine, signalpost.ANY, unbound, named("engine")):
            connected(sql_executed, sender)()
        catalogue.connect(anything, layer.sender)
        with sql_executed.connected_to(receive):
            assert SignalMiddleware(app).sender is app
    catalogue.disconnect(anything, app)


class Counted(SignalMiddleware):
    """Counts how often its sender is read."""

    reads = 0

    def _find_sender(self) -> object:
        self.reads += 1
        return super()._find_sender()


def test_connecting_to_statements_reads_no_other_layer() -> None:
    apps = [flask.Flask("shop") for _ in range(20)]
    layers = [Counted(app) for app in apps]
    before = [layer.reads for layer in layers]
    with pytest.warns(SenderWarning):
        connected(sql_executed, apps[0])()
    connected(sql_executed, Engine())()
    after = [layer.reads for layer in layers]
    assert after[1:] == before[1:]


def test_a_value_from_which_a_layer_sends_is_no_mistake() -> None:
    layer = SignalMiddleware(hello, sender="shop")
    other = SignalMiddleware(hello, sender=8000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connected(exchange_closed, "shop")()
        connected(exchange_closed, 8000)()
    assert (layer.sender, other.sender) == ("shop", 8000)


def test_a_function_of_the_root_that_is_no_mistake() -> None:
    assert signalpost.SignalMiddleware is SignalMiddleware


# Options.


OPTIONS: list[tuple[str, dict[str, t.Any], str]] = [
    (
        "latency",
        {"exclude": "/healthz"},
        (
            "exclude must be a collection of patterns, got '/healthz'; write"
            ' ["/healthz"]'
        ),
    ),
    (
        "latency",
        {"exclude": [3]},
        ('each of the patterns in exclude must be a string, got 3; write ["/healthz"]'),
    ),
    (
        "recorder",
        {"exclude": ["healthz"]},
        (
            "a pattern of exclude must be a path that begins with / or **, without"
            " host, query, route variables and regular expressions, got 'healthz';"
            ' write "/healthz", "/items/*" or "/static/**"'
        ),
    ),
    (
        "latency",
        {"exclude": ["/**/a/**"]},
        (
            "a pattern of exclude takes ** once, as a whole segment, and * once a"
            " segment, got '/**/a/**'; write several patterns"
        ),
    ),
    (
        "failures",
        {"ignore": "shop.errors:Expected"},
        (
            "ignore must be a collection of exceptions, or of their paths, got"
            """ 'shop.errors:Expected'; write ["shop.errors:Expected"]"""
        ),
    ),
    (
        "failures",
        {"ignore": [3]},
        (
            "ignore must hold classes of exceptions or their paths, got 3; write"
            ' ["shop.errors:Expected"]'
        ),
    ),
    (
        "failures",
        {"ignore_statuses": 503},
        "ignore_statuses must be a collection of statuses, got 503; write [503]",
    ),
    (
        "failures",
        {"ignore_statuses": ["503"]},
        (
            "each of the statuses in ignore_statuses must be a whole number, got '503';"
            " write [503]"
        ),
    ),
    (
        "failures",
        {"ignore_statuses": [5]},
        (
            "each of the statuses in ignore_statuses must be a whole number from 100 to"
            " 999, got 5; write [503]"
        ),
    ),
    (
        "latency",
        {"fields": "client"},
        ("""fields must be a list of names, got 'client'; write ["client", "user"]"""),
    ),
    (
        "latency",
        {"fields": [3]},
        'each of the names in fields must be a string, got 3; write ["client", "user"]',
    ),
    (
        "latency",
        {"fields": ["a b"]},
        (
            "a name in fields must be of letters, digits and . _ -, got 'a b'; write"
            ' "client"'
        ),
    ),
    (
        "latency",
        {"fields": ["path"]},
        (
            "a name in fields must be none of the line's own, got 'path'; keep the"
            " value by another name in exchange.state"
        ),
    ),
]


@pytest.mark.parametrize(("name", "options", "expected"), OPTIONS)
def test_an_option_that_does_not_fit(
    name: str, options: dict[str, t.Any], expected: str
) -> None:
    module, _, attribute = BUILTIN_RECEIVERS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    with pytest.raises((TypeError, ValueError)) as raised:
        kind(**options)
    assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            "X-Request-ID",
            (
                "id_headers must be a list of names of headers, got"
                """ 'X-Request-ID'; write ["X-Request-ID"]"""
            ),
        ),
        (
            [3],
            (
                "each of the names of headers in id_headers must be a string, got 3;"
                ' write ["X-Request-ID"]'
            ),
        ),
        (
            ["X Request"],
            (
                "id_headers must be names of headers, of letters, digits and hyphens,"
                """ got 'X Request'; write "X-Request-ID\""""
            ),
        ),
    ],
)
def test_headers_of_ids_that_do_not_fit(headers: t.Any, expected: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        SignalMiddleware(hello, id_headers=headers)
    assert str(raised.value) == expected
