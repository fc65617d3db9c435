"""Hear what becomes of the objects of mapped classes, and send it."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import orm

from ..._engine.signal import NamedSignal
from ...exchange import current_exchange
from . import _model_catalogue as signals
from ._construction import sources_of_post_init
from ._construction import sources_of_pre_init
from ._listening import Listening
from ._listening import Moment
from ._listening import Source
from ._objects import is_heard
from ._objects import send
from ._relationships import sources_of_m2m_changed


def instrument_models() -> ModelInstrumentation:
    """Let all mapped classes send the signals of objects, those mapped later too.

    ::

        instrument_models()
        post_save.connect(index, sender=Order)

    Signals are sent only while somebody hears them, and nothing is done for one that
    nobody has heard yet. Do it, and connect what is to stay, before threads use
    sessions, as for :func:`instrument`.

    :returns: What undoes it; it may be dropped. The same one until it is undone.

    .. versionadded:: 0.1
    """
    global _instrumentation  # one for the process, as Mapper is
    with _lock:
        if _instrumentation is None:
            _instrumentation = ModelInstrumentation()
        return _instrumentation


class ModelInstrumentation:
    """What makes mapped classes send; from :func:`instrument_models`.

    As a context manager it undoes itself at the end of the ``with`` block.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self._listening = Listening(signals.model_catalogue.values(), _sources_of)
        self._listening.begin()

    def undo(self) -> None:
        """Let the classes send no more. Done once, it does nothing again."""
        global _instrumentation  # as above
        with _lock:
            if _instrumentation is self:
                _instrumentation = None
            self._listening.end()

    def __enter__(self) -> ModelInstrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


_lock = threading.RLock()
_instrumentation: ModelInstrumentation | None = None


def _sources_of(signal: NamedSignal) -> list[Source]:
    if signal is signals.pre_init:
        return sources_of_pre_init()
    if signal is signals.post_init:
        return sources_of_post_init()
    if signal is signals.m2m_changed:
        return sources_of_m2m_changed()
    if signal is signals.committed:
        return [
            Moment(orm.Mapper, "after_insert", partial(_keep, "created")),
            Moment(orm.Mapper, "after_update", partial(_keep, "updated")),
            Moment(orm.Mapper, "after_delete", partial(_keep, "deleted")),
            Moment(orm.Session, "after_commit", _commit),
            Moment(orm.Session, "after_transaction_end", _forget),
        ]
    moment = _MOMENTS[signal]
    if moment.endswith("_delete"):
        return [Moment(orm.Mapper, moment, partial(_delete, signal))]
    return [
        Moment(orm.Mapper, f"{moment}_insert", partial(_insert, signal)),
        Moment(orm.Mapper, f"{moment}_update", partial(_update, signal)),
    ]


_MOMENTS = {
    signals.pre_save: "before",
    signals.post_save: "after",
    signals.pre_delete: "before_delete",
    signals.post_delete: "after_delete",
}
"""By signal, SQLAlchemy's name of the moment that it is sent at."""


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
    """Return whether more than collections has changed, to which a flush comes too."""
    session = orm.object_session(instance)
    return session is not None and session.is_modified(
        instance, include_collections=False
    )


_CHANGES = "signalpost.changes"
"""The key in a session's ``info`` of what each of its open transactions changed."""


def _keep(
    change: str,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    """Keep what the innermost transaction of an object's session does to it."""
    session = orm.object_session(instance)
    if session is None or not is_heard(signals.committed, type(instance)):
        return
    if change == "updated" and not _is_modified(instance):
        return
    transaction = session.get_nested_transaction() or session.get_transaction()
    by_transaction = session.info.setdefault(_CHANGES, {})
    _add(by_transaction.setdefault(transaction, {}), instance, change)


def _add(changes: dict[int, tuple[Any, str]], instance: Any, change: str) -> None:
    before = changes.get(id(instance))
    if before is not None and change == "updated":
        change = before[1]
    changes[id(instance)] = instance, change


def _commit(session: orm.Session) -> None:
    by_transaction = session.info.get(_CHANGES)
    if not by_transaction:
        return
    nested = session.get_nested_transaction()
    changes = by_transaction.pop(nested or session.get_transaction(), {})
    if nested is not None:
        outer = by_transaction.setdefault(nested.parent, {})
        for instance, change in changes.values():
            _add(outer, instance, change)
        return
    for instance, change in changes.values():
        payload = {
            "instance": instance,
            "change": change,
            "exchange": current_exchange(),
        }
        signals.committed.send_isolated(type(instance), payload, lambda: None)


def _forget(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    """Drop what a transaction has changed, if it was not committed."""
    by_transaction = session.info.get(_CHANGES)
    if by_transaction:
        by_transaction.pop(transaction, None)
