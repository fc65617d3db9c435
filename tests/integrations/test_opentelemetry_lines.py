"""The ids of OpenTelemetry's spans on the lines that an application logs."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable

import pytest

from signalpost import SignalMiddleware
from signalpost.receivers.context import ContextFilter
from tests.integrations.telemetry import Telemetry
from tests.integrations.telemetry import TRACE_ID
from tests.integrations.telemetry import TRACEPARENT
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

log = logging.getLogger("shop.spans")


@pytest.fixture
def records() -> Generator[list[dict[str, t.Any]]]:
    kept: list[dict[str, t.Any]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.__dict__)

    keeper = Keeper()
    keeper.addFilter(ContextFilter())
    log.addHandler(keeper)
    yield kept
    log.removeHandler(keeper)


def doing(work: Callable[[], object]) -> SignalMiddleware:
    def app(environ: t.Any, start_response: t.Any) -> Iterable[bytes]:
        work()
        return hello(environ, start_response)

    return SignalMiddleware(app)


def test_a_line_has_the_ids_of_the_span_of_its_request(
    records: list[dict[str, t.Any]],
) -> None:
    telemetry = Telemetry()
    app = doing(lambda: log.warning("sold"))
    telemetry.connected(app)
    Server().serve(app, HTTP_TRACEPARENT=TRACEPARENT)
    (span,) = telemetry.spans
    assert span.context is not None
    (record,) = records
    assert record["exchange_trace_id"] == f"{TRACE_ID:032x}"
    assert record["exchange_span_id"] == f"{span.context.span_id:016x}"
    # The trace id is the id of the request as well, as no other header has one.
    assert record["exchange_id"] == f"{TRACE_ID:032x}"


def test_a_line_has_the_ids_of_the_applications_own_span(
    records: list[dict[str, t.Any]],
) -> None:
    telemetry = Telemetry()

    def work() -> None:
        with telemetry.tracer.start_as_current_span("pack"):
            log.warning("packed")

    Server().serve(doing(work))
    (span,) = telemetry.spans
    assert span.context is not None
    (record,) = records
    assert record["exchange_span_id"] == f"{span.context.span_id:016x}"


def test_a_line_outside_a_request_has_none(records: list[dict[str, t.Any]]) -> None:
    with Telemetry().tracer.start_as_current_span("start"):
        log.warning("started")
    assert {value for key, value in records[0].items() if "exchange_" in key} == {"-"}


def test_a_line_without_a_span_has_none(records: list[dict[str, t.Any]]) -> None:
    Server().serve(doing(lambda: log.warning("sold")))
    assert records[0]["exchange_id"] != "-"
    assert records[0]["exchange_trace_id"] == "-"
    assert records[0]["exchange_span_id"] == "-"
