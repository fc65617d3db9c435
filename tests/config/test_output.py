from __future__ import annotations

import gc
import logging
from json import loads

import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import post_config_load
from tests.config.receivers import Shop
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def said(capsys: pytest.CaptureFixture[str]) -> str:
    logging.getLogger("signalpost.audit").info("said")
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "line"), [("text", "said"), ("json", '"said"'), ("logfmt", "said")]
)
def test_a_format_writes_to_standard_error(
    form: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop()
    enabled = Configuration.from_mapping({"signalpost": {"format": form}}).load(shop)
    assert enabled.format == form
    text = said(capsys)
    assert line in text
    assert text.count("\n") == 1
    enabled.disable_all()
    assert enabled.format is None
    assert said(capsys) == ""


def test_logging_is_as_it_was_when_the_last_format_is_gone() -> None:
    logger = logging.getLogger("signalpost")
    before = (logger.level, logger.propagate, logger.handlers[:])
    one, other = Shop(), Shop()
    json = Configuration.from_mapping({"signalpost": {"format": "json"}})
    text = Configuration.from_mapping({"signalpost": {"format": "text"}})
    json.load(one)
    text.load(other)
    del other
    gc.collect()
    assert [type(one.formatter).__name__ for one in logger.handlers] == [
        "JsonFormatter"
    ]
    enabled_for(one).disable_all()
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_a_level_that_was_set_stays(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("signalpost")
    shop = Shop()
    logger.setLevel(logging.WARNING)
    try:
        Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
        assert said(capsys) == ""
    finally:
        enabled_for(shop).disable_all()
        logger.setLevel(logging.NOTSET)


def test_an_error_takes_the_format_back() -> None:
    def fail(configuration: Configuration, application: object) -> None:
        raise LookupError("no section")

    shop = Shop()
    Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
    json = Configuration.from_mapping({"signalpost": {"format": "json"}})
    with post_config_load.connected_to(fail), pytest.raises(LookupError):
        json.load(shop)
    assert enabled_for(shop).format == "text"
    enabled_for(shop).disable_all()
    with post_config_load.connected_to(fail), pytest.raises(LookupError):
        json.load(shop)
    assert logging.getLogger("signalpost").handlers == []


def test_a_line_that_cannot_be_written_is_reported_as_by_logging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop()
    Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
    logging.getLogger("signalpost.audit").info("%d", "no number")
    enabled_for(shop).disable_all()
    assert "Logging error" in capsys.readouterr().err


def test_the_lines_of_a_request_have_its_id_as_a_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = SignalMiddleware(hello, sender=Shop())
    table = {"format": "json", "receivers": {"latency": True}}
    enabled = Configuration.from_mapping({"signalpost": table}).load(app)

    def speak(sender: object) -> None:
        logging.getLogger("signalpost.audit").info("audited")

    with exchange_closed.connected_to(speak):
        for _ in range(2):
            Server().serve(app)
    logging.getLogger("signalpost.audit").info("outside")
    text = capsys.readouterr().err
    enabled.disable_all()
    *within, outside = map(loads, text.splitlines())
    ids = [line["request_id"] for line in within]
    assert ids == [ids[0], ids[0], ids[2], ids[2]]
    assert ids[0] != ids[2]
    assert "request_id" not in outside


def test_no_id_is_made_for_lines_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    app = SignalMiddleware(hello, sender=Shop())
    table = {"format": "text", "receivers": {"latency": True}}
    enabled = Configuration.from_mapping({"signalpost": table}).load(app)
    Server().serve(app)
    Server().serve(app, HTTP_X_REQUEST_ID="f3-09")
    first, second = capsys.readouterr().err.splitlines()
    enabled.disable_all()
    assert " id=" not in first
    assert second.endswith(" id=f3-09")
