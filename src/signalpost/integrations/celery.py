"""Tasks of Celery as units of work.

Each task that a worker runs is a :class:`~signalpost.work.Work` named as the task, with
the id of the request, or the work, that sent it.
"""

from __future__ import annotations

import sys
import typing as t
from collections import deque
from reprlib import repr as short_repr

from celery import Celery
from celery.exceptions import TimeLimitExceeded
from celery.exceptions import WorkerLostError
from celery.signals import before_task_publish
from celery.signals import task_failure
from celery.signals import task_postrun
from celery.signals import task_prerun
from celery.signals import worker_process_shutdown

from .._relaying import flush_relays
from ..receivers.context import request_context
from ..work import begin_work
from ..work import Work

__all__ = ["connect_celery", "disconnect_celery"]

_HEADER = "signalpost"
_SENDER = "_signalpost_sender"
_WORK = "_signalpost_work"
_SIGNALS = 256

_lost: deque[str] = deque(maxlen=100)


def connect_celery(celery_app: t.Any, sender: object = None) -> None:
    """Make each task of a Celery application a unit of work.

    ::

        queue = Celery("shop", broker="redis://localhost")
        connect_celery(queue, app)

    Call it where the Celery application is created, in the processes that send tasks
    and in the workers, with any pool. Each message then has a header with the result of
    :func:`~signalpost.receivers.context.request_context`.

    A task that raises has the outcome ``"error"``. A task that requests a retry, or is
    rejected or ignored, has ``"aborted"``. Each try is a unit of work. If a process of
    the worker was killed, for example by a time limit, the main process sends both
    signals with the outcome ``"lost"`` and Celery's exception, unless Celery runs the
    task again (``task_reject_on_worker_lost``). If ``SIGTERM`` ended the
    process, the process may have sent ``"aborted"``, too. A task that raises
    ``SystemExit`` has ``"error"`` and, with the pool ``prefork``, also ``"lost"``,
    because its process has ended.

    :param celery_app: The Celery application.
    :param sender: The sender of ``work-started`` and ``work-finished``: the Flask or
        WSGI application whose receivers are called. Without it, the sender is
        ``celery_app``. It lives as long as ``celery_app``. Another call replaces it.
    :raises TypeError: If ``celery_app`` is not a Celery application.

    .. versionadded:: 0.1
    """
    own = _own(celery_app)
    setattr(own, _SENDER, own if sender is None else sender)
    # Celery's signals are those of the process; to connect again changes nothing.
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver, weak=False, dispatch_uid=f"signalpost.{signal.name}")


def disconnect_celery(celery_app: t.Any) -> bool:
    """Record no more tasks of a Celery application.

    :returns: Whether it was connected.

    .. versionadded:: 0.1
    """
    own = _own(celery_app)
    was_connected = hasattr(own, _SENDER)
    if was_connected:
        delattr(own, _SENDER)
    return was_connected


def _own(celery_app: t.Any) -> t.Any:
    """Return the application of a proxy, such as ``current_app``."""
    if hasattr(type(celery_app), "_get_current_object"):
        celery_app = celery_app._get_current_object()  # noqa: SLF001  # the only way
    if not isinstance(celery_app, Celery):
        raise TypeError(
            "connect_celery() takes a Celery application, got"
            f" {short_repr(celery_app)}; write connect_celery(queue, app), the Celery"
            " application first"
        )
    return celery_app


def _send_context(headers: t.Any = None, **_: object) -> None:
    context = request_context()
    if context and isinstance(headers, dict):
        headers[_HEADER] = context


def _enter(task: t.Any, **_: object) -> None:
    sender = getattr(task.app, _SENDER, None)
    if sender is not None:
        # On the request, of which each run of the task has one.
        found = begin_work(task.name, sender, task.request.get(_HEADER))
        setattr(task.request, _WORK, found)


def _leave(
    task: t.Any, retval: object = None, state: str | None = None, **_: object
) -> None:
    found: Work | None = task.request.get(_WORK)
    if found is None:
        return
    setattr(task.request, _WORK, None)
    if state == "SUCCESS":
        found.finish()
        return
    # Without a state, it was no Exception, and Celery gives no value.
    error = retval if isinstance(retval, BaseException) else sys.exception()
    is_failed = state == "FAILURE" or (state is None and not _is_killed(error))
    found.finish(error, outcome=None if is_failed else "aborted")


def _is_killed(error: BaseException | None) -> bool:
    """Return whether a child process is ended by its parent, by SIGTERM.

    Its pool raises this then, with the number of the signal. The parent reports it.
    """
    code = error.code if isinstance(error, SystemExit) else None
    return isinstance(code, int) and -_SIGNALS < code < 0


def _lose(sender: t.Any, task_id: str, exception: BaseException, **_: object) -> None:
    """Send the end of tasks of a killed process; in a worker's main process."""
    # Celery sends its signal there for other tasks, too, which have run to their end:
    # rejected ones, and those whose result cannot be sent.
    if not isinstance(exception, (TimeLimitExceeded, WorkerLostError)):
        return
    own_sender = getattr(sender.app, _SENDER, None)
    request = sender.request
    if own_sender is None or request.get(_WORK) is not None:
        return
    # At a time limit, Celery sends its signal twice.
    if task_id in _lost:
        return
    _lost.append(task_id)
    found = begin_work(sender.name, own_sender, request.get(_HEADER))
    found.finish(exception, outcome="lost")


def _end(**_: object) -> None:
    # A process of the pool ends without the functions of atexit.
    flush_relays()


_RECEIVERS: tuple[tuple[t.Any, t.Any], ...] = (
    (before_task_publish, _send_context),
    (task_prerun, _enter),
    (task_postrun, _leave),
    (task_failure, _lose),
    (worker_process_shutdown, _end),
)
