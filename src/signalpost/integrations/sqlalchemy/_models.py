"""What becomes of the objects of mapped classes, as the users of Django know it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import event
from sqlalchemy import orm

from ..._engine.names import named
from ..._engine.namespace import Namespace
from ..._engine.signal import NamedSignal
from ...exchange import current_exchange

model_catalogue: Namespace = Namespace()
"""The signals of mapped classes by their names, as in ``model_catalogue["pre-save"]``.

.. versionadded:: 0.1
"""

pre_save: NamedSignal = model_catalogue.signal(
    "pre-save",
    "An object is about to be inserted or updated.",
    payload=("instance", "created", "connection", "exchange"),
)
"""An object is about to be inserted or updated.

*Sender*: the class of the object. ``subclasses=True`` hears a base class's subclasses
too; ``named("Order")`` stands for the mapped classes of that name, before there are
any.

*Sent when*: a flush has come to the object, before its statement. Not for an object of
which nothing has changed, and never for statements that do without objects:
``session.execute(update(Order))``, ``query.delete()``, bulk methods, and what the
database does by itself, such as ``ON DELETE CASCADE``.

*Payload*:

- ``instance``: the object. Its columns may still be set; other objects, and the
  session, must be left alone within a flush.
- ``created``: whether it is inserted, not updated.
- ``connection``: the :class:`~sqlalchemy.engine.Connection` of the flush, for further
  statements in the same transaction.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises ends the flush.

.. versionadded:: 0.1
"""

post_save: NamedSignal = model_catalogue.signal(
    "post-save",
    "An object has been inserted or updated.",
    payload=("instance", "created", "connection", "exchange"),
)
"""An object has been inserted or updated; its transaction may still be rolled back.

*Sender*: as for :data:`pre_save`.

*Sent when*: within the flush, after the statement. Statements of many objects may be
executed together, so it can come after those of others.

*Payload*: as for :data:`pre_save`; to set columns now would change nothing.

.. versionadded:: 0.1
"""

pre_delete: NamedSignal = model_catalogue.signal(
    "pre-delete",
    "An object is about to be deleted.",
    payload=("instance", "connection", "exchange"),
)
"""An object is about to be deleted.

*Sender*: as for :data:`pre_save`.

*Sent when*: a flush has come to the object, before its statement; as for
:data:`pre_save`, not for statements that do without objects.

*Payload*: ``instance``, ``connection`` and ``exchange``, as for :data:`pre_save`.

.. versionadded:: 0.1
"""

post_delete: NamedSignal = model_catalogue.signal(
    "post-delete",
    "An object has been deleted.",
    payload=("instance", "connection", "exchange"),
)
"""An object has been deleted; its transaction may still be rolled back.

*Sender*: as for :data:`pre_save`.

*Sent when*: within the flush, after the statement.

*Payload*: ``instance``, ``connection`` and ``exchange``, as for :data:`pre_save`.

.. versionadded:: 0.1
"""


committed: NamedSignal = model_catalogue.signal(
    "committed",
    "What became of an object is committed.",
    payload=("instance", "change", "exchange"),
)
"""What became of an object is committed: the moment to tell others of it.

*Sender*: as for :data:`pre_save`.

*Sent when*: the outermost transaction of a session is committed, once for each object
that it inserted, updated or deleted by a flush, in the order in which it first did. Not
for what a rollback, of a savepoint too, has undone; nor where the transaction is the
application's own, begun on a connection that the session was given.

*Payload*:

- ``instance``: the object. What it has loaded can be read; the session can execute
  nothing before it has left the commit.
- ``change``: ``"created"``, also if it was updated after that, ``"updated"`` or
  ``"deleted"``.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises is logged by ``signalpost.signals``, as nothing can be undone.

.. versionadded:: 0.1
"""


def instrument_models() -> ModelInstrumentation:
    """Let all mapped classes send the signals of objects, those mapped later too.

    ::

        instrument_models()
        post_save.connect(index, sender=Order)

    Do it before threads use sessions, as for :func:`instrument`.

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
        self._listening: list[tuple[type, str, Callable[..., None]]] = [
            (orm.Session, "after_commit", _commit),
            (orm.Session, "after_transaction_end", _forget),
            (orm.Mapper, "before_insert", partial(_save, pre_save, True)),  # noqa: FBT003
            (orm.Mapper, "before_update", partial(_save, pre_save, False)),  # noqa: FBT003
            (orm.Mapper, "after_insert", partial(_save, post_save, True)),  # noqa: FBT003
            (orm.Mapper, "after_update", partial(_save, post_save, False)),  # noqa: FBT003
            (orm.Mapper, "before_delete", partial(_send, pre_delete)),
            (orm.Mapper, "after_delete", partial(_delete, post_delete)),
        ]
        for listening in self._listening:
            event.listen(*listening)

    def undo(self) -> None:
        """Let the classes send no more. Done once, it does nothing again."""
        global _instrumentation  # as above
        with _lock:
            if _instrumentation is self:
                _instrumentation = None
            while self._listening:
                event.remove(*self._listening.pop())

    def __enter__(self) -> ModelInstrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


_lock = threading.RLock()
_instrumentation: ModelInstrumentation | None = None
_named: weakref.WeakSet[type] = weakref.WeakSet()


def _save(
    signal: NamedSignal,
    created: bool,  # noqa: FBT001  # given by position by a partial
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    if not created:
        session = orm.object_session(instance)
        # A flush also comes to objects whose collections alone have changed.
        if session is None or not session.is_modified(
            instance, include_collections=False
        ):
            return
    _send(signal, mapper, connection, instance, created=created)
    if signal is post_save:
        _keep(instance, "created" if created else "updated")


def _delete(
    signal: NamedSignal,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
) -> None:
    _send(signal, mapper, connection, instance)
    _keep(instance, "deleted")


def _send(
    signal: NamedSignal,
    mapper: orm.Mapper[Any],
    connection: Connection,
    instance: Any,
    **more: bool,
) -> None:
    sender = type(instance)
    if sender not in _named:
        # Now, as SQLAlchemy does not tell of the classes that were mapped before.
        named(sender.__name__).bind(sender)
        _named.add(sender)
    if signal.has_receivers_for(sender):
        payload: dict[str, Any] = {
            "instance": instance,
            "connection": connection,
            "exchange": current_exchange(),
            **more,
        }
        signal.send(sender, **payload)


_CHANGES = "signalpost.changes"
"""The key in a session's ``info`` of what each of its open transactions changed."""


def _keep(instance: Any, change: str) -> None:
    """Keep what the innermost transaction of an object's session does to it."""
    session = orm.object_session(instance)
    if session is None or not committed.has_receivers_for(type(instance)):
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
        committed.send_isolated(type(instance), payload, lambda: None)


def _forget(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    """Drop what a transaction has changed, if it was not committed."""
    by_transaction = session.info.get(_CHANGES)
    if by_transaction:
        by_transaction.pop(transaction, None)
