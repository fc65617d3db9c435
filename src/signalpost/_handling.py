"""The private part of an exchange's record, for the middleware."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Callable

from ._engine.identity import describe
from ._engine.unseen import checked
from ._ids import id_headers_of
from ._ids import known_keys

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["EXCHANGE_KEY", "Handling", "HeaderFor"]

_log = logging.getLogger("signalpost.exchanges")


def _name_of(function: object) -> str:
    try:
        return describe(function)
    except Exception:  # noqa: BLE001  # an object may raise whatever is read of it
        return f"{type(function).__name__} object"


EXCHANGE_KEY: t.Final = "signalpost.exchange"
"""The key of the open exchange in its WSGI environment.

.. versionadded:: 0.1
"""

HeaderFor: t.TypeAlias = Callable[
    [t.Any, list[tuple[str, str]]], tuple[str, str] | None
]
"""Returns a header for an exchange and the headers that there are, or ``None``."""


class Handling:
    """The notes of the middleware on an exchange.

    A base class of the exchange and not a separate object: to make one more object,
    or to pass attributes on, takes longer than to note these.
    """

    __slots__ = (
        "_app_wrappers",
        "_close_callbacks",
        "_earlier_request",
        "_entered_layers",
        "_environ",
        "_find_request",
        "_has_client_left",
        "_has_failed",
        "_header_callbacks",
        "_ids",
        "_is_complete",
        "_is_finished",
        "_is_started",
        "_returned_at",
        "_sender",
        "_sent_files",
        "_server_input",
        "_start_headers",
        "_start_response",
        "_start_status",
        "_state",
        "_written_bytes",
        "outer",
        "sender",
    )

    is_work: t.ClassVar[bool] = False
    """``True`` if it is a unit of work, and no request."""

    # Documented in Exchange, for users.
    outer: t.Any
    sender: object

    _earlier_request: object
    """The framework's request that was in the environment when the exchange was opened
    within another one: it is not this exchange's."""
    _entered_layers: tuple[object, ...]
    """The other layers of the sender whose call is running."""
    _find_request: Callable[[t.Any], object] | None
    """Returns the framework's request of an exchange whose environment has none, or
    ``None``; set by the layer for that framework."""
    _close_callbacks: list[Callable[[], object]] | None
    """The functions to call on close, in the order in which they were added."""
    _has_failed: bool
    """``True`` if an exception has left the application, or the client has left."""
    _has_client_left: bool
    """``True`` if the latest exception means that the client left while it uploaded."""
    _header_callbacks: tuple[HeaderFor, ...]
    """Functions that return further headers, called when the response starts."""
    _ids: list[str]
    """The id of the request, once it was read; further ones of threads that read it
    at the same time. An exchange within another shares the list."""
    _is_finished: bool
    """``True`` if ``request-finished`` was sent, or was due and had no receivers."""
    _is_started: bool
    """``True`` if ``request-started`` was sent, or is too late."""
    _is_complete: bool
    """``True`` if the body was handed over to its end."""
    _state: dict[t.Hashable, t.Any] | None
    """The values that receivers keep; ``None`` while there are none."""
    _app_wrappers: tuple[Callable[[WSGIApplication], WSGIApplication], ...]
    """Wrappers of the application for this exchange, the outermost last; added
    by receivers of ``exchange-opened`` that need to know when its call ends."""
    _environ: WSGIEnvironment | None
    """The environment; ``None`` after the close."""
    _sender: t.Any
    """The sender, whatever a receiver has set; ``None`` after the close."""
    _returned_at: float | None
    """When the call of the application returned or raised, by
    :func:`time.perf_counter`; ``None`` before."""
    _sent_files: tuple[tuple[object, t.Any], ...]
    """Files that the server may send by itself, each as its wrapper and the file."""
    _server_input: object
    """The ``wsgi.input`` of the server, which the application may replace."""
    _start_headers: object
    """The headers that ``start_response`` was last called with."""
    _start_status: str | None
    """The status line that it was last called with; ``None`` before the first time."""
    _start_response: t.Any
    """The ``start_response`` of the application; it refers to this until the close."""
    _written_bytes: int
    """The bytes that were written by the function that ``start_response`` returned."""

    def _front_id(self) -> str | None:
        """Return the id that the server in front sent, if it is well-formed."""
        exchange = self
        # A receiver may have set any object.
        while exchange.outer is not None and issubclass(type(exchange.outer), Handling):
            exchange = t.cast("Handling", exchange.outer)
        environ = exchange._environ
        if environ is None:
            return None
        return id_headers_of(exchange._sender).find(environ)

    def _known_id(self) -> str | None:
        """Return the id if it was read before or the server in front sent it.

        For log lines: an id that only the line has is of no use.
        """
        ids = self._ids
        if not ids:
            environ = self._environ
            # Most requests have none. A call would take longer than this.
            if (
                self.outer is None
                and environ is not None
                and environ.keys().isdisjoint(known_keys)
            ):
                return None
            found = self._front_id()
            if found is None:
                return None
            ids.append(found)
        return ids[0]

    def _keep_front_id(self) -> None:
        """Keep that id for code that reads it after the close."""
        found = self._front_id()
        if found is not None:
            self._ids.append(found)

    def _release(self) -> None:
        """Drop the application and the environment. For the middleware."""
        environ, self._environ = self._environ, None
        if (
            environ is not None
            and not self._ids
            and (self.outer is not None or not environ.keys().isdisjoint(known_keys))
        ):
            self._environ = environ
            self._keep_front_id()
            self._environ = None
        outer, self.outer = self.outer, None
        start_response, self._start_response = self._start_response, None
        self.sender = self._sender = self._earlier_request = None
        self._server_input = None
        self._entered_layers = ()
        self._sent_files = self._app_wrappers = self._header_callbacks = ()
        self._start_headers = ()
        if start_response is not None:
            start_response.exchange = None
        if environ is None:
            return
        # The environ is the server's, and may be used again.
        if outer is not None:
            environ[EXCHANGE_KEY] = outer
        elif environ.get(EXCHANGE_KEY) is self:
            del environ[EXCHANGE_KEY]

    def _run_close_callbacks(self) -> list[Exception]:
        """Call the functions that are to be called on close, the last one first.

        :returns: The exceptions that were raised, after they were logged.
        :raises BaseException: The first that is no :exc:`Exception`, after all calls.
        """
        errors: list[Exception] = []
        exit_error: BaseException | None = None
        while self._close_callbacks:
            function = self._close_callbacks.pop()
            try:
                function()
            except Exception as error:  # noqa: BLE001  # the others are called, too
                errors.append(error)
                checked(_log, logging.ERROR).exception(
                    "%r: %s failed on close", self, _name_of(function)
                )
            except BaseException as error:  # noqa: BLE001  # raised after the others
                exit_error = exit_error or error
        if exit_error is not None:
            raise exit_error
        return errors
