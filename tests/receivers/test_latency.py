from __future__ import annotations

import logging
import pickle
import re
import typing as t
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.formats import Field
from signalpost.receivers.formats import Line
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.latency import log_latency
from signalpost.receivers.response_times import STREAMED_SECONDS
from tests.growth import calls_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def closed_exchange(
    environ: dict[str, t.Any] | None = None, **values: t.Any
) -> Exchange:
    exchange = Exchange(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/a", **(environ or {})}, "shop"
    )
    exchange.status = 200
    exchange.outcome = "complete"
    exchange.duration_seconds = 0.0123
    for name, value in values.items():
        setattr(exchange, name, value)
    return exchange


def fields_of(record: logging.LogRecord) -> Mapping[str, Field]:
    assert isinstance(record.msg, Line)
    assert record.msg.name == "latency"
    return record.msg.fields


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


def test_the_route_represents_the_path(lines: pytest.LogCaptureFixture) -> None:
    log_latency("shop", exchange=closed_exchange(route="/items/<int:id>"))
    assert lines.messages == ["GET /items/<int:id> 200 complete 12.3 ms 0 bytes"]


def test_a_request_without_a_status_has_a_dash(
    lines: pytest.LogCaptureFixture,
) -> None:
    log_latency("shop", exchange=closed_exchange(status=None, outcome="error"))
    assert lines.messages == ["GET /a - error 12.3 ms 0 bytes"]


def test_one_byte_is_no_number_of_bytes(lines: pytest.LogCaptureFixture) -> None:
    log_latency("shop", exchange=closed_exchange(body_bytes=1))
    assert lines.messages == ["GET /a 200 complete 12.3 ms 1 byte"]


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


def test_a_threshold_of_a_wrong_type_is_refused() -> None:
    wrong: t.Any = "0.5"
    with pytest.raises(TypeError, match="slow_seconds must be a number"):
        LatencyLogger(slow_seconds=wrong)


def test_it_declares_its_signals() -> None:
    for signal, method in LatencyLogger.signals.items():
        assert signal in catalogue
        assert callable(getattr(log_latency, method))


def test_a_streamed_body_has_the_time_of_its_headers(
    lines: pytest.LogCaptureFixture,
) -> None:
    exchange = closed_exchange(duration_seconds=0.812, seconds_to_headers=0.0031)
    log_latency("shop", exchange=exchange)
    assert lines.messages == ["GET /a 200 complete 812.0 ms (headers 3.1 ms) 0 bytes"]


def test_a_body_sent_at_once_has_no_time_of_its_headers(
    lines: pytest.LogCaptureFixture,
) -> None:
    to_headers = 0.5 - STREAMED_SECONDS / 2
    exchange = closed_exchange(duration_seconds=0.5, seconds_to_headers=to_headers)
    log_latency("shop", exchange=exchange)
    assert lines.messages == ["GET /a 200 complete 500.0 ms 0 bytes"]


@pytest.mark.parametrize(
    ("to_headers", "shown"),
    [
        (0.0, "10.0 ms (headers 0.0 ms)"),
        (0.000001, "10.0 ms"),
        (-0.000001, "10.0 ms (headers -0.0 ms)"),
    ],
)
def test_a_body_is_streamed_from_10_ms_after_its_headers(
    lines: pytest.LogCaptureFixture, to_headers: float, shown: str
) -> None:
    exchange = closed_exchange(duration_seconds=0.01, seconds_to_headers=to_headers)
    log_latency("shop", exchange=exchange)
    assert lines.messages == [f"GET /a 200 complete {shown} 0 bytes"]
    assert STREAMED_SECONDS == 0.01


@pytest.mark.parametrize(("length", "is_told"), [(1, True), (128, True), (129, False)])
def test_an_id_has_at_most_128_characters(
    lines: pytest.LogCaptureFixture, length: int, is_told: bool
) -> None:
    sent = "x" * length
    log_latency("shop", exchange=closed_exchange({"HTTP_X_REQUEST_ID": sent}))
    (line,) = lines.messages
    assert line.endswith(f" id={sent}") is is_told
    assert line.startswith("GET /a 200 complete 12.3 ms 0 bytes")


def test_the_fields_are_those_of_the_text(lines: pytest.LogCaptureFixture) -> None:
    exchange = closed_exchange(
        {"HTTP_X_REQUEST_ID": "f3-09"},
        route="/items/<int:id>",
        seconds_to_headers=0.0031,
        body_bytes=7,
        body_bytes_exact=False,
    )
    log_latency("shop", exchange=exchange)
    assert fields_of(lines.records[0]) == {
        "method": "GET",
        "route": "/items/<int:id>",
        "status": 200,
        "outcome": "complete",
        "duration_seconds": 0.0123,
        "seconds_to_headers": 0.0031,
        "body_bytes": 7,
        "body_bytes_exact": False,
        "request_id": "f3-09",
    }


def test_a_path_among_the_fields_is_raw_and_cut(
    lines: pytest.LogCaptureFixture,
) -> None:
    log_latency("shop", exchange=closed_exchange(path="/\n" + "x" * 100_000))
    path = fields_of(lines.records[0])["path"]
    assert isinstance(path, str)
    assert path.startswith("/\nxxx")
    assert len(path) < 600


def test_a_record_shows_where_it_was_logged(lines: pytest.LogCaptureFixture) -> None:
    log_latency("shop", exchange=closed_exchange())
    assert lines.records[0].filename == "latency.py"
    assert lines.records[0].funcName == "__call__"


@pytest.mark.parametrize("sent", ["f3-09", "A.b_c", "x" * 128])
def test_the_id_of_the_front_is_logged(
    sent: str, lines: pytest.LogCaptureFixture
) -> None:
    log_latency("shop", exchange=closed_exchange({"HTTP_X_REQUEST_ID": sent}))
    assert lines.messages == [f"GET /a 200 complete 12.3 ms 0 bytes id={sent}"]


def test_an_id_that_was_read_is_logged(lines: pytest.LogCaptureFixture) -> None:
    exchange = closed_exchange()
    found = exchange.id
    log_latency("shop", exchange=exchange)
    assert lines.messages == [f"GET /a 200 complete 12.3 ms 0 bytes id={found}"]
    assert fields_of(lines.records[0])["request_id"] == found


def test_an_id_with_an_equals_sign_is_one_word(
    lines: pytest.LogCaptureFixture,
) -> None:
    log_latency("shop", exchange=closed_exchange({"HTTP_X_REQUEST_ID": "q1=="}))
    assert lines.messages == ['GET /a 200 complete 12.3 ms 0 bytes id="q1=="']


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\n", '"', "é", None])
def test_no_id_is_made_for_a_line(
    sent: str | None, lines: pytest.LogCaptureFixture
) -> None:
    exchange = closed_exchange({} if sent is None else {"HTTP_X_REQUEST_ID": sent})
    log_latency("shop", exchange=exchange)
    assert lines.messages == ["GET /a 200 complete 12.3 ms 0 bytes"]
    assert not exchange._ids


def test_an_exchange_that_was_let_go_has_its_id(
    lines: pytest.LogCaptureFixture,
) -> None:
    exchange = closed_exchange({"HTTP_X_REQUEST_ID": "f3-09"})
    exchange._release()
    log_latency("shop", exchange=exchange)
    assert lines.messages == ["GET /a 200 complete 12.3 ms 0 bytes id=f3-09"]


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({}, "INFO"),
        ({"outcome": "aborted"}, "INFO"),
        ({"outcome": "hijacked", "status": None}, "INFO"),
        ({"outcome": "lost"}, "INFO"),
        ({"outcome": "error"}, "ERROR"),
        ({"status": 499}, "INFO"),
        ({"status": 500}, "ERROR"),
        ({"duration_seconds": 9.0}, "WARNING"),
        ({"duration_seconds": 9.0, "status": 503}, "ERROR"),
    ],
)
def test_the_level_shows_the_kind_of_failure(
    values: dict[str, t.Any], level: str, lines: pytest.LogCaptureFixture
) -> None:
    LatencyLogger(slow_seconds=9)("shop", exchange=closed_exchange(**values))
    assert [record.levelname for record in lines.records] == [level]


def test_levels_can_be_chosen(lines: pytest.LogCaptureFixture) -> None:
    levels = {"aborted": "warning", "5xx": "INFO", "error": "critical"}
    receiver = LatencyLogger(levels=levels)
    for values in ({"outcome": "aborted"}, {"status": 500}, {"outcome": "error"}):
        receiver("shop", exchange=closed_exchange(**values))
    assert [record.levelname for record in lines.records] == [
        "WARNING",
        "INFO",
        "CRITICAL",
    ]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["error"], TypeError),
        ({"error": 40}, TypeError),
        ({"error": "loud"}, ValueError),
        ({"failed": "error"}, ValueError),
    ],
)
def test_wrong_levels_are_refused(wrong: t.Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="level"):
        LatencyLogger(levels=wrong)


def test_nothing_is_asked_for_a_level_that_is_off(
    lines: pytest.LogCaptureFixture,
) -> None:
    lines.set_level(logging.ERROR, logger="signalpost.latency")
    sampled = LatencyLogger(sample={"*": 0.5})
    sampled("shop", exchange=closed_exchange())
    lines.set_level(logging.INFO, logger="signalpost.latency")
    sampled("shop", exchange=closed_exchange())
    assert len(lines.records) == 1


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/healthz", "/healthz"),
        ("/items/*", "/items/7"),
        ("/items/*", "/items/"),
        ("/items/*/image", "/items/7/image"),
        ("/*.ico", "/favicon.ico"),
        ("/static/**", "/static/"),
        ("/static/**", "/static/css/shop.css"),
        ("/**/healthz", "/shop/v1/healthz"),
        ("**/healthz", "/healthz"),
        ("**", "/a\nb"),
        ("/a.b", "/a.b"),
    ],
)
@pytest.mark.parametrize("others", [[], ["/other"], ["/other/**"]])
def test_an_excluded_path_is_not_logged(
    others: list[str], pattern: str, path: str, lines: pytest.LogCaptureFixture
) -> None:
    receiver = LatencyLogger(exclude=[*others, pattern])
    receiver("shop", exchange=closed_exchange(path=path, status=500))
    assert not lines.records


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/healthz", "/healthz/"),
        ("/healthz", "/healthz\n"),
        ("/healthz", "/a/healthz"),
        ("/healthz", "/HEALTHZ"),
        ("/items/*", "/items/7/image"),
        ("/items/*", "/items"),
        ("/static/**", "/static"),
        ("/static/**", "/staticfiles/a"),
        ("/**/healthz", "/healthz"),
        ("/a.b", "/axb"),
    ],
)
@pytest.mark.parametrize("others", [[], ["/other"], ["/other/**"]])
def test_a_pattern_excludes_no_other_path(
    others: list[str], pattern: str, path: str, lines: pytest.LogCaptureFixture
) -> None:
    receiver = LatencyLogger(exclude=[*others, pattern])
    receiver("shop", exchange=closed_exchange(path=path))
    assert len(lines.records) == 1


def test_a_pattern_is_compared_with_the_mount_point_too(
    lines: pytest.LogCaptureFixture,
) -> None:
    receiver = LatencyLogger(exclude=("/shop/healthz",))
    for mount in ("/shop", "/blog"):
        exchange = closed_exchange(script_name=mount, path="/healthz", route="/<any>")
        receiver("shop", exchange=exchange)
    assert len(lines.records) == 1


@pytest.mark.parametrize(
    "pattern",
    [
        "healthz",
        "https://shop.example/healthz",
        "/search?q=mug",
        "^/healthz$",
        "/static/.*",
        "/items/<int:id>",
        r"/items/\d",
        "/items/[0-9]",
        "/(a|b)",
        "/**/a/**",
        "/a*b*c",
        "/a**",
        "***",
    ],
)
def test_a_pattern_that_could_be_misread_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"a pattern of exclude .*; write"):
        LatencyLogger(exclude=[pattern])


@pytest.mark.parametrize("wrong", ["/healthz", 7, [7], None])
def test_patterns_of_a_wrong_type_are_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match=r"exclude must be .*; write"):
        LatencyLogger(exclude=wrong)


@pytest.mark.parametrize("piece", ["/", "/a", "a", "/aab"])
def test_no_path_makes_a_pattern_slow(
    piece: str, lines: pytest.LogCaptureFixture
) -> None:
    # Were the time quadratic in the length, this would take minutes.
    receiver = LatencyLogger(exclude=["/**/a*b/*/c*", "/*/**/*x/y", "**/*z"])
    receiver("shop", exchange=closed_exchange(path="/" + piece * 500_000))
    assert len(lines.records) == 1


def test_a_share_of_each_route_is_logged(lines: pytest.LogCaptureFixture) -> None:
    receiver = LatencyLogger(sample={"/healthz": 0.01, "/silent": 0, "*": 0.5})
    for _ in range(200):
        for route in ("/healthz", "/silent", "/items/<int:id>"):
            receiver("shop", exchange=closed_exchange(route=route))
    routes = [fields_of(record)["route"] for record in lines.records]
    assert routes.count("/healthz") == 2
    assert routes.count("/silent") == 0
    assert routes.count("/items/<int:id>") == 100


def test_the_first_of_a_sample_is_logged(lines: pytest.LogCaptureFixture) -> None:
    receiver = LatencyLogger(sample={"/a": 0.01})
    receiver("shop", exchange=closed_exchange())
    receiver("shop", exchange=closed_exchange())
    assert len(lines.records) == 1


def test_a_route_without_a_share_is_logged(lines: pytest.LogCaptureFixture) -> None:
    receiver = LatencyLogger(sample={"/healthz": 0})
    receiver("shop", exchange=closed_exchange())
    assert len(lines.records) == 1


@given(share=st.floats(0, 1), requests=st.integers(1, 300))
def test_a_sample_is_as_large_as_its_share(share: float, requests: int) -> None:
    logger = logging.Logger("shop")
    log = Counter()
    logger.addHandler(log)
    receiver = LatencyLogger(sample={"*": share}, logger=logger)
    for _ in range(requests):
        receiver("shop", exchange=closed_exchange())
    assert abs(log.records - share * requests) <= 1


class Counter(logging.Handler):
    """Counts what is logged."""

    records = 0

    def handle(self, record: logging.LogRecord) -> bool:
        self.records += 1
        return True


@pytest.mark.parametrize(
    "values",
    [
        {"outcome": "error"},
        {"outcome": "aborted"},
        {"outcome": "lost"},
        {"status": 500},
        {"duration_seconds": 1.0},
    ],
)
def test_a_sample_drops_nothing_that_went_wrong(
    values: dict[str, t.Any], lines: pytest.LogCaptureFixture
) -> None:
    receiver = LatencyLogger(sample={"*": 0}, slow_seconds=1)
    receiver("shop", exchange=closed_exchange(**values))
    assert len(lines.records) == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (0.1, TypeError),
        ({"*": "0.1"}, TypeError),
        ({"*": True}, TypeError),
        ({7: 0.1}, TypeError),
        ({"*": 10}, ValueError),
        ({"*": -0.1}, ValueError),
        ({"*": float("nan")}, ValueError),
        ({"healthz": 0.1}, ValueError),
    ],
)
def test_wrong_shares_are_refused(wrong: t.Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"sample must .*; write|in sample must .* write"):
        LatencyLogger(sample=wrong)


def test_a_line_survives_a_queue_between_processes(
    lines: pytest.LogCaptureFixture,
) -> None:
    log_latency("shop", exchange=closed_exchange())
    line = lines.records[0].msg
    assert isinstance(line, Line)
    copied = pickle.loads(pickle.dumps(line))
    assert (str(copied), copied.fields) == (str(line), line.fields)
    assert repr(copied) == f"<Line latency: {line}>"


def test_a_line_without_options_takes_few_calls() -> None:
    logger = logging.Logger("shop", logging.INFO)
    log = Texts()
    logger.addHandler(log)
    receiver = LatencyLogger(logger=logger)
    exchange = closed_exchange(route="/items/<int:id>", seconds_to_headers=0.012)
    receiver("shop", exchange=exchange)

    def log_by_hand() -> None:
        place = (__file__, 7, "text", (), None)
        logger.handle(logger.makeRecord("shop", logging.INFO, *place))

    of_logging = calls_of(log_by_hand)
    of_the_line = calls_of(lambda: receiver("shop", exchange=exchange))

    assert log.texts[-1] == "GET /items/<int:id> 200 complete 12.3 ms 0 bytes"
    assert of_the_line - of_logging <= 9


class Texts(logging.Handler):
    """Keeps the texts of its records."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
