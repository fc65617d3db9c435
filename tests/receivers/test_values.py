"""Values of records that are large, shared, circular or broken."""

from __future__ import annotations

import collections
import json
import logging
import typing as t
from collections.abc import Generator

import pytest

from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import Line
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.formats import TextFormatter
from tests.growth import calls_of

FIELD_FORMATTERS = (JsonFormatter(), LogfmtFormatter())
EACH = (TextFormatter("%(message)s %(odd)s"), *FIELD_FORMATTERS)

each_formatter = pytest.mark.parametrize(
    "formatter", EACH, ids=["text", "json", "logfmt"]
)
each_field_formatter = pytest.mark.parametrize(
    "formatter", FIELD_FORMATTERS, ids=["json", "logfmt"]
)


def record_of(**extra: object) -> logging.LogRecord:
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "no mug", (), None)
    record.__dict__.update(extra)
    return record


def json_of(value: object) -> t.Any:
    text = JsonFormatter().format(record_of(odd=value))
    return json.loads(text, object_pairs_hook=once_each)["odd"]


def once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key occurs twice"
    return found


def linked(children: int) -> dict[str, t.Any]:
    """Return what links back: each child to its parent and to all children."""
    parent: dict[str, t.Any] = {"children": [{} for _ in range(children)]}
    for child in parent["children"]:
        child.update(parent=parent, siblings=parent["children"])
    return parent


def meshed(members: int) -> list[t.Any]:
    """Return lists that each hold all of them."""
    mesh: list[t.Any] = [[] for _ in range(members)]
    for one in mesh:
        one.extend(mesh)
    return mesh


def doubled(levels: int) -> tuple[t.Any, ...]:
    """Return a tuple whose text has 2 to the power of ``levels`` members."""
    value: tuple[t.Any, ...] = ("mug",)
    for _ in range(levels):
        value = (value, value)
    return value


def fanned(levels: int) -> dict[str, t.Any]:
    value: dict[str, t.Any] = {}
    for _ in range(levels):
        value = {str(number): value for number in range(50)}
    return value


@pytest.mark.parametrize(
    ("value", "longest"),
    [
        pytest.param(linked(100), 20_000, id="linked"),
        pytest.param(meshed(30), 60_000, id="meshed"),
        pytest.param(doubled(60), 30_000, id="doubled"),
        pytest.param(doubled(2_000), 30_000, id="doubled-deep"),
        pytest.param(fanned(60), 200_000, id="fanned"),
        pytest.param({"a": {"b": [doubled(40)] * 9}}, 30_000, id="below"),
        pytest.param(collections.deque([doubled(60)]), 30_000, id="deque"),
        pytest.param(["x" * 100_000] * 1_000, 1_000_000, id="one-long-text"),
        pytest.param([b"x" * 100_000] * 1_000, 1_000_000, id="one-long-bytes"),
        pytest.param([1 << 400_000] * 1_000, 1_000_000, id="one-long-number"),
        pytest.param([{"x" * 9_999: 1}] * 999, 100_000, id="one-long-key"),
    ],
)
@each_field_formatter
def test_a_shared_value_costs_its_size(
    formatter: logging.Formatter, value: object, longest: int
) -> None:
    text = formatter.format(record_of(odd=value))
    assert len(text) < longest
    assert text.splitlines() == [text]


@pytest.mark.parametrize(
    ("fmt", "style"),
    [("%(odd)s", "%"), ("%(odd)r", "%"), ("{odd}", "{"), ("$odd ${odd}", "$")],
)
def test_a_shared_value_in_plain_text_costs_its_size(
    fmt: str, style: t.Literal["%", "{", "$"]
) -> None:
    # Of 18 levels: more would take the memory of the machine if it failed.
    text = TextFormatter(fmt, style=style).format(record_of(odd=doubled(18)))
    assert "<tuple as before>" in text
    assert len(text) < 60_000


def test_a_part_of_a_value_in_plain_text_is_what_was_given() -> None:
    formatter = TextFormatter("{odd[0]} {odd} {name}", style="{")
    assert formatter.format(record_of(odd=("mug",))).startswith("mug ['mug'] ")


def test_one_value_in_many_fields_costs_its_size() -> None:
    shared = list(range(10_000))
    text = JsonFormatter().format(record_of(**{f"f{n}": shared for n in range(100)}))
    assert len(text) < 200_000
    long = "x" * 100_000
    text = JsonFormatter().format(record_of(**{f"f{n}": long for n in range(100)}))
    assert len(text) < 300_000


def test_what_is_large_and_not_shared_is_written_whole() -> None:
    rows = [{"id": number, "tags": ["a", "b"]} for number in range(20_000)]
    assert json_of(rows) == rows


def test_what_is_shared_and_small_is_written_again() -> None:
    address = {"street": "Main Street", "number": 7}
    order = {"bill": address, "ship": address, "notes": [address]}
    assert json_of(order) == order


def test_a_cycle_is_named_where_it_closes() -> None:
    value: dict[str, t.Any] = {"name": "mug"}
    value["shelf"] = [value]
    assert json_of(value) == {"name": "mug", "shelf": ["<dict within itself>"]}


def test_forty_levels_are_written_and_a_thousand_are_not() -> None:
    value: list[t.Any] = []
    for _ in range(40):
        value = [value]
    assert json_of(value) == value
    for _ in range(1_000):
        value = [value]
    assert "<list too deep to show>" in JsonFormatter().format(record_of(odd=value))


class BrokenList(list[t.Any]):
    def __iter__(self) -> t.NoReturn:
        raise RuntimeError("no members")


class EndlessList(list[t.Any]):
    def __iter__(self) -> Generator[int]:
        while True:
            yield 1


class BrokenDict(dict[str, t.Any]):
    def __iter__(self) -> t.NoReturn:
        raise RuntimeError("no keys")

    def items(self) -> t.NoReturn:
        raise RuntimeError("no items")

    def __len__(self) -> t.NoReturn:
        raise RuntimeError("no length")


class BrokenSet(set[t.Any]):
    def __iter__(self) -> t.NoReturn:
        raise RuntimeError("no members")


class BrokenClass:
    def __getattribute__(self, name: str) -> t.NoReturn:
        raise RuntimeError(f"no {name}")

    def __str__(self) -> t.NoReturn:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (BrokenList([1, 2]), [1, 2]),
        (EndlessList([1]), [1]),
        (BrokenDict(a=1), {"a": 1}),
        (BrokenSet([1]), [1]),
        (BrokenClass(), "<BrokenClass that has no text>"),
        ({"a": [BrokenDict(b=BrokenClass())]}, None),
    ],
    ids=["list", "endless", "dict", "set", "class", "within"],
)
def test_a_broken_value_loses_no_line(value: object, written: object) -> None:
    found = json_of(value)
    assert found == written or written is None
    text = LogfmtFormatter().format(record_of(odd=value))
    assert " odd=" in text
    assert TextFormatter().format(record_of(odd=value)).endswith(" no mug")


def test_an_object_without_a_text_loses_no_line_of_text() -> None:
    formatter = TextFormatter("%(message)s of %(odd)s")
    written = formatter.format(record_of(odd=BrokenClass()))
    assert written == "no mug of <BrokenClass that has no text>"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({1: "a", "1": "b"}, {"1": "a", "1_": "b"}),
        ({"1": "a", 1: "b", "1_": "c"}, {"1": "a", "1_": "b", "1__": "c"}),
        ({None: 1, "null": 2}, {"null": 1, "null_": 2}),
        ({True: 1, "true": 2, False: 3}, {"true": 1, "true_": 2, "false": 3}),
        ({("a",): 1, "('a')": 2}, {"('a')": 1, "('a')_": 2}),
    ],
)
def test_keys_that_read_the_same_stay_apart(value: object, written: object) -> None:
    assert json_of(value) == written


def test_many_keys_that_read_the_same_stay_apart_and_short() -> None:
    class Same:
        def __str__(self) -> str:
            return "same"

    found = json_of({Same(): number for number in range(5_000)})
    assert [*found.values()] == [*range(5_000)]
    assert max(map(len, found)) < 12


def test_keys_of_logfmt_that_read_the_same_stay_apart() -> None:
    line = Line("stock", {"a b": 1, "a=b": 2, "a_b": 3, 'a"b': 4}, str)
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, line, (), None)
    text = LogfmtFormatter().format(record)
    assert text.endswith(" a_b=1 a_b_=2 a_b__=3 a_b_3=4")


@pytest.mark.parametrize(
    "created", [1e20, -1e20, 253402300800.0, float("nan"), float("inf"), None, "soon"]
)
@pytest.mark.parametrize(
    "formatter", [TextFormatter(), *FIELD_FORMATTERS], ids=["text", "json", "logfmt"]
)
def test_a_time_outside_the_calendar_loses_no_line(
    formatter: logging.Formatter, created: t.Any
) -> None:
    record = record_of()
    record.created = created
    text = formatter.format(record)
    assert "no mug" in text
    if not isinstance(formatter, TextFormatter):
        assert str(created) in text


FORGED = "bob\nERROR forged"


class Named:
    """Values whose attributes and members a format can read."""

    name = FORGED

    def __str__(self) -> str:
        return FORGED

    def __getitem__(self, key: object) -> str:
        return FORGED


@pytest.mark.parametrize("user", [FORGED, "bob\x1b[2J\u2028\r\x85", Named()])
@pytest.mark.parametrize(
    ("fmt", "style"),
    [
        ("%(levelname)s %(message)s %(user)s", "%"),
        ("%(user)-30s|%(message)s", "%"),
        ("{levelname} {user} {message}", "{"),
        ("{user!s:>30} {message}", "{"),
        ("$levelname ${user} $message", "$"),
    ],
)
def test_no_extra_forges_a_line_of_text(
    user: object, fmt: str, style: t.Literal["%", "{", "$"]
) -> None:
    text = TextFormatter(fmt, style=style).format(record_of(user=user))
    assert text.isprintable()
    assert "no mug" in text


def test_no_part_of_an_object_forges_a_line_of_text() -> None:
    formatter = TextFormatter("{user.name} {user[0]} {message}", style="{")
    text = formatter.format(record_of(user=Named()))
    assert text == r"bob\nERROR forged bob\nERROR forged no mug"


@pytest.mark.parametrize(
    "key", ["name", "levelname", "threadName", "funcName", "pathname", "processName"]
)
def test_no_name_of_a_record_forges_a_line_of_text(key: str) -> None:
    text = TextFormatter(f"%({key})s %(message)s").format(record_of(**{key: FORGED}))
    assert text == r"bob\nERROR forged no mug"


def test_defaults_forge_no_line_of_text() -> None:
    formatter = TextFormatter("%(user)s %(message)s", defaults={"user": FORGED})
    assert formatter.format(record_of()) == r"bob\nERROR forged no mug"


@pytest.mark.parametrize(
    ("fmt", "style"),
    [
        ("\x1b[32m%(user)s\x1b[0m\n\t%(message)s é 100%%", "%"),
        ("\x1b[32m{user}\x1b[0m\n\t{message} é 100%", "{"),
        ("\x1b[32m${user}\x1b[0m\n\t$message é 100%", "$"),
    ],
)
def test_what_the_format_itself_holds_stays(
    fmt: str, style: t.Literal["%", "{", "$"]
) -> None:
    text = TextFormatter(fmt, style=style).format(record_of(user="a\nb"))
    assert text == "\x1b[32ma\\nb\x1b[0m\n\tno mug é 100%"


def test_a_field_that_no_record_has_is_an_error_as_in_logging() -> None:
    with pytest.raises(ValueError, match="field not found"):
        TextFormatter("%(user)s").format(record_of())


@pytest.fixture
def factory() -> Generator[None]:
    """Set a record factory, as OpenTelemetry's launcher does before any import."""
    before = logging.getLogRecordFactory()

    def make(*args: t.Any, **named: t.Any) -> logging.LogRecord:
        record = before(*args, **named)
        record.__dict__.update(otelTraceID="7f", request_id=FORGED)
        return record

    logging.setLogRecordFactory(make)
    yield
    logging.setLogRecordFactory(before)


def test_fields_of_a_record_factory_set_before_the_import_are_kept() -> None:
    """In a separate process, where nothing is imported yet."""
    import subprocess
    import sys

    script = """if True:
        import logging
        before = logging.getLogRecordFactory()
        def make(*args, **named):
            record = before(*args, **named)
            record.request_id = "f3"
            return record
        logging.setLogRecordFactory(make)
        from signalpost.receivers.formats import JsonFormatter, LogfmtFormatter
        record = logging.getLogger("shop").makeRecord(
            "shop", 20, "shop.py", 1, "sold", (), None, extra={"left": 3})
        print(JsonFormatter().format(record))
        print(LogfmtFormatter().format(record))
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.endswith(', "message": "sold", "request_id": "f3", "left": 3}')
    assert second.endswith(" message=sold request_id=f3 left=3")


@pytest.mark.usefixtures("factory")
@each_field_formatter
def test_fields_of_a_record_factory_are_kept(formatter: logging.Formatter) -> None:
    record = logging.makeLogRecord({"msg": "sold"})
    text = formatter.format(record)
    assert "otelTraceID" in text
    assert "request_id" in text
    assert text.splitlines() == [text]


def test_nothing_that_logging_itself_sets_is_a_field() -> None:
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "sold", (), None)
    logging.Formatter("%(asctime)s").format(record)
    entry = json.loads(JsonFormatter().format(record))
    assert [*entry] == ["time", "level", "logger", "message"]


UNPRINTABLE: dict[str, str] = {
    "escapes": "\x1b",
    "zeros": "\x00",
    "c1": "\x85\x9b",
    "separators": "\u2028\u2029",
    "private": "".join(map(chr, range(0xE000, 0xF000))),
    "half-pairs": "\ud800",
    "beside-others": "é\x1b中\u2028\\",
    "many-beside-others": "".join(map(chr, range(0x250))),
    "beside-astral": "\U0001f600\u202e\U000e0001\U0001fffe'\"\n",
    "quotes-and-line-ends": "'\"\\\n= \t",
    "quotes-and-escapes": "'\"\\\x1b",
    "all-of-ascii": "".join(map(chr, range(0x80))),
    "all-of-ascii-beside-others": "".join(map(chr, range(0x80))) + "é",
    "ideographs-beside-escapes": "".join(map(chr, range(0x4E00, 0xA000))) + "~^|`\\\n",
}


@pytest.mark.parametrize("text", UNPRINTABLE.values(), ids=UNPRINTABLE.keys())
@each_formatter
def test_long_unprintable_text_reads_as_short_text_does(
    formatter: logging.Formatter, text: str
) -> None:
    def written(message: str) -> str:
        record = record_of(odd="-")
        record.msg = message
        record.created = record.msecs = 0
        return formatter.format(record)

    start, _, end = written("< |>").partition("|")
    once = written(f"< {text}>").removeprefix(start).removesuffix(end)
    often = written(f"< {text * 50}>").removeprefix(start).removesuffix(end)
    assert often == once * 50
    assert often.isprintable()


@pytest.mark.parametrize("length", [1, 4096, 4097, 100_000, 1 << 19])
@pytest.mark.parametrize("end", ["", "\u202e'\"\\\n", "中", "中\u202e'\"\\\n"])
def test_what_is_printable_after_much_that_is_not_stays(length: int, end: str) -> None:
    for one in ("\u202e", "\x1b", "\U0010ffff"):
        escape = one.encode("unicode_escape").decode("ascii")
        escaped_end = end.replace("\n", "\\n").replace("\u202e", "\\u202e")
        record = record_of(msg=one * length + end)
        line = TextFormatter("%(message)s").format(record)
        assert line == escape * length + escaped_end


@pytest.mark.parametrize("text", UNPRINTABLE.values(), ids=UNPRINTABLE.keys())
@each_formatter
def test_unprintable_text_takes_no_step_a_character(
    formatter: logging.Formatter, text: str
) -> None:
    record = record_of(odd="-")
    record.msg = text * (1_000_000 // len(text))
    formatter.format(record)  # The first long text makes a table.
    assert calls_of(lambda: formatter.format(record), with_builtins=True) < 10_000
