from __future__ import annotations

import io
import logging
import logging.handlers
import pickle
import re
import types
import typing as t

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.config._terminal import TerminalFormatter
from signalpost.exchange import Exchange
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.formats import Line
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.sql import SqlLogger
from tests.config.receivers import new_shop

COLOURED = re.compile(r"\x1b\[([\d;]+)m([^\x1b]+)\x1b\[0m")
VARIABLES = ("NO_COLOR", "FORCE_COLOR", "WT_SESSION")


class Stream(io.StringIO):
    """A standard error that is a terminal, or none."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def closed_exchange(path: str = "/mugs", **values: t.Any) -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": path}, "shop")
    exchange.status = 200
    exchange.outcome = "complete"
    exchange.duration_seconds = 0.0123
    for name, value in values.items():
        setattr(exchange, name, value)
    return exchange


def written(
    call: t.Callable[[], object], form: str = "text", *, is_terminal: bool = True
) -> str:
    """Return what a call logs, as standard error gets it."""
    shop = new_shop()
    enabled = enabled_for(shop)
    stream = Stream(is_terminal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        Configuration.from_mapping({"signalpost": {"format": form}}).load(shop)
        try:
            call()
        finally:
            enabled.disable_all()
    return stream.getvalue()


def latency(path: str = "/mugs", **values: t.Any) -> t.Callable[[], object]:
    receiver = LatencyLogger(slow_seconds=1)
    exchange = closed_exchange(path, **values)
    return lambda: receiver("shop", exchange=exchange)


def coloured(text: str) -> list[tuple[str, str]]:
    """Return the coloured parts of a text, each after its colour."""
    return COLOURED.findall(text)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"status": 200}, [("32", "200")]),
        ({"status": 204}, [("32", "204")]),
        ({"status": 302}, [("36", "302")]),
        ({"status": 404}, [("33", "404")]),
        ({"status": 500}, [("31", "500")]),
        ({"status": 101, "outcome": "hijacked"}, []),
        ({"status": None, "outcome": "error"}, [("31", "error")]),
        ({"outcome": "aborted"}, [("32", "200"), ("33", "aborted")]),
        ({"outcome": "lost"}, [("32", "200"), ("35", "lost")]),
        ({"duration_seconds": 1.0}, [("32", "200"), ("1;35", "1000.0 ms")]),
        (
            {"status": 503, "duration_seconds": 2.5},
            [("31", "503"), ("1;35", "2500.0 ms")],
        ),
    ],
)
def test_a_line_is_coloured_by_status_outcome_and_slowness(
    values: dict[str, t.Any], parts: list[tuple[str, str]]
) -> None:
    assert coloured(written(latency(**values))) == parts


def test_colours_change_no_word() -> None:
    on_terminal = written(latency(status=404, duration_seconds=1.0))
    elsewhere = written(latency(status=404, duration_seconds=1.0), is_terminal=False)
    assert COLOURED.sub(r"\2", on_terminal)[23:] == elsewhere[23:]  # but the time
    assert "\x1b" not in elsewhere


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_other_formats_have_no_colours(form: str) -> None:
    assert "\x1b" not in written(latency(status=500), form)


@pytest.mark.parametrize(
    ("variables", "is_terminal", "is_coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": "0"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_the_environment_decides_about_colours(
    variables: dict[str, str],
    is_terminal: bool,
    is_coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = written(latency(), is_terminal=is_terminal)
    assert bool(coloured(text)) is is_coloured


def test_the_older_console_of_windows_gets_no_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signalpost.config._terminal.os.name", "nt")
    assert coloured(written(latency())) == []
    monkeypatch.setenv("WT_SESSION", "7d6a")
    assert coloured(written(latency())) != []


@pytest.mark.parametrize(
    "path",
    [
        "/a 500 error 9.9 ms",
        '/a" 500 error',
        "/\x1b[31m",
        "/\x9b31m 404",
        "/a\\",
        '/a\\" 500',
        "/500",
        "/-",
        "",
    ],
)
def test_a_path_is_never_coloured_and_makes_no_sequence(path: str) -> None:
    text = written(latency(path))
    assert coloured(text) == [("32", "200")]
    assert text.count("\x1b") == 2
    assert "\x9b" not in text


@settings(max_examples=50)
@given(st.text())
def test_no_path_makes_a_sequence(path: str) -> None:
    text = written(latency(path))
    assert text.count("\x1b") == 2
    assert coloured(text) == [("32", "200")]


def test_a_failure_has_its_status_and_its_exception_coloured() -> None:
    receiver = FailureLogger()
    exchange = closed_exchange(status=500)

    def fail() -> None:
        receiver(
            "shop",
            exception=LookupError("no \x1b[32mmug"),
            where="view",
            exchange=exchange,
        )

    text = written(fail)
    assert coloured(text) == [("31", "500"), ("31", "LookupError")]


@pytest.mark.parametrize(
    ("exception", "parts"),
    [
        (None, [("1;35", "slow 900.0 ms")]),
        (KeyError(), [("31", "failed KeyError")]),
    ],
)
def test_a_slow_or_failed_statement_is_coloured(
    exception: Exception | None, parts: list[tuple[str, str]]
) -> None:
    def execute() -> None:
        SqlLogger()(
            None,
            statement="SELECT 'slow 1.0 ms'",
            parameters_count=0,
            duration_seconds=0.9,
            row_count=None,
            is_executemany=False,
            exception=exception,
            exchange=None,
        )

    assert coloured(written(execute)) == parts


@pytest.mark.parametrize(
    "message",
    [
        "GET /mugs 200 complete 1.0 ms",
        Line("stock", {"status": 200}, lambda: "GET /mugs 200 complete 1.0 ms"),
        Line("latency", {}, lambda: "of another kind"),
        Line("latency", {}, lambda: ""),
    ],
)
def test_lines_of_others_are_not_coloured(message: object) -> None:
    log = logging.getLogger("signalpost.latency")
    assert "\x1b" not in written(lambda: log.info(message))


def test_a_form_that_ends_otherwise_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    record = logging.makeLogRecord(
        {"msg": Line("latency", {}, lambda: "GET / 200 a 1 ms")}
    )
    assert TerminalFormatter("%(message)s.").format(record) == "GET / 200 a 1 ms."
    assert coloured(TerminalFormatter("%(message)s").format(record)) == [("32", "200")]


def test_a_slow_line_that_was_sent_to_another_process_is_still_slow() -> None:
    handler = logging.handlers.BufferingHandler(10)
    logger = logging.getLogger("signalpost.latency")
    logger.addHandler(handler)
    try:
        written(latency(duration_seconds=1.0))
    finally:
        logger.removeHandler(handler)
    (record,) = handler.buffer
    line = pickle.loads(pickle.dumps(record.msg))
    assert ("1;35", "1000.0 ms") in coloured(written(lambda: logger.info(line)))


def test_another_handler_of_the_record_gets_no_colours() -> None:
    other = io.StringIO()
    handler = logging.StreamHandler(other)
    logger = logging.getLogger("signalpost.latency")
    logger.addHandler(handler)
    try:
        assert coloured(written(latency())) != []
    finally:
        logger.removeHandler(handler)
    assert other.getvalue() == "GET /mugs 200 complete 12.3 ms 0 bytes\n"


def closed() -> bool:
    raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("methods", [{}, {"isatty": closed}])
def test_a_stream_that_cannot_be_asked_gets_no_colours(
    methods: dict[str, t.Any],
) -> None:
    texts: list[str] = []
    stream = types.SimpleNamespace(write=texts.append, **methods)
    shop = new_shop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
        latency()()
        enabled_for(shop).disable_all()
    (text,) = texts
    assert "GET /mugs 200" in text
    assert "\x1b" not in text
