"""Return whether OpenTelemetry has suppressed instrumentation."""

from __future__ import annotations

import sys
from typing import Any

_modules = sys.modules


def is_suppressed() -> bool:
    """Return whether the current context is one of ``suppress_instrumentation()``.

    OpenTelemetry is not imported: without it nothing can be suppressed.
    """
    module: Any = _modules.get("opentelemetry.context")
    if module is None:
        return False
    try:
        current = module.get_current()
    except AttributeError:  # a module that is being imported
        return False
    if not current:
        return False
    # Older versions of its instrumentations have set the second key alone.
    return bool(
        current.get(getattr(module, "_SUPPRESS_INSTRUMENTATION_KEY", None))
        or current.get("suppress_instrumentation")
    )
