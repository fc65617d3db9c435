"""Built-in receivers: latency, referrers, failures, SQL and others."""

from __future__ import annotations

import typing as t


def __getattr__(name: str) -> t.Any:
    from .._moved import missing  # only for a mistake

    missing(__name__, name)
