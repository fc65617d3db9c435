"""The catalogue, written out once more: a change of it is a change for every user."""

from __future__ import annotations

import pytest

from signalpost import lifecycle
from signalpost.lifecycle import catalogue

PAYLOADS: dict[str, set[str]] = {
    "exchange-opened": {"environ", "exchange"},
    "request-started": {"environ", "exchange"},
    "before-render-template": {"template", "context"},
    "template-rendered": {"template", "context"},
    "message-flashed": {"message", "category"},
    "got-request-exception": {"exception", "where", "environ", "exchange"},
    "request-finished": {"response", "environ", "exchange"},
    "request-tearing-down": {"exc"},
    "appcontext-pushed": set(),
    "appcontext-tearing-down": {"exc"},
    "appcontext-popped": set(),
    "exchange-closed": {"environ", "exchange"},
    "sql-executed": {
        "statement",
        "parameters",
        "parameters_count",
        "duration_seconds",
        "row_count",
        "is_executemany",
        "exception",
        "exchange",
    },
    "sql-failed": {"operation", "statement", "exception", "exchange"},
    "sql-pool-changed": {"name", "change", "seconds", "state"},
    "work-started": {"exchange"},
    "work-finished": {"exchange"},
    "post-config-load": {"application"},
}


def test_catalogue_has_these_signals_and_no_other() -> None:
    assert list(catalogue) == list(PAYLOADS)


@pytest.mark.parametrize("name", PAYLOADS)
def test_signal_has_its_name_and_its_payload(name: str) -> None:
    signal = catalogue[name]
    assert signal.name == name
    assert signal.payload == frozenset(PAYLOADS[name])


@pytest.mark.parametrize("name", PAYLOADS)
def test_signal_is_found_under_its_variable(name: str) -> None:
    assert getattr(lifecycle, name.replace("-", "_")) is catalogue[name]


def test_signals_of_an_exchange_are_these() -> None:
    assert [signal.name for signal in lifecycle.EXCHANGE_SIGNALS] == [
        "exchange-opened",
        "request-started",
        "got-request-exception",
        "request-finished",
        "exchange-closed",
    ]


def test_signals_of_work_are_these() -> None:
    assert {signal.name for signal in lifecycle.WORK_SIGNALS} == {
        "work-started",
        "work-finished",
    }


def test_signals_of_others_are_these() -> None:
    assert [signal.name for signal in lifecycle.SIGNALS_WITHIN] == [
        "sql-executed",
        "sql-failed",
    ]
    assert {signal.name for signal in lifecycle.SENT_BY_OTHERS} == {
        "sql-executed",
        "sql-failed",
        "sql-pool-changed",
        "post-config-load",
    }
