"""Receivers of several signals, and methods that are connected for each instance."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from reprlib import repr as short_repr
from typing import Any

from .connecting import Arguments
from .connecting import checked_options
from .connecting import decorator
from .connecting import real_sender
from .connection import Predicate
from .identity import ANY
from .namespace import Namespace
from .signal import Signal

F = t.TypeVar("F", bound=Callable[..., Any])

_MARK = "__signalpost_signals__"


class Marked(t.NamedTuple):
    """The signals and options that a method was marked with."""

    signals: tuple[Signal, ...]
    sender: Any
    options: dict[str, Any]


def receiver(  # noqa: PLR0913  # options, by keyword
    signals: Signal | Iterable[Signal],
    sender: Any = ANY,
    weak: bool = True,  # noqa: FBT001, FBT002  # as connect has it
    *,
    once: bool = False,
    priority: int = 0,
    dispatch_uid: Hashable = None,
    subclasses: bool = False,
    when: Predicate | None = None,
    strict: bool = False,
    replace: bool = False,
) -> Callable[[F], F]:
    """Connect the decorated function to one signal or to several.

    >>> from signalpost import receiver, Signal
    >>> opened, closed = Signal(), Signal()
    >>> @receiver([opened, closed], sender="shop")
    ... def note(sender):
    ...     return f"noted {sender}"
    >>> [value for _, value in closed.send("shop")]
    ['noted shop']

    :param signals: A signal, or several.
    :param sender: As for :meth:`Signal.connect`, and so are the others.
    :raises TypeError: If something else than signals is given, or none.

    .. versionadded:: 0.1
    """
    found = _signals(signals, "receiver")
    options = checked_options(
        None,
        sender,
        once=once,
        priority=priority,
        subclasses=subclasses,
        when=when,
        strict=strict,
    )
    sender = sender if sender is ANY else real_sender(sender)
    arguments = Arguments(sender, weak, options, dispatch_uid, replace)
    return decorator(tuple(signal.table for signal in found), arguments)


def receiver_method(
    signals: Signal | Iterable[Signal], sender: Any = ANY, **options: Any
) -> Callable[[F], F]:
    """Mark a method as a receiver, to be connected for each instance.

    >>> from signalpost import connect_methods, receiver_method, Signal
    >>> paid = Signal()
    >>> class Mailer:
    ...     def __init__(self):
    ...         connect_methods(self)
    ...     @receiver_method(paid)
    ...     def thank(self, sender):
    ...         return f"thanks from {sender}"
    >>> mailer = Mailer()
    >>> [value for _, value in paid.send("shop")]
    ['thanks from shop']

    :param signals: A signal, or several.
    :param sender: As for :meth:`Signal.connect`.
    :param options: The other options of :meth:`Signal.connect` but ``weak`` and
        ``replace``: the method is connected as long as its instance lives.
    :raises TypeError: If something else than signals is given, or none.

    .. versionadded:: 0.1
    """
    marked = Marked(_signals(signals, "receiver_method"), sender, options)
    unknown = options.keys() - _OPTIONS
    if unknown:
        raise TypeError(
            f"receiver_method() does not take {', '.join(sorted(unknown))}; it takes"
            f" {', '.join(sorted(_OPTIONS))}"
        )

    def mark(function: F) -> F:
        setattr(function, _MARK, (*getattr(function, _MARK, ()), marked))
        return function

    return mark


_OPTIONS = {"once", "priority", "dispatch_uid", "subclasses", "when", "strict"}


def connect_methods(instance: object) -> None:
    """Connect each marked method of an instance, until the instance is freed.

    Inherited methods are connected, too. If a subclass replaces a method, it is
    connected only if the subclass marks it.

    :param instance: The instance, as ``self`` in ``__init__``.
    """
    for method, marks in _marked_methods(instance):
        for mark in marks:
            for signal in mark.signals:
                signal.connect(method, mark.sender, **mark.options)


def disconnect_methods(instance: object) -> None:
    """Disconnect the methods that :func:`connect_methods` has connected."""
    for method, marks in _marked_methods(instance):
        for mark in marks:
            for signal in mark.signals:
                signal.disconnect(
                    method, mark.sender, dispatch_uid=mark.options.get("dispatch_uid")
                )


def _marked_methods(instance: object) -> list[tuple[Any, tuple[Marked, ...]]]:
    names = dict.fromkeys(
        name for kind in reversed(type(instance).__mro__) for name in vars(kind)
    )
    found = []
    for name in names:
        # Not by the instance: a property would run.
        function = getattr(type(instance), name, None)
        marks = getattr(function, _MARK, ())
        if isinstance(marks, tuple) and marks:
            found.append((getattr(instance, name), marks))
    return found


def _signals(signals: Signal | Iterable[Signal], taker: str) -> tuple[Signal, ...]:
    if isinstance(signals, Namespace):
        raise TypeError(
            f"{taker}() takes signals, got a namespace; namespace.connect(receiver)"
            " connects to all of its signals"
        )
    found = (
        tuple(signals)
        if isinstance(signals, Iterable) and not isinstance(signals, (str, bytes))
        else (signals,)
    )
    if not found:
        raise TypeError(f"{taker}() takes at least one signal, got none")
    for signal in found:
        if not isinstance(signal, Signal):
            raise TypeError(
                f"{taker}() takes a signal or several, got {short_repr(signal)}"
            )
    return found
