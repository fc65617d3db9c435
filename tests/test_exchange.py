from __future__ import annotations

import typing as t

import pytest

from signalpost.errors import ExchangeClosedError
from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY


def exchange_of(**environ: t.Any) -> Exchange:
    return Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}, "shop")


@pytest.mark.parametrize("method", ["GET", "PATCH", "TRACE", "OPTIONS"])
def test_a_known_method_is_kept(method: str) -> None:
    assert exchange_of(REQUEST_METHOD=method).method == method


@pytest.mark.parametrize("method", ["BREW", "get", "", "GET\n", None])
def test_an_invented_method_is_other(method: str | None) -> None:
    assert exchange_of(REQUEST_METHOD=method).method == "_OTHER"


def test_the_path_is_decoded_from_the_bytes_of_the_request() -> None:
    assert exchange_of(PATH_INFO="/caf\xc3\xa9").path == "/café"


@pytest.mark.parametrize("path", ["/\xff\xfe", "/\udce9", "/\u4e2d", 7, None])
def test_a_path_that_is_no_text_is_no_error(path: t.Any) -> None:
    assert isinstance(exchange_of(PATH_INFO=path).path, str)


@pytest.mark.parametrize(
    ("header", "referrer"),
    [
        (None, None),
        ("", None),
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/x?token=secret#part", "https://a.example/x"),
        ("https://user:secret@a.example/x", "https://a.example/x"),
        ("https://user:se@cret@a.example", "https://a.example"),
        ("//user:secret@a.example/x", "//a.example/x"),
        ("/x?y", "/x"),
        ("https://a.example/@secret", "https://a.example/@secret"),
        ("http://[::1", "http:…"),
        ("https://a.example/caf\xc3\xa9", "https://a.example/café"),
        ("?secret", None),
    ],
)
def test_a_referrer_has_origin_and_path_only(
    header: str | None, referrer: str | None
) -> None:
    environ = {} if header is None else {"HTTP_REFERER": header}
    assert exchange_of(**environ).referrer == referrer


def test_state_belongs_to_one_exchange() -> None:
    first, second = exchange_of(), exchange_of()
    first.state["cart"] = 1
    assert first.state == {"cart": 1}
    assert second.state == {}


def test_the_environ_is_let_go_when_the_exchange_closes() -> None:
    exchange = exchange_of(PATH_INFO="/a")
    assert exchange.environ["PATH_INFO"] == "/a"
    exchange._release()
    with pytest.raises(ExchangeClosedError, match="read it earlier, in a receiver"):
        _ = exchange.environ
    assert exchange.sender is None
    assert exchange.path == "/a"


def test_releasing_twice_leaves_the_environ_of_the_next_request() -> None:
    exchange = exchange_of()
    environ = exchange.environ
    exchange._release()
    environ[EXCHANGE_KEY] = "of the next request"
    exchange._release()
    assert environ[EXCHANGE_KEY] == "of the next request"


def test_seconds_are_counted_from_the_servers_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    exchange = exchange_of()
    clock = 100.25
    assert exchange.seconds_since_start() == 0.25


def test_reading_a_route_without_werkzeug_finds_none() -> None:
    exchange = exchange_of()
    exchange._read_route()
    assert (exchange.route, exchange.endpoint, exchange.blueprints) == (None, None, ())


def test_a_released_exchange_reads_no_route() -> None:
    exchange = exchange_of()
    exchange._release()
    exchange._read_route()
    assert exchange.route is None


def test_the_repr_is_one_line_whatever_the_path() -> None:
    shown = repr(exchange_of(PATH_INFO="/a\nb\u2028c"))
    assert shown == "<Exchange GET '/a\\nb\\u2028c' None open>"


class FakeRule:
    rule = "/items/<int:id>"
    endpoint = "shop.item"


class FakeRequest:
    url_rule = FakeRule()
    blueprints = ("shop",)


def test_a_route_that_the_application_has_set_stays() -> None:
    exchange = exchange_of()
    exchange.route = "/own"
    exchange.environ["werkzeug.request"] = FakeRequest()
    exchange._read_route()
    assert exchange.route == "/own"


@pytest.mark.parametrize("is_read_before", [False, True])
@pytest.mark.parametrize("route", ["/own", None])
def test_a_route_that_the_application_has_set_keeps_the_endpoint(
    route: str | None, *, is_read_before: bool
) -> None:
    exchange = exchange_of()
    exchange.environ["werkzeug.request"] = FakeRequest()
    if is_read_before:
        exchange._read_route()
    exchange.route = route
    assert exchange.route == route
    assert (exchange.endpoint, exchange.blueprints) == ("shop.item", ("shop",))
    exchange._release()
    assert (exchange.route, exchange.endpoint) == (route, "shop.item")


def test_a_request_of_another_environ_gives_no_route() -> None:
    class CopiedRequest(FakeRequest):
        environ: t.ClassVar[dict[str, t.Any]] = {}

    exchange = exchange_of(**{"werkzeug.request": CopiedRequest()})
    assert exchange.route is None
    assert not exchange.has_started


def test_an_outer_exchange_takes_a_route_only_if_it_has_no_request_of_its_own() -> None:
    outer, outer_with_own = exchange_of(), exchange_of()

    class Unmatched:
        url_rule = None
        routing_exception = LookupError()

    outer_with_own.environ["werkzeug.request"] = Unmatched()
    for one in (outer, outer_with_own):
        inner = Exchange({}, "inner", one)
        inner.environ["werkzeug.request"] = FakeRequest()
        assert inner.route == "/items/<int:id>"
    assert (outer.route, outer_with_own.route) == ("/items/<int:id>", None)


def test_an_exchange_has_started_once_a_route_was_looked_for() -> None:
    exchange = exchange_of()
    assert not exchange.has_started
    exchange.route = "/own"
    assert not exchange.has_started
    exchange.environ["werkzeug.request"] = FakeRequest()
    assert exchange.has_started


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("route", "/items/<int:id>"),
        ("endpoint", "shop.item"),
        ("blueprints", ("shop",)),
    ],
)
def test_a_route_is_known_at_the_first_access(name: str, expected: object) -> None:
    exchange = exchange_of()
    exchange.environ["werkzeug.request"] = FakeRequest()
    assert getattr(exchange, name) == expected
    assert exchange.route == "/items/<int:id>"


def test_an_exchange_shows_what_receivers_read_and_nothing_else() -> None:
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "shop")
    shown = {name for name in dir(exchange) if not name.startswith("_")}
    assert shown == {
        *("blueprints", "body_bytes", "body_bytes_exact", "call_on_close"),
        *("duration_seconds", "endpoint", "environ", "exception", "has_finished"),
        *("has_started", "id", "is_open", "is_work", "method", "outcome", "outer"),
        *("path", "referrer", "route", "script_name", "seconds_since_start"),
        *("seconds_to_first_byte", "seconds_to_headers", "seconds_to_return"),
        *("sender", "start", "started_at", "state", "status"),
    }
