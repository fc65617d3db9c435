"""The advice that is printed if logging does not show a receiver's lines.

Each in a separate process: it is printed once a process, and pytest sets up logging.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

EXCHANGES = """
import logging, logging.config, sys
from wsgiref.util import setup_testing_defaults
from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed, got_request_exception
from signalpost.lifecycle import request_started, sql_executed
from signalpost.receivers.failures import log_failure
from signalpost.receivers.latency import LatencyLogger, log_latency
from signalpost.receivers.referrers import log_referrer
from signalpost.receivers.sql import RepeatLogger, log_sql

def shop(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/fail":
        raise LookupError("no mug")
    return [b"mug"]

application = SignalMiddleware(shop)

def visit(path="/"):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    try:
        body = application(environ, lambda *_: print)
    except LookupError:
        return
    list(body)
    body.close()
"""

BASIC = "call logging.basicConfig(level=logging.INFO)"
FORMAT = 'write format = "text" in the section [signalpost] of a configuration'
UNSET = "logging has no handler and the root logger's level is WARNING"
EXCHANGE = """
from signalpost.exchange import Exchange
exchange = Exchange({"PATH_INFO": "/mugs"}, None)
"""
LATENCY = "exchange_closed.connect(log_latency)"
DISABLED = "logging.config.dictConfig({'version': 1})"
TO_FILE = "logging.basicConfig(filename='/dev/null', level=logging.INFO)"
TO_NOTHING = "logging.FileHandler('/dev/null')"
LEVEL = "logging.getLogger('signalpost').setLevel(logging.INFO)"
HANDLER = "logging.StreamHandler()"


def printed(*lines: str, code: int = 0, words: tuple[str, ...] = ()) -> str:
    """Run lines of code after ``EXCHANGES``, and return what standard error gets."""
    done = subprocess.run(
        [sys.executable, *words, "-c", "\n".join((EXCHANGES, *lines))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_one_line_explains_that_logging_is_not_set_up() -> None:
    text = printed(LATENCY, "visit()", "visit()")
    assert text == (
        "signalpost: the lines of the logger signalpost.latency (INFO) are shown"
        f" nowhere: {UNSET}; {BASIC}, or {FORMAT}\n"
    )


def test_several_receivers_with_one_cause_are_explained_once() -> None:
    text = printed(LATENCY, "request_started.connect(log_referrer)", "visit()")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("logging", "reason", "remedy"),
    [
        (
            "logging.basicConfig()",
            "the root logger's level is WARNING",
            f"call {LEVEL}".replace("(logging.INFO)", "(logging.INFO), or"),
        ),
        ("logging.getLogger().setLevel(10)", "logging has no handler;", BASIC),
        (
            f"{TO_FILE}; logging.getLogger().handlers[0].setLevel('ERROR')",
            "the handlers show no level below ERROR;",
            "give a handler the level INFO",
        ),
        (
            "logging.getLogger('signalpost').propagate = False",
            "the logger signalpost has no handler",
            f"call logging.getLogger('signalpost').addHandler({HANDLER})",
        ),
        (f"{LEVEL}", "logging has no handler;", BASIC),
        ("logging.lastResort = None", UNSET, BASIC),
    ],
)
def test_the_reason_and_the_remedy_are_those_of_the_case(
    logging: str, reason: str, remedy: str
) -> None:
    text = printed(LATENCY, logging, "visit()", "visit()")
    assert text.count("\n") == 1
    assert reason in text
    assert remedy in text


@pytest.mark.parametrize(
    "logging",
    [
        TO_FILE,
        f"logging.getLogger('signalpost').addHandler({TO_NOTHING}); {LEVEL}",
        "logging.getLogger('signalpost').setLevel(logging.WARNING)",
        "logging.getLogger('signalpost.latency').setLevel('ERROR')",
        "logging.getLogger('signalpost').addHandler(logging.NullHandler())",
        "logging.getLogger('signalpost.latency').addHandler(logging.NullHandler())",
        "logging.getLogger().addHandler(logging.NullHandler())",
        "logging.disable()",
        "logging.disable(logging.INFO)",
        f"{DISABLED}; logging.getLogger('signalpost').setLevel('ERROR')",
        f"{DISABLED}; logging.disable()",
    ],
)
def test_nothing_is_printed_where_lines_are_shown_or_hidden_by_choice(
    logging: str,
) -> None:
    assert printed(LATENCY, logging, "visit()") == ""


@pytest.mark.parametrize(
    "receiver",
    [
        'LatencyLogger(levels={"complete": "debug"})',
        'LatencyLogger(exclude=["/**"])',
        'LatencyLogger(sample={"*": 0})',
    ],
)
def test_a_line_that_is_not_due_needs_no_explanation(receiver: str) -> None:
    text = printed(f"exchange_closed.connect({receiver}, weak=False)", "visit()")
    assert text == ""


def test_logging_that_is_set_up_before_the_first_line_is_early_enough() -> None:
    text = printed(LATENCY, "logging.basicConfig(level=logging.INFO)", "visit()")
    assert "shown nowhere" not in text
    assert "GET / 200 complete" in text


def test_warnings_and_errors_need_no_handler() -> None:
    text = printed(
        "got_request_exception.connect(log_failure)",
        "exchange_closed.connect(LatencyLogger(slow_seconds=0), weak=False)",
        "visit()",
        "visit('/fail')",
    )
    assert "shown nowhere" not in text
    assert "LookupError" in text


def test_errors_without_the_handler_of_last_resort_are_explained() -> None:
    text = printed(
        "got_request_exception.connect(log_failure)",
        "logging.lastResort = None",
        "visit('/fail')",
    )
    assert "the logger signalpost.failures (ERROR)" in text


def test_a_logger_of_an_application_is_called_by_its_name() -> None:
    text = printed(
        "exchange_closed.connect(LatencyLogger(logger='shop.access'), weak=False)",
        "logging.basicConfig()",
        "visit()",
    )
    assert text == (
        "signalpost: the lines of the logger shop.access (INFO) are shown nowhere: the"
        " root logger's level is WARNING; call"
        " logging.getLogger('shop.access').setLevel(logging.INFO)\n"
    )


def test_a_name_cannot_begin_a_line() -> None:
    receiver = r"LatencyLogger(logger='shop\nERROR forged\x1b[31m')"
    text = printed(f"exchange_closed.connect({receiver}, weak=False)", "visit()")
    assert r"shop\nERROR forged\x1b[31m" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "stream",
    [
        "sys.stderr = None",
        "sys.stderr.close()",
        "sys.stderr = object()",
        "import io; sys.stderr = io.TextIOWrapper(io.FileIO('/dev/full', 'w'))",
    ],
)
def test_a_process_without_standard_error_goes_on(stream: str) -> None:
    # What cannot be flushed at the end is an error of Python's own.
    lines = ("log_latency(None, exchange=exchange)", "import os; os._exit(7)")
    assert printed(EXCHANGE, stream, *lines, code=7) == ""


def test_a_handler_that_cannot_be_asked_for_its_level_fails_nothing() -> None:
    lines = ("logging.root.handlers[:] = [object()]",)
    call = "log_latency(None, exchange=exchange); import os; os._exit(7)"
    assert printed(EXCHANGE, *lines, call, code=7) == ""


def test_warnings_that_are_errors_change_nothing() -> None:
    text = printed(LATENCY, "visit()", "visit()", words=("-W", "error"))
    assert text.count("\n") == 1
    assert "shown nowhere" in text


def test_loggers_that_a_configuration_disabled_are_named_once() -> None:
    text = printed(
        LATENCY,
        "request_started.connect(log_referrer)",
        DISABLED,
        "visit()",
        "visit()",
    )
    assert text.count("\n") == 1
    assert "signalpost.failures, signalpost.latency, signalpost.referrers" in text
    assert "are disabled" in text
    assert "disable_existing_loggers=False" in text


def test_a_logger_that_is_disabled_after_its_first_line_is_named() -> None:
    text = printed(
        LATENCY,
        "logging.basicConfig(level=logging.INFO)",
        "visit()",
        "logging.getLogger('signalpost.latency').disabled = True",
        "visit()",
    )
    first, second = text.splitlines()
    assert "GET / 200" in first
    assert second.startswith("signalpost: the logger signalpost.latency is disabled")


FAILING_VIEW = "got_request_exception.connect(log_failure)"
FAILING_RECEIVER = """
@exchange_closed.connect
def fail(sender): raise LookupError
logging.getLogger('signalpost.signals')
"""
FAILING_ON_CLOSE = """
@request_started.connect
def start(sender, exchange): exchange.call_on_close(lambda: 1 / 0)
"""


@pytest.mark.parametrize(
    ("receiver", "name"),
    [
        (FAILING_VIEW, "signalpost.failures"),
        (FAILING_RECEIVER, "signalpost.signals"),
        (FAILING_ON_CLOSE, "signalpost.exchanges"),
    ],
)
def test_errors_that_a_disabled_logger_loses_are_reported(
    receiver: str, name: str
) -> None:
    text = printed(receiver, DISABLED, "visit('/fail')", "visit()")
    assert text.count("\n") == 1
    assert name in text
    assert "disabled" in text


def test_a_file_of_logging_that_disables_is_reported_as_a_mapping_is() -> None:
    text = printed(
        LATENCY,
        "import io",
        "logging.config.fileConfig(io.StringIO('''",
        "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=",
        "[logger_root]\nlevel=INFO\nhandlers=",
        "'''))",
        "visit()",
    )
    assert "signalpost.latency" in text
    assert "disabled" in text


SLOW = (
    "log_sql(None, statement='SELECT 1', parameters_count=0, duration_seconds=9.0,"
    " row_count=1, is_executemany=False, exception=None, exchange=None)"
)
REPEATED = (
    "receiver = RepeatLogger(most_times=1)\n"
    "for _ in range(3): receiver(None, statement='SELECT 1', exchange=exchange)"
)


@pytest.mark.parametrize("call", [SLOW, REPEATED])
def test_statements_of_a_disabled_logger_are_reported(call: str) -> None:
    text = printed(EXCHANGE, DISABLED, call)
    assert "signalpost.sql" in text
    assert "disabled" in text


def test_referrers_alone_are_explained() -> None:
    text = printed("request_started.connect(log_referrer)", "visit()", "visit()")
    assert text.startswith("signalpost: the lines of the logger signalpost.referrers")
    assert text.count("\n") == 1


def test_under_pytest_nothing_is_printed(tmp_path: os.PathLike[str]) -> None:
    test = os.path.join(tmp_path, "test_visit.py")
    with open(test, "w", encoding="utf-8") as file:
        file.write(f"{EXCHANGES}\n{LATENCY}\ndef test_visit(capfd):\n    visit()\n")
        file.write("    assert capfd.readouterr().err == ''\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
