"""Return whether recording is suppressed in a context."""

from __future__ import annotations

from opentelemetry import context as otel_context
from opentelemetry.context import Context

__all__ = ["is_suppressed"]

# suppress_instrumentation() sets this key; OpenTelemetry's instrumentations import it.
_SUPPRESSED = otel_context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001  # no public name


def is_suppressed(context: Context) -> bool:
    """Return whether a context is one of ``suppress_instrumentation()``."""
    return bool(context.get(_SUPPRESSED))
