"""Metrics of gunicorn's workers: starts, exits, busy ones, and time in the queue."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from collections.abc import Sequence

from ...errors import ConfigurationError
from ._options import bounds_of
from ._options import directory_of
from ._options import DIRECTORY_VARIABLE
from ._options import option_error
from ._options import prefix_of
from ._store import Store
from ._values import counter
from ._values import gauge
from ._values import histogram
from ._values import Label

__all__ = ["GunicornMetrics"]

_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)
_REASONS = ("exited", "aborted", "silent")
_connected: dict[tuple[str, str], GunicornMetrics] = {}


class GunicornMetrics:
    """Count gunicorn's workers, their exits and queue times; for ``gunicorn.conf.py``.

    ::

        from signalpost.integrations.gunicorn import install_server_hooks
        from signalpost.integrations.gunicorn import server_signals
        from signalpost.integrations.prometheus import GunicornMetrics

        GunicornMetrics().connect(server_signals)
        install_server_hooks(globals(), queue_header="X-Request-Start")

    The arbiter and the workers write these metrics to the directory, so that each
    scrape of the application has them:

    - ``gunicorn_worker_starts_total``: the number of forked workers.
    - ``gunicorn_worker_exits_total``: the number of ended workers, by ``reason``:
      ``"aborted"`` by the arbiter for a timeout; ``"silent"``, without a
      ``worker-exit``, because the worker was killed or has crashed; otherwise
      ``"exited"``.
    - ``gunicorn_workers`` and ``gunicorn_busy_workers``: the number of running workers
      that have loaded the application, and how many of these handle a request.
    - ``gunicorn_request_queue_seconds``: a histogram of the time that requests waited,
      from the time in the ``queue_header`` of
      :func:`~signalpost.integrations.gunicorn.install_server_hooks` until a worker has
      read the headers. Without such a header it is empty.

    :param namespace: The prefix of each name, as for :class:`PrometheusMetrics`.
    :param buckets: The upper bounds of the buckets of the time in the queue, in
        seconds, ascending.
    :param directory: The directory of the processes' files; by default that of
        ``PROMETHEUS_MULTIPROC_DIR``.
    :raises ConfigurationError: If an option does not fit, or there is no directory.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        *,
        namespace: str = "",
        buckets: Sequence[float] = _BUCKETS,
        directory: str | None = None,
    ) -> None:
        start = f"{prefix_of(namespace)}gunicorn_"
        bounds = bounds_of(buckets)
        found = directory_of(directory)
        if found is None:
            raise ConfigurationError(
                "GunicornMetrics needs a directory for several processes; set"
                f" {DIRECTORY_VARIABLE} to a directory before the server starts",
                key="directory",
            )
        self._key = (found.path, start)
        self._requests: set[int] = set()
        self._signals: Mapping[str, t.Any] = {}
        self._store = store = Store(found)
        text = "Workers that gunicorn has forked."
        self._starts = store.group(1, [], counter(f"{start}worker_starts", text))
        text = "Workers that have ended."
        exits = counter(f"{start}worker_exits", text)
        self._exits = store.group(3, [Label("reason", len(_REASONS))], exits)
        text = "Workers that have loaded the application."
        self._workers = store.group(1, [], gauge(f"{start}workers", text))
        text = "Workers that handle a request."
        self._busy = store.group(1, [], gauge(f"{start}busy_workers", text))
        text = "Time from the proxy until a worker has read the headers."
        queue = histogram(f"{start}request_queue_seconds", text, bounds)
        self._queue = store.group(1, [], queue)

    def connect(self, signals: Mapping[str, t.Any]) -> None:
        """Connect to the signals of gunicorn's hooks.

        It replaces the connections of an earlier call for the same directory and
        namespace, because gunicorn runs its configuration file again on SIGHUP.

        :param signals: :data:`signalpost.integrations.gunicorn.server_signals`.
        :raises ConfigurationError: If these are other signals.
        """
        given: object = signals
        names = self._receivers().keys()
        if not isinstance(given, Mapping) or not names <= given.keys():
            raise option_error(
                "connect() takes signalpost.integrations.gunicorn.server_signals",
                given,
                "signals",
            )
        earlier = _connected.get(self._key)
        if earlier is not None:
            earlier.disconnect()
        self._signals = signals
        for name, receiver in self._receivers().items():
            signals[name].connect(receiver, weak=False)
        _connected[self._key] = self

    def disconnect(self) -> None:
        """Stop counting. May be called twice."""
        for name, receiver in self._receivers().items():
            if name in self._signals:
                self._signals[name].disconnect(receiver)
        if _connected.get(self._key) is self:
            del _connected[self._key]

    def _receivers(self) -> dict[str, t.Any]:
        return {
            "pre-fork": self._forked,
            "child-exit": self._ended,
            "post-worker-init": self._loaded,
            "pre-request": self._began,
            "post-request": self._finished,
        }

    def _forked(self, server: object) -> None:
        self._store.put(self._note_start)

    def _ended(self, server: object, *, worker: t.Any, is_silent: bool | None) -> None:
        reason = "silent" if is_silent else "exited"
        if getattr(worker, "aborted", False):
            reason = "aborted"
        self._store.put(self._exits.add, (reason,), 1)

    def _loaded(self, worker: object) -> None:
        self._requests.clear()
        self._store.put(self._note_worker)

    def _began(
        self, worker: object, *, req: object, queue_seconds: float | None
    ) -> None:
        self._requests.add(id(req))
        self._store.put(self._note_busy)
        if queue_seconds is not None:
            self._store.put(self._queue.add, (), queue_seconds)

    def _finished(self, worker: object, *, req: object) -> None:
        self._requests.discard(id(req))
        self._store.put(self._note_busy)

    def _note_start(self) -> None:
        self._starts.add((), 1)
        # From zero, as Prometheus finds no increase in a series that begins at one.
        for reason in _REASONS:
            self._exits.add((reason,))

    def _note_worker(self) -> None:
        self._workers.add((), 1)
        self._note_busy()

    def _note_busy(self) -> None:
        self._busy.add((), bool(self._requests))
