"""Integrations of other packages, one module for each; none is imported from here."""

from __future__ import annotations

import typing as t


def __getattr__(name: str) -> t.Any:
    from .._moved import missing  # only for a mistake

    missing(__name__, name)
