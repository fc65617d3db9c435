"""Clients that leave before their response: how that is known, and what it means."""

from __future__ import annotations

import io
import typing as t
from http import HTTPStatus
from traceback import walk_tb
from types import CodeType
from types import FrameType

from ..exchange import Exchange
from ..exchange import ExchangeOutcome
from .kinds import methods_of

__all__ = [
    "codes_that_write",
    "outcome_failed",
    "outcome_unclosed",
    "record_client_left",
]

codes_that_write: t.Final[set[CodeType]] = set()
"""The code that calls a server's ``write``, and nothing else that raises."""

# Frameworks raise these if the server's input has ended too early, and waitress if it
# can no longer write.
_DISCONNECTS = frozenset(
    (
        ("waitress.channel", "ClientDisconnected"),
        ("werkzeug.exceptions", "ClientDisconnected"),
        ("webob.request", "DisconnectionError"),
    )
)

# Inputs written in C have no frame, so only the message can be compared.
_MESSAGES = {"uwsgi": "on wsgi.input", "mod_wsgi": "request data read error"}

# gunicorn's, for a chunk that ends where its CRLF must follow. It is given as much of
# that as had come.
_CUT_CHUNK = ("gunicorn.http.errors", "ChunkMissingTerminator")

# Werkzeug's debugger puts it into the environment.
_DEBUGGER_KEY: t.Final = "werkzeug.debug.preserve_context"


def record_client_left(error: BaseException, exchange: Exchange) -> bool:
    """Return whether an exception means that the client left, and note it then.

    Such an exception is not a failure of the application, and the exchange is aborted.
    It must come from the server's input or ``write`` itself: an exception of a database
    or an HTTP client may be of the same class.

    :param error: An exception that leaves the application, or that it answers with an
        error page.
    """
    try:
        has_left = _is_of_leaving(error, exchange._server_input)
    except Exception:  # noqa: BLE001  # the exception and the input may be anything
        return False
    if has_left:
        # The outcome is computed only for failed exchanges.
        exchange._has_failed = exchange._has_client_left = True
    return has_left


def outcome_failed(exchange: Exchange) -> ExchangeOutcome:
    """Return the outcome of an exchange that an exception has ended.

    If the client left, no client gets the error page that was made of the exception,
    and its status would be counted as a failure of the application. A status that was
    sent before stays.
    """
    if not exchange._has_client_left:
        return "error"
    status = exchange.status
    if type(status) is int and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        exchange.status = None
    return "aborted"


def outcome_unclosed(exchange: Exchange) -> ExchangeOutcome:
    """Return the outcome of a body that was freed before its end, and not closed.

    Werkzeug's debugger does not close the application's body when the server closes
    that of the debugger, as it does when the client has left.
    """
    environ = exchange._environ
    return "aborted" if environ is not None and _DEBUGGER_KEY in environ else "lost"


def _is_of_leaving(error: BaseException | None, source: object) -> bool:
    """Return whether an exception, or one that it was raised from, is of the input."""
    looked_at: set[int] = set()
    while error is not None and id(error) not in looked_at:
        looked_at.add(id(error))
        if _is_disconnect(type(error)) or _is_of(source, error):
            return True
        error = error.__cause__
    return False


def _is_disconnect(kind: type) -> bool:
    return any(_name_of(base) in _DISCONNECTS for base in kind.__mro__)


def _name_of(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _is_of(source: object, error: BaseException) -> bool:
    """Return whether an exception comes from the server's input or ``write``."""
    kind = type(error)
    if issubclass(kind, io.UnsupportedOperation):
        return False  # the application called an unsupported method
    if issubclass(kind, OSError):
        return (
            _is_of_native(source, error)
            or _has_passed(source, error)
            or _is_of_write(error)
        )
    is_cut = _name_of(kind) == _CUT_CHUNK and len(t.cast("t.Any", error).term) < len(
        b"\r\n"
    )
    return is_cut and _has_passed(source, error)


def _is_of_native(source: object, error: BaseException) -> bool:
    message = _MESSAGES.get(type(source).__module__)
    return message is not None and message in str(error)


def _is_of_write(error: BaseException) -> bool:
    return any(
        frame.f_code in codes_that_write for frame, _ in walk_tb(error.__traceback__)
    )


def _has_passed(source: object, error: BaseException) -> bool:
    """Return whether an exception passed through a method of the input.

    A buffered reader is written in C, and reads from a ``raw`` stream, which is not.
    """
    sources = [source]
    raw = getattr(source, "raw", None)
    if raw is not None:
        sources.append(raw)
    return any(
        _is_method_of(one, frame)
        for frame, _ in walk_tb(error.__traceback__)
        for one in sources
    )


def _is_method_of(source: object, frame: FrameType) -> bool:
    """Return whether a method of the input runs in a frame.

    A function of the application may have the input as its first argument as well.
    """
    code = frame.f_code
    is_method = any(
        getattr(method, "__code__", None) is code
        for method in methods_of(type(source), code.co_name)
    )
    # The locals are read last: a frame keeps what they were, as the exchange in ours.
    return (
        is_method
        and code.co_argcount > 0
        and frame.f_locals.get(code.co_varnames[0]) is source
    )
