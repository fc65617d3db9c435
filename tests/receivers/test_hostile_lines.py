"""Log lines of requests whose senders mean to forge them."""

from __future__ import annotations

import io
import logging
import typing as t
from collections.abc import Generator
from urllib.parse import unquote_to_bytes

import pytest

from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.receivers.latency import log_latency
from signalpost.receivers.referrers import log_referrer
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

# As servers pass them on: the bytes that came, decoded as latin-1.
HOSTILE = {
    "escape": "\x1b[2J\x1b[31m",
    "nul": "a\x00b",
    "bare-cr": "a\rGET / forged",
    "bare-lf": "a\nGET / forged",
    "crlf": "a\r\nGET / forged",
    "folded": "a\r\n GET / forged",
    "folded-by-tab": "a\r\n\tGET / forged",
    "vertical-tab-and-form-feed": "a\x0bb\x0cc",
    "separators": "a\x1cb\x1dc\x1ed\x1fe",
    "delete": "a\x7fb",
    "c1": "".join(map(chr, range(0x80, 0xA0))),
    "next-line": "a\x85GET / forged",
    "eight-bit-csi": "a\x9b2J",
    "c1-as-utf-8": "a\xc2\x85b\xc2\x9b2J",
    "line-separator": "a\xe2\x80\xa8GET / forged",
    "paragraph-separator": "a\xe2\x80\xa9GET / forged",
    "right-to-left-override": "a\xe2\x80\xaeb",
    "byte-order-mark": "\xef\xbb\xbfa",
    "broken-utf-8": "a\xff\xfe\xe2\x80b",
    "surrogate-as-utf-8": "a\xed\xa0\x80b",
    "not-latin-1": "a\u2028b\u2029c\ud800d",
    "7-kB": "x" * 7_000,
    "70-kB": "x\n" * 35_000,
    "70-kB-of-escapes": "\x1b" * 70_000,
    "twice": "https://a.example/,https://b.example/\n",
    "quotes": '" 200 complete "',
    "escapes-written-out": "a\\nb\\x1b",
    "percent": "%s%d%(asctime)s%n",
    "braces": "{0.__class__}",
}

each_text = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())


class Log(io.StringIO):
    """A log file, as it is on disk."""

    @property
    def line(self) -> str:
        """The one line that it holds."""
        text = self.getvalue()
        assert text.endswith("\n")
        (line,) = text.splitlines()
        assert text == f"{line}\n"
        assert line.isprintable()
        line.encode("utf-8")
        return line


@pytest.fixture
def log() -> Generator[Log]:
    log = Log()
    writer = logging.StreamHandler(log)
    writer.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logger = logging.getLogger("signalpost")
    level = logger.level
    logger.addHandler(writer)
    logger.setLevel(logging.INFO)
    yield log
    logger.setLevel(level)
    logger.removeHandler(writer)


def visit(signal: NamedSignal, receiver: t.Any, **environ: t.Any) -> None:
    with signal.connected_to(receiver):
        Server().serve(SignalMiddleware(hello), **environ)


@each_text
@pytest.mark.parametrize("before", ["", "https://a.example/"])
def test_a_hostile_referrer_is_one_line(log: Log, text: str, before: str) -> None:
    visit(request_started, log_referrer, HTTP_REFERER=before + text)
    assert log.line.startswith("signalpost.referrers GET / ")
    assert len(log.line) < 8_000


@each_text
def test_a_hostile_path_makes_one_line_of_latency(log: Log, text: str) -> None:
    visit(exchange_closed, log_latency, path=f"/{text}")
    assert log.line.startswith("signalpost.latency GET ")
    assert log.line.endswith(" bytes")
    assert len(log.line) < 8_000


@each_text
def test_a_hostile_path_makes_one_line_of_referrers(log: Log, text: str) -> None:
    visit(request_started, log_referrer, path=f"/{text}")
    assert log.line.endswith(" -")
    assert len(log.line) < 8_000


@each_text
@pytest.mark.parametrize(
    ("signal", "receiver"),
    [(exchange_closed, log_latency), (request_started, log_referrer)],
)
def test_a_hostile_mount_point_or_method_is_one_line(
    log: Log, text: str, signal: NamedSignal, receiver: t.Any
) -> None:
    visit(signal, receiver, SCRIPT_NAME=f"/{text}", method=text)
    assert " _OTHER " in log.line
    assert len(log.line) < 8_000


@each_text
def test_a_hostile_referrer_adds_no_field(log: Log, text: str) -> None:
    visit(request_started, log_referrer, HTTP_REFERER=f"https://a.example/ {text}")
    _, _, value = log.line.partition(" / ")
    assert value[0] == value[-1] == '"'
    assert '"' not in value[1:-1].replace("\\\\", "").replace('\\"', "")


# What a browser's address line can hold: servers decode it before we see it.
@pytest.mark.parametrize(
    "sent",
    [
        "/%0d%0aGET%20/%20200%20complete",
        "/%0a",
        "/%1b[2J",
        "/%c2%85forged",
        "/%e2%80%a8forged",
        "/%9b2J",
    ],
)
def test_an_escaped_path_is_not_a_second_line(log: Log, sent: str) -> None:
    path = unquote_to_bytes(sent).decode("latin-1")
    visit(exchange_closed, log_latency, path=path)
    assert log.line.endswith(" bytes")


def test_a_secret_in_a_hostile_referrer_is_not_logged(log: Log) -> None:
    visit(
        request_started,
        log_referrer,
        HTTP_REFERER="https://ada:s3cret\r\n @a.example/?token=s3cret\n#s3cret",
        RAW_URI="/?token=s3cret",
        QUERY_STRING="token=s3cret",
    )
    assert log.line == "signalpost.referrers GET / https://a.example/"
