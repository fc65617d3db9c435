"""Long is not slow: the one definition, and the log and the percentiles by it."""

from __future__ import annotations

import logging
import math
import typing as t

import pytest

from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.formats import Line
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.receivers.response_times import is_websocket
from signalpost.receivers.response_times import response_times
from signalpost.receivers.response_times import seconds_of
from signalpost.receivers.response_times import STREAMED_SECONDS
from tests.receivers.slow_responses import Clock
from tests.receivers.slow_responses import serve
from tests.receivers.slow_responses import SLOW
from tests.receivers.slow_responses import Slow

Times: t.TypeAlias = tuple[float | None, float | None]
each_slow = pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="signalpost.latency")
    return caplog


def closed_exchange(
    environ: dict[str, t.Any] | None = None, **values: t.Any
) -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET", **(environ or {})}, "shop")
    exchange.status = 200
    exchange.outcome = "complete"
    exchange.seconds_to_headers = 0.25
    exchange.duration_seconds = 600.0
    for name, value in values.items():
        setattr(exchange, name, value)
    return exchange


@each_slow
def test_each_response_has_the_times_of_its_kind(clock: Clock, slow: Slow) -> None:
    found: list[Times] = []

    def note(sender: object, exchange: Exchange) -> None:
        found.append(response_times(exchange))

    app = slow.make(clock)
    with exchange_closed.connected_to(note):
        serve(slow, app, clock)
    assert found == [(slow.response_seconds, slow.stream_seconds)]


@each_slow
def test_slow_is_what_has_a_long_response_time(
    clock: Clock, slow: Slow, lines: pytest.LogCaptureFixture
) -> None:
    app = slow.make(clock)
    # The same level for all else, so that only slowness makes a difference.
    levels = {"error": "info", "5xx": "info"}
    with exchange_closed.connected_to(LatencyLogger(slow_seconds=1, levels=levels)):
        serve(slow, app, clock)
    is_slow = slow.response_seconds is not None and slow.response_seconds >= 1
    (line,) = (one for one in lines.records if one.name == "signalpost.latency")
    assert line.levelname == ("WARNING" if is_slow else "INFO")


@each_slow
def test_a_long_stream_is_slow_only_by_an_option_of_its_own(
    clock: Clock, slow: Slow, lines: pytest.LogCaptureFixture
) -> None:
    app = slow.make(clock)
    receiver = LatencyLogger(
        slow_stream_seconds=600, levels={"error": "info", "5xx": "info"}
    )
    with exchange_closed.connected_to(receiver):
        serve(slow, app, clock)
    is_slow = slow.stream_seconds is not None and slow.stream_seconds >= 600
    (line,) = (one for one in lines.records if one.name == "signalpost.latency")
    assert line.levelname == ("WARNING" if is_slow else "INFO")


@each_slow
def test_the_recorder_has_the_same_times(clock: Clock, slow: Slow) -> None:
    recorder = LatencyRecorder(clock=Clock())
    app = slow.make(clock)
    with exchange_closed.connected_to(recorder.closed):
        serve(slow, app, clock)
    total = recorder.snapshot().total
    assert total.requests == 1
    assert known(total.maximum_seconds) == slow.response_seconds
    assert known(recorder.quantile(1)) == slow.response_seconds
    assert total.streams == (slow.stream_seconds is not None)
    for seconds in (
        *(total.stream_p50_seconds, total.stream_p99_seconds),
        total.stream_maximum_seconds,
    ):
        assert known(seconds) == slow.stream_seconds


def known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds


def test_long_streams_do_not_raise_a_quantile() -> None:
    recorder = LatencyRecorder(clock=Clock())
    for length in (60.0, 600.0, 6000.0):
        recorder.closed("shop", exchange=closed_exchange(duration_seconds=length))
    (metrics,) = recorder.snapshot().routes
    assert metrics.p50_seconds == metrics.p99_seconds == 0.25
    assert metrics.stream_p50_seconds == pytest.approx(600, rel=0.01)
    assert metrics.stream_p99_seconds == metrics.stream_maximum_seconds == 6000.0


@pytest.mark.parametrize(
    ("after_headers", "times"),
    [
        (0.0, (1.0, None)),
        (STREAMED_SECONDS / 2, (1.0 + STREAMED_SECONDS / 2, None)),
        (STREAMED_SECONDS * 2, (1.0, 1.0 + STREAMED_SECONDS * 2)),
    ],
)
def test_a_stream_is_closed_some_time_after_its_headers(
    after_headers: float, times: Times
) -> None:
    exchange = closed_exchange(
        seconds_to_headers=1.0, duration_seconds=1.0 + after_headers
    )
    assert response_times(exchange) == times


def test_a_response_that_was_never_closed_has_no_times() -> None:
    assert response_times(closed_exchange(outcome="lost")) == (None, None)


@pytest.mark.parametrize("outcome", ["aborted", "error", "complete"])
def test_the_end_of_a_stream_makes_no_difference(outcome: str) -> None:
    assert response_times(closed_exchange(outcome=outcome)) == (0.25, 600.0)


@pytest.mark.parametrize(
    ("upgrade", "is_one"),
    [
        ("websocket", True),
        ("WebSocket", True),
        ("h2c, websocket", True),
        ("h2c", False),
        ("", False),
        (7, False),
    ],
)
def test_a_websocket_is_known_by_what_was_asked_for(
    upgrade: object, is_one: bool
) -> None:
    exchange = closed_exchange({"HTTP_UPGRADE": upgrade})
    assert is_websocket(exchange) is is_one
    assert (response_times(exchange) == (None, None)) is is_one


class Raising:
    """Raises whatever is done with it."""

    def _fail(self, *_: object) -> t.NoReturn:
        raise LookupError

    __eq__ = __hash__ = __sub__ = __rsub__ = __gt__ = __lt__ = __bool__ = _fail


ODD: list[t.Any] = [None, "1", [], True, math.nan, math.inf, -1, 10**400, Raising()]


@pytest.mark.parametrize("value", ODD, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "name",
    [
        *("duration_seconds", "seconds_to_headers", "seconds_to_first_byte"),
        *("start", "_returned_at", "status", "outcome", "_environ"),
    ],
)
def test_no_value_that_a_receiver_has_set_raises(name: str, value: object) -> None:
    exchange = closed_exchange(_returned_at=1.0, start=0.0)
    setattr(exchange, name, value)
    for seconds in response_times(exchange):
        assert seconds is None or type(seconds) in (float, int)


@pytest.mark.parametrize("value", ["long", [], True, Raising()])
def test_a_duration_that_is_no_number_is_logged_as_zero(
    value: t.Any, lines: pytest.LogCaptureFixture
) -> None:
    exchange = closed_exchange(duration_seconds=value)
    LatencyLogger(slow_seconds=0, slow_stream_seconds=0)("shop", exchange=exchange)
    assert " complete 0.0 ms 0 bytes" in lines.messages[0]
    assert lines.records[0].levelname == "INFO"


@pytest.mark.parametrize("value", ["long", [], True, Raising()])
def test_a_duration_that_is_no_number_is_counted_but_not_timed(value: t.Any) -> None:
    recorder = LatencyRecorder(clock=Clock())
    recorder.closed("shop", exchange=closed_exchange(duration_seconds=value))
    total = recorder.snapshot().total
    assert total.requests == 1
    assert math.isnan(total.maximum_seconds)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0.5, 0.5), (0, 0), (2, 2), (None, None), ("2", None), (True, None)],
)
def test_seconds_are_numbers(value: object, seconds: float | None) -> None:
    assert seconds_of(value) == seconds


@pytest.mark.parametrize("wrong", [-1, math.nan])
def test_a_wrong_threshold_of_streams_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="slow_stream_seconds must be a number of"):
        LatencyLogger(slow_stream_seconds=wrong)


@pytest.mark.parametrize("wrong", ["60", True, []])
def test_a_threshold_of_streams_of_a_wrong_type_is_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="slow_stream_seconds must be a number of"):
        LatencyLogger(slow_stream_seconds=wrong)


def test_a_line_of_a_stream_has_the_time_that_it_was_judged_by(
    lines: pytest.LogCaptureFixture,
) -> None:
    # It called start_response at once, and worked a second before it returned.
    exchange = closed_exchange(seconds_to_headers=0.0, start=5.0, _returned_at=6.0)
    LatencyLogger()("shop", exchange=exchange)
    assert lines.messages == [
        'GET "" 200 complete 600000.0 ms (headers 1000.0 ms) 0 bytes'
    ]
    assert isinstance(lines.records[0].msg, Line)
    fields = lines.records[0].msg.fields
    assert fields["response_seconds"] == 1.0
    assert fields["duration_seconds"] == 600.0
    assert fields["seconds_to_headers"] == 0.0


@pytest.mark.parametrize("values", [{"duration_seconds": 0.25}, {"outcome": "lost"}])
def test_a_line_of_no_stream_has_no_second_time(
    values: dict[str, t.Any], lines: pytest.LogCaptureFixture
) -> None:
    LatencyLogger()("shop", exchange=closed_exchange(**values))
    assert isinstance(lines.records[0].msg, Line)
    assert "response_seconds" not in lines.records[0].msg.fields
    assert "headers" not in lines.messages[0]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 0),
        ({"slow_seconds": 1}, 0),
        ({"slow_seconds": 0.25}, 1),
        ({"slow_stream_seconds": 601}, 0),
        ({"slow_stream_seconds": 600}, 1),
    ],
)
def test_a_sample_drops_a_stream_unless_it_is_slow(
    options: dict[str, t.Any], count: int, lines: pytest.LogCaptureFixture
) -> None:
    receiver = LatencyLogger(sample={"*": 0}, **options)
    receiver("shop", exchange=closed_exchange())
    assert len(lines.records) == count


def test_the_level_of_a_slow_stream_can_be_chosen(
    lines: pytest.LogCaptureFixture,
) -> None:
    receiver = LatencyLogger(slow_stream_seconds=60, levels={"slow": "critical"})
    receiver("shop", exchange=closed_exchange())
    assert lines.records[0].levelname == "CRITICAL"
