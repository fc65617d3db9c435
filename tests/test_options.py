from __future__ import annotations

import importlib
import inspect
import typing as t

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import SignalMiddleware
from signalpost._options import checked_seconds
from signalpost._options import checked_strings
from signalpost._options import checked_truth
from signalpost._options import checked_whole_number
from signalpost.config._finding import BUILTIN_RECEIVERS
from signalpost.config._finding import RELAY
from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay.prometheus import RelayCollector
from signalpost.live import LivePage
from signalpost.live import LiveRecorder

Make: t.TypeAlias = t.Callable[[t.Any], object]


class Listed(t.NamedTuple):
    """An option that takes several values, and its message for each wrong value."""

    make: Make
    text: str
    """The message for a string, which is a value of the option by itself."""
    number: str
    none: str | None
    """``None`` if the option may be ``None``."""
    one: str
    """The message for ``[1]``."""
    empty: str | None
    """The message for ``[""]``; ``None`` if that has a meaning."""
    valid: str
    """A value that may be in it."""
    of_set: str | None = None
    """The message for a set of it; ``None`` if a set may be given."""


def strings(
    make: Make,
    option: str,
    what: str,
    example: str,
    valid: str,
    *,
    may_be_none: bool = False,
    may_be_empty: bool = False,
    is_ordered: bool = False,
) -> Listed:
    kind = "list" if is_ordered else "collection"

    def got(value: object) -> str:
        return f"{option} must be a {kind} of {what}, got {value!r}; {write}"

    write = f"write {example}"
    return Listed(
        make,
        got(valid),
        got(7),
        None if may_be_none else got(None),
        f"each of the {what} in {option} must be a string, got 1; {write}",
        None
        if may_be_empty
        else f"none of the {what} in {option} may be an empty string; {write}",
        valid,
        got({valid}) if is_ordered else None,
    )


def numbers(make: Make, option: str) -> Listed:
    def got(value: object) -> str:
        return f"{option} must be 1 to 100 ascending numbers of seconds, got {value!r}"

    return Listed(
        make, got("1"), got(7), got(None), got(["1"]), got([""]), "1", got({"1"})
    )


def made(name: str, option: str) -> Make:
    """Return a function that makes a built-in receiver with one option."""
    module, _, attribute = (
        RELAY if name == "relay" else BUILTIN_RECEIVERS[name]
    ).partition(":")
    needed: dict[str, t.Any] = {"source": "shop", "url": "redis://127.0.0.1:1"}

    def make(value: t.Any) -> object:
        kind = getattr(importlib.import_module(module), attribute)
        return kind(**{option: value}, **(needed if name == "relay" else {}))

    return make


EXCLUDE = ("exclude", "patterns", '["/healthz"]', "/healthz")
PATHS = ("paths", "paths", '["/"]', "/")
EXPECTED = '["shop.errors:Expected"]'
RECEIVERS: dict[tuple[str, str], Listed] = {
    **{
        (name, "exclude"): strings(made(name, "exclude"), *EXCLUDE)
        for name in ("latency", "live", "opentelemetry", "prometheus", "recorder")
    },
    **{
        (name, "paths"): strings(
            made(name, "paths"), *PATHS, may_be_none=True, may_be_empty=True
        )
        for name in ("referrers", "referrer-counter")
    },
    ("referrer-counter", "own_origins"): strings(
        made("referrer-counter", "own_origins"),
        "own_origins",
        "origins",
        '["https://shop.example"]',
        "https://shop.example",
    ),
    ("latency", "fields"): strings(
        made("latency", "fields"),
        "fields",
        "names",
        '["client", "user"]',
        "client",
        is_ordered=True,
    ),
    ("opentelemetry", "query_keys"): strings(
        made("opentelemetry", "query_keys"),
        "query_keys",
        "keys",
        '["page"]',
        "page",
        may_be_none=True,
    ),
    ("prometheus", "networks"): strings(
        made("prometheus", "networks"),
        "networks",
        "networks",
        '["10.0.0.0/8"]',
        "10.0.0.0/8",
        may_be_none=True,
    ),
    ("live", "networks"): strings(
        lambda networks: LiveRecorder(path="/live", token="x" * 16, networks=networks),
        "networks",
        "networks",
        '["10.0.0.0/8"]',
        "10.0.0.0/8",
        may_be_none=True,
    ),
    ("prometheus", "buckets"): numbers(made("prometheus", "buckets"), "buckets"),
    ("prometheus", "stream_buckets"): numbers(
        made("prometheus", "stream_buckets"), "stream_buckets"
    ),
    ("relay", "forward"): strings(
        made("relay", "forward"),
        "forward",
        "paths of signals",
        '["shop.events:order_placed"]',
        "shop.events:order_placed",
    ),
    ("failures", "ignore"): Listed(
        made("failures", "ignore"),
        "ignore must be a collection of exceptions, or of their paths, got"
        f" 'KeyError'; write {EXPECTED}",
        "ignore must be a collection of exceptions, or of their paths, got 7; write"
        f" {EXPECTED}",
        "ignore must be a collection of exceptions, or of their paths, got None; write"
        f" {EXPECTED}",
        "ignore must hold classes of exceptions or their paths, got 1; write"
        f" {EXPECTED}",
        "ignore must hold paths of exceptions, got '', which cannot be imported:"
        " AttributeError: module 'builtins' has no attribute ''; write"
        ' "package.module:Exception"',
        "KeyError",
    ),
}
STATUSES = "each of the statuses in ignore_statuses must be a whole number"
RECEIVERS["failures", "ignore_statuses"] = Listed(
    made("failures", "ignore_statuses"),
    "ignore_statuses must be a collection of statuses, got '503'; write [503]",
    "ignore_statuses must be a collection of statuses, got 7; write [503]",
    "ignore_statuses must be a collection of statuses, got None; write [503]",
    f"{STATUSES} from 100 to 999, got 1; write [503]",
    f"{STATUSES}, got ''; write [503]",
    "503",
    f"{STATUSES}, got '503'; write [503]",
)


def hello(environ: t.Any, start_response: t.Any) -> t.Any:
    start_response("200 OK", [])
    return []


def page(hosts: t.Any) -> object:
    return LivePage(None, token="a-token-of-a-test", folder=".", only_hosts=hosts)


OTHERS: dict[str, Listed] = {
    "id_headers": strings(
        lambda value: SignalMiddleware(hello, id_headers=value),
        "id_headers",
        "names of headers",
        '["X-Request-ID"]',
        "X-Request-ID",
        may_be_none=True,
        is_ordered=True,
    ),
    "only_hosts": strings(
        page, "only_hosts", "hosts", '["localhost:8000"]', "a.example", may_be_none=True
    ),
    "groups": strings(
        lambda value: RelayCollector("redis://127.0.0.1:1", groups=value),
        "groups",
        "names",
        '["shipping"]',
        "shipping",
    ),
    "exclude_endpoints": strings(
        lambda value: PrometheusMetrics(flask_exporter={"exclude_endpoints": value}),
        "flask_exporter.exclude_endpoints",
        "names of endpoints",
        '["healthz"]',
        "healthz",
    ),
    "exporter's buckets": numbers(
        lambda value: PrometheusMetrics(flask_exporter={"buckets": value}),
        "flask_exporter.buckets",
    ),
}
LISTS = {f"{name}, {option}": one for (name, option), one in RECEIVERS.items()} | OTHERS


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_does_not_fit(name: str) -> None:
    listed = LISTS[name]
    for value, expected in (
        (listed.valid, listed.text),
        (7, listed.number),
        (None, listed.none),
        (["1"] if "buckets" in name else [1], listed.one),
        ([""], listed.empty),
        ({listed.valid}, listed.of_set),
    ):
        if expected is None:
            listed.make(value)
        else:
            with pytest.raises((TypeError, ValueError)) as raised:
                listed.make(value)
            assert str(raised.value) == expected


def test_each_list_of_a_ready_receiver_is_tested() -> None:
    found = set()
    for name, path in {**BUILTIN_RECEIVERS, "relay": RELAY}.items():
        module, _, attribute = path.partition(":")
        kind = getattr(importlib.import_module(module), attribute)
        for option in inspect.signature(kind).parameters.values():
            if any(
                word in str(option.annotation)
                for word in ("Collection[", "Sequence[", "Iterable[", "list[", "set[")
            ):
                found.add((name, option.name))
    assert found == {*RECEIVERS}


@pytest.mark.parametrize("wrong", [{"/": 1}, b"/", iter(["/"]), object()])
def test_what_is_no_collection_of_strings_is_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="paths must be a collection of paths, got"):
        checked_strings("paths", wrong, "paths", '["/"]')


def test_a_message_is_short_however_long_the_value() -> None:
    checks: tuple[Make, ...] = (
        lambda value: checked_strings("paths", value, "paths", '["/"]'),
        lambda value: checked_strings("paths", [[value]], "paths", '["/"]'),
        lambda value: checked_seconds("slow_seconds", value, "write 0.5"),
        lambda value: checked_whole_number("most", value, "write 5"),
        lambda value: checked_truth("handled", value),
    )
    for check in checks:
        with pytest.raises(TypeError) as raised:
            check("x" * 1_000_000)
        assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "wrong", [-1, float("nan"), float("inf"), 10**400], ids=["-1", "nan", "inf", "int"]
)
def test_seconds_that_are_no_time_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds from 0 up, got"):
        checked_seconds("slow_seconds", wrong, "write 0.5", is_finite=True)


@pytest.mark.parametrize("number", [0, -(10**5000)], ids=["0", "of 5,000 digits"])
def test_a_number_below_the_least_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="most must be a whole number from 1 up, got"):
        checked_whole_number("most", number, "write 5")


def test_a_number_above_the_most_is_refused() -> None:
    expected = "most must be a whole number from 1 to 9, got 10; write 5"
    with pytest.raises(ValueError, match=expected):
        checked_whole_number("most", 10, "write 5", most=9)


def placed() -> NamedSignal:
    return Namespace().signal("order-placed", payload=("order",))


def listening(option: str) -> Make:
    def make(value: t.Any) -> object:
        options = {"group": "shipping", "signals": [placed()], option: value}
        return Listener("redis://127.0.0.1:1", **options)

    return make


NUMBERS: dict[str, tuple[Make, int, str]] = {
    "max_tries": (listening("max_tries"), 1, "write 5"),
    "dedupe": (listening("dedupe"), 0, "write 0 to keep no ids"),
    "max_waiting": (
        lambda value: Relay("inline://", source="shop", max_waiting=value),
        1,
        "write 10_000",
    ),
}


@pytest.mark.parametrize("option", NUMBERS)
def test_what_is_no_whole_number_is_refused(option: str) -> None:
    make, least, advice = NUMBERS[option]
    for wrong in ("5", True, 1.5, None):
        with pytest.raises(TypeError) as raised:
            make(wrong)
        expected = f"{option} must be a whole number, got {wrong!r}; {advice}"
        assert str(raised.value) == expected
    with pytest.raises(ValueError, match=f"whole number from {least} up, got"):
        make(least - 1)


TRUTHS: list[tuple[str, str]] = [
    *(("failures", one) for one in ("handled", "with_values")),
    *(("live", one) for one in ("messages", "waterfall", "with_receivers")),
    *(
        ("opentelemetry", one)
        for one in (
            *("with_receiver_spans", "with_size_metrics", "with_sql_metrics"),
            *("with_sql_spans", "with_sql_values"),
        )
    ),
    *(("prometheus", one) for one in ("with_receivers", "with_scrapes", "with_sql")),
    *((name, "with_values") for name in ("sql", "sql-repeats")),
    ("sqlalchemy", "with_parameters"),
]


@pytest.mark.parametrize(("name", "option"), TRUTHS)
@pytest.mark.parametrize("wrong", ["no", 1, None])
def test_what_is_neither_true_nor_false_is_refused(
    name: str, option: str, wrong: t.Any
) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        made(name, option)(wrong)
    expected = f"{option} must be True or False, got {wrong!r}"
    assert str(raised.value).partition(";")[0] == expected


def test_each_truth_of_a_ready_receiver_is_tested() -> None:
    found = set()
    for name, path in BUILTIN_RECEIVERS.items():
        module, _, attribute = path.partition(":")
        kind = getattr(importlib.import_module(module), attribute)
        for option in inspect.signature(kind).parameters.values():
            if option.annotation == "bool":
                found.add((name, option.name))
    assert found == {*TRUTHS}
