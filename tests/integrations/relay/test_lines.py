"""The line of an event."""

from __future__ import annotations

import datetime
import io
import json
import logging
import re
import typing as t

import pytest

from signalpost.integrations.relay import Event
from signalpost.integrations.relay import EventLogger
from signalpost.integrations.relay import log_event
from signalpost.integrations.relay import relay_received
from signalpost.receivers.formats import JsonFormatter


def event(**changes: t.Any) -> Event:
    given: dict[str, t.Any] = {
        "id": "7",
        "source": "shop",
        "name": "order-placed",
        "payload": {},
        "time": datetime.datetime.now(datetime.UTC),
        **changes,
    }
    return Event(**given)


def received(
    one: Event, duration_seconds: float = 0.0123, exception: Exception | None = None
) -> None:
    relay_received.send(
        None, event=one, duration_seconds=duration_seconds, exception=exception
    )


@pytest.mark.parametrize(
    ("one", "exception", "text"),
    [
        (event(), None, "order-placed from shop complete 12.3 ms, after N s, try 1"),
        (
            event(tries=2, time=None, request_id="f3-09"),
            LookupError("no stock"),
            "order-placed from shop error 12.3 ms, try 2 id=f3-09",
        ),
        (
            event(name="a\u2028b c", time=datetime.datetime(2026, 1, 1)),
            None,
            '"a\\u2028b c" from shop complete 12.3 ms, try 1',
        ),
    ],
)
def test_event_is_one_line(
    one: Event,
    exception: Exception | None,
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with relay_received.connected_to(log_event), caplog.at_level("INFO"):
        received(one, exception=exception)
    [record] = caplog.records
    assert re.sub(r"after \d+\.\d s", "after N s", record.getMessage()) == text
    assert record.name == "signalpost.events"
    assert record.levelno == (logging.ERROR if exception else logging.INFO)


def test_slow_receivers_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLogger(slow_seconds=0.5, logger="shop.events")
    with relay_received.connected_to(log), caplog.at_level("INFO"):
        received(event(), duration_seconds=0.4)
        received(event(), duration_seconds=0.5)
    assert [one.levelname for one in caplog.records] == ["INFO", "WARNING"]
    assert caplog.records[0].name == "shop.events"


def test_line_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("shop.lines")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    log = EventLogger(logger=logger)
    with relay_received.connected_to(log):
        received(event(request_id="f3-09"))
    found = json.loads(stream.getvalue())
    assert found["signal"] == "order-placed"
    assert found["outcome"] == "complete"
    assert found["tries"] == 1
    assert found["event_id"] == "7"
    assert found["request_id"] == "f3-09"
    assert found["age_seconds"] < 60


def test_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="slow_seconds"):
        EventLogger(slow_seconds=t.cast("t.Any", "1"))


def test_event_has_an_age_where_its_time_is_known() -> None:
    now = datetime.datetime.now(datetime.UTC)
    age = event(time=now - datetime.timedelta(seconds=30)).age_seconds()
    assert age is not None
    assert 30 <= age < 60
    # The clock of the sender is ahead.
    assert event(time=now + datetime.timedelta(hours=1)).age_seconds() == 0
    assert event(time=None).age_seconds() is None
    assert event(time=datetime.datetime(2026, 1, 1)).age_seconds() is None
