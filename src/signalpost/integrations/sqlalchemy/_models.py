"""Send signals for changes of objects of mapped classes."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import orm

from ..._engine.signal import NamedSignal
from . import _model_catalogue as signals
from ._construction import sources_of_post_init
from ._construction import sources_of_pre_init
from ._lazy_listeners import EventListener
from ._lazy_listeners import EventSource
from ._lazy_listeners import LazyListeners
from ._objects import has_receivers
from ._objects import send
from ._relationships import sources_of_m2m_changed
from ._session_queue import changes_of
from ._session_queue import end_transaction_of_any
from ._session_queue import note_commit_of_any


def instrument_models() -> ModelInstrumentation:
    """Make all mapped classes send signals of objects, also later classes.

    ::

        instrument_models()
        post_save.connect(index, sender=Order)

    Signals are sent only while they have receivers. A signal that never had a receiver
    costs nothing. Call it, and connect permanent receivers, before threads use
    sessions, as for :func:`instrument`.

    :returns: An object that undoes it; you need not keep it. The same one until it is
        undone.

    .. versionadded:: 0.1
    """
    global _instrumentation  # one for the process, as Mapper is
    with _lock:
        if _instrumentation is None:
            _instrumentation = ModelInstrumentation()
        return _instrumentation


class ModelInstrumentation:
    """Make mapped classes send signals; from :func:`instrument_models`.

    As a context manager it undoes itself at the end of the ``with`` block.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self._listeners = LazyListeners(signals.model_catalogue.values(), _sources_of)
        self._listeners.begin()

    def undo(self) -> None:
        """Stop sending. A second call has no effect."""
        global _instrumentation  # as above
        with _lock:
            if _instrumentation is self:
                _instrumentation = None
            self._listeners.end()

    def __enter__(self) -> ModelInstrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


_lock = threading.RLock()
_instrumentation: ModelInstrumentation | None = None


def _sources_of(signal: NamedSignal) -> list[EventSource]:
    if signal is signals.pre_init:
        return sources_of_pre_init()
    if signal is signals.post_init:
        return sources_of_post_init()
    if signal is signals.m2m_changed:
        return sources_of_m2m_changed()
    if signal is signals.committed:
        return [
            EventListener(orm.Mapper, "after_insert", partial(_keep, "created")),
            EventListener(orm.Mapper, "after_update", partial(_keep, "updated")),
            EventListener(orm.Mapper, "after_delete", partial(_keep, "deleted")),
            EventListener(orm.Session, "after_commit", note_commit_of_any),
            EventListener(orm.Session, "after_transaction_end", end_transaction_of_any),
        ]
    moment = _EVENTS[signal]
    if moment.endswith("_delete"):
        return [EventListener(orm.Mapper, moment, partial(_delete, signal))]
    return [
        EventListener(orm.Mapper, f"{moment}_insert", partial(_insert, signal)),
        EventListener(orm.Mapper, f"{moment}_update", partial(_update, signal)),
    ]


_EVENTS = {
    signals.pre_save: "before",
    signals.post_save: "after",
    signals.pre_delete: "before_delete",
    signals.post_delete: "after_delete",
}
"""SQLAlchemy's event by the signal that is sent at it."""


def _insert(
    signal: NamedSignal,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    send(signal, instance, connection=connection, created=True)


def _update(
    signal: NamedSignal,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    if _is_modified(instance):
        send(signal, instance, connection=connection, created=False)


def _delete(
    signal: NamedSignal,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    send(signal, instance, connection=connection)


def _is_modified(instance: Any) -> bool:
    """Return whether a flush changes the object itself, and not only collections."""
    session = orm.object_session(instance)
    return session is not None and session.is_modified(
        instance, include_collections=False
    )


def _keep(
    change: str,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    """Store a change of an object for the innermost transaction of its session."""
    session = orm.object_session(instance)
    if session is None or not has_receivers(signals.committed, type(instance)):
        return
    if change == "updated" and not _is_modified(instance):
        return
    changes_of(session).add(mapper, instance, change)
