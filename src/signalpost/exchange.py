"""The record of one request and its response."""

from __future__ import annotations

import functools
import time
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short_repr
from sys import _getframe
from wsgiref.headers import Headers

from ._current import context_exchange
from ._current import nearest
from ._current import producing
from ._handling import EXCHANGE_KEY
from ._handling import Handling
from ._ids import new_id
from ._methods import further_method
from ._methods import METHODS
from ._referrer import shown_referrer
from .errors import ExchangeClosedError
from .errors import ExchangeNotRecordedError

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = [
    "EXCHANGE_KEY",
    "Exchange",
    "ExchangeOutcome",
    "ResponseStart",
    "Where",
    "current_exchange",
]

ExchangeOutcome: t.TypeAlias = t.Literal[
    "complete", "aborted", "error", "hijacked", "lost"
]
"""The outcome of an exchange; see :attr:`Exchange.outcome`."""

Where: t.TypeAlias = t.Literal["view", "call", "iteration", "close"]
"""The place where an exception left the application."""


class Exchange(Handling):
    """One request and its response, from the server's call to ``close()``.

    Its attributes are set during the request; receivers read them. An attribute
    that is not set yet is ``None``. Times are in seconds since the server's
    call, on a monotonic clock.

    :param environ: The WSGI environment (:pep:`3333`) of the request.
    :param sender: The application that the request is for.
    :param outer: The exchange that this one is part of.

    .. versionadded:: 0.1
    """

    __slots__ = (
        "__weakref__",
        "_endpoint",
        "_own_route",
        "_referrer",
        "_route",
        "body_bytes",
        "body_bytes_exact",
        "duration_seconds",
        "exception",
        "method",
        "outcome",
        "path",
        "script_name",
        "seconds_to_first_byte",
        "seconds_to_headers",
        "start",
        "started_at",
        "status",
    )

    sender: object
    """The application; ``None`` after the close."""
    method: str
    """The method if it is one of RFC 9110's, ``PATCH``, or one that the configuration
    names in ``methods``; else ``"_OTHER"``."""
    path: str
    """The path below the application's mount point, decoded. The client chooses it,
    so escape it in log lines, and do not use it as a label."""
    script_name: str
    """The path of the mount point, decoded; ``""`` for the root."""
    status: int | None
    """The status code of the response; ``None`` if there was none, or only an error
    page for a client that disconnected during its upload."""
    outer: Exchange | None
    """The open exchange that this one is part of. Then this one belongs to a mounted
    application, or to a request with which the application calls itself, with the same
    environment or a copy of it."""
    start: float
    """When the server called, by :func:`time.perf_counter`."""
    started_at: float
    """When the server called, in seconds since the epoch."""
    seconds_to_headers: float | None
    """Seconds until the application called ``start_response``; its last call counts."""
    seconds_to_first_byte: float | None
    """Seconds until the first byte of the body was handed to the server."""
    duration_seconds: float | None
    """Seconds until the server closed the response, body included. If it
    never did, until the end of the body, or else until the record was found lost."""
    body_bytes: int
    """The size of the body that was handed to the server, in bytes."""
    body_bytes_exact: bool
    """``True`` if ``body_bytes`` was counted, ``False`` if it is from a header."""
    outcome: ExchangeOutcome | None
    """The outcome; ``None`` while it is open.

    - ``"complete"``: the whole body was handed to the server. An error page is a
      complete response.
    - ``"aborted"``: the server closed the response before its end, usually because the
          client disconnected. Or the client disconnected during its upload.
    - ``"error"``: an exception left the application.
    - ``"hijacked"``: the application took the connection over, as for a WebSocket.
    - ``"lost"``: the server dropped the response before its end, without closing it.
    """
    exception: BaseException | None
    """The last exception that was sent as ``got-request-exception``."""

    # Those of the route that matched.
    _endpoint: str | None
    _route: str | None
    # The value that the application set; it may be None.
    _own_route: tuple[str | None] | None

    def __init__(
        self, environ: WSGIEnvironment, sender: object, outer: Exchange | None = None
    ) -> None:
        self.start = time.perf_counter()
        self.started_at = time.time()
        self.sender = sender
        self._sender: t.Any = sender
        self._environ: WSGIEnvironment | None = environ
        read = environ.get
        method = read("REQUEST_METHOD")
        self.method = method if method in METHODS else further_method(sender, method)
        path = read("PATH_INFO")
        # Nearly every path is ASCII, and a call would cost the most here.
        self.path = path if type(path) is str and path.isascii() else decoded(path)
        script_name = read("SCRIPT_NAME")
        self.script_name = decoded(script_name) if script_name else ""
        self._referrer = read("HTTP_REFERER")
        self._endpoint = self._own_route = self._route = None
        self._is_finished = self._is_started = False
        self.seconds_to_headers = self.seconds_to_first_byte = None
        self.duration_seconds = None
        self.body_bytes = self._written_bytes = 0
        self.body_bytes_exact = True
        self.exception = self.outcome = self.status = None
        self.outer = outer
        # In a call from within a request, it is that request's.
        self._earlier_request = outer and read("werkzeug.request")
        self._find_request = None
        self._has_failed = self._has_client_left = self._is_complete = False
        # One request has one id, however often the application calls itself.
        self._ids = [] if outer is None else outer._ids
        self._close_callbacks = self._returned_at = self._state = None
        self._app_wrappers = self._entered_layers = self._header_callbacks = ()
        self._sent_files = self._start_headers = ()
        self._server_input = read("wsgi.input")
        self._start_response = self._start_status = None

    def __repr__(self) -> str:
        return (
            f"<Exchange {self.method} {self.path!a} {self.status}"
            f" {self.outcome or 'open'}>"
        )

    @property
    def environ(self) -> WSGIEnvironment:
        """The WSGI environment of the request, while the exchange is open.

        :raises ExchangeClosedError: After the close.
        """
        if self._environ is None:
            raise ExchangeClosedError(
                "the environ of an exchange is dropped when the exchange closes; read"
                " it earlier, in a receiver"
            )
        return self._environ

    @property
    def id(self) -> str:
        """The id of the request, for log lines and for other services.

        A proxy may send it. A well-formed id has up to 128 characters of ``A-Z a-z 0-9
        . _ ~ + / = : @ -``. Otherwise the id is created when it is first read: a UUID
        of version 7 (RFC 9562). An exchange within another one has the same id.
        """
        ids = self._ids
        if not ids:
            # The first that is added counts, whichever thread adds it.
            ids.append(self._front_id() or new_id())
        return ids[0]

    @property
    def route(self) -> str | None:
        """The route's template with its mount point, as ``"/shop/items/<int:id>"``.

        ``None`` if no route matched, or before the matching. With Flask, it is read
        from Werkzeug's request; for other frameworks a reader records it. If the
        application sets a route, that route stays; endpoint and blueprints belong to
        the route that matched.
        """
        if self._own_route is not None:
            return self._own_route[0]
        if self._route is None:
            self._read_route()
        return self._route

    @route.setter
    def route(self, route: str | None) -> None:
        self._own_route = (route,)

    @property
    def has_started(self) -> bool:
        """``True`` once the application has begun, at ``request-started``.

        With Flask, that is after the routing.
        """
        return self._is_started or self._read_route()

    @property
    def has_finished(self) -> bool:
        """``True`` once the response has started, at ``request-finished``."""
        if self._find_request is None:
            return self._is_finished
        # Flask sends that just before the start, when there may be a status already.
        return self._start_status is not None or self.status is not None

    @property
    def endpoint(self) -> str | None:
        """The endpoint of the route."""
        if self._route is None:
            self._read_route()
        return self._endpoint

    @property
    def blueprints(self) -> tuple[str, ...]:
        """The blueprints of the route, from the innermost out."""
        endpoint = self.endpoint
        # As in Flask, where they are the parts of the endpoint's name but the last.
        if not isinstance(endpoint, str) or "." not in endpoint:
            return ()
        parts = endpoint.split(".")[:-1]
        return tuple(".".join(parts[:end]) for end in range(len(parts), 0, -1))

    @property
    def referrer(self) -> str | None:
        """The page that linked here, by the Referer header (RFC 9110, 10.1.3).

        Origin and path only: user names, passwords, queries, fragments and parameters
        (``;jsessionid=…``) are dropped. If the value is not a URL with a host, or
        cannot be split safely, only the scheme is kept: ``"mailto:…"``, or else
        ``"…"``. The client can send any length and any characters. ``None`` if the
        header is absent or empty.
        """
        return shown_referrer(decoded(self._referrer)) or None

    @property
    def seconds_to_return(self) -> float | None:
        """Seconds until the application's call returned or raised; ``None`` before.

        A server sends the headers no earlier, unless the application has written a part
        of the body by then (:pep:`3333`).
        """
        return None if self._returned_at is None else self._returned_at - self.start

    @property
    def state(self) -> dict[t.Hashable, t.Any]:
        """A dict in which receivers keep values of this exchange."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def is_open(self) -> bool:
        """``True`` until the last receiver of its end was called."""
        return self._environ is not None

    def call_on_close(
        self, function: Callable[..., object], *arguments: t.Any, **named: t.Any
    ) -> None:
        """Call ``function`` when this exchange closes, to release what it acquired.

        At that time the server has closed the response, so a streamed body may use the
        resource to its end. The function is called for every outcome. The last function
        is called first, after the receivers of ``exchange-closed``. If a function
        raises, the logger ``signalpost.exchanges`` logs it, and the others are called.

        ::

            exchange.call_on_close(connection.close)

        :param function: The function; its result is dropped.
        :param arguments: Its arguments by position.
        :param named: Its arguments by name.
        :raises TypeError: If ``function`` cannot be called.
        :raises ExchangeClosedError: If the exchange is closed already.
        :raises ExchangeNotRecordedError: If no middleware has opened the exchange: it
            is never closed, and the function would not be called.
        """
        if not callable(function):
            raise TypeError(
                f"call_on_close() takes a function, got {short_repr(function)}; pass"
                " the function itself, not its result"
            )
        if self._environ is None:
            raise ExchangeClosedError(
                "the exchange is closed, so the function would not be called; release"
                " the resource at once"
            )
        if self._start_response is None:
            raise ExchangeNotRecordedError(
                "no middleware records this request, so its exchange is never"
                " closed and the function would not be called; leave the middleware in"
                " app.wsgi_app, and call the application as a server does"
            )
        if self._close_callbacks is None:
            self._close_callbacks = []
        if arguments or named:
            function = functools.partial(function, *arguments, **named)
        self._close_callbacks.append(function)

    def seconds_since_start(self) -> float:
        """Return how long ago the server called."""
        return time.perf_counter() - self.start

    def _read_route(self, request: t.Any = None) -> bool:
        """Take the route from Werkzeug's request, if any, and once.

        Flask leaves its request object in the environment that it gets, until it has
        called the view and the server has the response's start. It is read by name, so
        that nothing here depends on Werkzeug; and only when the route is needed, as a
        receiver at the moment when Flask has it would take some 5 µs. If Flask gets
        a copy of the environment, ``find_request`` finds the request. An outer exchange
        takes the route, too, unless it has its own request.

        :param request: The request, as Flask makes it, if the environment has none.
        :returns: Whether a route was looked for, found or not.
        """
        environ = self._environ
        if environ is None:
            return False
        if request is None:
            request = environ.get("werkzeug.request")
            # In a copy of another request's environment it is that request's.
            if (
                request is None
                or request is self._earlier_request
                or getattr(request, "environ", environ) is not environ
            ):
                find = self._find_request
                request = None if find is None else find(self)
                if request is None:
                    return False
        rule = getattr(request, "url_rule", None)
        if rule is None and self._find_request is not None:
            # A middleware may have created its own request.
            request = self._find_request(self) or request
            rule = getattr(request, "url_rule", None)
        if rule is None:
            return self._route is not None or (
                getattr(request, "routing_exception", None) is not None
            )
        if self._route is None:
            # Not of this environment: a middleware may have mounted a copy of it.
            mount = getattr(request, "environ", environ).get("SCRIPT_NAME")
            self._route = decoded(mount) + rule.rule if mount else rule.rule
            self._endpoint = rule.endpoint
            outer = self.outer
            if outer is not None:
                # A receiver may have set any value.
                is_exchange = issubclass(type(outer), Exchange)
                if is_exchange and not outer._read_route():
                    outer._read_route(request)
        return True

    def _take_route(
        self, environ: WSGIEnvironment, template: str, endpoint: str | None
    ) -> None:
        """Take the route that matched from a framework's reader. For integrations.

        The first one stays, unless another is of an application mounted further down.
        """
        mount = decoded(environ.get("SCRIPT_NAME")).rstrip("/")
        is_deeper = mount != self.script_name.rstrip("/")
        self._read_route()
        # If the first is not a template of the mount point, that differs by request.
        if self._route is None or (is_deeper and self._route.startswith(f"{mount}/")):
            self._route = f"{mount}/{template.removeprefix('/')}"
            self._endpoint = endpoint
        outer = self.outer if issubclass(type(self.outer), Exchange) else None
        if outer is not None and outer.route is None:
            outer._take_route(environ, template, endpoint)


@dataclass(frozen=True, slots=True)
class ResponseStart:
    """The status and the headers that an application gave to ``start_response``.

    Named as in Werkzeug's response, so that one receiver can read both.

    .. versionadded:: 0.1
    """

    status: str
    """The status line, as ``"200 OK"``."""
    status_code: int | None
    """The code in the status line; ``None`` if there is none."""
    headers: Mapping[str, str] | Headers
    """A copy of the headers; names match in any case."""


def current_exchange() -> Exchange | None:
    """Return the exchange for which the running code works; ``None`` outside of one.

    Call it anywhere below the request: in a view, in a receiver of database signals, in
    a template filter, while the body is produced, in code that runs at the close. Also
    in a thread, a task or a greenlet that was started with a copy of the context
    (:func:`contextvars.copy_context`) of the call. A request inside another, such as
    one of a test client, has its own exchange. If one thread produces several bodies in
    turns, each body has its own exchange.

    After the close of the exchange it returns ``None``, even in a thread that
    continues.

    .. versionadded:: 0.1
    """
    exchange = context_exchange.get()
    if producing:
        exchange = nearest(_getframe(1), exchange)
    # The same as is_open, without a call.
    if exchange is None or exchange._environ is None:
        return None
    return t.cast("Exchange", exchange)


def decoded(value: object) -> str:
    """Return a string of a WSGI environment, decoded; ``""`` for no string.

    :pep:`3333` has the bytes of the request decoded as latin-1; they are UTF-8.
    """
    if not issubclass(type(value), str):
        return ""
    text = t.cast("str", value)
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:  # not every server keeps to latin-1
        return text
