from __future__ import annotations

import logging
import typing as t

import pytest

from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from tests.config.loading import load
from tests.config.loading import refusal
from tests.config.loading import Write
from tests.config.receivers import new_shop


def given_by_ini(write: Write, text: str) -> dict[str, t.Any]:
    path = write("a.ini", "[signalpost.receivers.here:Audit]\n" + text)
    enabled = Configuration.from_ini(path).load(new_shop())
    given: dict[str, t.Any] = enabled["here:Audit"].receiver.given
    return given


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("days = 7", 7),
        ("share = 0.5", 0.5),
        ("share =", None),
        ("is_loud = Yes", True),
        ("is_loud = off", False),
        ("title = 7", "7"),
        ("title =", ""),
        ("name = corner", "corner"),
        ("name =", None),
        ("paths = /a /b", ("/a", "/b")),
        ("paths =\n  /a b\n  /c", ("/a b", "/c")),
        ("paths =", ()),
        ("sizes = 1 2", frozenset((1, 2))),
        ("weights = /a = 0.5", {"/a": 0.5}),
        ("weights =\n  /a=0.5\n  /b?c=d = 1", {"/a": 0.5, "/b?c=d": 1.0}),
        ("form = short", "short"),
        ("logger = shop.audit", logging.getLogger("shop.audit")),
        ("sink = shop.audit", "shop.audit"),
        ("untold = yes", "yes"),
    ],
)
def test_text_is_converted_by_its_annotation(
    text: str, value: object, write: Write
) -> None:
    name = text.partition(" ")[0]
    given = given_by_ini(write, text)[name]
    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("days = seven", "option days: expected a whole number, got 'seven'"),
        ("share = much", "option share: expected a number, got 'much'"),
        ("is_loud = perhaps", "option is_loud: expected yes or no, got 'perhaps'"),
        ("form = tall", "option form: expected one of long, short, got 'tall'"),
        ("weights = /a", "option weights: expected lines NAME = VALUE, got '/a'"),
        ("sizes = 1 b", "option sizes: expected a whole number, got 'b'"),
    ],
)
def test_text_that_cannot_be_converted_is_refused(
    text: str, message: str, write: Write
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        given_by_ini(write, text)
    assert str(raised.value).endswith(
        f"line 2, [signalpost.receivers] here:Audit: {message}"
    )


def test_text_is_converted_by_its_default_without_an_annotation(
    write: Write,
) -> None:
    path = write(
        "a.ini",
        """\
        [signalpost.receivers]
        here:Plain =
            signal = exchange-closed
            days = 7
            title = 8
            other = 9
        here:Unknown =
            signal = exchange-closed
            days = 7
        here:Free = days = 7
        here:record = signal=exchange-closed
        here:ConnectsItself = yes
        here:Optionless = off
        """,
    )
    enabled = Configuration.from_ini(path).load(new_shop())
    assert type(enabled["here:Plain"].options["days"]) is str
    assert enabled["here:Plain"].receiver.given == (7, "8", "9")
    assert enabled["here:Unknown"].receiver.days == 7
    assert enabled["here:Free"].receiver.options == {"days": "7"}
    assert len(enabled) == 5


def test_text_that_is_no_option_is_refused(write: Write) -> None:
    path = write("a.ini", "[signalpost.receivers]\nhere:Audit = loudly\n")
    with pytest.raises(ConfigurationError, match="expected yes, no, or a line NAME"):
        Configuration.from_ini(path).load(new_shop())


def test_a_logger_is_named_in_any_source() -> None:
    options = {"logger": "shop.audit", "sink": "shop.audit"}
    given = load({"here:Audit": options})["here:Audit"].receiver.given
    assert given["logger"] is logging.getLogger("shop.audit")
    assert given["sink"] == "shop.audit"


def test_a_class_without_known_options_is_given_them() -> None:
    error = refusal({"builtins:dict": {"signal": "exchange-closed", "days": 7}})
    assert "it cannot be connected" in str(error)
