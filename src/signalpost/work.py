"""Units of work outside of requests: a task, a command, the work of a thread.

A unit of work has a record like a request: statements, failures and log lines belong to
it, and it has an id. Its signals are :data:`~signalpost.lifecycle.work_started` and
:data:`~signalpost.lifecycle.work_finished`; signals of requests are not sent for it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from reprlib import repr as short_repr

from ._current import carried_values
from ._current import context_exchange
from ._engine.blocks import Block
from ._engine.blocks import decorated
from ._engine.identity import describe
from ._handling import Handling
from ._ids import is_id
from .errors import AsyncReceiverError
from .exchange import current_exchange
from .exchange import Exchange
from .exchange import ExchangeOutcome
from .lifecycle import work_finished
from .lifecycle import work_started

__all__ = ["METHOD", "Work", "begin_work", "work"]

F = t.TypeVar("F", bound=Callable[..., t.Any])

METHOD: t.Final = "WORK"
"""The ``method`` of a unit of work, in log lines and labels with methods of requests.

.. versionadded:: 0.1
"""

# By name, as no event loop is imported here: asyncio's and Trio's.
_CANCELLATIONS = frozenset(("Cancelled", "CancelledError"))


class Work(Exchange):
    """One unit of work: the record that its statements and failures belong to.

    It is an :class:`~signalpost.exchange.Exchange` without a request, so that each
    receiver that gets the exchange of a statement gets the unit of work here. Its
    ``method`` is ``"WORK"``, its ``route`` is its name, ``path`` is ``""``,
    ``status`` is ``None``, and ``environ`` has no header. ``outer`` is the exchange, or
    the unit of work, that it was begun in.

    ``outcome`` is ``"complete"``; ``"error"`` if the work raised; ``"aborted"`` if it
    was interrupted (``KeyboardInterrupt``, Click's ``Abort``, a cancelled task, a task
    that requests a retry); or ``"lost"`` if the process died before the end.

    .. versionadded:: 0.1
    """

    __slots__ = ("_previous", "name")

    name: str
    """The name of the work: the same each time that it is done, like a route."""

    is_work: t.ClassVar[bool] = True

    # As the exchange has them, for type checkers: they are set here, too.
    duration_seconds: float | None
    exception: BaseException | None
    _ids: list[str]
    _is_started: bool
    method: str
    outcome: ExchangeOutcome | None
    _start_response: t.Any

    def __init__(self, name: str, sender: object, ids: list[str] | None = None) -> None:
        previous = context_exchange.get()
        outer = current_exchange()
        super().__init__({"REQUEST_METHOD": METHOD}, sender, outer)
        self.name = self.route = name
        self.method = METHOD
        self._is_started = True
        self._start_response = _Opener()
        if ids is not None:
            self._ids = ids
        self._previous: Handling | None = previous
        context_exchange.set(self)

    def __repr__(self) -> str:
        return f"<Work {self.name!a} {self.outcome or 'open'}>"

    def started(self) -> None:
        """Send that it has started."""
        work_started.send_isolated(self._sender, {"exchange": self}, _no_async)

    def finish(
        self,
        error: BaseException | None = None,
        outcome: ExchangeOutcome | None = None,
    ) -> None:
        """Finish the work, once; for work without a block.

        :param error: The exception of the work.
        :param outcome: The outcome; ``None`` for the outcome that ``error`` means.
        """
        if not self.is_open:
            return
        self._end(error, outcome)
        try:
            work_finished.send_isolated(self._sender, {"exchange": self}, _no_async)
        finally:
            self._close()

    async def finish_async(self, error: BaseException | None) -> None:
        """Finish it, and await the receivers."""
        self._end(error)
        try:
            await work_finished.send_robust_async(self._sender, exchange=self)
        finally:
            self._close()

    def _end(
        self, error: BaseException | None, outcome: ExchangeOutcome | None = None
    ) -> None:
        self.duration_seconds = self.seconds_since_start()
        if outcome is None:
            outcome = _outcome_of(error)
        self.outcome = outcome
        self.exception = None if outcome == "complete" else error

    def _close(self) -> None:
        previous, self._previous = self._previous, None
        # Another context keeps its own value.
        if context_exchange.get() is self:
            context_exchange.set(previous)
        try:
            self._run_close_callbacks()
        finally:
            self._release()


class _Opener:
    """The opener of a unit of work, for functions that are called at its end."""

    __slots__ = ("exchange",)

    exchange: object


class work(Block):  # noqa: N801  # reads as a statement, as contextlib's do
    """Make a block, or each call of a function, a unit of work with a name.

    ::

        with work("nightly-report", app):
            report()

        @work("nightly-report", app)
        def report(): ...

        Thread(target=work("resize", app)(resize)).start()

    Statements, failures and log lines of the block belong to it:
    :func:`~signalpost.exchange.current_exchange` returns its :class:`Work`, which the
    ``with`` statement gives, too. :data:`~signalpost.lifecycle.work_started` and
    :data:`~signalpost.lifecycle.work_finished` are sent, and no receiver can harm the
    work. An exception of the block is raised.

    As ``async with``, or for an async function, receivers may be async. Threads, tasks
    and processes may use one object at the same time. A block in a generator must not
    ``yield``, because code outside would belong to the work. For the same reason,
    generator functions cannot be decorated.

    :param name: The name of the work. Use few names, because each is a label of
        metrics, as a route is: do not put a number into it.
    :param sender: Sends the signals: the application whose receivers are called.
        A proxy, such as :data:`flask.current_app`, means its application.
    :param context: The result of :func:`~signalpost.receivers.context.request_context`
        where the work was requested: the work gets its id. Without it, the work has the
        id of the surrounding exchange or work, or a new one. Values that are not
        well-formed are ignored, because the context may come from outside.
    :raises TypeError: If ``name`` is not a string.
    :raises ValueError: If ``name`` is empty.

    .. versionadded:: 0.1
    """

    def __init__(
        self, name: str, sender: t.Any, *, context: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"work() takes a name and a sender, got {short_repr(name)} for the"
                ' name; write work("nightly-report", app)'
            )
        if not name:
            raise ValueError(
                'work() takes a name that is not empty; write work("nightly-report",'
                " app)"
            )
        self._name = name
        self._sender = sender
        self._context = context
        self._open: list[Work] = []

    def __enter__(self) -> Work:
        found = self._begun()
        try:
            found.started()
        except BaseException as error:
            # A strict receiver's.
            self._open.remove(found)
            found.finish(error)
            raise
        return found

    def __exit__(self, *raised: object) -> None:
        found = self._taken()
        error = t.cast("BaseException | None", raised[1])
        if error is None:
            found.finish()
            return
        # The exception of the work is the better report.
        with suppress(Exception):
            found.finish(error)

    async def __aenter__(self) -> Work:
        found = self._begun()
        try:
            await work_started.send_robust_async(found._sender, exchange=found)
        except BaseException as error:
            self._open.remove(found)
            await found.finish_async(error)
            raise
        return found

    async def __aexit__(
        self, _: object, error: BaseException | None, __: object
    ) -> None:
        found = self._taken()
        if error is None:
            await found.finish_async(None)
            return
        with suppress(Exception):
            await found.finish_async(error)

    def __call__(self, function: F) -> F:
        """Decorate a function, async or not, each call of which is a unit of work.

        :raises TypeError: For a generator function, whose body runs after its call.
        """
        return decorated(function, self.again, self.again)

    def again(self) -> t.Self:
        """Return another one, for another call of a decorated function."""
        return type(self)(self._name, self._sender, context=self._context)

    def _begun(self) -> Work:
        found = _new(self._name, self._sender, self._context)
        self._open.append(found)
        return found

    def _taken(self) -> Work:
        """Return the work that ends: this context's, as other threads may have one."""
        current = context_exchange.get()
        mine = [one for one in [*self._open] if one is current]
        found = mine[0] if mine else self._open[-1]
        self._open.remove(found)
        return found


def begin_work(name: str, sender: t.Any, context: object = None) -> Work:
    """Begin a unit of work that :meth:`Work.finish` ends; for the integrations.

    Both are called in the same context. As for :class:`work`, but nothing is checked.
    """
    found = _new(name, sender, context)
    try:
        found.started()
    except BaseException as error:
        found.finish(error)
        raise
    return found


def _new(name: str, sender: t.Any, context: object) -> Work:
    # A proxy of Werkzeug's, found by its type: the proxy itself shows what is behind.
    if hasattr(type(sender), "_get_current_object"):
        sender = sender._get_current_object()  # the only way
    return Work(name, sender, _ids_from(context))


def _ids_from(context: object) -> list[str] | None:
    """Return the list of ids of work that begins; ``None`` for that of its outer."""
    previous = context_exchange.get()
    if current_exchange() is not None:
        return None
    found = context.get("request_id") if isinstance(context, Mapping) else None
    if isinstance(found, str) and is_id(found):
        return [found]
    if carried := carried_values.get():
        return [carried[0]]
    # A thread with a copy of the context can outlive the response.
    return None if previous is None else previous._ids


def _outcome_of(error: BaseException | None) -> ExchangeOutcome:
    if error is None or _is_good_exit(error):
        return "complete"
    return "aborted" if _is_stop(error) else "error"


def _is_stop(error: BaseException) -> bool:
    """Return whether an exception ends work from outside: it is not a failure."""
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        return True
    kind = type(error)
    if isinstance(error, Exception):
        # Click's, for Ctrl-C at a prompt and for "no" to a question. The cancellation
        # of concurrent.futures is a failure.
        return kind.__name__ == "Abort" and kind.__module__ == "click.exceptions"
    return kind.__name__ in _CANCELLATIONS


def _is_good_exit(error: BaseException) -> bool:
    """Return whether an exception ends a command without a failure."""
    if isinstance(error, SystemExit):
        return error.code is None or error.code == 0
    # Click's, which leaves a command that is called without Click's main().
    kind = type(error)
    is_clicks = kind.__name__ == "Exit" and kind.__module__ == "click.exceptions"
    return is_clicks and getattr(error, "exit_code", None) == 0


def _no_async() -> t.Any:
    return _refuse_async


def _refuse_async(receiver: Callable[..., object]) -> t.NoReturn:
    raise AsyncReceiverError(
        f"receiver {describe(receiver)} is async, and the work is not; connect a"
        " function that is not async, or write async with work(...)",
        None,
        receiver,
    )
