"""Values that a receiver has set on an exchange, whatever they are."""

from __future__ import annotations

import typing as t
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from pathlib import Path

import pytest

from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import work_finished
from signalpost.live import read_live
from signalpost.live.reading import Reader
from signalpost.live.snapshot import ExchangeRow
from signalpost.work import Work
from signalpost.work import work
from tests.live.shop import recorded
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


class Hostile:
    """A value that can be used for nothing."""

    def fail(self, *_: object) -> t.NoReturn:
        raise RuntimeError("no")

    __index__ = __float__ = __str__ = __repr__ = __eq__ = __ne__ = __add__ = fail
    __hash__ = object.__hash__


VALUES = {
    "none": None,
    "surrogate": "\ud800",
    "escape": "\x1b[2J",
    "long": "M" * 30,
    "huge": 10**400,
    "hostile": Hostile(),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("name", ["method", "path", "script_name", "started_at"])
def test_what_is_set_before_a_request_is_recorded_leaves_no_cell(
    folder: Path, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    with recorded(folder) as app:

        def change(sender: object, *, exchange: Exchange) -> None:
            setattr(exchange, name, value)

        with exchange_opened.connected_to(change, app.sender, priority=1):
            for _ in range(100):
                Server().serve(app)
        body: t.Any = Server().call(app)
        snapshot = read_live(folder)
        body.close()
    assert snapshot.total.requests_since_start == 100
    assert len(snapshot.in_flight) == snapshot.total.in_flight == 1
    assert all(one.method.isprintable() for one in snapshot.exchanges)
    assert caplog.records == []


@pytest.mark.parametrize("name", ["body_bytes", "duration_seconds", "route", "status"])
def test_what_is_set_before_a_request_closes_is_no_failure(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        setattr(environ["signalpost.exchange"], name, Hostile())
        return [b"ok"]

    with recorded(folder, odd) as app:
        Server().serve(app)
    (row,) = read_live(folder).exchanges
    assert (row.path, row.outcome) == ("/", "complete")
    assert caplog.records == []


@pytest.mark.parametrize("value", [Decimal("0.25"), Fraction(1, 4), True, 0.25, 2])
def test_a_number_of_another_kind_is_known_also_if_others_are_missing(
    folder: Path, value: t.Any
) -> None:
    def change(sender: object, *, exchange: Exchange) -> None:
        exchange.duration_seconds = None
        exchange.seconds_to_headers = value
        exchange.body_bytes = t.cast(int, HTTPStatus.OK)
        exchange.status = HTTPStatus.NOT_FOUND

    with recorded(folder) as app:
        with exchange_closed.connected_to(change, app.sender, priority=1):
            Server().serve(app)
        (row,) = read_live(folder).exchanges
        found = Reader(folder).exchange(row.key)
    assert found is not None
    assert found.seconds_to_headers == float(value)
    assert (row.body_bytes, row.status, row.duration_seconds) == (200, 404, None)


def test_the_time_of_work_is_known_of_whatever_kind_it_is(folder: Path) -> None:
    def change(sender: object, *, exchange: Work) -> None:
        exchange.duration_seconds = t.cast(float, Decimal("0.25"))

    with (
        recorded(folder) as app,
        work_finished.connected_to(change, app.sender, priority=1),
        work("pack", app.sender),
    ):
        pass
    (row,) = read_live(folder).work
    assert row.mean_seconds == 0.25


@pytest.mark.parametrize(("value", "outcome"), [(None, None), ([], "[]")])
def test_an_outcome_that_is_not_known_is_not_complete(
    folder: Path, value: object, outcome: str | None
) -> None:
    assert closed_with(folder, value).outcome == outcome


def test_a_request_that_cannot_be_read_when_it_closes_is_counted(folder: Path) -> None:
    row = closed_with(folder, Hostile())
    assert (row.method, row.path, row.duration_seconds) == ("GET", "/", None)
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 1
    assert snapshot.in_flight == ()


def closed_with(folder: Path, outcome: t.Any) -> ExchangeRow:
    """Return the row of a request whose outcome a receiver has set."""

    def change(sender: object, *, exchange: Exchange) -> None:
        exchange.outcome = outcome

    with recorded(folder) as app:
        with exchange_closed.connected_to(change, app.sender, priority=1):
            Server().serve(app)
        assert read_live(folder).in_flight == ()
    (row,) = read_live(folder).exchanges
    return row
