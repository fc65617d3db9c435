"""The part of an exchange's record that the middleware keeps for itself."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Callable

from ._engine.identity import describe
from ._engine.unseen import checked
from ._ids import id_headers_of
from ._ids import IdHeaders

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Handling"]

_log = logging.getLogger("signalpost.exchanges")


def _name_of(function: object) -> str:
    try:
        return describe(function)
    except Exception:  # noqa: BLE001  # an object may raise whatever is read of it
        return f"{type(function).__name__} object"


HeaderFor: t.TypeAlias = Callable[
    [t.Any, list[tuple[str, str]]], tuple[str, str] | None
]
"""Returns a header for an exchange and the headers that there are, or ``None``."""


class Handling:
    """What the middleware notes of an exchange for itself.

    A base class of the exchange and not an object of its own: to make one more object,
    or to pass attributes on, takes longer than to note these.
    """

    __slots__ = (
        "earlier_request",
        "entered",
        "find_request",
        "functions",
        "has_failed",
        "has_left",
        "headers_to_add",
        "id_headers",
        "ids",
        "is_finished",
        "is_started",
        "is_whole",
        "kept",
        "layers",
        "open_environ",
        "open_sender",
        "returned",
        "sent_files",
        "server_input",
        "start_headers",
        "start_status",
        "starter",
        "written_bytes",
    )

    # The exchange has both.
    outer: object
    sender: object

    earlier_request: object
    """The framework's request that was in the environment when the exchange was opened
    within another one: it is not this exchange's."""
    entered: tuple[object, ...]
    """The further layers of the sender whose call is running."""
    find_request: Callable[[t.Any], object] | None
    """Returns the framework's request of an exchange whose environment has none, or
    ``None``; set by the layer that knows the framework."""
    functions: list[Callable[[], object]] | None
    """The functions to call on close, in the order in which they were added."""
    has_failed: bool
    """Whether an exception has left the application, or :attr:`has_left`."""
    has_left: bool
    """Whether the latest exception means that the client left while it uploaded."""
    headers_to_add: tuple[HeaderFor, ...]
    """What makes further headers of the response, when it starts."""
    id_headers: IdHeaders | None
    """The headers that may have the id of the request; ``None`` for the sender's."""
    ids: list[str]
    """The id of the request, once it was read; further ones of threads that read it
    at the same time. An exchange within another shares the list."""
    is_finished: bool
    """Whether ``request-finished`` was sent, or was due and had no receivers."""
    is_started: bool
    """Whether ``request-started`` was sent, or can be sent no more."""
    is_whole: bool
    """Whether the body was handed over to its end."""
    kept: dict[t.Hashable, t.Any] | None
    """The values that receivers keep; ``None`` while there are none."""
    layers: tuple[Callable[[WSGIApplication], WSGIApplication], ...]
    """What to put around the application for this exchange, the outermost last; added
    by receivers of ``exchange-opened`` that need to know when its call ends."""
    open_environ: WSGIEnvironment | None
    """The environment; ``None`` after the close."""
    open_sender: t.Any
    """The sender, whatever a receiver has set; ``None`` after the close."""
    returned: float | None
    """When the call of the application returned or raised, by
    :func:`time.perf_counter`; ``None`` before."""
    sent_files: tuple[tuple[object, t.Any], ...]
    """What the server made of files that it may send by itself, each with its file."""
    server_input: object
    """The ``wsgi.input`` of the server, which the application may replace."""
    start_headers: object
    """The headers that ``start_response`` was last called with."""
    start_status: str | None
    """The status line that it was last called with; ``None`` before the first time."""
    starter: t.Any
    """The ``start_response`` of the application; it refers to this until the close."""
    written_bytes: int
    """How many bytes went through the function that ``start_response`` returned."""

    def front_id(self) -> str | None:
        """Return the id that the server in front sent, if it is well-formed."""
        exchange = self
        # A receiver may have set anything.
        while exchange.outer is not None and issubclass(type(exchange.outer), Handling):
            exchange = t.cast("Handling", exchange.outer)
        environ = exchange.open_environ
        if environ is None:
            return None
        headers = exchange.id_headers or id_headers_of(exchange.sender)
        # Each exchange whose id was not read comes here at its close.
        if environ.keys().isdisjoint(headers.keys):
            return None
        return headers.find(environ)

    def known_id(self) -> str | None:
        """Return the id if it was read before or the server in front sent it.

        For log lines that show no id which is nowhere else.
        """
        if not self.ids:
            self.keep_front_id()
        return self.ids[0] if self.ids else None

    def keep_front_id(self) -> None:
        """Keep that id for whatever reads it after the close."""
        found = self.front_id()
        if found is not None:
            self.ids.append(found)

    def make_calls(self) -> list[Exception]:
        """Call the functions that are to be called on close, the last one first.

        :returns: The exceptions that were raised, after they were logged.
        :raises BaseException: The first that is no :exc:`Exception`, after all calls.
        """
        errors: list[Exception] = []
        exit_error: BaseException | None = None
        while self.functions:
            function = self.functions.pop()
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
