"""Record the active requests of each worker where the arbiter can read them."""

from __future__ import annotations

import struct
import time
import typing as t
from collections import OrderedDict
from contextvars import ContextVar
from mmap import mmap
from weakref import WeakKeyDictionary

from ...exchange import Exchange
from ...lifecycle import exchange_opened

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_MOST_OPEN = 4096


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
    """When the worker had read its headers, in seconds since the epoch."""
    exchange: Exchange | None = None
    """The exchange that the middleware recorded, if it did; ``None`` in
    :data:`child_exit`, because it ended with the worker."""


class Request:
    """An open request of this process."""

    __slots__ = ("exchange", "queue_seconds", "req", "slot", "start", "started_at")

    def __init__(self, req: t.Any, queue_seconds: float | None) -> None:
        # Kept, so that its id stays its own.
        self.req = req
        self.queue_seconds = queue_seconds
        self.start = time.perf_counter()
        self.started_at = time.time()
        self.slot: int | None = None
        self.exchange: Exchange | None = None


class ActiveRequests:
    """The active requests of a worker, on a page that the arbiter can read as well.

    The arbiter makes it before the fork, and both see the same memory: what a worker
    had noted there outlives it. A slot is written by the one thread that has it, and
    its length last, so that one half written counts as free. No lock is taken: a
    worker may be killed at any moment, or be interrupted by a signal of the system.
    """

    _SLOTS = 16
    _SLOT_BYTES = 254
    _HEAD = struct.Struct("<Hd")
    _LENGTH = struct.Struct("<H")
    _MOST_TEXT_BYTES = _SLOT_BYTES - _HEAD.size

    def __init__(self) -> None:
        self._page = mmap(-1, 1 + self._SLOTS * self._SLOT_BYTES)
        self._free = [*range(self._SLOTS)]
        self._open: OrderedDict[int, Request] = OrderedDict()
        self._receives_exchanges = False

    @property
    def has_left(self) -> bool:
        """``True`` if the worker came to its exit."""
        return self._page[0] == 1

    @has_left.setter
    def has_left(self, has_left: bool) -> None:
        self._page[0] = int(has_left)

    def begin(self, req: t.Any, queue_seconds: float | None) -> None:
        """Note a request of this process."""
        if not self._receives_exchanges:
            # Not before, and in a worker only: a receiver makes the middleware record.
            exchange_opened.connect(_keep_exchange)
            self._receives_exchanges = True
        request = Request(req, queue_seconds)
        if len(self._open) >= _MOST_OPEN:
            # Its end was not reported; each worker that serves WSGI reports it.
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

    def end(self, req: t.Any) -> Request | None:
        """Remove a request of this process, and return its record."""
        _current.set(None)
        request = self._open.pop(id(req), None)
        if request is not None:
            self._free_slot(request)
        return request

    def requests_of_worker(self) -> tuple[OpenRequest, ...]:
        """Return the open requests of this process, for signals of the worker."""
        return tuple(
            OpenRequest(one.req.method, one.req.path, one.started_at, one.exchange)
            for one in [*self._open.values()]
        )

    def requests_on_page(self) -> tuple[OpenRequest, ...]:
        """Return the open requests on the page, for signals of the arbiter."""
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

    def _free_slot(self, request: Request) -> None:
        if request.slot is not None:
            self._LENGTH.pack_into(self._page, self._position(request.slot), 0)
            self._free.append(request.slot)

    def _position(self, slot: int) -> int:
        return 1 + slot * self._SLOT_BYTES


active_by_worker: WeakKeyDictionary[t.Any, ActiveRequests] = WeakKeyDictionary()

_current: ContextVar[Request | None] = ContextVar(
    "signalpost.gunicorn_request", default=None
)


def active_requests_of(worker: t.Any) -> ActiveRequests:
    active = active_by_worker.get(worker)
    if active is None:
        # A worker that was forked before the hooks were installed.
        active = active_by_worker[worker] = ActiveRequests()
    return active


def _keep_exchange(
    sender: object, *, environ: WSGIEnvironment, exchange: Exchange
) -> None:
    """Note which exchange is that of the request which gunicorn has begun.

    By the context, as a middleware may have given the application a copy of the
    environment. The first is the outermost; one without gunicorn's socket is
    of a request inside this one, by a test client for example.
    """
    request = _current.get()
    if (
        request is not None
        and request.exchange is None
        and "gunicorn.socket" in environ
    ):
        request.exchange = exchange
