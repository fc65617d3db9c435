"""gunicorn: its server hooks as signals, beside an application's own hooks.

The last line of ``gunicorn.conf.py`` brings all of them::

    from signalpost.integrations.gunicorn import install_server_hooks

    install_server_hooks(globals())

Each signal is named after its hook. The sender is the hook's first argument, the
arbiter (gunicorn's master) or the worker; the payload has the other arguments by
gunicorn's names. So a function that was written as a hook connects as it is::

    def child_exit(server, worker):
        server.log.info("worker %s is gone", worker.pid)

Receivers are isolated: one that raises is logged by the logger ``signalpost.signals``,
and the server goes on. ``ssl_context`` has no signal: gunicorn asks it for an answer.
"""

from __future__ import annotations

import functools
import re
import struct
import time
import typing as t
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from mmap import mmap
from reprlib import repr as short_repr
from types import FunctionType
from types import MethodType
from weakref import WeakKeyDictionary

from .._engine.delivery import AsyncWrapper
from .._engine.namespace import Namespace
from .._engine.signal import heard_of
from .._engine.signal import NamedSignal
from ..errors import ConfigurationError
from ..exchange import Exchange
from ..lifecycle import catalogue
from ..lifecycle import exchange_opened

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = [
    "OpenRequest",
    "child_exit",
    "install_server_hooks",
    "nworkers_changed",
    "on_exit",
    "on_reload",
    "on_starting",
    "post_fork",
    "post_request",
    "post_worker_init",
    "pre_exec",
    "pre_fork",
    "pre_request",
    "server_signals",
    "when_ready",
    "worker_abort",
    "worker_exit",
    "worker_int",
]

server_signals: Namespace = Namespace()
"""Every signal of this page by its name, as in ``server_signals["post-fork"]``.

.. versionadded:: 0.1
"""

on_starting: NamedSignal = server_signals.signal(
    "on-starting", "The arbiter is about to start.", payload=()
)
"""The arbiter is about to start.

*Sender*: the arbiter.

*Sent when*: once, before it listens. A preloaded application is loaded by then.

*Payload*: none.

.. versionadded:: 0.1
"""

on_reload: NamedSignal = server_signals.signal(
    "on-reload", "The arbiter has read its configuration again.", payload=()
)
"""The arbiter has read its configuration again.

*Sender*: the arbiter.

*Sent when*: after SIGHUP, with the new configuration in force, before its workers are
forked and the old ones stopped.

*Payload*: none.

.. versionadded:: 0.1
"""

when_ready: NamedSignal = server_signals.signal(
    "when-ready", "The arbiter listens.", payload=()
)
"""The arbiter listens.

*Sender*: the arbiter.

*Sent when*: once, before the first worker is forked.

*Payload*: none.

.. versionadded:: 0.1
"""

pre_fork: NamedSignal = server_signals.signal(
    "pre-fork", "A worker is about to be forked.", payload=("worker",)
)
"""A worker is about to be forked.

*Sender*: the arbiter.

*Sent when*: before each fork, in the arbiter.

*Payload*:

- ``worker``: the worker, which has no ``pid`` yet.

.. versionadded:: 0.1
"""

post_fork: NamedSignal = server_signals.signal(
    "post-fork", "A worker has been forked.", payload=("worker",)
)
"""A worker has been forked.

*Sender*: the arbiter, or what of it is in the worker's process.

*Sent when*: first thing in the worker. Unless it was preloaded, the application is not
loaded yet, so what it connects when it is imported does not hear this.

*Payload*:

- ``worker``: the worker.

.. versionadded:: 0.1
"""

post_worker_init: NamedSignal = server_signals.signal(
    "post-worker-init", "A worker has loaded the application.", payload=()
)
"""A worker has loaded the application and begins to serve.

*Sender*: the worker.

*Sent when*: once in each worker that came so far.

*Payload*: none.

.. versionadded:: 0.1
"""

worker_int: NamedSignal = server_signals.signal(
    "worker-int", "A worker was told to leave at once.", payload=("requests",)
)
"""A worker was told to leave at once: by SIGINT, SIGQUIT, or to load changed code.

*Sender*: the worker.

*Sent when*: in the worker's process. What it has under way ends in a ``SystemExit``
right after. SIGTERM, on which a worker finishes its work first, does not send it.

*Payload*:

- ``requests``: what the worker has under way, the oldest first; a tuple of
  :class:`OpenRequest`.

.. versionadded:: 0.1
"""

worker_abort: NamedSignal = server_signals.signal(
    "worker-abort", "A worker was aborted, mostly for a timeout.", payload=("requests",)
)
"""A worker was aborted (SIGABRT): as a rule for a timeout.

*Sender*: the worker.

*Sent when*: in the worker's process, in the midst of what took too long, which ends in
a ``SystemExit`` right after. Not sent if the code that took too long never comes back
to Python; such a worker is killed a little later, see :data:`child_exit`.

*Payload*:

- ``requests``: what the worker has under way, the oldest first; a tuple of
  :class:`OpenRequest`. With the sync worker it is the request that took too long.

.. versionadded:: 0.1
"""

pre_exec: NamedSignal = server_signals.signal(
    "pre-exec", "A new arbiter is about to take over.", payload=()
)
"""A new arbiter is about to take over (SIGUSR2).

*Sender*: the arbiter, or what of it is in the new one's process.

*Sent when*: after the fork, before the new arbiter's program is executed.

*Payload*: none.

.. versionadded:: 0.1
"""

pre_request: NamedSignal = server_signals.signal(
    "pre-request",
    "A worker has read the head of a request.",
    payload=("req", "queue_seconds"),
)
"""A worker has read the head of a request.

*Sender*: the worker.

*Sent when*: before the environment is made and the application is called.

*Payload*:

- ``req``: gunicorn's request: ``method``, ``path``, ``headers`` …
- ``queue_seconds``: how long ago the front took the request, in seconds, by the
  ``queue_header`` of :func:`install_server_hooks`; else ``None``.

.. versionadded:: 0.1
"""

post_request: NamedSignal = server_signals.signal(
    "post-request",
    "A worker is done with a request.",
    payload=(
        "req",
        "environ",
        "resp",
        "exchange",
        "duration_seconds",
        "queue_seconds",
    ),
)
"""A worker is done with a request, whatever became of it.

*Sender*: the worker.

*Sent when*: once for each :data:`pre_request`, after the response is closed; unless
the worker is killed before.

*Payload*:

- ``req``: gunicorn's request.
- ``environ``: the WSGI environment; ``{}`` if gunicorn did not get so far.
- ``resp``: gunicorn's response, or ``None``. Its ``status`` is a string such as
  ``"200 OK"``, or ``None`` if the application did not answer.
- ``exchange``: the :class:`~signalpost.exchange.Exchange`, as a rule closed, that
  the middleware recorded for this request; the outermost if there are several.
  ``None`` if no middleware saw it. Its ``outcome`` is ``None`` if the response was
  never closed; after a timeout its ``exception`` is the ``SystemExit``.
- ``duration_seconds``: since :data:`pre_request`, in seconds; ``None`` if that was
  not heard.
- ``queue_seconds``: as for :data:`pre_request`.

.. versionadded:: 0.1
"""

child_exit: NamedSignal = server_signals.signal(
    "child-exit",
    "A worker is gone, as the arbiter sees it.",
    payload=("worker", "is_silent", "requests"),
)
"""A worker is gone, as the arbiter sees it.

*Sender*: the arbiter.

*Sent when*: after the process has ended; for one that was killed, this is all that can
be said. gunicorn gives its hook no exit status, which is only in its log. Not sent for
a worker that cannot load the application, as that ends the server.

*Payload*:

- ``worker``: the worker, with its ``pid``. Its ``aborted`` tells whether the arbiter
  aborted it for a timeout.
- ``is_silent``: whether the process ended without a :data:`worker_exit`: killed, or
  crashed. ``None`` if it was forked before the hooks were installed.
- ``requests``: what it had under way when it ended, the oldest first; a tuple of
  :class:`OpenRequest`, 16 at the most, without exchanges.

.. versionadded:: 0.1
"""

worker_exit: NamedSignal = server_signals.signal(
    "worker-exit", "A worker leaves.", payload=("worker", "requests")
)
"""A worker leaves.

*Sender*: the arbiter, or what of it is in the worker's process.

*Sent when*: last thing in the worker, unless it is killed or crashes.

*Payload*:

- ``worker``: the worker.
- ``requests``: what it has not finished, the oldest first; a tuple of
  :class:`OpenRequest`.

.. versionadded:: 0.1
"""

nworkers_changed: NamedSignal = server_signals.signal(
    "nworkers-changed",
    "There are to be more workers, or fewer.",
    payload=("new_value", "old_value"),
)
"""There are to be more workers, or fewer.

*Sender*: the arbiter.

*Sent when*: when the number is set: at first before :data:`on_starting`, when little
else of the arbiter is there; by SIGTTIN and SIGTTOU; and by each reload.

*Payload*:

- ``new_value``: how many there are to be.
- ``old_value``: how many it was before; ``None`` at first.

.. versionadded:: 0.1
"""

on_exit: NamedSignal = server_signals.signal(
    "on-exit", "The arbiter leaves.", payload=()
)
"""The arbiter leaves.

*Sender*: the arbiter.

*Sent when*: last thing in the arbiter, unless it is killed.

*Payload*: none.

.. versionadded:: 0.1
"""

# What a hook is given after its first argument, which is the sender.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "on_starting": (),
    "on_reload": (),
    "when_ready": (),
    "pre_fork": ("worker",),
    "post_fork": ("worker",),
    "post_worker_init": (),
    "worker_int": (),
    "worker_abort": (),
    "pre_exec": (),
    "pre_request": ("req",),
    "post_request": ("req", "environ", "resp"),
    "child_exit": ("worker",),
    "worker_exit": ("worker",),
    "nworkers_changed": ("new_value", "old_value"),
    "on_exit": (),
}

_OF_REQUESTS = (post_request, worker_int, worker_abort, worker_exit)
_MOST_OPEN = 4096
_MOST_QUEUE_SECONDS = 3600.0
_MOST_CLOCK_SKEW_SECONDS = 1.0
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_REQUEST_START = re.compile(r"(?:t=)?([0-9]{9,20}(?:\.[0-9]{1,9})?)", re.ASCII)

Hook = Callable[..., t.Any]


class OpenRequest(t.NamedTuple):
    """A request that a worker had begun and not finished.

    .. versionadded:: 0.1
    """

    method: str
    """The method, as the client sent it."""
    path: str
    """The path without its query, as the client sent it, escapes and all. In
    :data:`child_exit` it may be cut short."""
    started_at: float
    """When the worker had read its head, in seconds since the epoch."""
    exchange: Exchange | None = None
    """What the middleware recorded, if it saw the request; ``None`` in
    :data:`child_exit`, as it went with the worker."""


def install_server_hooks(
    namespace: dict[str, t.Any], *, queue_header: str | None = None
) -> None:
    """Make gunicorn's server hooks send signals.

    To be called in ``gunicorn.conf.py``, as its last line. Hooks that stand above it
    keep working: each is called, with what gunicorn gave, after the signal's
    receivers. One that is defined below it would take the place of the signal's. So
    would a signal that is imported below it, as it has the name of its hook.

    When gunicorn runs the file again on SIGHUP, what the old run of it had connected,
    to these signals and to those of :mod:`signalpost.lifecycle`, is disconnected.

    :param namespace: The ``globals()`` of the configuration file.
    :param queue_header: The name of a header in which a front, such as nginx, says
        when it took the request, as ``"X-Request-Start"``: seconds, milliseconds or
        microseconds since the epoch, with or without ``t=``. The front must set it
        in place of any that a client sends. A value that is no such time, given
        twice, more than an hour old or more than a second ahead counts as none.
    :raises ConfigurationError: If ``namespace`` is no dict, ``queue_header`` no name
        of a header, or gunicorn would not take one of its hooks.

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
        for name in _ARGUMENTS
    }
    further = _further_payloads(queue_header)
    for name, own in owns.items():
        namespace[name] = _SendingHook(name, own, further.get(name))
    if source:
        _disconnect_earlier(source, namespace)


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and _HEADER_NAME.fullmatch(name) is not None


def _own_hook(value: t.Any, setting: t.Any, source: str) -> Hook:
    """Return what gunicorn would make of a hook of the configuration file."""
    if isinstance(value, _SendingHook):
        # A file that takes another one in (import *) installs over what that did.
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
    """A server hook that sends a signal, and then does what the file's own does."""

    def __init__(
        self, name: str, own: Hook, further: Callable[..., dict[str, t.Any]] | None
    ) -> None:
        # gunicorn counts the parameters: it is shown those of what is wrapped.
        functools.update_wrapper(self, own)
        self.own = own
        self._signal = server_signals[name.replace("_", "-")]
        self._names = _ARGUMENTS[name]
        self._further = further

    def __call__(self, sender: t.Any, *others: t.Any) -> t.Any:
        payload = dict(zip(self._names, others, strict=True))
        if self._further is not None:
            payload.update(self._further(sender, *others))
        self._signal.send_isolated(sender, payload, _no_async_wrapper)
        return self.own(sender, *others)


def _no_async_wrapper() -> AsyncWrapper | None:
    """Return what runs async receivers; a server hook has nothing."""
    return None


def _further_payloads(
    queue_header: str | None,
) -> dict[str, Callable[..., dict[str, t.Any]]]:
    """Return what finds the payload that gunicorn does not give, by hook."""
    header = None if queue_header is None else queue_header.upper()

    def begin(worker: t.Any, req: t.Any) -> dict[str, t.Any]:
        is_followed = heard_of(_OF_REQUESTS, worker) or child_exit.receivers
        queue_seconds = None
        if header and (is_followed or pre_request.has_receivers_for(worker)):
            queue_seconds = _queue_seconds(req, header)
        if is_followed:
            _ledger_of(worker).begin(req, queue_seconds)
        return {"queue_seconds": queue_seconds}

    return {
        "pre_fork": _open_ledger,
        "post_fork": _drop_other_ledgers,
        "worker_int": _requests_open,
        "worker_abort": _requests_open,
        "pre_request": begin,
        "post_request": _end_request,
        "child_exit": _close_ledger,
        "worker_exit": _leave,
    }


def _open_ledger(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    _ledgers[worker] = _Ledger()
    return {}


def _drop_other_ledgers(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    for other in [*_ledgers]:
        if other is not worker:
            del _ledgers[other]
    return {}


def _requests_open(worker: t.Any) -> dict[str, t.Any]:
    return {"requests": _ledger_of(worker).open_here()}


def _end_request(
    worker: t.Any, req: t.Any, environ: WSGIEnvironment, resp: t.Any
) -> dict[str, t.Any]:
    request = _ledger_of(worker).end(req)
    if request is None:
        return {"exchange": None, "duration_seconds": None, "queue_seconds": None}
    return {
        "exchange": request.exchange,
        "duration_seconds": time.perf_counter() - request.start,
        "queue_seconds": request.queue_seconds,
    }


def _leave(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    ledger = _ledger_of(worker)
    ledger.has_left = True
    return {"requests": ledger.open_here()}


def _close_ledger(server: t.Any, worker: t.Any) -> dict[str, t.Any]:
    ledger = _ledgers.pop(worker, None)
    if ledger is None:
        return {"is_silent": None, "requests": ()}
    return {"is_silent": not ledger.has_left, "requests": ledger.open_there()}


class _Request:
    """A request under way in this process."""

    __slots__ = ("exchange", "queue_seconds", "req", "slot", "start", "started_at")

    def __init__(self, req: t.Any, queue_seconds: float | None) -> None:
        # Kept, so that its id stays its own.
        self.req = req
        self.queue_seconds = queue_seconds
        self.start = time.perf_counter()
        self.started_at = time.time()
        self.slot: int | None = None
        self.exchange: Exchange | None = None


class _Ledger:
    """What a worker has under way, on a page that the arbiter can read as well.

    The arbiter makes it before the fork, and both see the same memory: what a worker
    had noted there outlives it. A slot is written by the one thread that has it, and
    its length last, so that one half written counts as free. No lock is taken: a
    worker may be killed at any moment, or be interrupted by a signal of its own.
    """

    _SLOTS = 16
    _SLOT_BYTES = 254
    _HEAD = struct.Struct("<Hd")
    _LENGTH = struct.Struct("<H")
    _MOST_TEXT_BYTES = _SLOT_BYTES - _HEAD.size

    def __init__(self) -> None:
        self._page = mmap(-1, 1 + self._SLOTS * self._SLOT_BYTES)
        self._free = [*range(self._SLOTS)]
        self._open: OrderedDict[int, _Request] = OrderedDict()
        self._hears_exchanges = False

    @property
    def has_left(self) -> bool:
        """Whether the worker came to its exit."""
        return self._page[0] == 1

    @has_left.setter
    def has_left(self, has_left: bool) -> None:
        self._page[0] = int(has_left)

    def begin(self, req: t.Any, queue_seconds: float | None) -> None:
        """Note a request of this process."""
        if not self._hears_exchanges:
            # Not before, and in a worker only: what is heard, the middleware records.
            exchange_opened.connect(_keep_exchange)
            self._hears_exchanges = True
        request = _Request(req, queue_seconds)
        if len(self._open) >= _MOST_OPEN:
            # Its end was never told; each worker that serves WSGI tells it.
            self._free_slot(self._open.popitem(last=False)[1])
        self._open[id(req)] = request
        _current.set(request)
        try:
            slot = self._free.pop()
        except IndexError:
            return
        text = f"{req.method} {req.path}".encode("utf-8", "replace")
        text = text[: self._MOST_TEXT_BYTES]
        at = self._position(slot)
        after_head = at + self._HEAD.size
        self._page[after_head : after_head + len(text)] = text
        self._HEAD.pack_into(self._page, at, 0, request.started_at)
        self._LENGTH.pack_into(self._page, at, len(text))
        request.slot = slot

    def end(self, req: t.Any) -> _Request | None:
        """Forget a request of this process, and return what was noted."""
        _current.set(None)
        request = self._open.pop(id(req), None)
        if request is not None:
            self._free_slot(request)
        return request

    def open_here(self) -> tuple[OpenRequest, ...]:
        """Return what is open in this process, for the worker to tell."""
        return tuple(
            OpenRequest(one.req.method, one.req.path, one.started_at, one.exchange)
            for one in [*self._open.values()]
        )

    def open_there(self) -> tuple[OpenRequest, ...]:
        """Return what the page says, for the arbiter to tell."""
        found = []
        for slot in range(self._SLOTS):
            at = self._position(slot)
            length, started_at = self._HEAD.unpack_from(self._page, at)
            if length:
                after_head = at + self._HEAD.size
                text = self._page[after_head : after_head + length]
                # The last character may be cut in two.
                method, _, path = text.decode("utf-8", "ignore").partition(" ")
                found.append(OpenRequest(method, path, started_at))
        return tuple(sorted(found, key=lambda request: request.started_at))

    def _free_slot(self, request: _Request) -> None:
        if request.slot is not None:
            self._LENGTH.pack_into(self._page, self._position(request.slot), 0)
            self._free.append(request.slot)

    def _position(self, slot: int) -> int:
        return 1 + slot * self._SLOT_BYTES


_ledgers: WeakKeyDictionary[t.Any, _Ledger] = WeakKeyDictionary()

_current: ContextVar[_Request | None] = ContextVar(
    "signalpost.gunicorn_request", default=None
)


def _ledger_of(worker: t.Any) -> _Ledger:
    ledger = _ledgers.get(worker)
    if ledger is None:
        # A worker that was forked before the hooks were installed.
        ledger = _ledgers[worker] = _Ledger()
    return ledger


def _keep_exchange(
    sender: object, *, environ: WSGIEnvironment, exchange: Exchange
) -> None:
    """Note which exchange is that of the request which gunicorn has begun.

    By the context, as a middleware may have given the application a copy of the
    environment. The first is the outermost; one that has not gunicorn's socket is of
    a request inside this one, as by a test client.
    """
    request = _current.get()
    if (
        request is not None
        and request.exchange is None
        and "gunicorn.socket" in environ
    ):
        request.exchange = exchange


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
    """Disconnect what an earlier run of the same file has connected."""
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
    """Tell whether a receiver was made by the earlier run of a file, not by this one.

    What both have was imported by both, and is not connected twice.
    """
    if isinstance(receiver, FunctionType):
        return receiver.__globals__ is earlier
    owner = receiver.__self__ if isinstance(receiver, MethodType) else receiver
    return _holds(earlier, owner) and not _holds(namespace, owner)


def _holds(namespace: dict[str, t.Any], value: object) -> bool:
    return any(value is one for one in namespace.values())
