"""Sends that wait for the commit of a session."""

from __future__ import annotations

import typing as t
from functools import partial
from typing import Any
from typing import Self

from sqlalchemy import orm

from ..._engine.blocks import Block
from ..._engine.blocks import WaitingSend
from ..._engine.signal import Signal
from ._session_queue import HeldPart
from ._session_queue import queue_of
from ._session_queue import SessionQueue

if t.TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import async_scoped_session
    from sqlalchemy.ext.asyncio import AsyncSession

AnySession: t.TypeAlias = (
    "orm.Session | orm.scoped_session[Any] | AsyncSession | async_scoped_session[Any]"
)


def held_until_commit(
    session: AnySession,
    *signals: Signal,
) -> HeldUntilCommit:
    """Delay the sends of a ``with`` block until the commit of a session.

    ::

        with held_until_commit(db.session, order_placed):
            order_placed.send(shop, order=order)  # waits
            db.session.commit()  # commits, then sends

    Each commit sends the waiting sends, in order, when the session can be used again. A
    rollback, or the end of the transaction without a commit, drops them. The rollback
    of a savepoint drops the sends since the savepoint began. When the block ends or
    raises, its sends since the last commit are dropped.

    In two places they are not dropped at the end of the block, but wait for the next
    commit: in another block of the same session, and in a ``with`` block of
    ``session.begin()``, ``begin_nested()`` or ``sessionmaker.begin()``.

    As with :meth:`~signalpost.Signal.held`, only sends of this context wait, and a
    waiting send returns an empty list. In addition:

    - If a receiver that is called after the commit sends signals, they are sent at
      once.
    - If a receiver raises, the exception is logged by ``signalpost.signals`` and does
      not reach the caller of ``commit()``, because the commit did not fail. The other
      waiting sends continue.
    - A receiver may use the session, which is then in a new transaction. Changes that
      it does not commit are rolled back if a ``with`` block of ``begin()`` commits, or
      if a receiver raises.
    - A rollback before the session has begun a transaction does nothing in SQLAlchemy,
      and drops nothing.

    A block is for one session: for a ``scoped_session``, the one that is current when
    the block begins.

    It is a plain ``with`` block for an ``AsyncSession``, too. There
    :meth:`~signalpost.Signal.send_async` waits like ``send``, and ``await
    session.commit()`` awaits it. It also decorates functions, async or not: each call
    is a block.

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
    _check_session(session)
    return HeldUntilCommit(session, signals)


def send_after_commit(
    session: AnySession,
    signal: Signal,
    sender: Any = None,
    /,
    **payload: Any,
) -> None:
    """Send a signal after the next commit of a session.

    ::

        send_after_commit(db.session, order_placed, shop, order=order)
        db.session.commit()  # commits, then sends

    It is :func:`held_until_commit` for one send. A rollback, or the end of the
    transaction without a commit, drops it, and so does the rollback of a savepoint in
    which it was called. The rules for receivers are the same. It needs no ``with``
    block, so the commit may be anywhere.

    :param session: As for :func:`held_until_commit`. With an ``AsyncSession`` receivers
        may be async.
    :param signal: The signal.
    :param sender: The sender, as for :meth:`~signalpost.Signal.send`.
    :param payload: The keywords that the receivers get.
    :raises TypeError: If ``session`` or ``signal`` is something else.

    .. versionadded:: 0.1
    """
    if not isinstance(signal, Signal):
        raise TypeError(
            f"send_after_commit() expects a signal after the session, got {signal!r}"
        )
    _check_session(session)
    found, is_async = _session_of(session)
    send = signal.send_async if is_async else signal.send
    waiting = WaitingSend(
        partial(send, sender, **payload), is_async=is_async, table=signal.table
    )
    queue_of(found).append(waiting)


class HeldUntilCommit(Block):
    """A block in which sends wait for a commit; from :func:`held_until_commit`.

    .. versionadded:: 0.1
    """

    def __init__(self, session: Any, signals: tuple[Signal, ...]) -> None:
        self._session = session
        self._signals = signals
        self._parts = [HeldPart(one.table) for one in signals]

    def __enter__(self) -> None:
        session, is_async = _session_of(self._session)
        queue = queue_of(session)
        opened = [one.open(queue, is_async=is_async) for one in self._parts]
        queue.marks[opened[0]] = len(queue)

    def __exit__(self, *error: object) -> None:
        closed = [one.close() for one in self._parts]
        queue = t.cast("SessionQueue", closed[0].waiting)
        mark = queue.marks.pop(closed[0])
        if error[0] is not None or not queue.is_committed_later():
            queue.cut(mark)

    def again(self) -> Self:
        return type(self)(self._session, self._signals)


def _session_of(given: Any) -> tuple[orm.Session, bool]:
    """Return the session that commits, and whether it belongs to an async one."""
    if not _is_session(given):
        given = given.registry()
    session: orm.Session = getattr(given, "sync_session", given)
    return session, session is not given


def _check_session(session: object) -> None:
    if not _is_session(session) and not hasattr(session, "registry"):
        raise TypeError(
            "session must be a Session, a scoped_session or an AsyncSession, got"
            f" {session!r}; call a sessionmaker, and pass the session"
        )


def _is_session(given: object) -> bool:
    """Return whether it is a ``Session`` or an ``AsyncSession``."""
    # Not by AsyncSession, as importing it takes greenlet.
    return isinstance(given, orm.Session) or hasattr(given, "sync_session")
