"""Keep the span of an open exchange, and find the parent of a new span."""

from __future__ import annotations

import typing as t
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.context import get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace import Span

from ._attributes import Attributes

if t.TYPE_CHECKING:
    from contextvars import Token

    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Record", "parent_for"]


class Record:
    """The span of an exchange, and the values for its end."""

    __slots__ = ("active", "context", "span", "started_ns", "token")

    span: Span
    """The span; one that records nothing without an SDK, or if not sampled."""
    context: Context | None
    """The current context while the application works; ``None`` if it is unchanged."""
    started_ns: int
    """The start of the span, in nanoseconds since the epoch."""
    active: Attributes | None
    """The attributes that it was counted as active with; ``None`` if it was not, as a
    part of a request is not."""
    token: Token[Context] | None
    """The token that ends the context of the close."""

    def __init__(self, span: Span, context: Context | None, started_ns: int) -> None:
        self.span = span
        self.context = context
        self.started_ns = started_ns
        self.active = None
        self.token = None


def parent_for(environ: WSGIEnvironment, propagator: TextMapPropagator) -> Context:
    """Return the context that the span of a request begins in.

    This is the context that the client sent, or else the current one: another
    instrumentation's span around this one, or the view whose test client sends the
    request. If both belong to one trace, the current one is below the client's.
    """
    current = get_current()
    if not current:
        return propagator.extract(environ, context=current, getter=_HEADERS)
    local = get_current_span(current)
    identity = local.get_span_context()
    if _has_ended(local):
        # Other code has left it on this thread. Using it would join unrelated requests
        # to one trace.
        return propagator.extract(environ, context=Context(), getter=_HEADERS)
    found = propagator.extract(environ, context=current, getter=_HEADERS)
    remote = get_current_span(found)
    if remote is not local and (
        remote.get_span_context().trace_id == identity.trace_id
    ):
        return set_span_in_context(local, found)
    return found


def _has_ended(span: Span) -> bool:
    """Return whether a span of this process has ended: sampled, but not recording."""
    identity = span.get_span_context()
    return (
        identity.is_valid
        and not identity.is_remote
        and identity.trace_flags.sampled
        and not span.is_recording()
    )


class _Headers(Getter["WSGIEnvironment"]):
    """Finds the headers of a request in its environment."""

    def get(self, carrier: WSGIEnvironment, key: str) -> list[str] | None:
        value = carrier.get(_key_of(key))
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: WSGIEnvironment) -> list[str]:
        return [
            name[5:].replace("_", "-").lower()
            for name in carrier
            if name.startswith("HTTP_")
        ]


# Propagators choose the names, not clients.
@lru_cache(maxsize=64)
def _key_of(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


_HEADERS = _Headers()
