from __future__ import annotations

import collections
import enum
import io
import json
import logging
import logging.config
import logging.handlers
import queue
import sys
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from datetime import datetime
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.receivers.formats import add_fields
from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import Line
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.formats import TextFormatter
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.lines import logfmt_value
from signalpost.receivers.lines import LONGEST_FIELD
from signalpost.receivers.referrers import ReferrerLogger
from tests.receivers.test_hostile_lines import HOSTILE
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

# Any text, and more of what ends lines or opens quotes than chance would bring.
texts = st.text() | st.text(
    st.sampled_from(
        '\r\n\t\v\f\x00\x1b\x1c\x1d\x1e\x7f\x85\x9b\u2028\u2029\u202e\ud800"= \\{%é'
    )
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(),
    lambda held: st.lists(held) | st.dictionaries(texts, held),
    max_leaves=8,
)
FORMATTERS = (TextFormatter(), JsonFormatter(), LogfmtFormatter())

each_formatter = pytest.mark.parametrize(
    "formatter", FORMATTERS, ids=["text", "json", "logfmt"]
)


def record_of(
    message: object = "no mug", *args: object, **more: t.Any
) -> logging.LogRecord:
    record = logging.LogRecord(
        "shop", logging.INFO, __file__, 1, message, args, more.pop("exc_info", None)
    )
    record.__dict__.update(more)
    return record


def line_of(**fields: t.Any) -> Line:
    return Line("stock", fields, lambda: "what the line says")


def json_of(record: logging.LogRecord) -> dict[str, t.Any]:
    text = JsonFormatter().format(record)
    assert text.isascii()
    assert text.splitlines() == [text]
    entry = json.loads(text, parse_constant=refused)
    assert isinstance(entry, dict)
    return entry


def refused(constant: str) -> t.NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def logfmt_of(record: logging.LogRecord) -> str:
    text = LogfmtFormatter().format(record)
    assert text.isprintable()
    return text.partition(" logger=shop ")[2]


def raised(error: BaseException) -> t.Any:
    try:
        raise error
    except BaseException:  # noqa: BLE001 - whatever the test raised
        return sys.exc_info()


def test_the_message_of_a_record_is_the_text_of_the_line() -> None:
    assert record_of(line_of(left=3)).getMessage() == "what the line says"
    assert repr(line_of()) == "<Line stock: what the line says>"


def test_the_text_is_not_made_for_who_does_not_write_it() -> None:
    def text() -> str:
        raise AssertionError("asked")

    LogfmtFormatter().format(record_of(Line("stock", {"left": 3}, text)))


def test_a_text_record_shows_time_level_logger_and_message() -> None:
    record = record_of("%d mugs", 3)
    expected = f"{logging.Formatter().formatTime(record)} INFO shop 3 mugs"
    assert TextFormatter().format(record) == expected
    assert (
        TextFormatter()
        .format(record_of(line_of(left=3)))
        .endswith(" INFO shop what the line says")
    )


@pytest.mark.parametrize(
    ("fmt", "style"), [("%(user)s: %(message)s", "%"), ("{user}: {message}", "{")]
)
def test_another_text_can_be_chosen(fmt: str, style: t.Literal["%", "{"]) -> None:
    formatter = TextFormatter(fmt, style=style, defaults={"user": "nobody"})
    assert formatter.format(record_of()) == "nobody: no mug"


def test_a_message_in_plain_text_is_one_physical_line() -> None:
    record = record_of("a\nb%s", "\x1b[2J\u2028")
    text = TextFormatter("%(message)s").format(record)
    assert text == r"a\nb\x1b[2J\u2028"


def test_a_traceback_in_plain_text_cannot_pass_for_a_record() -> None:
    error = RuntimeError("no mug\n2026-01-31 12:00:00,000 INFO shop forged\x1b[2J\x85")
    first, *rest = TextFormatter().format(record_of(exc_info=raised(error))).split("\n")
    assert first.endswith(" INFO shop no mug")
    assert rest[0] == "  Traceback (most recent call last):"
    assert rest[-1] == r"  2026-01-31 12:00:00,000 INFO shop forged\x1b[2J\x85"
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def test_a_json_record_has_all_known_values() -> None:
    record = record_of(line_of(left=3, name="é\n", is_sold=False, price=None), user="a")
    record.created = 1_769_860_800.000125
    assert json_of(record) == {
        "time": "2026-01-31T12:00:00.000125Z",
        "level": "INFO",
        "logger": "shop",
        "message": "what the line says",
        "line": "stock",
        "left": 3,
        "name": "é\n",
        "is_sold": False,
        "price": None,
        "user": "a",
    }


def test_the_time_has_microseconds_at_a_full_second() -> None:
    record = record_of()
    record.created = 0.0
    assert json_of(record)["time"] == "1970-01-01T00:00:00.000000Z"
    now = json_of(record_of())["time"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(now)).total_seconds() < 60


def test_a_record_of_others_has_its_extra_as_fields() -> None:
    record = record_of("%s is out", "mug", user="ada", order={"id": 7, "items": (1, 2)})
    entry = json_of(record)
    assert list(entry)[3:] == ["message", "user", "order"]
    assert entry["message"] == "mug is out"
    assert entry["order"] == {"id": 7, "items": [1, 2]}
    assert logfmt_of(record) == (
        r'message="mug is out" user=ada order="{\"id\": 7, \"items\": [1, 2]}"'
    )


def test_a_field_cannot_replace_what_comes_before_it() -> None:
    error = RuntimeError("no mug")
    record = record_of(
        line_of(level="forged", line=1, left=3),
        level=7,
        left=4,
        exception=5,
        exc_info=raised(error),
    )
    entry = json_of(record)
    assert entry["level"] == "INFO"
    assert entry["level_"] == "forged"
    assert entry["level__"] == 7
    assert (entry["line"], entry["line_"]) == ("stock", 1)
    assert (entry["left"], entry["left_"]) == (3, 4)
    assert entry["exception"] == 5
    assert entry["exception_"].endswith("RuntimeError: no mug")


class Size(enum.IntEnum):
    LARGE = 3


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def nested(depth: int) -> list[t.Any]:
    value: list[t.Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circular() -> dict[str, t.Any]:
    value: dict[str, t.Any] = {}
    value["itself"] = value
    return value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ([1.5, float("-inf"), True, None, 2], [1.5, None, True, None, 2]),
        (b"a\n", "b'a\\n'"),
        ("\ud800", "\ud800"),
        (Size.LARGE, 3),
        (1 + 2j, "(1+2j)"),
        (datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31 00:00:00+00:00"),
        ({("a", 1): {2: float("nan")}}, {"('a', 1)": {"2": None}}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (Mute(), "<Mute that has no text>"),
        ({"a": Mute(), "b": float("nan")}, {"a": "<Mute that has no text>", "b": None}),
        (10**20, 10**20),
        pytest.param(1 << 100_000, hex(1 << 100_000), id="too-long"),
    ],
)
def test_values_that_json_cannot_hold_are_converted(
    value: object, written: object
) -> None:
    assert json_of(record_of(odd=value))["odd"] == written


def test_a_number_that_is_too_long_is_written_in_logfmt() -> None:
    assert logfmt_of(record_of(odd=1 << 100_000)).endswith(f" odd={1 << 100_000:#x}")


@pytest.mark.parametrize(
    "value",
    [circular(), nested(100), nested(50_000)],
    ids=["circular", "deep", "deeper-than-the-stack"],
)
@each_formatter
def test_what_is_too_deep_does_not_stop_a_record(
    value: object, formatter: logging.Formatter
) -> None:
    text = formatter.format(record_of(odd=value))
    assert text.splitlines() == [text]
    assert json_of(record_of(odd=value))["odd"]


def test_a_key_that_is_no_text_becomes_text() -> None:
    record = record_of()
    t.cast("dict[object, object]", record.__dict__)[7] = 8
    assert json_of(record)["7"] == 8


def test_a_traceback_is_one_string_of_json() -> None:
    record = record_of(exc_info=raised(RuntimeError("no mug\x1b")), stack_info="Stack:")
    lines = json_of(record)["exception"].split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == ["RuntimeError: no mug\x1b", "Stack:"]


def test_a_traceback_is_one_value_of_logfmt() -> None:
    pairs = logfmt_of(record_of(exc_info=raised(RuntimeError("x" * 9_999))))
    value = pairs.partition(" exception=")[2]
    assert value.startswith(r'"Traceback (most recent call last):\n  File \"')
    assert value.endswith('xxx"')
    assert len(value) > 9_999


@pytest.mark.parametrize("exc_info", [None, (None, None, None)])
def test_no_exception_is_no_traceback(exc_info: t.Any) -> None:
    record = record_of(exc_info=exc_info)
    assert "exception" not in json_of(record)
    assert TextFormatter("%(message)s").format(record) == "no mug"


def test_a_traceback_that_came_as_text_is_written() -> None:
    record = record_of(exc_text="Traceback: elsewhere")
    assert json_of(record)["exception"] == "Traceback: elsewhere"


def test_formatters_beside_each_other_do_not_share_tracebacks() -> None:
    record = record_of(exc_info=raised(RuntimeError("no mug")))
    for formatter in (*FORMATTERS, logging.Formatter()):
        formatter.format(record)
    record.exc_text = "cached by another"
    assert "cached" not in JsonFormatter().format(record)
    assert TextFormatter().format(record).endswith("\n  RuntimeError: no mug")


def test_a_line_in_logfmt_is_its_fields() -> None:
    record = record_of(
        line_of(left=3, price=1.5, is_sold=False, is_new=True, note=None, empty="")
    )
    assert logfmt_of(record) == (
        'line=stock left=3 price=1.5 is_sold=false is_new=true note= empty=""'
    )


@pytest.mark.parametrize(
    ("key", "written"),
    [("a b", "a_b"), ('a="b', "a__b"), ("a\n", "a_"), ("", "_"), ("größe", "größe")],
)
def test_a_key_cannot_pass_for_several(key: str, written: str) -> None:
    assert logfmt_of(record_of(line_of(**{key: 1}))) == f"line=stock {written}=1"


@given(text=texts, key=texts)
def test_any_text_in_a_field_is_one_line_and_comes_back_from_json(
    text: str, key: str
) -> None:
    record = record_of(
        Line("stock", {key: text}, lambda: logfmt_value(text, len(text)))
    )
    entry = json_of(record)
    assert list(entry.values())[5] == text
    for formatter in FORMATTERS:
        written = formatter.format(record)
        assert written.splitlines() == [written]
        written.encode("utf-8")


@given(text=texts)
def test_any_text_in_logfmt_reads_one_way(text: str) -> None:
    value = logfmt_of(record_of(line_of(note=text))).removeprefix("line=stock note=")
    if value[0] == '"':
        value = value[1:-1].replace('\\"', '"')
    assert value.isprintable()
    assert unescaped(value) == text


def unescaped(value: str) -> str:
    escaped = value.encode("ascii", "backslashreplace")
    return escaped.decode("unicode_escape", "surrogatepass")


@given(message=texts, value=values)
def test_any_record_of_others_is_one_line(message: str, value: object) -> None:
    record = record_of(message, odd=value)
    json_of(record)
    for formatter in FORMATTERS:
        written = formatter.format(record)
        assert written.splitlines() == [written]
        written.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@each_formatter
def test_a_hostile_request_is_one_line_in_each_format(
    text: str, formatter: logging.Formatter
) -> None:
    log = io.StringIO()
    writer = logging.StreamHandler(log)
    writer.setFormatter(formatter)
    logger = logging.Logger("shop")
    logger.addHandler(writer)
    with (
        exchange_closed.connected_to(LatencyLogger(logger=logger)),
        request_started.connected_to(ReferrerLogger(logger=logger)),
    ):
        Server().serve(
            SignalMiddleware(hello),
            path=f"/{text}",
            method=text,
            HTTP_REFERER=f"https://a.example/{text}",
            HTTP_X_REQUEST_ID=text,
        )
    written = log.getvalue()
    lines = written.splitlines()
    assert len(lines) == 2
    assert written == "".join(f"{line}\n" for line in lines)
    for line in lines:
        assert line.isprintable()
        # Each character that is kept may take ten, in a field and in the message.
        assert len(line) < 45 * LONGEST_FIELD
        if isinstance(formatter, JsonFormatter):
            entry = json.loads(line, parse_constant=refused)
            assert entry["method"] == "_OTHER"
            assert len(entry["path"]) <= LONGEST_FIELD + 1


@pytest.fixture
def as_before() -> Generator[None]:
    """Put the logger ``shop`` back, which the test configures."""
    logger = logging.getLogger("shop")
    level, propagates = logger.level, logger.propagate
    yield
    for writer in list(logger.handlers):
        logger.removeHandler(writer)
        writer.close()
    logger.setLevel(level)
    logger.propagate = propagates


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("way", ["()", "class"])
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("TextFormatter", "20"),
        ("JsonFormatter", '{"time": "20'),
        ("LogfmtFormatter", "time=20"),
    ],
)
def test_a_format_is_chosen_in_a_logging_configuration(
    way: str, name: str, start: str
) -> None:
    log = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "incremental": False,
            "formatters": {"chosen": {way: f"signalpost.receivers.formats.{name}"}},
            "handlers": {
                "log": {
                    "class": "logging.StreamHandler",
                    "stream": log,
                    "formatter": "chosen",
                }
            },
            "loggers": {
                "shop": {"handlers": ["log"], "level": "INFO", "propagate": False}
            },
        }
    )
    receiver = LatencyLogger(logger="shop")
    with exchange_closed.connected_to(receiver):
        Server().serve(SignalMiddleware(hello), path="/greeting")
    (line,) = log.getvalue().splitlines()
    assert line.startswith(start)
    assert "/greeting" in line


def test_the_fields_pass_a_queue_that_formats() -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    to_queue = logging.handlers.QueueHandler(records)
    to_queue.setFormatter(JsonFormatter())
    to_queue.handle(record_of(line_of(left=3)))
    text = logging.Formatter("%(message)s").format(records.get())
    assert json.loads(text)["left"] == 3


def processor_formatter(**options: t.Any) -> logging.Formatter:
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    made: Callable[..., logging.Formatter] = structlog.stdlib.ProcessorFormatter
    return made(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        **options,
    )


def test_structlog_writes_the_text_of_a_line() -> None:
    written = processor_formatter().format(record_of(line_of(left=3)))
    assert json.loads(written) == {"event": "what the line says"}


def test_structlog_writes_the_fields_of_a_line() -> None:
    formatter = processor_formatter(foreign_pre_chain=[add_fields])
    line = line_of(left=3, event="sold")
    assert json.loads(formatter.format(record_of(line))) == {
        "event": "what the line says",
        "line": "stock",
        "left": 3,
        "event_": "sold",
    }


def test_structlog_writes_the_records_of_others_as_before() -> None:
    formatter = processor_formatter(foreign_pre_chain=[add_fields])
    assert json.loads(formatter.format(record_of("mug"))) == {"event": "mug"}


def test_what_structlog_logs_has_its_fields_in_json() -> None:
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    log = io.StringIO()
    writer = logging.StreamHandler(log)
    writer.setFormatter(JsonFormatter())
    logger = logging.Logger("shop")
    logger.addHandler(writer)
    structlog.wrap_logger(
        logger,
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    ).info("sold", left=3)
    entry = json.loads(log.getvalue())
    assert (entry["message"], entry["left"]) == ("sold", 3)


LONG = "a\nb\\'\"é" * 1000


@pytest.mark.parametrize(
    ("fmt", "style"),
    [
        ("%(message)s", "%"),
        ("%(levelname)s %(message)s.", "%"),
        ("%(message)s\n\t%(message)s", "%"),
        ("%(message)s%(user)s%(message)s", "%"),
        ("%(levelname)s %%(message)s %(message)s", "%"),
        ("%(message).2000s", "%"),
        ("{message} {user}", "{"),
        ("$message $user", "$"),
    ],
)
def test_a_long_message_is_written_as_a_short_one_is(
    fmt: str, style: t.Literal["%", "{", "$"]
) -> None:
    record = record_of(LONG)
    record.user = "bob\nEve"
    written = TextFormatter(fmt, style=style).format(record)
    message = LONG.replace("\n", "\\n")
    expected = logging.makeLogRecord(
        {"message": message, "levelname": record.levelname, "user": "bob\\nEve"}
    )
    kinds = {
        "%": logging.PercentStyle,
        "{": logging.StrFormatStyle,
        "$": logging.StringTemplateStyle,
    }
    assert written == kinds[style](fmt).format(expected)


def test_a_long_message_that_another_has_set_is_escaped() -> None:
    record = record_of("short")
    record.message = LONG
    assert "\n" not in TextFormatter("%(message)s").formatMessage(record)
