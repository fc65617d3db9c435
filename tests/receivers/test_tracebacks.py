"""Tracebacks of exceptions that are linked to many others."""

from __future__ import annotations

import logging
import os
import traceback
import typing as t
from collections.abc import Callable

import pytest

from signalpost.exchange import Exchange
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.formats import TextFormatter
from signalpost.receivers.tracebacks import leaves_of
from signalpost.receivers.tracebacks import traceback_lines
from tests.wsgi.serving import environ_of


class CountedError(Exception):
    """Counts how often its text was made."""

    def __init__(self, message: str = "one") -> None:
        super().__init__(message)
        self.texts = 0

    def __str__(self) -> str:
        self.texts += 1
        return super().__str__()


def doubled(leaf: Exception, levels: int) -> Exception:
    for level in range(levels):
        leaf = ExceptionGroup(f"level {level}", [leaf, leaf])
    return leaf


def deep(leaf: Exception, levels: int) -> Exception:
    for level in range(levels):
        leaf = ExceptionGroup(f"level {level}", [leaf])
    return leaf


def wide(leaf: Exception, members: int) -> Exception:
    return ExceptionGroup("wide", [leaf] * members)


def meshed(leaf: Exception, levels: int) -> Exception:
    """Return groups of five groups, each of which holds the same five below it."""
    below: list[Exception] = [leaf] * 5
    for level in range(levels):
        below = [ExceptionGroup(f"level {level}", below) for _ in range(5)]
    return ExceptionGroup("top", below)


def chained(leaf: Exception, length: int) -> Exception:
    for number in range(length):
        error = LookupError(number)
        error.__cause__, leaf = leaf, error
    return leaf


def chained_groups(leaf: Exception, length: int) -> Exception:
    """Return a chain in which each holds what it was caused by, too."""
    for number in range(length):
        group = ExceptionGroup(f"group {number}", [leaf, leaf])
        group.__cause__, leaf = leaf, group
    return leaf


def circular(leaf: Exception, _: int) -> Exception:
    first, second = LookupError("first"), LookupError("second")
    first.__context__, second.__context__ = second, first
    return ExceptionGroup("circular", [first, second, leaf])


MANY = [
    pytest.param(doubled, 40, id="doubled"),
    pytest.param(doubled, 5_000, id="doubled-deep"),
    pytest.param(deep, 5_000, id="deep"),
    pytest.param(wide, 50_000, id="wide"),
    pytest.param(meshed, 30, id="meshed"),
    pytest.param(chained, 5_000, id="chained"),
    pytest.param(chained_groups, 40, id="chained-groups"),
    pytest.param(circular, 0, id="circular"),
]
each_shape = pytest.mark.parametrize(("shape", "size"), MANY)
Shape: t.TypeAlias = Callable[[Exception, int], Exception]


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - whatever the test raised
        return caught


def record_of(error: BaseException) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__)
    return logging.LogRecord("shop", logging.ERROR, __file__, 1, "no mug", (), info)


@each_shape
def test_a_failure_of_many_exceptions_is_one_bounded_record(
    shape: Shape, size: int
) -> None:
    texts: list[str] = []

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(self.format(record))

    logger = logging.Logger("unseen")
    logger.addHandler(Log())
    leaf = CountedError()
    exchange = Exchange(environ_of(), "shop")
    error = raised(shape(leaf, size))
    receiver = FailureLogger(logger=logger)
    receiver("shop", exception=error, where="view", exchange=exchange)
    receiver("shop", exception=error, where="view", exchange=exchange)
    (text,) = texts
    assert len(text.split("\n")) <= 202
    assert leaf.texts <= 3
    assert [count.times for count in receiver.counts()] == [2]


@each_shape
@pytest.mark.parametrize(
    "formatter",
    [TextFormatter(), JsonFormatter(), LogfmtFormatter()],
    ids=["text", "json", "logfmt"],
)
def test_each_format_writes_each_exception_once(
    formatter: logging.Formatter, shape: Shape, size: int
) -> None:
    leaf = CountedError()
    text = formatter.format(record_of(raised(shape(leaf, size))))
    assert "no mug" in text
    assert "raised" in text
    assert leaf.texts <= 3
    assert len(text) < 50_000


@pytest.mark.parametrize("formatter", [TextFormatter("%(message)s"), JsonFormatter()])
def test_small_groups_are_written_as_python_does(formatter: logging.Formatter) -> None:
    error = raised(ExceptionGroup("two", [raised(LookupError("a")), OSError("b")]))
    error.__cause__ = raised(ValueError("c"))
    text = formatter.format(record_of(error))
    for line in traceback.format_exception(error):
        assert line.strip("\n").split("\n")[0].strip().split('"')[0] in text


def lines_by_python(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).split("\n")[:-1]


def test_one_exception_has_the_lines_that_python_writes() -> None:
    def fail() -> None:
        try:
            _ = [][3]
        except IndexError as error:
            note = "in shelf 3"
            failure = LookupError("no mug\nno cup")
            failure.add_note(note)
            raise failure from error

    with pytest.raises(LookupError) as caught:
        fail()
    assert [*traceback_lines(caught.value)] == lines_by_python(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "mug".uper(),  # type: ignore[attr-defined]
        lambda: nme,  # type: ignore[name-defined]  # noqa: F821 - for its hint
        lambda: compile("a b", "shop.py", "exec"),
        lambda: __import__("jsn"),
        lambda: 1 / 0,
        lambda: os.environ["NO_SUCH_MUG"],
    ],
)
def test_hints_and_places_are_those_of_python(make: Callable[[], object]) -> None:
    name = None  # what a hint may be about
    with pytest.raises(
        (
            ArithmeticError,
            AttributeError,
            ImportError,
            LookupError,
            NameError,
            SyntaxError,
        )
    ) as caught:
        make()
    assert [*traceback_lines(caught.value)] == lines_by_python(caught.value)
    assert name is None


def test_a_context_is_shown_unless_it_is_suppressed() -> None:
    error = LookupError("outer")
    error.__context__ = ValueError("inner")
    assert "During handling" in "\n".join(traceback_lines(error))
    error.__suppress_context__ = True
    assert [*traceback_lines(error)] == ["LookupError: outer"]


def test_members_are_numbered_and_those_of_two_groups_shown_once() -> None:
    leaf = OSError("disk")
    error = ExceptionGroup("two", [leaf, ExceptionGroup("one", [leaf])])
    assert [*traceback_lines(error)] == [
        "ExceptionGroup: two (2 sub-exceptions)",
        "  ---- 1 of 2 ----",
        "  OSError: disk",
        "  ---- 2 of 2 ----",
        "  ExceptionGroup: one (1 sub-exception)",
        "    ---- 1 of 1 ----",
        "    <OSError, shown once>",
    ]


def test_what_is_left_out_is_named() -> None:
    lines = [*traceback_lines(chained(OSError("first"), 200))]
    assert lines[0] == "<LookupError, with what it is linked to, left out>"
    assert lines[-1] == "LookupError: 199"


def test_leaves_are_found_once() -> None:
    leaf = OSError("disk")
    assert leaves_of(leaf) == [leaf]
    assert leaves_of(doubled(leaf, 3_000)) == [leaf]
    other = LookupError()
    assert leaves_of(ExceptionGroup("", [leaf, doubled(other, 9), leaf])) == [
        leaf,
        other,
    ]


class BrokenError(Exception):
    def __getattribute__(self, name: str) -> t.NoReturn:
        raise RuntimeError("no attributes")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_broken_exception_loses_no_record(formatter: logging.Formatter) -> None:
    record = record_of(LookupError())
    record.exc_info = (BrokenError, BrokenError(), None)
    assert "no mug" in formatter.format(record)
