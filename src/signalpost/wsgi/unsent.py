"""Warnings of receivers that a layer does not call, as its application is unknown."""

from __future__ import annotations

import os
import sys
import typing as t
import warnings
from reprlib import repr as short_repr

from .._engine.identity import describe
from ..errors import SenderWarning
from ..lifecycle import EXCHANGE_SIGNALS
from .finding import applications_in
from .finding import Layer
from .finding import layers_in
from .finding import leads_to

__all__ = ["warn_of_receivers", "warn_of_sender"]

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def warn_of_sender(receiver: object, sender: t.Any) -> None:
    """Warn if a receiver is connected to an application whose layer has another sender.

    That layer is around something that does not show its application, as a function.
    """
    try:
        wsgi_app = sender.wsgi_app
    except Exception:  # noqa: BLE001  # most senders have none, and some raise
        return
    layers = layers_in(sender, wsgi_app)
    if any(layer.sender is sender for layer in layers):
        return
    for layer in layers:
        if not layer.is_sender_known and leads_to(layer.app, sender):
            _warn(layer, sender, f"{describe(receiver)} was connected")
            return


def warn_of_receivers(layer: Layer) -> None:
    """Warn if a layer of unknown application is around one that has receivers."""
    for application in applications_in(layer.app):
        has_receivers = any(
            signal.table.by_sender
            and not signal.table.any
            and signal.table.reaches(application)
            for signal in EXCHANGE_SIGNALS
        )
        wsgi_app = getattr(application, "wsgi_app", None)
        if has_receivers and not layers_in(application, wsgi_app):
            _warn(layer, application, "receivers were connected")


def _warn(layer: Layer, application: object, what: str) -> None:
    warnings.warn(
        f"{what} to {short_repr(application)}, but the SignalMiddleware around it sends"
        f" from {short_repr(layer.sender)}: it cannot be seen which application that"
        " is; write SignalMiddleware(..., sender=app)",
        SenderWarning,
        stacklevel=_frames_inside(),
    )


def _frames_inside() -> int:
    """Return the stack level of the first caller that is not in this package."""
    level = 1
    frame = sys._getframe(1)  # noqa: SLF001  # that of _warn, and no other way to it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
