from __future__ import annotations

import logging
import re
import typing as t

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.latency import log_latency
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def closed_exchange(**values: t.Any) -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": "/a"}, "shop")
    exchange.status = 200
    exchange.outcome = "complete"
    exchange.duration_seconds = 0.0123
    for name, value in values.items():
        setattr(exchange, name, value)
    return exchange


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="signalpost")
    return caplog


def test_one_line_is_logged_for_each_request(lines: pytest.LogCaptureFixture) -> None:
    with exchange_closed.connected_to(log_latency):
        Server().serve(SignalMiddleware(hello), path="/greeting")
    assert [record.name for record in lines.records] == ["signalpost.latency"]
    assert re.fullmatch(
        r"GET /greeting 200 complete \d+\.\d ms 5 bytes", lines.messages[0]
    )


def test_connecting_is_one_line() -> None:
    exchange_closed.connect(log_latency)
    assert exchange_closed.disconnect(log_latency)


def test_the_route_stands_for_the_path(lines: pytest.LogCaptureFixture) -> None:
    log_latency("shop", exchange=closed_exchange(route="/items/<int:id>"))
    assert lines.messages == ["GET /items/<int:id> 200 complete 12.3 ms 0 bytes"]


def test_a_request_without_a_status_has_a_dash(
    lines: pytest.LogCaptureFixture,
) -> None:
    log_latency("shop", exchange=closed_exchange(status=None, outcome="error"))
    assert lines.messages == ["GET /a - error 12.3 ms 0 bytes"]


def test_bytes_that_were_not_counted_are_marked(
    lines: pytest.LogCaptureFixture,
) -> None:
    exchange = closed_exchange(body_bytes=7, body_bytes_exact=False)
    log_latency("shop", exchange=exchange)
    assert lines.messages == ["GET /a 200 complete 12.3 ms ~7 bytes"]


@pytest.mark.parametrize(
    ("slow_seconds", "level"), [(None, "INFO"), (0.01, "WARNING"), (0.5, "INFO")]
)
def test_a_slow_request_is_a_warning(
    slow_seconds: float | None, level: str, lines: pytest.LogCaptureFixture
) -> None:
    LatencyLogger(slow_seconds=slow_seconds)("shop", exchange=closed_exchange())
    assert [record.levelname for record in lines.records] == [level]


def test_another_logger_can_be_given(lines: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("shop.latency")
    logger.setLevel(logging.INFO)
    LatencyLogger(logger=logger)("shop", exchange=closed_exchange())
    assert [record.name for record in lines.records] == ["shop.latency"]


def test_a_hostile_path_is_one_line(lines: pytest.LogCaptureFixture) -> None:
    log_latency("shop", exchange=closed_exchange(path="/\r\n\x1b[2J 200 complete"))
    assert lines.messages[0].isprintable()


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_wrong_threshold_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="slow_seconds must be"):
        LatencyLogger(slow_seconds=wrong)
