from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import threading
import tracemalloc
import typing as t
import weakref
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.exchange import ExchangeOutcome
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.receivers.paths import OTHER_ROUTES
from signalpost.receivers.paths import UNMATCHED_ROUTE
from signalpost.receivers.quantiles import RELATIVE_ERROR
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.receivers.recorder import RouteMetrics
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


class Clock:
    """A clock that only a test advances."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def opened_exchange(route: str | None = "/a", path: str = "/a") -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": path}, "shop")
    exchange.route = route
    return exchange


def record(
    recorder: LatencyRecorder,
    seconds: float | None = 0.1,
    route: str | None = "/a",
    *,
    status: int | None = 200,
    outcome: ExchangeOutcome = "complete",
    path: str = "/a",
) -> None:
    exchange = opened_exchange(route, path)
    recorder.opened("shop", exchange=exchange)
    exchange.status = status
    exchange.outcome = outcome
    exchange.duration_seconds = seconds
    recorder.closed("shop", exchange=exchange)
    exchange._release()


def routes_of(recorder: LatencyRecorder) -> dict[str, RouteMetrics]:
    return {metrics.route: metrics for metrics in recorder.snapshot().routes}


@contextlib.contextmanager
def connected(recorder: LatencyRecorder) -> t.Generator[None]:
    """Connect as a configuration does, by the signals that the class names."""
    with contextlib.ExitStack() as stack:
        for signal, method in recorder.signals.items():
            receiver = getattr(recorder, method)
            stack.enter_context(catalogue[signal].connected_to(receiver))
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> LatencyRecorder:
    return LatencyRecorder(clock=clock)


def test_a_request_through_the_middleware_is_recorded() -> None:
    recorder = LatencyRecorder()
    with connected(recorder):
        Server().serve(SignalMiddleware(hello))
    total = recorder.snapshot().total
    assert (total.requests, total.in_flight, total.error_share) == (1, 0, 0.0)
    assert 0 < total.maximum_seconds == recorder.quantile(0.5)


def test_connecting_takes_one_line_a_signal() -> None:
    recorder = LatencyRecorder()
    exchange_opened.connect(recorder.opened)
    exchange_closed.connect(recorder.closed)
    assert exchange_opened.disconnect(recorder.opened)
    assert exchange_closed.disconnect(recorder.closed)


def test_before_the_first_request_nothing_is_known(recorder: LatencyRecorder) -> None:
    snapshot = recorder.snapshot()
    assert snapshot.routes == ()
    assert snapshot.total.requests == snapshot.total.in_flight == 0
    assert snapshot.total.requests_per_second == 0.0
    assert math.isnan(snapshot.total.error_share)
    assert math.isnan(snapshot.total.p50_seconds)
    assert math.isnan(snapshot.total.maximum_seconds)
    assert math.isnan(recorder.quantile(0.5))


def test_metrics_are_shown_by_route_and_in_total(recorder: LatencyRecorder) -> None:
    record(recorder, 0.3, "/b")
    record(recorder, 0.1, "/a")
    record(recorder, 0.2, "/a", status=500)
    snapshot = recorder.snapshot()
    assert [one.route for one in snapshot.routes] == ["/a", "/b"]
    assert [one.requests for one in snapshot.routes] == [2, 1]
    assert [one.error_share for one in snapshot.routes] == [0.5, 0.0]
    assert [one.maximum_seconds for one in snapshot.routes] == [0.2, 0.3]
    assert snapshot.total.route == "<all>"
    assert snapshot.total.requests == 3
    assert snapshot.total.maximum_seconds == 0.3
    assert snapshot.total.errors_since_start == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(1e-6, 1e5)), min_size=1),
    st.integers(0, 100),
)
def test_a_quantile_is_within_the_bound(
    requests: list[tuple[str, float]], percent: int
) -> None:
    recorder = LatencyRecorder(clock=Clock())
    for visited, seconds in requests:
        record(recorder, seconds, visited)
    routes: list[str | None] = [None, *{route for route, _ in requests}]
    for route in routes:
        durations = sorted(one for its, one in requests if route in (None, its))
        exact = durations[max(1, -(-percent * len(durations) // 100)) - 1]
        found = recorder.quantile(percent / 100, route)
        assert abs(found - exact) <= RELATIVE_ERROR * exact


def test_the_quantiles_of_a_snapshot_are_those_asked_for_singly(
    recorder: LatencyRecorder,
) -> None:
    for hundredths in range(1, 201):
        record(recorder, hundredths / 100)
    total = recorder.snapshot().total
    assert total.p50_seconds == recorder.quantile(0.5) == pytest.approx(1, rel=0.01)
    assert total.p90_seconds == recorder.quantile(0.9) == pytest.approx(1.8, rel=0.01)
    assert total.p99_seconds == recorder.quantile(0.99) == pytest.approx(1.98, rel=0.01)
    assert total.maximum_seconds == recorder.quantile(1) == 2.0


@pytest.mark.parametrize("q", [-1, 99])
def test_a_share_outside_0_to_1_is_refused(recorder: LatencyRecorder, q: float) -> None:
    with pytest.raises(ValueError, match="q must be a share"):
        recorder.quantile(q)


def test_a_route_that_was_never_seen_has_no_quantile(recorder: LatencyRecorder) -> None:
    record(recorder)
    assert math.isnan(recorder.quantile(0.5, "/never"))


@pytest.mark.parametrize(
    ("status", "outcome", "is_error"),
    [
        (200, "complete", False),
        (404, "complete", False),
        (499, "complete", False),
        (500, "complete", True),
        (503, "aborted", True),
        (200, "aborted", False),
        (200, "error", True),
        (None, "error", True),
        (None, "hijacked", False),
        (200, "lost", False),
    ],
)
def test_failed_is_an_error_or_a_status_from_500(
    recorder: LatencyRecorder,
    status: int | None,
    outcome: ExchangeOutcome,
    is_error: bool,
) -> None:
    record(recorder, status=status, outcome=outcome)
    assert recorder.snapshot().total.error_share == float(is_error)


@pytest.mark.parametrize("outcome", ["hijacked", "lost"])
def test_a_connection_that_was_taken_over_or_lost_is_counted_but_not_timed(
    recorder: LatencyRecorder, outcome: ExchangeOutcome
) -> None:
    record(recorder, 3600.0, outcome=outcome)
    total = recorder.snapshot().total
    assert total.requests == 1
    assert math.isnan(total.maximum_seconds)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, math.nan])
def test_a_duration_that_is_none_counts_as_zero(
    recorder: LatencyRecorder, seconds: float
) -> None:
    record(recorder, seconds)
    assert recorder.snapshot().total.maximum_seconds == 0.0


def test_an_unknown_duration_is_counted_but_not_timed(
    recorder: LatencyRecorder,
) -> None:
    record(recorder, None)
    total = recorder.snapshot().total
    assert total.requests == 1
    assert math.isnan(total.p50_seconds)


def test_requests_that_matched_no_route_share_a_row(recorder: LatencyRecorder) -> None:
    record(recorder, route=None, path="/wp-login.php")
    record(recorder, route=None, path="/.env")
    assert routes_of(recorder)[UNMATCHED_ROUTE].requests == 2
    assert not math.isnan(recorder.quantile(0.5, UNMATCHED_ROUTE))


def test_routes_beyond_the_most_share_a_row() -> None:
    recorder = LatencyRecorder(max_routes=2, clock=Clock())
    for route in ("/a", "/b", "/c", "/d", "/a", None):
        record(recorder, route=route)
    requests = {name: one.requests for name, one in routes_of(recorder).items()}
    assert requests == {"/a": 2, OTHER_ROUTES: 2, "/b": 1, UNMATCHED_ROUTE: 1}
    assert recorder.snapshot().total.requests == 6


def test_a_long_route_is_cut(recorder: LatencyRecorder) -> None:
    route = "/" + "x" * 10_000
    record(recorder, route=route)
    assert list(routes_of(recorder)) == [route[:512]]
    assert not math.isnan(recorder.quantile(0.5, route))


def test_the_rate_is_that_of_the_last_minute(
    recorder: LatencyRecorder, clock: Clock
) -> None:
    for _ in range(1200):
        record(recorder)
        clock.seconds += 0.1
    snapshot = recorder.snapshot()
    assert 55 <= snapshot.covered_seconds <= 60
    assert snapshot.total.requests_per_second == pytest.approx(10, rel=0.01)
    assert snapshot.total.requests_since_start == 1200


def test_the_rate_is_that_since_the_start_in_the_first_minute(
    recorder: LatencyRecorder, clock: Clock
) -> None:
    for _ in range(20):
        record(recorder)
    clock.seconds += 10
    snapshot = recorder.snapshot()
    assert snapshot.covered_seconds == 10
    assert snapshot.total.requests_per_second == 2


def test_the_first_second_counts_as_a_whole_one(recorder: LatencyRecorder) -> None:
    record(recorder)
    assert recorder.snapshot().covered_seconds == 1
    assert recorder.snapshot().total.requests_per_second == 1


def test_after_a_minute_only_the_counts_since_the_start_stay(
    recorder: LatencyRecorder, clock: Clock
) -> None:
    record(recorder, status=500)
    clock.seconds += 60
    metrics = routes_of(recorder)["/a"]
    assert metrics.requests == 0
    assert math.isnan(metrics.p99_seconds)
    assert math.isnan(recorder.quantile(0.5))
    assert (metrics.requests_since_start, metrics.errors_since_start) == (1, 1)


@pytest.mark.parametrize(("seconds", "requests"), [(54.9, 1), (60, 0)])
def test_a_request_counts_for_55_to_60_seconds(
    seconds: float, requests: int, recorder: LatencyRecorder, clock: Clock
) -> None:
    record(recorder)
    clock.seconds += seconds
    assert recorder.snapshot().total.requests == requests


def test_a_clock_that_is_set_back_loses_no_request(
    recorder: LatencyRecorder, clock: Clock
) -> None:
    record(recorder)
    clock.seconds -= 3600
    record(recorder)
    snapshot = recorder.snapshot()
    assert snapshot.total.requests == 2
    assert snapshot.covered_seconds == 1


def test_threads_that_overtake_each_other_lose_no_request(
    recorder: LatencyRecorder, clock: Clock
) -> None:
    for _ in range(20):
        for seconds in (1005.0, 1004.9):
            clock.seconds = seconds
            record(recorder)
    assert recorder.snapshot().total.requests == 40


def test_open_exchanges_are_in_flight_by_their_routes(
    recorder: LatencyRecorder,
) -> None:
    first, second = opened_exchange(), opened_exchange(None)
    recorder.opened("shop", exchange=first)
    recorder.opened("shop", exchange=second)
    assert recorder.snapshot().total.in_flight == 2
    assert routes_of(recorder)["/a"].in_flight == 1
    assert routes_of(recorder)[UNMATCHED_ROUTE].in_flight == 1
    recorder.closed("shop", exchange=first)
    assert recorder.snapshot().total.in_flight == 1


def test_an_exchange_is_in_flight_until_its_body_is_closed() -> None:
    recorder = LatencyRecorder()
    with connected(recorder):
        body: t.Any = Server().call(SignalMiddleware(hello))
        assert recorder.snapshot().total.in_flight == 1
        body.close()
    assert recorder.snapshot().total.in_flight == 0


def test_an_exchange_that_was_opened_before_is_not_subtracted(
    recorder: LatencyRecorder,
) -> None:
    recorder.closed("shop", exchange=opened_exchange())
    total = recorder.snapshot().total
    assert (total.requests, total.in_flight) == (1, 0)


def test_an_exchange_whose_close_was_not_received_is_not_in_flight(
    recorder: LatencyRecorder,
) -> None:
    kept, dropped = opened_exchange(), opened_exchange()
    recorder.opened("shop", exchange=kept)
    recorder.opened("shop", exchange=dropped)
    kept._release()
    del dropped
    gc.collect()
    assert recorder.snapshot().total.in_flight == 0


def test_an_exchange_that_the_server_lost_is_not_in_flight() -> None:
    recorder = LatencyRecorder()
    with connected(recorder):
        Server().call(SignalMiddleware(hello))
        gc.collect()
    total = recorder.snapshot().total
    assert (total.requests, total.in_flight) == (1, 0)


def test_in_flight_and_counts_are_right_with_threads() -> None:
    recorder = LatencyRecorder()
    both_parts_began = threading.Barrier(5)
    may_finish = threading.Event()

    def slow(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            both_parts_began.wait(10)
            may_finish.wait(10)
        return hello(environ, start)

    app = SignalMiddleware(slow)

    def visit() -> None:
        for _ in range(200):
            Server().serve(app)
        Server().serve(app, path="/slow")
        for _ in range(200):
            Server().serve(app)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    with connected(recorder):
        for thread in threads:
            thread.start()
        both_parts_began.wait(10)
        between = recorder.snapshot().total
        may_finish.set()
        for thread in threads:
            thread.join(10)
    after = recorder.snapshot().total
    assert (between.requests, between.in_flight) == (800, 4)
    assert (after.requests, after.in_flight) == (1604, 0)


def test_reading_while_threads_record_neither_fails_nor_loses() -> None:
    recorder = LatencyRecorder(max_routes=8)
    done = threading.Event()
    seen: list[RouteMetrics] = []

    def read() -> None:
        while not done.wait(0.001):
            seen.append(recorder.snapshot().total)

    def write(first: int) -> None:
        for number in range(1500):
            record(recorder, route=f"/{first + number % 10}")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(each,)) for each in range(3)]
    reader.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(30)
    done.set()
    reader.join(10)
    assert recorder.snapshot().total.requests == 4500
    assert recorder.snapshot().total.in_flight == 0
    assert all(0 <= one.in_flight <= 3 for one in seen)
    assert [one.requests for one in seen] == sorted(one.requests for one in seen)


def test_a_request_does_not_wait_for_a_reader() -> None:
    reading, may_go_on = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread() is reader:
            reading.set()
            may_go_on.wait(10)
        return 1000.0

    def read() -> None:
        recorder.snapshot()

    reader = threading.Thread(target=read)
    recorder = LatencyRecorder(clock=clock)
    reader.start()
    assert reading.wait(10)
    record(recorder)
    assert reader.is_alive()
    may_go_on.set()
    reader.join(10)
    assert recorder.snapshot().total.requests == 1


def test_what_waits_for_a_stopped_reader_does_not_grow() -> None:
    recorder: LatencyRecorder
    more: list[int] = []

    def clock() -> float:
        if more:
            for _ in range(more.pop()):
                record(recorder)
        return 1000.0

    recorder = LatencyRecorder(clock=clock)
    more.append(11_000)
    recorder.snapshot()
    assert recorder.snapshot().total.requests == 10_000


def test_what_closes_in_the_midst_of_a_reading_is_counted_after_it() -> None:
    """So does what the garbage collection finds lost, in the thread of a reader."""
    recorder: LatencyRecorder
    more: list[str] = []

    def clock() -> float:
        if more:
            record(recorder, route=more.pop())
            assert recorder.snapshot().total.requests == 1
        return 1000.0

    recorder = LatencyRecorder(clock=clock)
    record(recorder)
    more.append("/new")
    assert recorder.snapshot().total.requests == 1
    assert recorder.snapshot().total.requests == 2


def test_10_000_routes_and_paths_take_no_more_memory() -> None:
    recorder = LatencyRecorder(max_routes=20, clock=Clock())

    def visit(times: int) -> None:
        for number in range(times):
            route = f"/{number % 10_000}" if number % 2 else None
            record(recorder, number / 1e5, route, path=f"/{number % 10_000}")
        recorder.snapshot()

    tracemalloc.start()
    try:
        visit(20_000)
        gc.collect()
        before_bytes, _ = tracemalloc.get_traced_memory()
        visit(40_000)
        gc.collect()
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after_bytes < 500_000
    assert after_bytes - before_bytes < 50_000
    assert len(recorder.snapshot().routes) == 22


def test_durations_of_all_lengths_at_any_time_take_300_kilobytes_a_route() -> None:
    clock = Clock()
    tracemalloc.start()
    try:
        recorder = LatencyRecorder(clock=clock)
        for _ in range(24):
            clock.seconds += 5
            for power in range(-30, 30):
                record(recorder, 2.0**power)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert recorder.snapshot().total.requests == 12 * 60
    assert taken_bytes < 300_000


def test_an_hour_of_traffic_takes_no_more_memory_than_minutes() -> None:
    clock = Clock()
    recorder = LatencyRecorder(clock=clock)

    def visit(periods: int) -> None:
        for _ in range(periods):
            clock.seconds += 5
            for number in range(1, 20):
                record(recorder, 0.01 * number)

    tracemalloc.start()
    try:
        visit(24)
        before_bytes, _ = tracemalloc.get_traced_memory()
        visit(720)
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after_bytes - before_bytes < 10_000


def test_nothing_of_an_exchange_is_kept(recorder: LatencyRecorder) -> None:
    exchange = opened_exchange()
    recorder.opened("shop", exchange=exchange)
    recorder.closed("shop", exchange=exchange)
    reference = weakref.ref(exchange)
    del exchange
    assert reference() is None


def test_a_snapshot_cannot_be_changed(recorder: LatencyRecorder) -> None:
    snapshot = recorder.snapshot()
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.total.requests = 7  # type: ignore[misc]


def test_a_snapshot_becomes_a_dict_for_json(recorder: LatencyRecorder) -> None:
    record(recorder)
    values = dataclasses.asdict(recorder.snapshot())
    assert values["routes"][0]["requests"] == 1


def test_the_table_has_a_line_for_each_route(recorder: LatencyRecorder) -> None:
    record(recorder, 0.1, "/a", status=500)
    record(recorder, 0.1, "/a")
    record(recorder, 0.2, "/items/<int:id>", outcome="lost")
    table = str(recorder)
    assert table == str(recorder.snapshot())
    headings, total, first, second = map(str.split, table.splitlines())
    assert headings[:3] == ["last", "minute", "requests"]
    assert total[:5] == ["<all>", "3", "3.0", "33.3%", "0"]
    assert first == ["/a", "2", "2.0", "50.0%", "0", "100.0", "100.0", "100.0", "100.0"]
    assert second == ["/items/<int:id>", "1", "1.0", "0.0%", "0", "-", "-", "-", "-"]


def test_a_hostile_mount_point_is_one_line_of_the_table(
    recorder: LatencyRecorder,
) -> None:
    record(recorder, route="/\r\n\x1b[2J/a")
    assert len(str(recorder).splitlines()) == 3
    assert all(line.isprintable() for line in str(recorder).splitlines())


def test_its_representation_has_the_number_of_routes(
    recorder: LatencyRecorder,
) -> None:
    record(recorder)
    assert repr(recorder) == "<LatencyRecorder of 1 routes>"


@pytest.mark.parametrize("wrong", ["100", 1.5, None, True])
def test_a_number_of_routes_that_is_none_is_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="max_routes must be a whole number"):
        LatencyRecorder(max_routes=wrong)


@pytest.mark.parametrize("wrong", [0, -1])
def test_no_route_at_all_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="max_routes must be a whole number from 1 up"):
        LatencyRecorder(max_routes=wrong)


def test_a_clock_that_cannot_be_called_is_refused() -> None:
    wrong: t.Any = 12.5
    with pytest.raises(TypeError, match="clock must be callable"):
        LatencyRecorder(clock=wrong)
