"""Which id the requests of an application have, by the headers of its layers."""

from __future__ import annotations

import typing as t

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SENT = {"HTTP_X_REQUEST_ID": "of the front", "HTTP_CF_RAY": "7a-LHR"}


class Sender:
    """Its attributes are freed with it."""


def id_of(app: t.Any, **environ: t.Any) -> str:
    """Return the id of the outermost exchange of a request."""
    ids = []

    def keep(sender: object, *, exchange: Exchange) -> None:
        ids.append(exchange.id)

    with exchange_closed.connected_to(keep):
        Server().serve(app, **environ)
    return ids[-1]


def test_the_headers_of_a_layer_are_read() -> None:
    app = SignalMiddleware(hello, sender=Sender(), id_headers=["CF-Ray"])
    assert id_of(app, **SENT) == "7a-LHR"


def test_a_layer_without_headers_reads_no_id() -> None:
    app = SignalMiddleware(hello, sender=Sender(), id_headers=())
    sent = {"HTTP_X_REQUEST_ID": "f3-09"}
    first, second = id_of(app, **sent), id_of(app, **sent)
    assert len({first, second, "f3-09"}) == 3


def test_the_headers_of_one_application_are_not_those_of_another() -> None:
    another = SignalMiddleware(hello, sender=Sender(), id_headers=["CF-Ray"])
    sent = {**SENT, "HTTP_X_REQUEST_ID": "f3-09"}
    assert id_of(SignalMiddleware(hello, sender=Sender()), **sent) == "f3-09"
    assert id_of(another, **sent) == "7a-LHR"


def test_the_headers_count_whichever_layer_records() -> None:
    shop, fair = Sender(), Sender()
    inner = SignalMiddleware(hello, sender=shop)
    outer = SignalMiddleware(inner, sender=shop, id_headers=["CF-Ray"])
    assert id_of(outer, **SENT) == "7a-LHR"
    inner = SignalMiddleware(hello, sender=fair, id_headers=["CF-Ray"])
    outer = SignalMiddleware(inner, sender=fair)
    assert id_of(outer, **SENT) == "7a-LHR"


def test_headers_of_a_wrong_type_are_refused() -> None:
    wrong: t.Any = "X-Request-ID"
    with pytest.raises(TypeError, match="id_headers must be a list"):
        SignalMiddleware(hello, id_headers=wrong)


def test_the_headers_of_a_configuration_are_read() -> None:
    app = SignalMiddleware(hello, sender=Sender())
    Configuration.from_mapping({"signalpost": {"id-headers": ["CF-Ray"]}}).load(app)
    assert id_of(app, **SENT) == "7a-LHR"


def test_the_headers_of_an_ini_file_are_words(tmp_path: t.Any) -> None:
    path = tmp_path / "shop.ini"
    path.write_text("[signalpost]\nid-headers = X-Request-ID CF-Ray\n")
    app = SignalMiddleware(hello, sender=Sender())
    Configuration.from_file(path).load(app)
    assert id_of(app, **SENT) == "7a-LHR"


def test_the_headers_of_flasks_configuration_are_read() -> None:
    app = flask.Flask("shop")
    app.config["SIGNALPOST_ID_HEADERS"] = ["CF-Ray"]
    Signalpost(app)
    assert id_of(app, **SENT) == "7a-LHR"


@pytest.mark.parametrize("wrong", ["CF-Ray", 7, ["CF Ray"], [7], True])
def test_a_configuration_with_no_headers_is_refused(wrong: t.Any) -> None:
    app = SignalMiddleware(hello, sender=Sender())
    configuration = Configuration.from_mapping({"signalpost": {"id-headers": wrong}})
    with pytest.raises(ConfigurationError, match=r"id-headers: .*id_headers must be"):
        configuration.load(app)


def test_a_request_has_one_id_from_the_call_to_the_close() -> None:
    seen = []

    def note() -> None:
        exchange = current_exchange()
        assert exchange is not None
        seen.append(exchange.id)

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", TEXT)
        note()

        def body() -> t.Any:
            try:
                note()
                yield b"hello"
            finally:
                note()

        return body()

    seen.append(id_of(SignalMiddleware(app)))
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_a_mounted_application_has_the_id_of_the_request() -> None:
    seen = []

    def keep(sender: object, *, exchange: Exchange) -> None:
        seen.append((sender, exchange.id))

    mounted: WSGIApplication = SignalMiddleware(hello, sender="mounted")
    app = SignalMiddleware(lambda *given: mounted(*given), sender="outer")
    with exchange_closed.connected_to(keep):
        Server().serve(app)
    assert [sender for sender, _ in seen] == ["mounted", "outer"]
    assert len({found for _, found in seen}) == 1


def test_a_redirect_inside_has_the_id_of_the_request() -> None:
    seen = []

    def keep(sender: object, *, exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.id))

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        if environ["PATH_INFO"] == "/old":
            return layer({**environ, "PATH_INFO": "/new"}, start_response)
        return hello(environ, start_response)

    layer = SignalMiddleware(app)
    with exchange_closed.connected_to(keep):
        Server().serve(layer, path="/old")
        Server().serve(layer, path="/old")
    assert [path for path, _ in seen] == ["/new", "/old"] * 2
    assert seen[0][1] == seen[1][1] != seen[2][1] == seen[3][1]
