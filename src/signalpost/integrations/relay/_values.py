"""The conversion of an event's values from Python to plain JSON, and back."""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import enum
import math
import re
import typing as t
import uuid
from collections.abc import Callable
from collections.abc import Mapping
from reprlib import repr as short_repr

from ...errors import EventError
from ...errors import NotSendableError

__all__ = ["AS_THEY_ARE", "Codec", "Codecs", "Plain"]

Plain: t.TypeAlias = t.Any
"""A value of JSON: ``None``, bool, int, float, str, and lists and dicts of these."""

MOST_LEVELS: t.Final = 64
"""The deepest nesting of lists and dicts."""

MOST_BITS: t.Final = 2048
"""The size of an int that each Python can read, even with its lowest digit limit."""

_is_name = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}").fullmatch
AS_THEY_ARE: t.Final = frozenset((str, bool, type(None)))
"""The types whose values JSON can always hold."""


class Codec(t.NamedTuple):
    """The functions that write and read the values of one of your types in events.

    ::

        codecs = {Money: Codec("money", lambda one: [one.amount, one.currency],
                               lambda plain: Money(*plain))}

    The sending and the receiving side are given the same codecs.

    .. versionadded:: 0.1
    """

    name: str
    """The name of the type in events: a letter, then letters, digits, ``_``, ``.`` and
    ``-``; at most 64."""
    encode: Callable[[t.Any], object]
    """Callback for a value; returns what an event can hold, such as a string."""
    decode: Callable[[t.Any], object]
    """Callback for the result of ``encode``; returns the value."""


def _decimal_text(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise ValueError("is not finite")
    return str(value)


def _decimal_of(text: str) -> decimal.Decimal:
    value = decimal.Decimal(text)
    if not value.is_finite():
        raise ValueError("is not finite")
    return value


def _base64_of(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _bytes_of(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# Before date, because a datetime is a date, too.
_OURS: t.Final[dict[type, Codec]] = {
    datetime.datetime: Codec(
        "datetime", datetime.datetime.isoformat, datetime.datetime.fromisoformat
    ),
    datetime.date: Codec("date", datetime.date.isoformat, datetime.date.fromisoformat),
    decimal.Decimal: Codec("decimal", _decimal_text, _decimal_of),
    uuid.UUID: Codec("uuid", str, uuid.UUID),
    bytes: Codec("bytes", _base64_of, _bytes_of),
}
_OUR_NAMES: t.Final = frozenset(codec.name for codec in _OURS.values())


class Codecs:
    """The codecs of a relay or a listener.

    :param given: Codecs for the user's types, by type. A value is written by the codec
        of its class, or of the nearest base class.
    :raises TypeError: If it is not a mapping of types to codecs.
    :raises ValueError: If a name is not valid, or another type has it.
    """

    __slots__ = ("_by_name", "_by_type", "_has_own")

    def __init__(self, given: Mapping[type[t.Any], Codec] | None = None) -> None:
        self._by_type: dict[type, Codec] = dict(_OURS)
        self._by_name: dict[str, Codec] = {one.name: one for one in _OURS.values()}
        self._has_own = bool(given)
        for kind, codec in (given or {}).items():
            self._add(kind, codec)

    def _add(self, kind: object, codec: object) -> None:
        form = 'write {Money: Codec("money", encode, decode)}'
        if not isinstance(kind, type) or not isinstance(codec, Codec):
            raise TypeError(
                f"codecs must be a Codec for each type, got {short_repr(codec)} for"
                f" {short_repr(kind)}; {form}"
            )
        if not _is_name(str(codec.name)):
            raise ValueError(
                "the name of a codec must be a letter, then letters, digits, '_', '.'"
                f" and '-', at most 64, got {short_repr(codec.name)}; {form}"
            )
        if codec.name in self._by_name:
            raise ValueError(
                f"the name of a codec must be of one type only, got {codec.name!r},"
                " which is used already; choose another one"
            )
        self._by_type[kind] = self._by_name[codec.name] = codec

    def plain(self, value: object, field: str, level: int = 0) -> Plain:
        """Return a value as a value of JSON.

        :param field: Its name in an error, as ``"payload.order"``.
        :raises NotSendableError: If JSON cannot hold it.
        """
        kind = type(value)
        if kind in AS_THEY_ARE:
            return value
        if kind is int:
            return _checked_int(t.cast("int", value), field)
        if kind is float:
            return _checked_float(t.cast("float", value), field)
        if level >= MOST_LEVELS:
            raise NotSendableError(
                f"{field[:200]} is nested deeper than {MOST_LEVELS} levels, or contains"
                " itself; send an id, and let receivers look it up",
                field,
            )
        if kind is dict:
            return self._plain_dict(t.cast("dict[t.Any, object]", value), field, level)
        if kind is list or kind is tuple:
            items = t.cast("list[object]", value)
            return [
                self.plain(one, f"{field}[{number}]", level + 1)
                for number, one in enumerate(items)
            ]
        return self._plain_other(value, field, level)

    def _plain_dict(
        self, value: dict[t.Any, object], field: str, level: int
    ) -> dict[str, Plain]:
        plain = {}
        for key, one in value.items():
            if type(key) is not str:
                key = _checked_key(key, field)
            if type(one) not in AS_THEY_ARE:
                one = self.plain(one, f"{field}.{key}", level + 1)
            plain[key] = one
        # The tag protects a dict that a reader would take for one of our tags.
        return {"$": plain} if _tag_of(plain) is not None else plain

    def _plain_other(self, value: object, field: str, level: int) -> Plain:
        """Return the result of the codec of a value's class, or of its base's codec."""
        for kind in type(value).__mro__ if self._has_own else ():
            codec = self._by_type.get(kind)
            if codec is not None and codec.name not in _OUR_NAMES:
                return self._encoded(codec, value, field, level)
        if isinstance(value, enum.Enum):
            raise _not_sendable(value, field, "send its .value")
        for kind, codec in _OURS.items():
            if isinstance(value, kind):
                return self._encoded(codec, value, field, level)
        return self._plain_subclass(value, field, level)

    def _encoded(self, codec: Codec, value: object, field: str, level: int) -> Plain:
        try:
            plain = codec.encode(value)
        except Exception as error:
            raise NotSendableError(
                f"{field} is {_a(value)} that cannot be written as {codec.name!r}:"
                f" {type(error).__name__}: {error}",
                field,
            ) from error
        return {f"${codec.name}": self.plain(plain, field, level + 1)}

    def _plain_subclass(self, value: object, field: str, level: int) -> Plain:
        """Return a value of a subclass as a plain one: receivers get the base."""
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return _checked_int(int(value), field)
        if isinstance(value, float):
            return _checked_float(float(value), field)
        if isinstance(value, dict):
            return self._plain_dict(dict(value), field, level)
        if isinstance(value, (list, tuple)):
            return self.plain([*value], field, level)
        raise _not_sendable(value, field, _advice_for(value))

    def value(self, plain: Plain, field: str, level: int = 0) -> t.Any:
        """Return the value that was written as ``plain``.

        :param field: Its name in an error, as ``"payload.order"``.
        :raises EventError: If its form is unknown or wrong.
        """
        kind = type(plain)
        if kind is not list and kind is not dict:
            return plain
        if level >= MOST_LEVELS:
            raise EventError(
                f"{field[:200]} is nested deeper than {MOST_LEVELS} levels, which is"
                " the most that is read"
            )
        if kind is list:
            return [
                self.value(one, f"{field}[{number}]", level + 1)
                for number, one in enumerate(plain)
            ]
        tag = _tag_of(plain)
        if tag is None:
            return self._value_dict(plain, field, level)
        inner = plain[f"${tag}"]
        if not tag and type(inner) is dict:
            return self._value_dict(inner, field, level)
        return self._decoded(tag, inner, field, level)

    def _value_dict(
        self, plain: dict[str, Plain], field: str, level: int
    ) -> dict[str, t.Any]:
        return {
            key: self.value(one, f"{field}.{key}", level + 1)
            for key, one in plain.items()
        }

    def _decoded(self, tag: str, inner: Plain, field: str, level: int) -> t.Any:
        codec = self._by_name.get(tag)
        if codec is None:
            raise EventError(
                f"{field} is written as {'$' + tag[:64]!r}, which is not known here;"
                " pass its codec to the listener"
            )
        if codec.name in _OUR_NAMES and not isinstance(inner, str):
            raise EventError(
                f"{field} must have a string for {'$' + tag!r}, got {short_repr(inner)}"
            )
        if codec.name not in _OUR_NAMES:
            inner = self.value(inner, field, level + 1)
        try:
            return codec.decode(inner)
        except (ArithmeticError, binascii.Error, ValueError) as error:
            raise EventError(
                f"{field} cannot be read as {'$' + tag!r}: got {short_repr(inner)}"
            ) from error
        except Exception as error:
            raise EventError(
                f"{field} cannot be read as {'$' + tag!r}:"
                f" {type(error).__name__}: {error}"
            ) from error


def _tag_of(plain: dict[str, Plain]) -> str | None:
    """Return the name after the ``$`` of a dict's only key; ``None`` without one."""
    if len(plain) != 1:
        return None
    key = next(iter(plain))
    return key[1:] if key.startswith("$") else None


def _checked_key(key: object, field: str) -> str:
    if not isinstance(key, str) or isinstance(key, enum.Enum):
        raise NotSendableError(
            f"the keys of {field} must be strings, got {short_repr(key)}; send a list"
            " of pairs, or convert the keys",
            field,
        )
    return str.__str__(key)


def _checked_int(value: int, field: str) -> int:
    if value.bit_length() > MOST_BITS:
        raise NotSendableError(
            f"{field} is an int of {value.bit_length()} bits, and at most {MOST_BITS}"
            " are sent; send it as bytes or as a string",
            field,
        )
    return value


def _checked_float(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise NotSendableError(
            f"{field} is {value!r}, and JSON has finite numbers only; send None or a"
            " string",
            field,
        )
    return value


def _not_sendable(value: object, field: str, advice: str) -> NotSendableError:
    return NotSendableError(
        f"{field} is {_a(value)}, which an event cannot hold; {advice}, or pass a codec"
        " for its type to the relay",
        field,
    )


def _advice_for(value: object) -> str:
    if isinstance(value, (set, frozenset)):
        return "send a list, as sorted(…)"
    if isinstance(value, (bytearray, memoryview)):
        return "send bytes(…)"
    if isinstance(value, (datetime.timedelta, datetime.time)):
        return "send its seconds, or a string"
    return "send its id, and let receivers look it up"


def _a(value: object) -> str:
    name = type(value).__qualname__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
