"""Observe how the objects of mapped classes are made."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from . import _model_catalogue as signals
from ._lazy_listeners import EventListener
from ._lazy_listeners import EventSource
from ._objects import has_receivers
from ._objects import send


def sources_of_pre_init() -> list[EventSource]:
    """Return the event sources for an object that is about to be made."""
    return [EventListener(orm.Mapper, "init", _begin)]


def sources_of_post_init() -> list[EventSource]:
    """Return the event sources for an object that has been made, or loaded."""
    constructors = _Constructors()
    return [
        EventListener(orm.Mapper, "load", _load),
        # Before those that are there are looked for: none is to slip in between.
        EventListener(orm.Mapper, "after_mapper_constructed", constructors.wrap),
        constructors,
    ]


def _begin(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if has_receivers(signals.pre_init, type(instance)):
        # So that a receiver can read and set attributes: SQLAlchemy makes them whole
        # for the first object of all, but only after it has called us.
        orm.class_mapper(type(instance))
        send(signals.pre_init, instance, args=args, kwargs=kwargs)


def _load(instance: Any, context: object) -> None:
    send(signals.post_init, instance, is_loaded=True)


class _Constructors:
    """The ``__init__`` of each mapped class, in a wrapper."""

    def __init__(self) -> None:
        self._wrapped: weakref.WeakSet[type] = weakref.WeakSet()
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Wrap those of the classes that are mapped now."""
        for model in _all_classes():
            mapper = vars(model).get("__mapper__")
            if isinstance(mapper, orm.Mapper):
                self.wrap(mapper, model)

    def wrap(self, mapper: orm.Mapper[Any], model: type) -> None:
        """Wrap that of a class which has just been mapped."""
        with self._lock:
            constructor = vars(model).get("__init__")
            if constructor is not None and model not in self._wrapped:
                _set_constructor(model, _wrapped(constructor))
                self._wrapped.add(model)

    def end(self) -> None:
        """Restore each class's function, unless it was replaced since."""
        with self._lock:
            while self._wrapped:
                model = self._wrapped.pop()
                original = getattr(vars(model).get("__init__"), _ORIGINAL, None)
                if original is not None:
                    _set_constructor(model, original)


_ORIGINAL = "_signalpost_original"
"""The attribute of a wrapper that holds the constructor within it."""


def _wrapped(constructor: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(constructor)
    def __init__(instance: Any, /, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it is one
        # An object has its state from the outermost constructor on: within it, this
        # one was called by a subclass's.
        is_outermost = (
            has_receivers(signals.post_init, type(instance))
            and sa.inspect(instance, raiseerr=False) is None
        )
        constructor(instance, *args, **kwargs)
        if is_outermost:
            send(signals.post_init, instance, is_loaded=False)

    setattr(__init__, _ORIGINAL, constructor)
    return __init__


def _set_constructor(model: type, constructor: Callable[..., None]) -> None:
    # By a name that is not written out, as for a type checker it is a mistake.
    setattr(model, constructor.__name__, constructor)


def _all_classes() -> set[type]:
    """Return all classes: SQLAlchemy has no public list of those that are mapped."""
    found: set[type] = set()
    waiting: list[type] = [object]
    while waiting:
        # By way of type, as a metaclass's own needs the metaclass to be given.
        new: set[type] = {*type.__subclasses__(waiting.pop())} - found
        found |= new
        waiting += new
    return found
