"""The server hooks that send signals, and their additional payload."""

from __future__ import annotations

import functools
import re
import time
import typing as t
from collections.abc import Callable
from reprlib import repr as short_repr
from types import FunctionType
from types import MethodType

from ..._engine.delivery import AsyncWrapper
from ..._engine.interest import with_receivers
from ...errors import ConfigurationError
from ...lifecycle import catalogue
from ._active_requests import active_by_worker
from ._active_requests import active_requests_of
from ._active_requests import ActiveRequests
from ._catalogue import ARGUMENTS
from ._catalogue import child_exit
from ._catalogue import post_request
from ._catalogue import pre_request
from ._catalogue import server_signals
from ._catalogue import worker_abort
from ._catalogue import worker_exit
from ._catalogue import worker_int

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_OF_REQUESTS = (post_request, worker_int, worker_abort, worker_exit)
_MOST_QUEUE_SECONDS = 3600.0
_MOST_CLOCK_SKEW_SECONDS = 1.0
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_REQUEST_START = re.compile(r"(?:t=)?([0-9]{9,20}(?:\.[0-9]{1,9})?)", re.ASCII)

Hook = Callable[..., t.Any]


def install_server_hooks(
    namespace: dict[str, t.Any], *, queue_header: str | None = None
) -> None:
    """Make gunicorn's server hooks send signals.

    Call it in ``gunicorn.conf.py``, as the last line. Hooks that are defined above it
    keep working: each is called after the signal's receivers, with gunicorn's
    arguments. A hook that is defined below it would replace that of the signal. So
    would a signal that is imported below it, because a signal has the name of its hook.

    When gunicorn runs the file again on SIGHUP, the connections of the earlier run, to
    these signals and to those of :mod:`signalpost.lifecycle`, are disconnected.

    :param namespace: The ``globals()`` of the configuration file.
    :param queue_header: The name of a header in which a proxy, such as nginx, sends the
        time when it received the request, as ``"X-Request-Start"``: seconds,
        milliseconds or microseconds since the epoch, with or without ``t=``. The proxy
        must overwrite a client's header. A value is ignored if it is not such a time,
        is given twice, is more than an hour old, or is more than a second in the
        future.
    :raises ConfigurationError: If ``namespace`` is not a dict, if ``queue_header``
        cannot be the name of a header, or if gunicorn would not accept one of its
        hooks.

    .. versionadded:: 0.1
    """
    if not isinstance(namespace, dict):
        raise ConfigurationError(
            "install_server_hooks() takes the globals() of gunicorn.conf.py, got"
            f" {short_repr(namespace)}; write install_server_hooks(globals())"
        )
    source = str(namespace.get("__file__", ""))
    if queue_header is not None and not _is_header_name(queue_header):
        raise ConfigurationError(
            "queue_header must be the name of a header, got"
            f' {short_repr(queue_header)}; write queue_header="X-Request-Start"',
            source,
        )
    # Not above: an application may connect to the signals where gunicorn is absent.
    from gunicorn.config import Config  # type: ignore[import-untyped]  # no types

    settings = Config().settings
    owns = {
        name: _own_hook(namespace[name], settings[name], source)
        if name in namespace
        else settings[name].get()
        for name in ARGUMENTS
    }
    further = _further_payloads(queue_header)
    for name, own in owns.items():
        namespace[name] = _SendingHook(name, own, further.get(name))
    if source:
        _disconnect_earlier(source, namespace)


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and _HEADER_NAME.fullmatch(name) is not None


def _own_hook(value: t.Any, setting: t.Any, source: str) -> Hook:
    """Return the function that gunicorn would use for a hook of the file."""
    if isinstance(value, _SendingHook):
        # A file that imports another one (import *) replaces the hooks of that file.
        return value.own
    # A signal that the file has imported has the name of its hook; and so may have its
    # receiver, which is not to be called twice.
    signal = server_signals[setting.name.replace("_", "-")]
    if value is signal or any(value is one.receiver for one in signal.connections):
        return t.cast("Hook", setting.get())
    try:
        setting.set(value)
    except TypeError as error:
        raise ConfigurationError(
            f"{setting.name} must be a server hook as gunicorn takes it, got"
            f" {short_repr(value)}: {error}; see gunicorn's settings",
            source,
            key=setting.name,
        ) from None
    return t.cast("Hook", setting.get())


class _SendingHook:
    """A server hook that sends a signal, and then calls the file's own hook."""

    def __init__(
        self, name: str, own: Hook, further: Callable[..., dict[str, t.Any]] | None
    ) -> None:
        # gunicorn counts the parameters, so these are the wrapped function's.
        functools.update_wrapper(self, own)
        self.own = own
        self._signal = server_signals[name.replace("_", "-")]
        self._names = ARGUMENTS[name]
        self._further = further

    def __call__(self, sender: t.Any, *others: t.Any) -> t.Any:
        payload = dict(zip(self._names, others, strict=True))
        if self._further is not None:
            payload.update(self._further(sender, *others))
        self._signal.send_isolated(sender, payload, _no_async_wrapper)
        return self.own(sender, *others)


def _no_async_wrapper() -> AsyncWrapper | None:
    """Return the wrapper for async receivers: a server hook has none."""
    return None


def _further_payloads(
    queue_header: str | None,
) -> dict[str, Callable[..., dict[str, t.Any]]]:
    """Return functions that add to the payload of gunicorn, by hook."""
    header = None if queue_header is None else queue_header.upper()

    def begin(worker: t.Any, req: t.Any) -> dict[str, t.Any]:
        is_followed = with_receivers(_OF_REQUESTS, worker) or child_exit.receivers
        queue_seconds = None
        if header and (is_followed or pre_request.has_receivers_for(worker)):
            queue_seconds = _queue_seconds(req, header)
        if is_followed:
            active_requests_of(worker).begin(req, queue_seconds)
        return {"queue_seconds": queue_seconds}

    return {
        "pre_fork": _open_page,
        "post_fork": _drop_other_pages,
        "worker_int": _requests_open,
        "worker_abort": _requests_open,
        "pre_request": begin,
        "post_request": _end_request,
        "child_exit": _close_page,
        "worker_exit": _leave,
    }


def _open_page(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    active_by_worker[worker] = ActiveRequests()
    return {}


def _drop_other_pages(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    for other in [*active_by_worker]:
        if other is not worker:
            del active_by_worker[other]
    return {}


def _requests_open(worker: t.Any) -> dict[str, t.Any]:
    return {"requests": active_requests_of(worker).requests_of_worker()}


def _end_request(
    worker: t.Any, req: t.Any, environ: WSGIEnvironment, resp: t.Any
) -> dict[str, t.Any]:
    request = active_requests_of(worker).end(req)
    if request is None:
        return {"exchange": None, "duration_seconds": None, "queue_seconds": None}
    return {
        "exchange": request.exchange,
        "duration_seconds": time.perf_counter() - request.start,
        "queue_seconds": request.queue_seconds,
    }


def _leave(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    active = active_requests_of(worker)
    active.has_left = True
    return {"requests": active.requests_of_worker()}


def _close_page(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    active = active_by_worker.pop(worker, None)
    if active is None:
        return {"is_silent": None, "requests": ()}
    return {"is_silent": not active.has_left, "requests": active.requests_on_page()}


def _queue_seconds(req: t.Any, header: str) -> float | None:
    """Return how long ago a front took a request, by its header."""
    values = [value for name, value in req.headers if name == header]
    found = _REQUEST_START.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        return None
    since_epoch = float(found[1])
    # Seconds have ten digits until the year 2286.
    for digits, in_a_second in ((11, 1.0), (14, 1e3), (17, 1e6)):
        if since_epoch < 10**digits:
            waited = time.time() - since_epoch / in_a_second
            if -_MOST_CLOCK_SKEW_SECONDS <= waited <= _MOST_QUEUE_SECONDS:
                return max(waited, 0.0)
            return None
    return None


_runs: dict[str, dict[str, t.Any]] = {}
"""The globals of the last run of each configuration file, by its path."""


def _disconnect_earlier(source: str, namespace: dict[str, t.Any]) -> None:
    """Disconnect the receivers that an earlier run of the same file connected."""
    earlier = _runs.get(source)
    _runs[source] = namespace
    if earlier is None or earlier is namespace:
        return
    for signals in (server_signals, catalogue):
        for signal in [*signals.values()]:
            for connection in signal.connections:
                if _is_of_earlier(connection.receiver, earlier, namespace):
                    signals.disconnect(connection.receiver)
                    signal.disconnect(connection.receiver)


def _is_of_earlier(
    receiver: t.Any, earlier: dict[str, t.Any], namespace: dict[str, t.Any]
) -> bool:
    """Return whether a receiver was made by the earlier run of a file, not this one.

    A receiver in both runs was imported by both, and is not connected twice.
    """
    if isinstance(receiver, FunctionType):
        return receiver.__globals__ is earlier
    owner = receiver.__self__ if isinstance(receiver, MethodType) else receiver
    return _holds(earlier, owner) and not _holds(namespace, owner)


def _holds(namespace: dict[str, t.Any], value: object) -> bool:
    return any(value is one for one in namespace.values())
