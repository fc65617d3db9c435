from __future__ import annotations

import logging
import typing as t

import pytest

from signalpost import SignalMiddleware
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import request_started
from signalpost.receivers.formats import Line
from signalpost.receivers.referrers import log_referrer
from signalpost.receivers.referrers import ReferrerLogger
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

HOSTILE = "".join(map(chr, range(0x20))) + "\x7f\x85\x9b\xe2\x80\xa8\xe2\x80\xa9"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="signalpost")
    return caplog


def visit(receiver: ReferrerLogger, path: str = "/", **environ: t.Any) -> None:
    with request_started.connected_to(receiver):
        Server().serve(SignalMiddleware(hello), path=path, **environ)


def test_one_line_is_logged_for_each_request(lines: pytest.LogCaptureFixture) -> None:
    visit(log_referrer, HTTP_REFERER="https://search.example/results?q=mug")
    assert lines.messages == ["GET / https://search.example/results"]
    assert lines.records[0].name == "signalpost.referrers"


def test_connecting_is_one_line() -> None:
    request_started.connect(log_referrer)
    assert request_started.disconnect(log_referrer)


def test_no_referrer_is_a_dash(lines: pytest.LogCaptureFixture) -> None:
    visit(log_referrer, path="/cart")
    assert lines.messages == ["GET /cart -"]


def test_only_the_chosen_paths_are_logged(lines: pytest.LogCaptureFixture) -> None:
    homepage = ReferrerLogger(paths=("/",))
    visit(homepage, path="/cart")
    visit(homepage, path="/", SCRIPT_NAME="/shop")
    assert lines.messages == ["GET /shop/ -"]


def test_control_characters_make_one_clean_line(
    lines: pytest.LogCaptureFixture,
) -> None:
    visit(log_referrer, HTTP_REFERER=f"https://a.example/{HOSTILE}")
    assert len(lines.messages) == 1
    assert lines.messages[0].isprintable()


def test_a_huge_referrer_is_cut(lines: pytest.LogCaptureFixture) -> None:
    visit(log_referrer, HTTP_REFERER="https://a.example/" + "x" * 1_000_000)
    assert len(lines.messages[0]) < 600


@pytest.mark.parametrize("wrong", [7, (7,), [None]])
def test_paths_of_a_wrong_type_are_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match=r"must be a .*write"):
        ReferrerLogger(paths=wrong)


def test_a_path_that_no_request_has_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with a slash, got 'cart'"):
        ReferrerLogger(paths=["/", "", "cart"])


def test_the_fields_hold_what_the_client_sent(
    lines: pytest.LogCaptureFixture,
) -> None:
    visit(log_referrer, HTTP_REFERER="https://a.example/\n" + "x" * 1_000)
    line = lines.records[0].msg
    assert isinstance(line, Line)
    assert line.name == "referrer"
    referrer = line.fields["referrer"]
    assert isinstance(referrer, str)
    assert referrer.startswith("https://a.example/\nxxx")
    assert len(referrer) < 600
    assert (line.fields["method"], line.fields["path"]) == ("GET", "/")


def test_nothing_is_done_for_a_level_that_is_off(
    lines: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("shop.referrers").setLevel(logging.WARNING)
    visit(ReferrerLogger(logger="shop.referrers"))
    assert not lines.records


def test_it_declares_its_signals() -> None:
    for signal, method in ReferrerLogger.signals.items():
        assert signal in catalogue
        assert callable(getattr(log_referrer, method))
