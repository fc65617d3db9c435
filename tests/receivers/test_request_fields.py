from __future__ import annotations

import json
import logging
import pickle
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from http import HTTPStatus

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_finished
from signalpost.receivers.formats import Field
from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import Line
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.latency import LatencyLogger
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="signalpost")
    return caplog


def closed_exchange(**environ: t.Any) -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": "/a", **environ}, "shop")
    exchange.status = 200
    exchange.outcome = "complete"
    exchange.duration_seconds = 0.0123
    return exchange


def fields_of(record: logging.LogRecord) -> Mapping[str, Field]:
    assert isinstance(record.msg, Line)
    return record.msg.fields


START = "GET /a 200 complete 12.3 ms 0 bytes"


def test_fields_are_added_in_the_order_that_is_given(
    lines: pytest.LogCaptureFixture,
) -> None:
    exchange = closed_exchange(
        REMOTE_ADDR="203.0.113.9",
        HTTP_HOST="shop.example",
        HTTP_USER_AGENT="c/8",
        HTTP_X_REQUEST_ID="f3-09",
    )
    exchange.state["user"] = "ada"
    names = ("user", "client", "host", "user_agent")
    LatencyLogger(fields=names)("shop", exchange=exchange)
    assert lines.messages == [
        f"{START} id=f3-09 user=ada client=203.0.113.9 host=shop.example user_agent=c/8"
    ]
    fields = fields_of(lines.records[0])
    assert [*fields][-5:] == ["request_id", *names]
    assert fields["client"] == "203.0.113.9"


def test_a_field_that_a_request_does_not_have_is_a_dash(
    lines: pytest.LogCaptureFixture,
) -> None:
    receiver = LatencyLogger(fields=["user", "client", "host", "user_agent"])
    receiver("shop", exchange=closed_exchange())
    assert lines.messages == [f"{START} user=- client=- host=- user_agent=-"]
    entry = json.loads(JsonFormatter().format(lines.records[0]))
    assert entry["user"] is entry["client"] is entry["host"] is None


def test_a_line_without_fields_is_as_before(lines: pytest.LogCaptureFixture) -> None:
    exchange = closed_exchange(REMOTE_ADDR="203.0.113.9", HTTP_HOST="shop.example")
    LatencyLogger()("shop", exchange=exchange)
    assert lines.messages == [START]
    assert not exchange._state


def test_each_line_can_have_an_id(lines: pytest.LogCaptureFixture) -> None:
    exchange = closed_exchange()
    LatencyLogger(fields=["request_id"])("shop", exchange=exchange)
    assert lines.messages == [f"{START} id={exchange.id}"]
    assert fields_of(lines.records[0])["request_id"] == exchange.id


def test_the_client_is_read_behind_trusted_proxies(
    lines: pytest.LogCaptureFixture,
) -> None:
    exchange = closed_exchange(
        REMOTE_ADDR="10.0.0.1",
        HTTP_X_FORWARDED_FOR="6.6.6.6, 203.0.113.9",
        HTTP_FORWARDED='for="[2001:db8::1]:80"',
    )
    for options in (
        {},
        {"trusted_proxies": 1},
        {"trusted_proxies": 1, "forwarded_header": "Forwarded"},
    ):
        receiver = LatencyLogger(fields=["client"], **t.cast("t.Any", options))
        receiver("shop", exchange=exchange)
    assert [fields_of(record)["client"] for record in lines.records] == [
        "10.0.0.1",
        "203.0.113.9",
        "2001:db8::1",
    ]


@pytest.mark.parametrize("value", ["a b", "a\nb", 'a"b', "a=b", "\x1b[31m", "é\x85"])
def test_hostile_values_are_escaped(
    value: str, lines: pytest.LogCaptureFixture
) -> None:
    exchange = closed_exchange(HTTP_HOST=value, HTTP_USER_AGENT=value)
    exchange.state["user"] = value
    receiver = LatencyLogger(fields=["host", "user_agent", "user"])
    receiver("shop", exchange=exchange)
    (text,) = lines.messages
    assert text.isprintable()
    assert "\n" not in text
    assert LogfmtFormatter().format(lines.records[0]).isprintable()


def test_long_values_are_cut(lines: pytest.LogCaptureFixture) -> None:
    exchange = closed_exchange(HTTP_HOST="h" * 10_000, HTTP_USER_AGENT="u" * 10_000)
    exchange.state["user"] = "s" * 10_000
    receiver = LatencyLogger(fields=["host", "user_agent", "user"])
    receiver("shop", exchange=exchange)
    fields = fields_of(lines.records[0])
    assert len(str(fields["user_agent"])) == 201
    assert len(str(fields["host"])) == len(str(fields["user"])) == 513


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (7, 7),
        (0.5, 0.5),
        (True, True),
        (None, None),
        ("", ""),
        (b"x", "b'x'"),
        (["a"], "['a']"),
        (HTTPStatus.OK, 200),
    ],
)
def test_whatever_a_state_holds_is_a_field(
    value: object, field: Field, lines: pytest.LogCaptureFixture
) -> None:
    exchange = closed_exchange()
    exchange.state["shop.tenant"] = value
    LatencyLogger(fields=["shop.tenant"])("shop", exchange=exchange)
    assert fields_of(lines.records[0])["shop.tenant"] == field
    assert lines.messages[0].startswith(f"{START} shop.tenant=")


class Mute:
    def __str__(self) -> str:
        raise LookupError("no text")


class MuteNumber(int):
    def __str__(self) -> str:
        raise LookupError("no text")


class MuteFloat(float):
    __repr__ = MuteNumber.__str__


@pytest.mark.parametrize("make", [Mute, MuteNumber, MuteFloat, lambda: 10**5_000])
def test_a_value_without_text_is_none(
    make: Callable[[], object], lines: pytest.LogCaptureFixture
) -> None:
    exchange = closed_exchange()
    exchange.state["user"] = make()
    LatencyLogger(fields=["user"])("shop", exchange=exchange)
    assert lines.messages == [f"{START} user=-"]


def test_a_line_with_fields_goes_to_another_process(
    lines: pytest.LogCaptureFixture,
) -> None:
    exchange = closed_exchange(HTTP_HOST="shop.example")
    LatencyLogger(fields=["host"])("shop", exchange=exchange)
    copied = pickle.loads(pickle.dumps(lines.records[0].msg))
    assert str(copied) == f"{START} host=shop.example"


@pytest.mark.parametrize("wrong", ["client", 7, None, [7]])
def test_fields_of_a_wrong_type_are_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="fields must be a"):
        LatencyLogger(fields=wrong)


@pytest.mark.parametrize("wrong", ["a b", "a=b", "é", "7a", "status", "route"])
def test_a_name_that_no_field_can_have_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="a name in fields must be"):
        LatencyLogger(fields=[wrong])


def test_fields_are_configured(
    lines: pytest.LogCaptureFixture, tmp_path: t.Any
) -> None:
    path = tmp_path / "shop.ini"
    path.write_text(
        "[signalpost.receivers.latency]\nfields = client host\ntrusted_proxies = 1\n"
    )
    app = SignalMiddleware(hello, sender=object())
    enabled = Configuration.from_file(path).load(app)
    Server().serve(app, HTTP_X_FORWARDED_FOR="203.0.113.9", HTTP_HOST="shop.example")
    enabled.disable_all()
    assert lines.messages[0].endswith(" client=203.0.113.9 host=shop.example")


def test_a_function_of_the_application_returns_the_user(
    lines: pytest.LogCaptureFixture,
) -> None:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.get("/a")
    def view() -> str:
        flask.g.name = "ada"
        exchange = current_exchange()
        assert exchange is not None
        exchange.state["tenant"] = 7
        return "a"

    def keep_user(sender: object, *, exchange: Exchange) -> None:
        exchange.state["user"] = flask.g.get("name")

    with (
        request_finished.connected_to(keep_user, sender=app),
        exchange_closed.connected_to(LatencyLogger(fields=["user", "tenant"])),
    ):
        app.test_client().get("/a", buffered=True)
        app.test_client().get("/none", buffered=True)
    ada, anonymous = lines.messages
    assert ada.endswith(" 1 byte user=ada tenant=7")
    assert anonymous.endswith(" bytes user=- tenant=-")
