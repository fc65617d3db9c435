from __future__ import annotations

import pytest

from signalpost import SignalMiddleware
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import request_arrived
from signalpost.testing import capture
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server


def test_a_receiver_of_arrivals_lets_nothing_be_recorded() -> None:
    layer = SignalMiddleware(hello)
    before = layer.is_recorded()
    with capture(request_arrived) as sent:
        assert Server().serve(layer) == b"hello"
        assert layer.is_recorded() is before
    assert [one.sender for one in sent] == [hello]
    assert request_arrived.name not in catalogue


def test_what_a_receiver_of_arrivals_connects_gets_the_whole_request() -> None:
    captured = capture(*EXCHANGE_SIGNALS)
    sent = []

    def begin(sender: object) -> None:
        sent.append(captured.__enter__())

    with request_arrived.connected_to(begin):
        Server().serve(SignalMiddleware(hello))
    captured.__exit__(None, None, None)
    assert names(sent[0]) == [
        "exchange-opened",
        "request-started",
        "request-finished",
        "exchange-closed",
    ]


def test_a_failing_receiver_of_arrivals_changes_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def harmful(sender: object) -> None:
        raise LookupError("harm")

    layer = SignalMiddleware(hello)
    with request_arrived.connected_to(harmful):
        assert Server().serve(layer) == b"hello"
    assert layer.receiver_failures == 1
    assert "LookupError: harm" in caplog.text
