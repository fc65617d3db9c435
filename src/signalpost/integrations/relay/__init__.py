"""Signals for receivers in other processes and on other machines, over a broker."""

from __future__ import annotations

from ._event import Event
from ._values import Codec

__all__ = ["Codec", "Event"]
