"""Add the current request to log lines, and pass its id to other processes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from typing import Final
from typing import TypeAlias

from .._current import carried_values
from .._current import context_exchange
from .._current import producing
from .._ids import is_header_name
from .._ids import is_id
from ..exchange import current_exchange
from ..lifecycle import exchange_closed
from .lines import single_line
from .lines import truncated

__all__ = [
    "ABSENT",
    "FIELDS_BY_ATTRIBUTE",
    "Absent",
    "ContextFilter",
    "ContextProcessor",
    "ContextRecordFactory",
    "Recording",
    "add_context",
    "carried",
    "current_span_ids",
    "outgoing_headers",
    "put_request",
    "read_spans_by",
    "request_context",
]

FIELDS_BY_ATTRIBUTE: Final[Mapping[str, str]] = {
    "exchange_id": "request_id",
    "exchange_method": "method",
    "exchange_route": "route",
    "exchange_trace_id": "trace_id",
    "exchange_span_id": "span_id",
}
"""The attributes of a log record, and the fields that they are written as."""


class Absent(str):
    """The value of an attribute where there is no request, no route or no span.

    In a format string, it is a dash. The formatters of
    :mod:`~signalpost.receivers.formats` write no field for it.
    """

    __slots__ = ()

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent("-")
"""The only :class:`Absent`."""

SpanIds: TypeAlias = tuple[str, str] | None
"""The ids of the trace and of the span, in hexadecimal digits; ``None`` for no span."""

_Values: TypeAlias = tuple[str, str, str, str, str]
"""The values of the attributes, in order."""

_NO_VALUES: Final[_Values] = (ABSENT, ABSENT, ABSENT, ABSENT, ABSENT)
_ATTRIBUTES: Final = tuple(FIELDS_BY_ATTRIBUTE)
_FIELDS: Final = tuple(FIELDS_BY_ATTRIBUTE.values())
_ATTRIBUTE_SET: Final = frozenset(_ATTRIBUTES)


class Recording:
    """Keep the exchanges of all applications recorded while this object lives.

    Without a receiver no exchange is recorded, and no line would have an id.
    """

    def __init__(self) -> None:
        exchange_closed.connect(self._need_exchange)

    def _need_exchange(self, sender: object) -> None:
        """Do nothing: to be connected is enough."""


class ContextFilter(logging.Filter):
    """Put the current request on each record, for the format of the lines.

    ::

        handler.addFilter(ContextFilter())
        handler.setFormatter(logging.Formatter("%(exchange_id)s %(message)s"))

    The filter drops no record. A record gets the attributes ``exchange_id``,
    ``exchange_method``, ``exchange_route``, ``exchange_trace_id`` and
    ``exchange_span_id``, all of them strings of one line. A missing value is a dash.
    The formatters of :mod:`~signalpost.receivers.formats` write them as ``request_id``,
    ``method``, ``route``, ``trace_id`` and ``span_id``, without missing values.

    Add it to handlers, because a filter of a logger does not apply to the loggers below
    it. While the filter exists, the exchanges of all applications are recorded.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        super().__init__()
        self._recording = Recording()

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the current request on a record, unless it has one."""
        _add_to(record.__dict__)
        return True


class ContextRecordFactory:
    """Put the current request on each record that :mod:`logging` makes.

    ::

        logging.setLogRecordFactory(ContextRecordFactory())

    The same as :class:`ContextFilter`, for all handlers at once, also those that a
    library adds. Code that gives one of the attributes as ``extra`` gets a
    :exc:`KeyError` from :mod:`logging` then.

    :param factory: The factory that makes the records; the current one by default.

    .. versionadded:: 0.1
    """

    _factory: Callable[..., logging.LogRecord]

    def __init__(self, factory: Callable[..., logging.LogRecord] | None = None) -> None:
        found = logging.getLogRecordFactory() if factory is None else factory
        # One around another would add nothing, and each application of a test may
        # make one.
        while isinstance(found, ContextRecordFactory):
            found = found._factory  # this class's own
        self._factory = found
        self._recording = Recording()

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Return a new record."""
        record = self._factory(*args, **kwargs)
        _add_to(record.__dict__)
        return record


class ContextProcessor:
    """Add the current request to structlog's entries: a processor.

    ::

        structlog.configure(processors=[ContextProcessor(), ...])

    The keys are ``request_id``, ``method``, ``route``, ``trace_id`` and ``span_id``;
    none outside a request. An existing key is not changed.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self._recording = Recording()

    def __call__(
        self, logger: object, method: str, entry: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Add the keys to an entry, and return it."""
        values = _current_values()
        if values is not _NO_VALUES:
            for key, value in zip(_FIELDS, values, strict=True):
                if value is not ABSENT and key not in entry:
                    entry[key] = value
        return entry


def add_context(entry: dict[str, Any], attributes: Mapping[str, Any]) -> None:
    """Add the fields of a record's attributes to those of its line. For formatters."""
    for attribute, key in FIELDS_BY_ATTRIBUTE.items():
        value = attributes.get(attribute, ABSENT)
        # A value by that name of the line, or of its caller, is more exact.
        if not isinstance(value, Absent) and key not in entry:
            entry[key] = value


def put_request(record: logging.LogRecord) -> bool:
    """Put the current request on a record, unless it has one; a filter as well.

    For the lines of receivers, without which no exchange is recorded.

    :returns: ``True``.
    """
    _add_to(record.__dict__)
    return True


def request_context() -> dict[str, str]:
    """Return the id, method and route of the current request, as plain values.

    For a process, a queue, or a thread that continues after the response is closed.
    There, :func:`carried` adds them to the lines again.

    :returns: ``request_id``, ``method`` and ``route``, as far as there are any; empty
        outside a request.

    .. versionadded:: 0.1
    """
    values = _current_values()[:3]
    return {
        key: value
        for key, value in zip(_FIELDS, values, strict=False)
        if value is not ABSENT
    }


@contextmanager
def carried(context: object) -> Generator[None]:
    """Add the request for which work was started to the lines of a ``with`` block.

    ::

        queue.put((order, request_context()))       # in the view
        ...
        with carried(context):                      # where it is taken out
            work(order)

    Only the lines have it: the exchange itself is in another process, or closed. If
    there is a current exchange, the lines have that one instead.

    :param context: The result of :func:`request_context`. As it may come from outside,
        values that are not well-formed are left out.

    .. versionadded:: 0.1
    """
    token = carried_values.set(_checked(context))
    try:
        yield
    finally:
        carried_values.reset(token)


def outgoing_headers(name: str = "X-Request-ID") -> dict[str, str]:
    """Return the header that carries the id of the current request to another service.

    ::

        requests.get(url, headers=outgoing_headers())

    :param name: The name of the header.
    :returns: ``{"X-Request-ID": "0197f3..."}``; empty outside a request.
    :raises ValueError: If ``name`` cannot be the name of a header.

    .. versionadded:: 0.1
    """
    if not is_header_name(name):
        raise ValueError(
            "name must be the name of a header, of letters, digits and hyphens, got"
            f' {name!r}; write "X-Request-ID"'
        )
    found = _current_values()[0]
    return {} if found is ABSENT else {name: found}


def read_spans_by(read: Callable[[], SpanIds] | None) -> None:
    """Set what returns the ids of the current span. For the integrations."""
    global _read_span  # one for the process, as OpenTelemetry is
    _read_span = read


def current_span_ids() -> SpanIds:
    """Return the ids of the current span, if an integration reads them."""
    return None if _read_span is None else _read_span()


_read_span: Callable[[], SpanIds] | None = None

_is_method = re.compile(r"[A-Z_]{1,20}").fullmatch


def _add_to(attributes: dict[str, Any]) -> None:
    """Add the attributes to those of a record, unless it has an id.

    It may have been made in another thread or process, which had the request.
    """
    if (  # one by one, which takes half the time of a set
        "exchange_id" in attributes
        or "exchange_method" in attributes
        or "exchange_route" in attributes
        or "exchange_trace_id" in attributes
        or "exchange_span_id" in attributes
    ):
        # The caller has given some, or all of them are there.
        if not attributes.keys() >= _ATTRIBUTE_SET:
            for attribute, value in zip(_ATTRIBUTES, _current_values(), strict=True):
                attributes.setdefault(attribute, value)
        return
    (
        attributes["exchange_id"],
        attributes["exchange_method"],
        attributes["exchange_route"],
        attributes["exchange_trace_id"],
        attributes["exchange_span_id"],
    ) = _current_values()


def _current_values() -> _Values:
    """Return the values for the running code; ``_NO_VALUES`` outside a request.

    It never raises: it is called during the application's own code.
    """
    try:
        # As current_exchange() has it, which would be a call more.
        exchange: Any = current_exchange() if producing else context_exchange.get()
        if exchange is None or exchange._environ is None:
            carried = carried_values.get()
            if not carried:
                return _NO_VALUES
            request_id, method, route = carried
        else:
            # The same value as exchange.id.
            ids = exchange._ids
            request_id = ids[0] if ids else exchange.id
            method = exchange.method
            try:
                # The same value as exchange.route, for a route that is known.
                own = exchange._own_route
                found = exchange._route if own is None else own[0]
                if found is None:
                    found = exchange.route
                route = ABSENT if found is None else _single_line(found)
            except Exception:  # noqa: BLE001  # the request is the application's
                route = ABSENT
        if _read_span is not None:
            span = _read_span()
            if span is not None:
                trace_id, span_id = span
                return request_id, method, route, trace_id, span_id
    except Exception:  # noqa: BLE001  # an application may have set any value
        return _NO_VALUES
    return request_id, method, route, ABSENT, ABSENT


# An application has few routes, and each line needs one.
@lru_cache(maxsize=256)
def _single_line(route: str) -> str:
    return single_line(truncated(route))


def _checked(context: object) -> tuple[str, str, str] | tuple[()]:
    """Return the checked values of a context from elsewhere; none without an id."""
    if not isinstance(context, Mapping):
        return ()
    request_id, method, route = (context.get(field) for field in _FIELDS[:3])
    if not isinstance(request_id, str) or not is_id(request_id):
        return ()
    return (
        request_id,
        method if isinstance(method, str) and _is_method(method) else ABSENT,
        _single_line(route) if isinstance(route, str) and route else ABSENT,
    )
