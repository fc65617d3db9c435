"""Receivers of lifecycle signals that are connected to what does not send them."""

from __future__ import annotations

import functools
import os
import sys
import types
import typing as t
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from reprlib import repr as short_repr

from .._engine.asyncness import CO_GENERATOR
from .._engine.asyncness import CO_ITERABLE_COROUTINE
from .._engine.connection import Options
from .._engine.identity import ANY
from .._engine.identity import describe
from .._engine.names import SenderName
from .._engine.signal import NamedSignal
from ..errors import ApplicationGoneError
from ..errors import ReceiverError
from ..errors import SenderWarning
from ..lifecycle import EXCHANGE_SIGNALS
from ..lifecycle import SENT_BY_OTHERS
from ..lifecycle import SIGNALS_WITHIN
from ..lifecycle import WORK_SIGNALS
from .finding import applications_in
from .finding import is_layer
from .finding import Layer
from .finding import layers_in
from .finding import refers_to
from .kinds import has_method

__all__ = [
    "check_connection",
    "instrumentations",
    "layers",
    "layers_by_sender",
    "reason_unsent",
    "warn_of_receivers",
]


class Pausable(t.Protocol):
    """Makes something send signals, unless it is paused."""

    @property
    def is_paused(self) -> bool:
        """``True`` if nothing is sent for now."""


layers: weakref.WeakSet[Layer] = weakref.WeakSet()
"""Every layer in this process."""
layers_by_sender: weakref.WeakValueDictionary[int, Layer] = (
    weakref.WeakValueDictionary()
)
"""A layer by the ``id`` of the sender that it was made with, which may be gone."""
instrumentations: weakref.WeakSet[Pausable] = weakref.WeakSet()
"""Every object in this process that makes engines of a database send signals."""

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_VALUES = (str, bytes, int, float, type(None))
_REASONS_BY_KIND: t.Final = (
    (type, "a class sends no signals: connect to the application object"),
    (
        (list, tuple, set, frozenset, dict),
        "a collection sends no signals: connect to each application",
    ),
    (
        types.ModuleType,
        "a module sends no signals: connect to the application object",
    ),
)


def reason_unsent(signal: NamedSignal, sender: t.Any) -> str | None:
    """Return why a signal of the catalogue does not come from a sender, as things are.

    :returns: ``None`` if it may come.
    """
    if sender is ANY:
        return _reason_by_engines(signal)
    if type(sender) is SenderName:
        reasons = [reason_unsent(signal, one) for one in sender.senders]
        if not reasons:
            return f"no application has the name {sender.name!r}"
        return None if None in reasons else reasons[0]
    reason = _reason_by_kind(sender)
    # A sender of units of work needs no layer.
    if signal in WORK_SIGNALS:
        return reason
    if reason is not None or signal not in SENT_BY_OTHERS:
        return reason or _reason_by_layers(signal, sender)
    is_sender = any(one is sender for _, one in _senders())
    is_application = is_sender or _is_application(sender)
    return _reason_by_others(signal) if is_application else None


def _reason_by_engines(signal: NamedSignal) -> str | None:
    """Return why no engine sends a signal of engines."""
    if signal not in SIGNALS_WITHIN:
        return None
    # A receiver that was disabled leaves a paused one.
    if any(not one.is_paused for one in [*instrumentations]):
        return None
    return (
        "no engine is instrumented: enable the receiver sqlalchemy, or call"
        " signalpost.integrations.sqlalchemy.instrument()"
    )


def _reason_by_others(signal: NamedSignal) -> str:
    """Return why an application does not send a signal that others send."""
    if signal in SIGNALS_WITHIN:
        return (
            "applications do not send it, engines do: connect without a sender, or to"
            " the engine"
        )
    return "applications do not send it, configurations do: connect without a sender"


def _is_application(sender: t.Any) -> bool:
    """Return whether a sender is an application, however many layers there are."""
    if isinstance(sender, _VALUES):
        return True  # certainly neither an engine nor a configuration
    layer = layers_by_sender.get(id(sender))
    with suppress(ApplicationGoneError):
        if layer is not None and layer.sender is sender:
            return True
    return has_method(type(sender), "wsgi_app")


def _are_applications(sender: t.Any) -> bool:
    """Return whether a sender, or each sender of a name, is an application."""
    if type(sender) is not SenderName:
        return _is_application(sender)
    senders = sender.senders
    return bool(senders) and all(map(_is_application, senders))


def _reason_by_layers(signal: NamedSignal, sender: object) -> str | None:
    """Return why no layer sends a signal from an application."""
    found = [layer for layer, one in _senders() if one is sender]
    if not found:
        return "it has no layer: call Signalpost(app), or wrap it in SignalMiddleware"
    is_plain = all(layer.find_request is None for layer in found)
    if is_plain and signal not in EXCHANGE_SIGNALS:
        return "its layer sends no signals of its framework: call Signalpost(app)"
    return None


def _reason_by_kind(sender: t.Any) -> str | None:
    """Return why a sender of such a kind sends nothing."""
    kind = type(sender)
    for kinds, reason in _REASONS_BY_KIND:
        if issubclass(kind, kinds):
            return reason
    if is_layer(sender):
        return _reason_of_layer(sender)
    if not issubclass(kind, _VALUES):
        return None
    if any(type(one) is kind and one == sender for _, one in _senders()):
        return None
    if kind is str:
        return f"a string sends no signals: write named({sender!r}) for the application"
    return "a value sends no signals: connect to the application object"


def _reason_of_layer(layer: t.Any) -> str | None:
    if any(one is layer for _, one in _senders()):
        return None
    return "a layer sends no signals, its application does: connect to that"


def _senders() -> Iterator[tuple[Layer, object]]:
    """Yield every layer and its sender, if that is there."""
    for layer in [*layers]:
        with suppress(ApplicationGoneError):
            yield layer, layer.sender


def check_connection(
    signal: NamedSignal, receiver: object, sender: t.Any, options: Options
) -> None:
    """Refuse a receiver that would not run, and warn of a wrong sender.

    :raises ReceiverError: If it is a generator function: what receivers of the
        catalogue return is not read.
    """
    if _is_generator_function(receiver):
        raise ReceiverError(
            f"receiver {describe(receiver)} is a generator function, whose body would"
            f" never run, as nothing reads what receivers of {signal.name} return;"
            " connect a function without yield",
            receiver,
        )
    if sender is not ANY:
        _warn_of_sender(signal, receiver, sender, options)


def _is_generator_function(receiver: t.Any) -> bool:
    """Return whether a call would run nothing of a receiver's own function.

    A decorator may run a generator, so the wrapped function is not checked.
    """
    while issubclass(type(receiver), functools.partial):
        receiver = receiver.func
    function = receiver
    if type(receiver) is types.MethodType:
        function = receiver.__func__
    elif type(receiver) is not types.FunctionType:
        function = type(receiver).__call__
    if type(function) is not types.FunctionType:
        return False
    flags = function.__code__.co_flags
    return bool(flags & CO_GENERATOR) and not flags & CO_ITERABLE_COROUTINE


def _warn_of_sender(
    signal: NamedSignal, receiver: object, sender: t.Any, options: Options
) -> None:
    """Warn if a receiver is connected to a sender that does not send the signal.

    Also if it is an application whose layer has another sender, because an object
    between them does not show the application. A receiver of the whole catalogue
    misses nothing: it gets the signals that the application sends.
    """
    reason = _reason_by_kind(sender)
    is_by_others = signal in SENT_BY_OTHERS
    if is_by_others and reason is None and not options.passes_signal:
        reason = _reason_by_others(signal) if _are_applications(sender) else None
    if reason is not None:
        _warn(f"{describe(receiver)} was connected to {short_repr(sender)}; {reason}")
    elif not is_by_others and signal not in WORK_SIGNALS:
        _warn_of_layer_of(receiver, sender)


def _warn_of_layer_of(receiver: object, sender: t.Any) -> None:
    """Warn if the layer around an application sends from something else."""
    try:
        wsgi_app = sender.wsgi_app
    except Exception:  # noqa: BLE001  # most senders have none, and some raise
        return
    found = layers_in(sender, wsgi_app)
    if any(layer.sender is sender for layer in found):
        return
    for layer in found:
        if not layer.is_sender_known and refers_to(layer.app, sender):
            _warn_of_layer(layer, sender, f"{describe(receiver)} was connected")
            return


def warn_of_receivers(layer: Layer) -> None:
    """Warn of receivers that a new layer shows to be connected to the wrong sender.

    To an application that this layer is around and does not send from; or to one for a
    signal that applications do not send, if that was not known to be one before.
    """
    sender = layer.sender
    for signal in SENT_BY_OTHERS:
        if signal.table.by_sender and signal.table.reaches(sender):
            _warn_of_others(signal, sender)
    if not layer.is_sender_known:
        _warn_of_sender_within(layer)


def _warn_of_sender_within(layer: Layer) -> None:
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
            _warn_of_layer(layer, application, "receivers were connected")


def _warn_of_others(signal: NamedSignal, sender: object) -> None:
    """Warn of the receivers of a signal that an application does not send."""
    for one in signal.connections:
        if one.sender is sender and not one.whole_namespace:
            reason = _reason_by_others(signal)
            _warn(f"{one.name} was connected to {short_repr(sender)}; {reason}")


def _warn_of_layer(layer: Layer, application: object, what: str) -> None:
    _warn(
        f"{what} to {short_repr(application)}, but the SignalMiddleware around it sends"
        f" from {short_repr(layer.sender)}: it cannot be seen which application that"
        " is; write SignalMiddleware(..., sender=app)"
    )


def _warn(message: str) -> None:
    warnings.warn(message, SenderWarning, stacklevel=_frames_inside())


def _frames_inside() -> int:
    """Return the stack level of the first caller that is not in this package."""
    level = 1
    frame = sys._getframe(1)  # that of _warn, and no other way to it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
