"""Requests as they happen, recorded for the live page in a file of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from time import perf_counter
from typing import Any
from typing import ClassVar
from weakref import finalize

from .._engine.identity import ANY
from .._engine.identity import reference_to
from .._engine.observing import Observation
from .._engine.observing import observe
from .._engine.signal import NamedSignal
from .._options import checked_path
from .._options import checked_seconds
from .._options import checked_truth
from .._options import checked_whole_number
from ..errors import ConfigurationError
from ..exchange import current_exchange
from ..exchange import Exchange
from ..lifecycle import before_render_template
from ..lifecycle import catalogue
from ..lifecycle import exchange_closed
from ..lifecycle import exchange_opened
from ..lifecycle import got_request_exception
from ..lifecycle import message_flashed
from ..lifecycle import request_finished
from ..lifecycle import request_started
from ..lifecycle import template_rendered
from ..receivers.locations import location_of
from ..receivers.paths import path_matcher_of
from ..receivers.response_times import response_times
from ..wsgi.finding import sender_of
from ..wsgi.mount import Mount
from ._events import number_of
from ._events import record
from ._events import Trace
from ._failures import failed_response
from ._failures import failure_of
from ._failures import traceback_text
from ._folder import check_system
from ._folder import checked_folder
from ._folder import live_folder
from ._mount import mounted_page
from ._records import EXCEPTION
from ._records import SIGNAL
from ._records import UNKNOWN
from ._relay import RelayReceivers
from ._signals import Deliveries
from ._sql import SqlReceivers
from ._text import fit
from ._text import fit_or_none
from ._text import known_fit
from ._text import LONGEST_PATH
from ._work import WorkReceivers
from ._writer import Writer
from .page import LivePage

__all__ = ["LiveRecorder"]

_MOST_ROUTES = 1000


class LiveRecorder:
    """Record requests and work for the live page, in a file of fixed size per process.

    ::

        LiveRecorder().connect(app)

    Use its own methods :meth:`connect` and :meth:`disconnect`, not those of a signal.
    :class:`~signalpost.live.LivePage` and ``flask signalpost live`` show the records of
    all processes of one machine.

    The first request of a process creates a file of about 1.6 MB, which does not grow,
    in a folder that only this user can enter. Further files have the lists of
    statements, failures and referrers; they are written when requests close, once a
    second, and after a rest for each of ten in a row. There is no thread, no socket and
    no database. A request never waits for a reader or for another request. If the disk
    is full, or the folder belongs to another user, a warning is logged once and nothing
    is recorded; the recorder tries again every half a minute.

    Units of work (:class:`~signalpost.work.work`) are recorded like requests, and
    counted apart from them. So are the events that the relays and listeners of this
    process send and receive, without their payloads.

    For each request it records the method, path, route, status, outcome, times, size
    and id, the origin and path of the referrer, and the shape of each statement,
    without values. For each unhandled exception it records the type, message and
    traceback. It never records headers, cookies, queries, bodies, parameters of
    statements and local variables. Texts are cut and escaped. An exception's message
    may still contain a secret: see ``messages``.

    With a ``path`` it serves the page, too, as :class:`~signalpost.live.LivePage` does.

    :param folder: Where the files are, the same as for the page; ``None`` for the
        :func:`~signalpost.live.live_folder` of the application that it is connected to.
    :param waterfall: Whether the signals, templates and statements of each request are
        kept with their times and places, up to 40 of them.
    :param slow_seconds: The response time from which the page marks a request as slow.
    :param messages: Whether messages of exceptions are kept, and the reasons for which
        events failed. Values of a database are cut from them in any case.
    :param exclude: Patterns of paths to record nothing of: see
        :func:`~signalpost.receivers.paths.exclusion_of`.
    :param max_routes: How many routes have their own rows, up to 1000; those that
        come first.
    :param with_receivers: Whether calls of receivers of all built-in signals are
        counted and timed, which takes time at each call.
    :param path: The path at which the application serves the page, as
        ``"/_signalpost"``; ``None`` to serve no page. It needs a token or ``allows``.
    :param token: The token that opens the page: 16 to 200 characters.
    :param token_env: The environment variable that has the token.
    :param token_file: A file that has the token, read at each request.
    :param networks: The allowed networks of clients, by ``REMOTE_ADDR``.
    :param allows: A function that takes the WSGI environment and returns whether the
        client may see the page.
    :raises ConfigurationError: If a page would be open to everyone.
    :raises OSError: If this system has no locks of files.
    :raises TypeError: If an option has the wrong type.
    :raises ValueError: If an option has the right type, and no meaning.

    .. versionadded:: 0.1
    """

    signals: ClassVar[dict[str, str]] = {}
    """No signal by its name; :meth:`connect` connects it."""

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        waterfall: bool = True,
        slow_seconds: float = 0.5,
        messages: bool = True,
        exclude: Collection[str] = ("/static/**",),
        max_routes: int = 100,
        with_receivers: bool = False,
        path: str | None = None,
        token: str | None = None,
        token_env: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        networks: Collection[str] | None = None,
        allows: Any = None,
    ) -> None:
        check_system()
        self._chosen = None if folder is None else checked_folder(folder)
        self._has_waterfall = checked_truth("waterfall", waterfall)
        self._slow_seconds = checked_seconds(
            "slow_seconds", slow_seconds, "write 0.5", is_finite=True
        )
        self._has_messages = checked_truth("messages", messages)
        self._matches = path_matcher_of(exclude)
        self._max_routes = checked_whole_number(
            "max_routes",
            max_routes,
            "write 100; each route takes 4 kB of the file of a worker",
            most=_MOST_ROUTES,
        )
        self._deliveries = (
            Deliveries() if checked_truth("with_receivers", with_receivers) else None
        )
        self._path: str | None = None
        self._access = {"token": token, "token_env": token_env, "allows": allows}
        self._access |= {"token_file": token_file, "networks": networks}
        if path is not None:
            path = checked_path(path, "/_signalpost", may_be_root=False)
            self._path = path.rstrip("/")
            # Refused now rather than when it is connected.
            self._page(self._chosen or os.curdir)
        elif any(one is not None for one in self._access.values()):
            raise ConfigurationError(
                f"{', '.join(self._access)} are for a page, and there is no path; add"
                ' path, as "/_signalpost", or leave them out',
                key="path",
            )
        self._writer: Writer | None = None
        self._sql: SqlReceivers | None = None
        self._work: WorkReceivers | None = None
        self._relay: RelayReceivers | None = None
        self._sender: Any = None
        self._mount: Mount | None = None
        self._observation: Observation | None = None
        self._end_with_sender: Any = None

    def connect(self, application: object = None) -> None:
        """Record the requests of an application from now on, until :meth:`disconnect`.

        :param application: The application; ``None`` for each application that there
            is.
        :raises ConfigurationError: If it is connected to another one; or if the page
            has no place in this one.
        """
        sender = ANY if application is None else sender_of(application)
        if self._writer is not None:
            if self._sender() is sender:
                return
            raise ConfigurationError(
                "a live recorder records one application, and is connected to another;"
                " create one for each"
            )
        if self._path is not None:
            page = self._page(self._chosen or live_folder(application))
            self._mount = mounted_page(sender, self._path, page)
        self._sender = reference_to(sender)
        self._writer = Writer(
            self._chosen or live_folder(application),
            self._max_routes,
            self._slow_seconds,
            self._deliveries,
            has_waterfall=self._has_waterfall,
        )
        self._work = WorkReceivers(
            self,
            self._writer,
            with_messages=self._has_messages,
            has_waterfall=self._has_waterfall,
        )
        self._sql = SqlReceivers(self, self._writer, has_waterfall=self._has_waterfall)
        self._relay = RelayReceivers(self._writer, with_messages=self._has_messages)
        for signal, receiver in self._connections():
            signal.connect(receiver, sender, weak=False)
        self._relay.connect()
        self._sql.connect()
        if self._deliveries is not None:
            self._observation = observe(self._deliveries, catalogue)
        if sender is not ANY:
            # Statements are not sent by the application, and would keep this alive.
            self._end_with_sender = finalize(sender, self.disconnect)
            self._end_with_sender.atexit = False

    def begin(self) -> None:
        """Make the file of this process now, and not with what is recorded first.

        For a process that may have nothing to do for long, as a worker of a queue: the
        page shows from then on that it is alive. Not for a server before it forks.
        """
        if self._writer is not None:
            self._writer.begin()

    def disconnect(self, application: object = None) -> bool:
        """Record no more; what the files hold stays for ten minutes.

        :param application: Ignored; a recorder has one application.
        :returns: Whether it was connected.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return False
        # While it is connected, as it lists what is.
        writer.end()
        if self._end_with_sender is not None:
            self._end_with_sender.detach()
            self._end_with_sender = None
        sender = self._sender()
        if sender is not None:
            for signal, receiver in self._connections():
                signal.disconnect(receiver, sender)
        if self._relay is not None:
            self._relay.disconnect()
        if self._sql is not None:
            self._sql.disconnect()
        if self._observation is not None:
            self._observation.stop()
            self._observation = None
        if self._mount is not None:
            self._mount.remove()
            self._mount = None
        return True

    def opened(self, sender: object, *, exchange: Exchange) -> None:
        """Write that a request is in flight."""
        writer, matches = self._writer, self._matches
        try:
            path = exchange.script_name + exchange.path
        except Exception:  # noqa: BLE001  # a receiver may have set any value
            path = _fit_path(exchange)
        if (
            writer is None
            or (matches is not None and matches(path))
            or (self._path is not None and self._is_of_page(exchange))
        ):
            return
        # Nearly every path is so, and a call would take longer.
        if len(path) > LONGEST_PATH or not path.isprintable():
            path = fit(path)
        trace = writer.open(exchange.started_at, exchange.method, path)
        state = exchange._state
        if state is None:
            # As exchange.state makes it, without a call.
            exchange._state = {self: trace}
        else:
            state[self] = trace

    def started(self, sender: object, *, exchange: Exchange) -> None:
        """Keep when the application began."""
        trace = self._trace_of(exchange)
        if trace is None:
            return
        if trace.request_started is not UNKNOWN:
            trace.add(SIGNAL, "request-started", perf_counter())
        elif trace.takes_one():
            trace.request_started = perf_counter() - exchange.start

    def finished(self, sender: object, *, response: Any, exchange: Exchange) -> None:
        """Keep when the response was ready, and write its status."""
        trace = self._trace_of(exchange)
        if trace is None:
            return
        if trace.request_finished is not UNKNOWN:
            trace.add(SIGNAL, "request-finished", perf_counter())
        elif trace.takes_one():
            trace.request_finished = perf_counter() - exchange.start
        status = number_of(getattr(response, "status_code", None))
        if status is not None and trace.cell is not None and trace.file is not None:
            trace.file.set_status(trace.cell, status)

    def rendering(self, sender: object) -> None:
        """Keep when a template begins."""
        trace = self._current_trace()
        if trace is not None:
            trace.begin_template()

    def rendered(self, sender: object, *, template: Any) -> None:
        """Keep that a template was rendered."""
        trace = self._current_trace()
        if trace is not None:
            trace.end_template(fit_or_none(template.name) or "<template>")

    def flashed(self, sender: object) -> None:
        """Keep that a message was flashed, without the message."""
        trace = self._current_trace()
        if trace is not None and trace.takes_one():
            place = location_of(sys._getframe(1))  # inspect reads files
            event = SIGNAL, "message-flashed", perf_counter(), None, place, False
            trace.detailed().events.append(event)

    def failed(
        self,
        sender: object,
        *,
        exception: BaseException,
        where: str,
        exchange: Exchange,
    ) -> None:
        """Count an exception that was not handled, and keep its traceback."""
        writer, trace = self._writer, self._trace_of(exchange)
        if writer is None or trace is None:
            return
        with_message = self._has_messages
        failure = failure_of(exception, where, exchange, with_message=with_message)
        traceback = None
        if not writer.tops.has_failure(failure.fingerprint):
            traceback = traceback_text(exception, with_message=with_message)
        trace.fail(failure)
        if self._has_waterfall:
            now = perf_counter()
            name, place = failure.exception, failure.place
            trace.add(EXCEPTION, name, now, None, place, is_failed=True)
        writer.fail(failure, traceback)

    def closed(self, sender: object, *, exchange: Exchange) -> None:
        """Write that a request has closed."""
        writer, state = self._writer, exchange._state
        if writer is None:
            return
        trace: Trace | None = None if state is None else state.get(self)
        if trace is None:
            trace = self._late_trace(exchange)
            if trace is None:
                return
        status = exchange.status
        # A receiver may have set any value.
        if type(status) is not int:
            status = number_of(status)
        try:
            if exchange.outcome != "complete" or (status is not None and status >= 500):
                self._note_outcome(writer, trace, status, exchange)
            trace.response_seconds = response_times(exchange)[0]
            route: object = exchange._route
            if route is None or exchange._own_route is not None:
                route = exchange.route
            # Where most routes are counted is known, so they need not be made fit.
            trace.route = route if type(route) is str else known_fit(route)
            if exchange._referrer is not None:
                trace.refer(exchange.referrer)
                writer.tops.count_referrer(exchange)
            details = trace.details
            if details is not None and (
                details.statements or details.shapes is not None
            ):
                details.sum_statements()
            record(exchange, trace, status)
        except BaseException:
            # It would be shown as in flight for ever.
            trace.forget()
            writer.close(trace)
            raise
        writer.close(trace)

    def _late_trace(self, exchange: Exchange) -> Trace | None:
        """Return a trace of an exchange that was opened before this was connected."""
        path = _fit_path(exchange)
        is_excluded = self._matches is not None and self._matches(path)
        if is_excluded or self._is_of_page(exchange):
            return None
        return Trace(None, None, exchange.method, path, exchange.started_at)

    def _note_outcome(
        self, writer: Writer, trace: Trace, status: int | None, exchange: Exchange
    ) -> None:
        """Note how a request ended that is not complete, or has failed."""
        outcome, has_failed = exchange.outcome, status is not None and status >= 500
        if outcome == "error" or has_failed:
            trace.is_failed = True
            details = trace.details
            is_new = details is None or details.failure is None
            if is_new and status is not None and has_failed:
                failure = failed_response(status, exchange)
                trace.fail(failure)
                writer.fail(failure, None)
        elif outcome == "aborted":
            trace.is_aborted = True

    def _connections(self) -> list[tuple[NamedSignal, Any]]:
        found: list[tuple[NamedSignal, Any]] = [
            (exchange_opened, self.opened),
            (got_request_exception, self.failed),
            (exchange_closed, self.closed),
        ]
        if self._work is not None:
            found += self._work.connections()
        if self._has_waterfall:
            found += [
                (request_started, self.started),
                (request_finished, self.finished),
                (before_render_template, self.rendering),
                (template_rendered, self.rendered),
                (message_flashed, self.flashed),
            ]
        return found

    def _page(self, folder: str | os.PathLike[str]) -> LivePage:
        return LivePage(None, path=self._path or "", folder=folder, **self._access)

    def _is_of_page(self, exchange: Exchange) -> bool:
        """Return whether a request is one of the page itself."""
        # Its path is from the mount point, and so is the page's.
        page = self._path
        return page is not None and f"{exchange.path}/".startswith(f"{page}/")

    def _trace_of(self, exchange: Exchange) -> Trace | None:
        # Not by exchange.state, which would make a dict for each exchange without any.
        return None if exchange._state is None else exchange._state.get(self)

    def _current_trace(self) -> Trace | None:
        exchange = current_exchange()
        return None if exchange is None else self._trace_of(exchange)


def _fit_path(exchange: Exchange) -> str:
    """Return the path of an exchange, printable, whatever a receiver has set."""
    parts = exchange.script_name, exchange.path
    return fit("".join([fit_or_none(one) or "" for one in parts]))
