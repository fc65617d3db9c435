"""The modules of public names, for the error of an import from another module."""

from __future__ import annotations

import typing as t

__all__ = ["MODULES", "missing"]

_BY_MODULE = {
    "signalpost": ("Signal", "Namespace", "SignalMiddleware", "named", "receiver"),
    "signalpost.config": ("Configuration",),
    "signalpost.exchange": ("Exchange", "current_exchange"),
    "signalpost.integrations": (
        "celery",
        "flask",
        "gunicorn",
        "opentelemetry",
        "prometheus",
        "relay",
        "rq",
        "sqlalchemy",
    ),
    "signalpost.integrations.flask": ("Signalpost",),
    "signalpost.integrations.opentelemetry": ("OpenTelemetry",),
    "signalpost.integrations.prometheus": ("PrometheusMetrics",),
    "signalpost.integrations.sqlalchemy": ("instrument",),
    "signalpost.lifecycle": (
        "appcontext_popped",
        "appcontext_pushed",
        "appcontext_tearing_down",
        "before_render_template",
        "catalogue",
        "exchange_closed",
        "exchange_opened",
        "got_request_exception",
        "message_flashed",
        "request_finished",
        "request_started",
        "request_tearing_down",
        "sql_executed",
        "template_rendered",
        "work_finished",
        "work_started",
    ),
    "signalpost.receivers.failures": ("FailureLogger", "log_failure"),
    "signalpost.receivers.formats": ("JsonFormatter", "LogfmtFormatter"),
    "signalpost.receivers.latency": ("LatencyLogger", "log_latency"),
    "signalpost.receivers.recorder": ("LatencyRecorder",),
    "signalpost.receivers.referrer_counter": ("ReferrerCounter",),
    "signalpost.receivers.referrers": ("ReferrerLogger", "log_referrer"),
    "signalpost.receivers.sql": ("SqlLogger", "log_sql"),
    "signalpost.receivers.sql_totals": ("SqlTotalsCounter", "count_sql"),
    "signalpost.work": ("Work", "work"),
    "signalpost.testing": ("capture", "restored"),
}

MODULES: t.Final = {
    name: module for module, names in _BY_MODULE.items() for name in names
}
"""The module of each name that people look for in another one."""


def missing(module: str, name: str) -> t.NoReturn:
    """Raise the error of a name that a module does not have.

    :raises ImportError: If another module has it. An :exc:`AttributeError` would not
        be shown by ``from … import``.
    :raises AttributeError: If none has.
    """
    place = MODULES.get(name)
    if place is None or place == module:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    raise ImportError(
        f"{module} has no {name}; write: from {place} import {name}", name=module
    )
