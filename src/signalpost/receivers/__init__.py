"""Ready receivers: one module for each question that people have."""

from __future__ import annotations

import typing as t

from .._places import missing


def __getattr__(name: str) -> t.Any:
    missing(__name__, name)
