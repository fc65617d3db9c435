"""Send held signals when a session has committed."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy import orm
from sqlalchemy.util import await_only

from ..._engine.blocks import Held
from ..._engine.blocks import OpenBlock
from ..._engine.blocks import passing
from ..._engine.blocks import WaitingSend
from ..._engine.unseen import checked
from ._changes import Changes

_log = logging.getLogger("signalpost.signals")


class HeldPart(Held):
    """The held sends of one signal in a block."""

    limit = (
        "held_until_commit() of a Session; pass the AsyncSession itself, or send from"
        " async code after the commit"
    )

    def open(self, queue: SessionQueue, *, is_async: bool) -> OpenBlock:
        return self._open(is_async=is_async, waiting=queue)

    def close(self) -> OpenBlock:
        return self._close()


class SessionQueue(list[WaitingSend]):
    """The sends that wait for the commit of a session, of all its blocks, in order."""

    def __init__(self, session: orm.Session) -> None:
        super().__init__()
        self.marks: dict[OpenBlock | orm.SessionTransaction, int] = {}
        """How long it was when each open block and savepoint began."""
        self.changes: dict[orm.SessionTransaction, Changes] = {}
        """The changes of each open transaction to objects."""
        self.committed: orm.SessionTransaction | None = None
        """The transaction that was committed and is about to end."""
        self.is_listening = False
        """``True`` if the events of this very session are followed, too.
        """
        self._session = weakref.ref(session)

    def cut(self, length: int) -> None:
        """Drop all entries but the oldest ones."""
        del self[length:]
        self.marks = {key: min(mark, length) for key, mark in self.marks.items()}

    def is_committed_later(self) -> bool:
        """Return whether a block around the one that has ended is to commit."""
        if any(isinstance(key, OpenBlock) for key in self.marks):
            return True
        session = self._session()
        return (
            session is not None
            and session.in_transaction()
            and _begin_block(session) is not None
        )


_QUEUE = "signalpost.until_commit"
"""The key in a session's ``info`` of its queue."""


def queue_of(session: orm.Session) -> SessionQueue:
    """Return the queue of a session; created at the first call, and kept.

    Not for a block only: a receiver may open one while SQLAlchemy goes through the
    functions that it calls, and their list must not change then.
    """
    queue = _queue_in(session)
    if not queue.is_listening:
        queue.is_listening = True
        event.listen(session, "after_transaction_create", _note_savepoint)
        event.listen(session, "after_commit", _note_commit)
        event.listen(session, "after_transaction_end", _end_transaction)
    return queue


def changes_of(session: orm.Session) -> Changes:
    """Return the changes of objects by the innermost transaction of a session.

    Sessions whose objects are followed are many, so they share functions:
    see :func:`note_commit_of_any` and :func:`end_transaction_of_any`.
    """
    transaction = session.get_nested_transaction() or session.get_transaction()
    changes = _queue_in(session).changes
    if transaction is None:
        # There is no commit to wait for, as when a mapper is flushed by hand.
        return Changes()
    return changes.setdefault(transaction, Changes())


def note_commit_of_any(session: orm.Session) -> None:
    """Store the commit of a session without its own function."""
    queue: SessionQueue | None = session.info.get(_QUEUE)
    if queue is not None and not queue.is_listening:
        _note_commit(session)


def end_transaction_of_any(
    session: orm.Session, transaction: orm.SessionTransaction
) -> None:
    """End a transaction of a session without its own function."""
    queue: SessionQueue | None = session.info.get(_QUEUE)
    if queue is not None and not queue.is_listening:
        _end_transaction(session, transaction)


def _queue_in(session: orm.Session) -> SessionQueue:
    queue: SessionQueue | None = session.info.get(_QUEUE)
    if queue is None:
        queue = session.info[_QUEUE] = SessionQueue(session)
    return queue


def _note_savepoint(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    if transaction.nested:
        queue = _queue_in(session)
        queue.marks[transaction] = len(queue)


def _note_commit(session: orm.Session) -> None:
    # Nothing is sent yet, as the session cannot be used before the transaction's end.
    nested = session.get_nested_transaction()
    _queue_in(session).committed = nested or session.get_transaction()


def _end_transaction(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    queue = _queue_in(session)
    is_committed = queue.committed is transaction
    if is_committed:
        queue.committed = None
    changes = queue.changes.pop(transaction, None)
    if transaction.nested:
        mark = queue.marks.pop(transaction, 0)
        if not is_committed:
            queue.cut(mark)
        elif changes is not None and transaction.parent is not None:
            queue.changes.setdefault(transaction.parent, Changes()).merge(changes)
    elif transaction.parent is None:
        waiting = queue[:]
        queue.cut(0)
        if is_committed and (waiting or changes):
            _send(session, queue, waiting, changes)


def _send(
    session: orm.Session,
    queue: SessionQueue,
    waiting: list[WaitingSend],
    changes: Changes | None,
) -> None:
    failures = 0
    with _usable(session):
        if changes is not None:
            failures += changes.send(session)
            # The sends of a block that are committed now.
            waiting += queue[:]
            queue.cut(0)
        for one in waiting:
            with passing(partial(_is_passed, queue, one)):
                failures += _failures_of(one)
        if failures:
            # A failed statement: the database refuses any other one.
            end_transaction(session)


def _failures_of(one: WaitingSend) -> int:
    """Send the waiting signals, and return the number of failed receivers."""
    try:
        results = one.send()
        if one.is_async:
            results = await_only(results)
    except Exception:
        # It has a note that names the receiver.
        logger = checked(_log, logging.ERROR)
        logger.exception("%s: a send after a commit failed", one.table.signal())
        return 1
    if isinstance(results, int):  # an isolated send of this package
        return results
    # Those of a robust send.
    return sum(getattr(result, "failed", False) for result in results)


def _is_passed(queue: SessionQueue, sent: WaitingSend, block: OpenBlock) -> bool:
    """Return whether a send after a commit passes a block: its own, or the like."""
    return isinstance(block.block, HeldPart) and (
        block.waiting is queue or block.table is sent.table
    )


@contextmanager
def _usable(session: orm.Session) -> Iterator[None]:
    """Make a session usable in the commit at the end of a block of begin().

    SQLAlchemy refuses that until the block has ended, and offers no moment after it, or
    before ``sessionmaker.begin()`` closes the session.
    """
    block = _begin_block(session)
    if block is None:
        yield
        return
    private: Any = session
    private._trans_context_manager = None  # noqa: SLF001  # no public name
    try:
        yield
    finally:
        # After such a block no transaction is open: the next one begins its own.
        end_transaction(session)
        private._trans_context_manager = block  # noqa: SLF001  # no public name


def end_transaction(session: orm.Session) -> None:
    """End the transaction that receivers have begun, without a commit.

    Not by a rollback if they have only read, as that expires every object of the
    session, and an application that commits without that must find them loaded.
    """
    transaction = session.get_transaction()
    if transaction is None:
        return
    is_clean = session.is_active and not session.in_nested_transaction()
    if is_clean and not _has_written(session, transaction):
        transaction.close()
    else:
        session.rollback()


def _has_written(session: orm.Session, transaction: orm.SessionTransaction) -> bool:
    """Return whether objects were changed in a transaction, flushed or not."""
    # No public attribute has the flushed objects.
    flushed = ("_new", "_dirty", "_deleted", "_key_switches")
    return bool(session.new or session.dirty or session.deleted) or any(
        getattr(transaction, name, True) for name in flushed
    )


def _begin_block(session: orm.Session) -> object:
    """Return what is entered by ``with session.begin()``, if the session is in one."""
    return getattr(session, "_trans_context_manager", None)
