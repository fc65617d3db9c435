"""Values arrive unchanged, or are refused where they are sent."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import math
import typing as t
import uuid

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from signalpost.errors import EventError
from signalpost.errors import NotSendableError
from signalpost.integrations.relay import Codec
from signalpost.integrations.relay._event import Event
from signalpost.integrations.relay._event import MOST_BYTES
from signalpost.integrations.relay._event import read
from signalpost.integrations.relay._event import Writer
from signalpost.integrations.relay._values import Codecs

PLAIN = Codecs()


def crossed(value: object, codecs: Codecs = PLAIN) -> t.Any:
    """Return a value as it is on the other side."""
    event = Writer("shop", codecs).write("order-placed", {"order": value})
    return read(event.body, codecs).payload["order"]


texts = st.text(st.characters(exclude_categories=["Cs"]))
offsets = st.integers(-1439, 1439).map(
    lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**2048) + 1, 2**2048 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | offsets)
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(one: t.Any, other: t.Any) -> bool:
    """Return whether values are equal and of the same types, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, decimal.Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and one == other
    return bool(one == other)


@given(values)
@example({"$decimal": "1"})
@example({"$": {"$": None}})
@example({"$": 1, "a": 2})
@example("a\x00\u2028\U0001f600")
@example(-0.0)
@example(decimal.Decimal("1E+400"))
@example([[], {}, ""])
def test_value_crosses_as_it_is(value: object) -> None:
    assert same(crossed(value), value)


@given(st.dictionaries(texts, values, max_size=3))
def test_cloudevents_sdk_reads_what_we_write(payload: dict[str, object]) -> None:
    event = Writer("/shop", PLAIN).write(
        "order-placed", payload, "till", {"traceparent": "00-1-2-01"}
    )
    found = JSONFormat().read(None, event.body)
    assert isinstance(found, CloudEvent)
    assert found.get_id() == event.id
    assert (found.get_type(), found.get_source()) == ("order-placed", "/shop")
    assert found.get_extension("sender") == "till"
    assert found.get_time() is not None
    own = read(event.body, PLAIN)
    assert found.get_time() == own.time
    # The SDK's is plain JSON, with tags in it; ours is their meaning.
    assert found.get_data() == json.loads(event.body)["data"]
    assert same({**own.payload}, payload)


@given(
    st.dictionaries(
        st.from_regex(r"\A[a-z]{1,8}\Z"), st.integers(-(2**53), 2**53) | texts
    )
)
def test_what_cloudevents_sdk_writes_is_read(payload: dict[str, object]) -> None:
    event = CloudEvent({"source": "/other", "type": "order-placed"}, payload)
    own = read(JSONFormat().write(event), PLAIN)
    assert own.payload == payload
    assert (own.source, own.name, own.id) == ("/other", "order-placed", event.get_id())
    assert own.time == event.get_time()


def test_json_that_sdk_was_given_as_bytes_is_read() -> None:
    attributes = {
        "source": "/other",
        "type": "order-placed",
        "datacontenttype": "application/json",
    }
    event = CloudEvent(attributes, b'{"order": 5}')
    assert read(JSONFormat().write(event), PLAIN).payload == {"order": 5}


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Order:
    """Values that no event can hold."""


circle: list[object] = []
circle.append(circle)


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        (Order(), "payload.order", "is an Order, which"),
        (Order(), "payload.order", "send its id"),
        ([1, {"lines": (Order(),)}], "payload.order[1].lines[0]", "an Order"),
        ({1: 2}, "payload.order", "keys"),
        ({1, 2}, "payload.order", "sorted"),
        (bytearray(b"a"), "payload.order", "bytes"),
        (datetime.timedelta(1), "payload.order", "seconds"),
        (float("nan"), "payload.order", "nan"),
        ([float("inf")], "payload.order[0]", "inf"),
        (decimal.Decimal("NaN"), "payload.order", "finite"),
        (1 << 2048, "payload.order", "bits"),
        ("\ud800", "payload.order", "surrogate"),
        ({"\udfff": 1}, "payload.order", "surrogate"),
        (Colour.RED, "payload.order", ".value"),
        (Size.SMALL, "payload.order", ".value"),
        (circle, "payload.order", "deeper"),
        ("a" * MOST_BYTES, "payload", "262144"),
        (print, "payload.order", "builtin_function"),
        (object, "payload.order", "a type"),
        (iter("a"), "payload.order", "iterator"),
    ],
)
def test_value_that_cannot_be_sent_is_refused_by_name(
    value: object, field: str, words: str
) -> None:
    with pytest.raises(NotSendableError, match=r".") as caught:
        crossed(value)
    assert words in str(caught.value)
    assert caught.value.field.startswith(field)
    assert isinstance(caught.value, TypeError)


def nested(levels: int) -> list[t.Any]:
    value: list[t.Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_deepest_value_crosses() -> None:
    assert crossed(nested(64)) == nested(64)
    with pytest.raises(NotSendableError, match="deeper than 64"):
        crossed(nested(65))
    with pytest.raises(EventError, match="deeper than 64"):
        read(body(data={"order": nested(65)}), PLAIN)


@pytest.mark.parametrize("levels", [500, 900, 5000, 50_000])
def test_depth_that_no_stack_has_is_refused(levels: int) -> None:
    order = b"[" * levels + b"]" * levels
    text = body(data={"order": "HERE"}).replace(b'"HERE"', order)
    with pytest.raises(EventError):
        read(text, PLAIN)


def test_longest_event_is_sent() -> None:
    size = MOST_BYTES - len(Writer("shop", PLAIN).write("a", {"b": ""}).body)
    writer = Writer("shop", PLAIN)
    event = writer.write("a", {"b": "x" * size})
    assert len(event.body) == MOST_BYTES
    assert read(event.body, PLAIN).payload["b"] == "x" * size
    with pytest.raises(NotSendableError):
        writer.write("a", {"b": "x" * (size + 1)})


class Name(str):
    """A string of a subclass, such as markup."""


class Number(int):
    pass


class Ratio(float):
    pass


class Point(t.NamedTuple):
    x: int
    y: int


class Stamp(datetime.datetime):
    """As libraries of dates have it."""


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2,)), [1, [2]]),
        (Name("a"), "a"),
        (Number(7), 7),
        (Ratio(0.5), 0.5),
        ([], []),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({Name("key"): Name("value")}, {"key": "value"}),
        (Stamp(2026, 11, 29), datetime.datetime(2026, 11, 29)),
    ],
)
def test_subclass_crosses_as_plain_value(value: object, plain: object) -> None:
    assert same(crossed(value), plain)


class Money(t.NamedTuple):
    amount: decimal.Decimal
    currency: str


MONEY = Codec("money", lambda one: [one.amount, one.currency], lambda one: Money(*one))


def test_codec_writes_and_reads_values_of_its_type() -> None:
    codecs = Codecs({Money: MONEY})
    price = Money(decimal.Decimal("9.90"), "EUR")
    assert same(crossed([price, {"total": price}], codecs), [price, {"total": price}])


def test_codec_of_base_class_is_used() -> None:
    class Price(Money):
        pass

    found = crossed(Price(decimal.Decimal(1), "EUR"), Codecs({Money: MONEY}))
    assert type(found) is Money


def test_codec_that_fails_names_the_field() -> None:
    broken = Codec("order", lambda order: order.id, lambda plain: plain)
    with pytest.raises(NotSendableError, match=r"payload\.order.*AttributeError"):
        crossed(Order(), Codecs({Order: broken}))


def test_codec_that_cannot_read_names_the_field() -> None:
    broken = Codec("money", lambda one: [1], lambda plain: Money(*plain))
    with pytest.raises(EventError, match=r"payload\.order.*'\$money'.*TypeError"):
        crossed(Money(decimal.Decimal(1), "EUR"), Codecs({Money: broken}))


def test_event_without_its_codec_is_not_read() -> None:
    event = Writer("shop", Codecs({Money: MONEY})).write(
        "a", {"price": Money(decimal.Decimal(1), "EUR")}
    )
    with pytest.raises(EventError, match=r"payload\.price .*'\$money'.*codec"):
        read(event.body, PLAIN)


@pytest.mark.parametrize(
    ("codecs", "words"),
    [
        ({Money: lambda one: one}, "Codec"),
        ({"money": MONEY}, "type"),
        ({Money: Codec("decimal", str, str)}, "used already"),
        ({Money: Codec("", str, str)}, "letter"),
        ({Money: MONEY, Order: MONEY}, "used already"),
    ],
)
def test_codec_that_cannot_be_one_is_refused(codecs: t.Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Codecs(codecs)


def body(**changes: object) -> bytes:
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": "1",
        "source": "shop",
        "type": "order-placed",
        "data": {"order": 5},
    }
    event.update(changes)
    return json.dumps(
        {key: value for key, value in event.items() if value != "left out"}
    ).encode()


def test_least_event_by_hand_is_read() -> None:
    event = read(body(), PLAIN)
    assert event == Event("1", "shop", "order-placed", {"order": 5})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "RecursionError"),
        (b"[]", "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"{}", "specversion"),
        (b" " * (MOST_BYTES + 1), "262144"),
        (body(specversion="0.3"), "1.0"),
        (body(specversion=1.0), "1.0"),
        (body(signalpostversion="2"), "upgrade"),
        (body(id="left out"), "attribute 'id'"),
        (body(id=""), "id"),
        (body(id=7), "id"),
        (body(type=None), "type"),
        (body(source=["shop"]), "source"),
        (body(sender={"a": 1}), "sender"),
        (body(sender="a\nb"), "sender"),
        (body(time="yesterday"), "time"),
        (body(time=1.5), "time"),
        (body(data=[1]), "object"),
        (body(data="order"), "object"),
        (body(datacontenttype="text/xml"), "application/json"),
        (body(datacontenttype=1), "application/json"),
        (body(data=None, data_base64="%%"), "data_base64"),
        (body(data=None, data_base64="AAA="), "JSON"),
        (body(data={"order": {"$decimal": "x"}}), "payload.order"),
        (body(data={"order": {"$decimal": "Infinity"}}), "payload.order"),
        (body(data={"order": {"$decimal": 5}}), "string"),
        (body(data={"order": [{"$bytes": "*"}]}), "payload.order[0]"),
        (body(data={"order": {"$uuid": "1"}}), "payload.order"),
        (body(data={"order": {"$date": "2026-13-01"}}), "payload.order"),
        (body(data={"order": {"$datetime": ""}}), "payload.order"),
        (body(data={"order": {"$unknown": ""}}), "$unknown"),
        (body(data={"order": {"$": 5}}), "payload.order"),
        (b'{"specversion": NaN}', "NaN"),
        (b'{"specversion": 1' + b"0" * 5000 + b"}", "JSON"),
    ],
)
def test_what_is_no_event_is_not_read(given: bytes, words: str) -> None:
    with pytest.raises(EventError, match=r".") as caught:
        read(given, PLAIN)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600


@given(st.binary() | texts.map(str.encode))
def test_any_bytes_are_read_or_refused(given: bytes) -> None:
    with pytest.raises(EventError):
        read(given, PLAIN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            texts | st.sampled_from(["$", "$decimal", "$uuid", "$bytes", "$date"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["specversion", "id", "source", "type", "time", "data", "sender"]
        ),
        json_values | st.sampled_from(["1.0", "2026-11-29T09:00:00Z"]),
    )
)
def test_any_json_is_read_or_refused(event: dict[str, object]) -> None:
    try:
        found = read(body(**event), PLAIN)
    except EventError:
        return
    assert isinstance(found.payload, dict)


@pytest.mark.parametrize("source", ["", "my shop", "a\nb", 5, None, "a" * 2000, "<a>"])
def test_source_that_cannot_be_one_is_refused(source: t.Any) -> None:
    with pytest.raises(ValueError, match="source must be"):
        Writer(source, PLAIN)


def test_ids_of_events_differ() -> None:
    writer = Writer("shop", PLAIN)
    ids = [writer.write("a", {}).id for _ in range(100)]
    assert len({*ids}) == 100
    assert all(str(uuid.UUID(one)) == one for one in ids)
