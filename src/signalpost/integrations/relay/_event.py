"""The events that are sent: CloudEvents 1.0 in structured JSON."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import lru_cache
from reprlib import repr as short_repr

from ..._ids import is_traceparent
from ..._ids import new_id
from ...errors import EventError
from ...errors import NotSendableError
from ._values import AS_THEY_ARE
from ._values import Codecs

__all__ = ["CONTENT_TYPE", "MOST_BYTES", "Event", "Writer", "WrittenEvent", "read"]

CONTENT_TYPE: t.Final = "application/cloudevents+json"
"""The content type of an event: CloudEvents 1.0, JSON format, 3.2."""

MOST_BYTES: t.Final = 256 * 1024
"""The largest size of a written event, in bytes."""

_FORMAT: t.Final = "1"
"""The version of the format of values; this code cannot read a later one."""

# CloudEvents 1.0, 3.1: no attribute has control characters.
_has_control = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
# RFC 3986, 4.1: a reference has no spaces and none of these other characters.
_is_source = re.compile(r"[^\s\x00-\x1f\x7f-\x9f<>\"{}|\\^`\ud800-\udfff]{1,1024}")

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


@dataclass(frozen=True, slots=True)
class Event:
    """A signal that came from another process.

    .. versionadded:: 0.1
    """

    id: str
    """The id of the event, the same at each delivery; unique for its source."""
    source: str
    """The ``source`` of the relay that sent it."""
    name: str
    """The name of the signal; the event's ``type``."""
    payload: Mapping[str, t.Any] = field(repr=False)
    """The payload that the signal was sent with."""
    sender: str | None = None
    """The name of the signal's sender; ``None`` if it had none."""
    time: datetime.datetime | None = None
    """The time when the signal was sent; ``None`` if it is not known."""
    traceparent: str | None = None
    """The trace that it was sent in, as ``traceparent`` of W3C Trace Context."""
    request_id: str | None = None
    """The id of the request that it was sent in."""
    tries: int = 1
    """The number of this try to receive it, counted from 1."""

    def age_seconds(self) -> float | None:
        """Return how old the event is now, in seconds.

        :returns: At least 0, as another machine's clock may be ahead; ``None`` if
            :attr:`time` is not known, or has no zone.
        """
        if self.time is None or self.time.tzinfo is None:
            return None
        now = datetime.datetime.now(datetime.UTC)
        return max(0.0, (now - self.time).total_seconds())


class WrittenEvent(t.NamedTuple):
    """An event, ready for a broker."""

    id: str
    """The event's id."""
    name: str
    """The name of its signal; the event's ``type``."""
    sender: str | None
    """The name of the signal's sender."""
    body: bytes
    """The event in JSON, UTF-8; at most :data:`MOST_BYTES`."""


def check_source(source: object) -> None:
    """Check that a value can be the source of events.

    :raises ValueError: If it cannot.
    """
    if not isinstance(source, str) or not _is_source.fullmatch(source):
        raise ValueError(
            "source must be the name of the sending application, without spaces, as"
            f" 'shop' or '/shop/orders', got {short_repr(source)}"
        )


def traceparent_in(environ: Mapping[str, t.Any]) -> str | None:
    """Return the trace that a request belongs to, if its header is well-formed."""
    found = environ.get("HTTP_TRACEPARENT")
    return found if isinstance(found, str) and is_traceparent(found) else None


def is_text(text: str) -> bool:
    """Return whether a text can be the value of an attribute."""
    return bool(text) and len(text) <= 1024 and not _has_control(text)


class Writer:
    """A writer of the events of one source.

    :param source: The name of the application.
    :raises ValueError: If it cannot be the source of events.
    """

    __slots__ = ("_codecs", "_source")

    def __init__(self, source: str, codecs: Codecs) -> None:
        check_source(source)
        self._source = _encode(source)
        self._codecs = codecs

    def write(
        self,
        type_: str,
        payload: Mapping[str, object],
        sender: str | None = None,
        extensions: Mapping[str, str] | None = None,
    ) -> WrittenEvent:
        """Return a new event in JSON.

        :param type_: The name of the signal.
        :param payload: The payload that it was sent with.
        :param sender: The name of its sender.
        :param extensions: Further attributes of the event, as ``traceparent``.
        :raises NotSendableError: If a value in the payload cannot be sent, or the event
            is too long.
        """
        if sender is not None and not is_text(sender):
            raise NotSendableError(
                "the sender's name must have 1 to 1024 printable characters, got"
                f" {short_repr(sender)}; send the signal from a named sender",
                "sender",
            )
        more = "," + _encode(extensions)[1:-1] if extensions else ""
        plain = self._codecs.plain
        data = {
            name: value
            if type(value) in AS_THEY_ARE
            else plain(value, f"payload.{name}")
            for name, value in payload.items()
        }
        identity = new_id()
        time = datetime.datetime.now(datetime.UTC).isoformat()
        # Most of an event never changes; this takes half the time of encoding it all.
        text = (
            f'{{"specversion":"1.0","id":"{identity}","source":{self._source},'
            f'"time":"{time}","datacontenttype":"application/json",'
            f'"signalpostversion":"{_FORMAT}",{_names(type_, sender)}{more},'
            f'"data":{_encode(data)}}}'
        )
        return WrittenEvent(identity, type_, sender, _checked_body(text, payload))


# An application has few signals, and they have few senders.
@lru_cache(maxsize=256)
def _names(type_: str, sender: str | None) -> str:
    """Return the attributes that are the same for many events."""
    names = {"type": type_} if sender is None else {"type": type_, "sender": sender}
    return _encode(names)[1:-1]


def _checked_body(text: str, payload: Mapping[str, object]) -> bytes:
    try:
        body = text.encode()
    except UnicodeEncodeError:
        raise _not_utf8(payload) from None
    if len(body) > MOST_BYTES:
        raise NotSendableError(
            f"the payload makes an event of {len(body)} bytes, and at most"
            f" {MOST_BYTES} are sent; send an id, and let receivers look it up",
            "payload",
        )
    return body


def _not_utf8(payload: Mapping[str, object]) -> NotSendableError:
    """Return the error about the first part of a payload that has a lone surrogate."""
    name = next(
        (name for name, value in payload.items() if "\\ud" in ascii(value)), "payload"
    )
    return NotSendableError(
        f"payload.{name} has a lone surrogate, which UTF-8 cannot hold; send bytes",
        f"payload.{name}",
    )


def read(body: bytes, codecs: Codecs, tries: int = 1) -> Event:
    """Return the event that a body holds.

    :param tries: The number of this try to receive it.
    :raises EventError: If it is not an event, or has values that cannot be read.
    """
    event = _document(body)
    if event.get("specversion") != "1.0":
        raise EventError(
            "an event must have the specversion '1.0', got"
            f" {short_repr(event.get('specversion'))}"
        )
    if event.get("signalpostversion", _FORMAT) != _FORMAT:
        raise EventError(
            f"the event is written in format {short_repr(event['signalpostversion'])},"
            f" and this version of signalpost reads {_FORMAT!r}; upgrade it here"
        )
    payload = _data_of(event)
    return Event(
        id=_required(event, "id"),
        source=_required(event, "source"),
        name=_required(event, "type"),
        payload={
            name: codecs.value(one, f"payload.{name}") for name, one in payload.items()
        },
        sender=_text(event, "sender"),
        time=_time_of(event),
        traceparent=_text(event, "traceparent"),
        request_id=_text(event, "requestid"),
        tries=tries,
    )


def _document(body: bytes) -> dict[str, t.Any]:
    if len(body) > MOST_BYTES:
        raise EventError(
            f"an event must have at most {MOST_BYTES} bytes, got {len(body)}"
        )
    found = _loaded(body)
    if type(found) is not dict:
        raise EventError(f"an event must be an object of JSON, got {short_repr(found)}")
    return found


def _loaded(body: bytes) -> t.Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise EventError(
            f"an event must be JSON in UTF-8, got {short_repr(body)}:"
            f" {type(error).__name__}: {error}"
        ) from error


def _refuse(constant: str) -> t.NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


def _data_of(event: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the payload of an event, not yet decoded by the codecs."""
    kind = event.get("datacontenttype") or "application/json"
    if not isinstance(kind, str) or not _is_json(kind):
        raise EventError(
            f"the data of an event must be application/json, got {short_repr(kind)}"
        )
    data = event.get("data")
    encoded = event.get("data_base64")
    if encoded is not None:
        # CloudEvents 1.0, JSON format, 3.1: a sender wrote the data as bytes.
        try:
            data = _loaded(base64.b64decode(encoded, validate=True))
        except (TypeError, binascii.Error, ValueError) as error:
            raise EventError(f"data_base64 cannot be read: {error}") from error
    if data is None:
        return {}
    if type(data) is not dict:
        raise EventError(
            "the data of an event must be an object with the payload's names, got"
            f" {short_repr(data)}"
        )
    return data


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _required(event: dict[str, t.Any], name: str) -> str:
    found = _text(event, name)
    if found is None:
        raise EventError(f"an event must have the attribute {name!r}, got none")
    return found


def _text(event: dict[str, t.Any], name: str) -> str | None:
    found = event.get(name)
    if found is None:
        return None
    if not isinstance(found, str) or not is_text(found):
        raise EventError(
            f"the {name} of an event must be a text of 1 to 1024 printable characters,"
            f" got {short_repr(found)}"
        )
    return found


def _time_of(event: dict[str, t.Any]) -> datetime.datetime | None:
    found = _text(event, "time")
    if found is None:
        return None
    try:
        return datetime.datetime.fromisoformat(found)
    except ValueError:
        raise EventError(
            "the time of an event must be one as 2026-11-29T09:00:00Z, got"
            f" {short_repr(found)}"
        ) from None
