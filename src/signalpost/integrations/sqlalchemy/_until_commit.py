"""Sends that wait for the commit of a session."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from typing import Self

from sqlalchemy import event
from sqlalchemy import orm
from sqlalchemy.util import await_only

from ..._engine.blocks import Block
from ..._engine.blocks import Held
from ..._engine.blocks import OpenBlock
from ..._engine.blocks import passing
from ..._engine.blocks import WaitingSend
from ..._engine.signal import Signal

if t.TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import async_scoped_session
    from sqlalchemy.ext.asyncio import AsyncSession


def held_until_commit(
    session: orm.Session
    | orm.scoped_session[Any]
    | AsyncSession
    | async_scoped_session[Any],
    *signals: Signal,
) -> HeldUntilCommit:
    """Let what signals send in a ``with`` block wait for the commit of a session.

    ::

        with held_until_commit(db.session, order_placed):
            order_placed.send(shop, order=order)  # waits
            db.session.commit()  # commits, then sends

    Each commit sends what waits, in order, when the session can be used again. A
    rollback, or the end of the transaction without a commit, drops what waits; the
    rollback of a savepoint drops what was sent since the savepoint began. When the
    block ends, what it sent since the last commit is dropped. When it raises, too.

    In two places it is not dropped at the end, but waits for the commit that is still
    to come: in another block of the same session, and in a ``with`` block of
    ``session.begin()``, ``begin_nested()`` or ``sessionmaker.begin()``.

    What holds for :meth:`~signalpost.Signal.held` holds here: only sends of this
    context wait, and a send that waits returns an empty list. Further:

    - What receivers send while they are called after the commit is sent at once.
    - What a receiver raises goes to the caller of ``commit()``, although the
      transaction is committed, and what waited behind it is not sent. Send with
      :meth:`~signalpost.Signal.send_robust` where that must not be.
    - A receiver may use the session; it is in a new transaction then. What it does not
      commit is rolled back if a ``with`` block of ``begin()`` is what commits.
    - A rollback before the session has begun a transaction does nothing, as SQLAlchemy
      has it, and drops nothing.

    A block is for one session: of a ``scoped_session`` the one that is current when the
    block begins.

    It is a plain ``with`` block for an ``AsyncSession``, too. There
    :meth:`~signalpost.Signal.send_async` waits as ``send`` does, and is awaited in
    ``await session.commit()``. As a decorator of a function, async or not, it is a
    block for each call.

    :param session: A ``Session``, a ``scoped_session`` such as Flask-SQLAlchemy's
        ``db.session``, an ``AsyncSession`` or an ``async_scoped_session``.
    :param signals: The signals that wait.
    :raises TypeError: If ``session`` is something else, such as a ``sessionmaker``, or
        no signal is given.

    .. versionadded:: 0.1
    """
    if not signals:
        raise TypeError(
            "held_until_commit() expects the signals that wait, got none; pass them"
            " after the session"
        )
    for one in signals:
        if not isinstance(one, Signal):
            raise TypeError(f"held_until_commit() holds signals, got {one!r}")
    if not _is_session(session) and not hasattr(session, "registry"):
        raise TypeError(
            "session must be a Session, a scoped_session or an AsyncSession, got"
            f" {session!r}; call a sessionmaker, and pass the session"
        )
    return HeldUntilCommit(session, signals)


class HeldUntilCommit(Block):
    """A block in which sends wait for a commit; from :func:`held_until_commit`.

    .. versionadded:: 0.1
    """

    def __init__(self, session: Any, signals: tuple[Signal, ...]) -> None:
        self._session = session
        self._signals = signals
        self._parts = [_Part(one.table) for one in signals]

    def __enter__(self) -> None:
        given: Any = self._session
        if not _is_session(given):
            given = given.registry()
        session: orm.Session = getattr(given, "sync_session", given)
        queue = _queue_of(session)
        is_async = session is not given
        opened = [one.open(queue, is_async=is_async) for one in self._parts]
        queue.marks[opened[0]] = len(queue)

    def __exit__(self, *error: object) -> None:
        closed = [one.close() for one in self._parts]
        queue = t.cast("_Queue", closed[0].waiting)
        mark = queue.marks.pop(closed[0])
        if error[0] is not None or not queue.is_committed_later():
            queue.cut(mark)

    def again(self) -> Self:
        return type(self)(self._session, self._signals)


class _Part(Held):
    """What one signal sends in a block."""

    limit = (
        "held_until_commit() of a Session; pass the AsyncSession itself, or send from"
        " async code after the commit"
    )

    def open(self, queue: _Queue, *, is_async: bool) -> OpenBlock:
        return self._open(is_async=is_async, waiting=queue)

    def close(self) -> OpenBlock:
        return self._close()


class _Queue(list[WaitingSend]):
    """What waits for the commit of one session, from all of its blocks, in order."""

    def __init__(self, session: orm.Session) -> None:
        super().__init__()
        self.marks: dict[OpenBlock | orm.SessionTransaction, int] = {}
        """How long it was when each open block and savepoint began."""
        self.committed: orm.SessionTransaction | None = None
        """The transaction that was committed and is about to end."""
        self._session = weakref.ref(session)

    def cut(self, length: int) -> None:
        """Forget all but the oldest."""
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


def _queue_of(session: orm.Session) -> _Queue:
    """Return the queue of a session; made, and listening for good, at the first call.

    Not for a block only: a receiver may open one while SQLAlchemy goes through the
    functions that it calls, and their list must not change then.
    """
    queue: _Queue | None = session.info.get(_QUEUE)
    if queue is None:
        queue = session.info[_QUEUE] = _Queue(session)
        event.listen(session, "after_transaction_create", _note_savepoint)
        event.listen(session, "after_commit", _note_commit)
        event.listen(session, "after_transaction_end", _end_transaction)
    return queue


def _note_savepoint(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    if transaction.nested:
        queue = _queue_of(session)
        queue.marks[transaction] = len(queue)


def _note_commit(session: orm.Session) -> None:
    # Nothing is sent yet, as the session cannot be used before the transaction's end.
    nested = session.get_nested_transaction()
    _queue_of(session).committed = nested or session.get_transaction()


def _end_transaction(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    queue = _queue_of(session)
    is_committed = queue.committed is transaction
    if is_committed:
        queue.committed = None
    if transaction.nested:
        mark = queue.marks.pop(transaction, 0)
        if not is_committed:
            queue.cut(mark)
    elif transaction.parent is None:
        waiting = queue[:]
        queue.cut(0)
        if is_committed and waiting:
            _send(session, queue, waiting)


def _send(session: orm.Session, queue: _Queue, waiting: list[WaitingSend]) -> None:
    with _usable(session):
        for one in waiting:
            with passing(partial(_is_passed, queue, one)):
                result = one.send()
                if one.is_async:
                    await_only(result)


def _is_passed(queue: _Queue, sent: WaitingSend, block: OpenBlock) -> bool:
    """Return whether a send after a commit passes a block: its own, or the like."""
    return isinstance(block.block, _Part) and (
        block.waiting is queue or block.table is sent.table
    )


@contextmanager
def _usable(session: orm.Session) -> Iterator[None]:
    """Let a session be used in the commit that a ``with`` block of begin() ends with.

    SQLAlchemy refuses that until the block has ended, and offers no moment after it, or
    before ``sessionmaker.begin()`` closes the session.
    """
    block = _begin_block(session)
    if block is None:
        yield
        return
    private: Any = session
    private._trans_context_manager = None  # noqa: SLF001  # see above
    try:
        yield
    finally:
        if session.in_transaction():
            # After such a block no transaction is open: the next one begins its own.
            session.rollback()
        private._trans_context_manager = block  # noqa: SLF001  # likewise


def _begin_block(session: orm.Session) -> object:
    """Return what is entered by ``with session.begin()``, if the session is in one."""
    return getattr(session, "_trans_context_manager", None)


def _is_session(given: object) -> bool:
    """Return whether it is a ``Session`` or an ``AsyncSession``."""
    # Not by AsyncSession, as importing it takes greenlet.
    return isinstance(given, orm.Session) or hasattr(given, "sync_session")
