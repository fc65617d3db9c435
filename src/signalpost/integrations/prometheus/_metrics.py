"""The counter of requests, statements and receivers for Prometheus."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from weakref import finalize
from weakref import WeakSet

from prometheus_client import CollectorRegistry

from ..._engine.identity import ANY
from ..._engine.identity import sender_key
from ..._options import checked_path
from ...errors import ConfigurationError
from ...exchange import Exchange
from ...exchange import EXCHANGE_KEY
from ...lifecycle import exchange_closed
from ...lifecycle import exchange_opened
from ...lifecycle import got_request_exception
from ...receivers.lines import LONGEST_FIELD
from ...receivers.response_times import is_websocket
from ...receivers.response_times import response_times
from ...receivers.response_times import seconds_of
from ...wsgi.access import Access
from ...wsgi.finding import sender_of
from ...wsgi.mount import Mount
from ._deliveries import DeliveryMetrics
from ._exemplars import checked_exemplar
from ._exemplars import exemplar_of
from ._exemplars import ExemplarFunction
from ._exporter import ExporterMetrics
from ._exporter_options import FlaskExporterOptions
from ._exporter_options import names_of
from ._log import log
from ._log import warn
from ._options import bounds_of
from ._options import counted_of
from ._options import directory_of
from ._options import functions_of
from ._options import LabelFunction
from ._options import number_of
from ._options import option_error
from ._options import prefix_of
from ._options import route_of
from ._options import truth_of
from ._requests import RequestMetrics
from ._requests import route_label
from ._serving import MetricsServer
from ._serving import scrape
from ._sql import SqlMetrics
from ._store import Store
from ._values import Limits
from ._work import WorkMetrics

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["PrometheusMetrics"]

_FAILED = "<failed>"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STREAM_BUCKETS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400)


class PrometheusMetrics:
    """Count requests, statements and failures for Prometheus.

    ::

        metrics = PrometheusMetrics()
        metrics.connect(app)
        app.add_url_rule("/metrics", view_func=metrics.metrics_view)

    Each exchange is counted once, when it closes, by method, route, status and
    outcome:

    - ``http_server_requests_total``: the number of closed exchanges.
    - ``http_server_request_duration_seconds``: a histogram of response times: until the
      server closed the response, or until the headers if it was streamed, without
      WebSockets and responses that were never closed
      (:func:`~signalpost.receivers.response_times.response_times`).
    - ``http_server_stream_duration_seconds``: a histogram of the time until the close,
      of streamed responses only.
    - ``http_server_time_to_headers_seconds``: a histogram of the time until the
      application called ``start_response``.
    - ``http_server_response_body_bytes_total``: the bytes of bodies that the server
      got.

    Further:

    - ``http_server_requests_in_flight``: the number of open exchanges.
    - ``http_server_failures_total``: exceptions, by ``route`` and ``where``.
    - ``sql_statements_total`` and ``sql_statement_seconds_total``: by ``route``,
      ``operation`` and ``outcome``, for the statements of ``sql-executed``. Other
      operations that fail are counted with them, as ``commit``, ``connect`` and others.
    - ``sql_statement_duration_seconds``: a histogram of the same statements, by
      ``operation`` and ``outcome``.
    - ``sql_pool_…``: connection pools, by ``pool``.
    - ``work_units_total``, ``work_duration_seconds`` and ``work_in_flight``: units of
      work (:mod:`signalpost.work`), by ``name`` and ``outcome``.
    - ``signalpost_receiver_calls_total``, ``signalpost_receiver_failures_total`` and
      ``signalpost_receiver_seconds_total``, if asked for: by ``signal`` and
      ``receiver``, of all of :mod:`signalpost.lifecycle` in this process.

    The number of values of a label is bounded, whatever the traffic: values beyond the
    bound are counted under ``<other>``. So memory is bounded, too. A request never
    waits for a lock or a scrape.

    With a directory, each process writes its metrics to files there, and a scrape
    gives the sum of all processes. There are no exemplars then: an exemplar belongs to
    one process.

    :param registry: The registry of the metrics; by default a new one, so that names do
        not collide. With a directory, the metrics of the registry's own collectors are
        added to each scrape: those of the process that answers it, with its process id
        as the label ``pid``.
    :param namespace: The prefix of each name, as ``"shop"`` for
        ``shop_http_server_requests_total``.
    :param buckets: The upper bounds of the buckets of the duration and of the time to
        the headers, in seconds, ascending.
    :param stream_buckets: The same for the duration of streams.
    :param labels: Further labels of the exchanges' metrics: functions by names, each of
        which takes the exchange and returns the value; or their locations, as
        ``"shop.metrics:tenant_of"``. If one raises, this is logged once, and the value
        is ``<failed>``.
    :param max_values: The most values of each of these labels; the first ones are kept.
    :param max_routes: The most routes, and the most names of units of work.
    :param max_label_sets: The most sets of values of each group of metrics.
    :param exemplar: Takes an exchange and returns the labels of an exemplar for its
        duration, as ``{"trace_id": …}``, or ``None``. 128 characters in all.
    :param with_sql: Count statements and pools.
    :param with_receivers: Count each call of a receiver, which takes time at each call.
    :param with_scrapes: Count a request that reads the metrics through the application.
    :param exclude: Patterns of paths whose requests and statements are not counted: see
        :func:`~signalpost.receivers.paths.exclusion_of`.
    :param path: The path at which a Flask application serves the metrics, as
        ``"/metrics"``. It is an error if a route has this path; a route that is added
        later is served instead.
    :param directory: The directory of the files of all processes of one machine; by
        default that of ``PROMETHEUS_MULTIPROC_DIR``, if it is set.
    :param token: The token that a reader must send as ``Authorization: Bearer …``.
    :param token_env: The environment variable that has the token.
    :param token_file: A file that has the token, read at each scrape.
    :param networks: The allowed networks of readers, as ``["10.0.0.0/8"]``, by
        ``REMOTE_ADDR``.
    :param allows: A function that takes the WSGI environment and returns whether the
        client may read the metrics.
    :param flask_exporter: Count under the names of prometheus-flask-exporter, too:
        ``True``, or its :class:`options <FlaskExporterOptions>`.
    :raises ConfigurationError: If an option does not fit, or another metric of the
        registry has the same name.

    .. versionadded:: 0.1
    """

    registry: CollectorRegistry
    """The registry that a scrape reads."""
    directory: str | None
    """Where the files of all processes are; ``None`` if there is one process."""

    def __init__(  # noqa: PLR0913  # an option each, by name only
        self,
        *,
        registry: CollectorRegistry | None = None,
        namespace: str = "",
        buckets: Sequence[float] = _BUCKETS,
        stream_buckets: Sequence[float] = _STREAM_BUCKETS,
        labels: Mapping[str, LabelFunction | str] | None = None,
        max_values: int = 50,
        max_routes: int = 200,
        max_label_sets: int = 2000,
        exemplar: ExemplarFunction | None = None,
        with_sql: bool = True,
        with_receivers: bool = False,
        with_scrapes: bool = True,
        exclude: Collection[str] = (),
        path: str | None = None,
        directory: str | None = None,
        token: str | None = None,
        token_env: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        networks: Collection[str] | None = None,
        allows: Callable[[dict[str, t.Any]], bool] | None = None,
        flask_exporter: bool | FlaskExporterOptions = False,
    ) -> None:
        self._own = functions_of(labels or {})
        self._exemplar = checked_exemplar(exemplar)
        self._with_scrapes = truth_of("with_scrapes", with_scrapes)
        self._counted = counted_of(exclude)
        self._path = None if path is None else checked_path(path, "/metrics")
        tokens: dict[str, t.Any]
        tokens = {"token": token, "token_env": token_env, "token_file": token_file}
        self._access = Access(
            "the metrics", log, **tokens, networks=networks, allows=allows
        )
        limits = Limits(
            number_of("max_values", max_values, "write 50"),
            number_of("max_routes", max_routes, "write 200"),
            number_of("max_label_sets", max_label_sets, "write 2000"),
        )
        prefix, route = prefix_of(namespace), route_label(limits.routes)
        times = bounds_of(buckets), bounds_of(stream_buckets, "stream_buckets")
        names = names_of(flask_exporter, self._own)
        directory_found = directory_of(directory)
        self.directory = None if directory_found is None else directory_found.path
        self._store = store = Store(directory_found)
        self._requests = RequestMetrics(
            prefix, *times, self._own, limits, route=route, store=store
        )
        self._exporter: ExporterMetrics | None = None
        if names is not None:
            self._exporter = ExporterMetrics(names, self._own, limits, store)
        self._applications: dict[t.Hashable, Callable[[], object]] = {}
        self._work = WorkMetrics(prefix, limits, store)
        self._sql: SqlMetrics | None = None
        if truth_of("with_sql", with_sql):
            known = self._applications
            self._sql = SqlMetrics(prefix, limits.label_sets, route, store, known)
        self._deliveries: DeliveryMetrics | None = None
        if truth_of("with_receivers", with_receivers):
            self._deliveries = DeliveryMetrics(prefix, limits, store)
        self._mounts: dict[t.Hashable, Mount] = {}
        self._scrapes: WeakSet[Exchange] = WeakSet()
        self.registry = self._registered(registry)

    def _registered(self, given: CollectorRegistry | None) -> CollectorRegistry:
        if given is not None and not isinstance(given, CollectorRegistry):
            raise option_error(
                "registry must be a CollectorRegistry", given, "registry"
            )
        registry = CollectorRegistry() if given is None else given
        try:
            registry.register(self._store)
            if given is not None and self.directory is not None:
                # The counts of the client's metrics in it are in files, to be summed.
                # The store adds the metrics that are computed.
                registry.unregister(self._store)
                registry = CollectorRegistry()
                self._store.beside = given
                registry.register(self._store)
            if self._exporter is not None:
                is_own = given is None and self.directory is None
                self._exporter.register(registry, is_own=is_own)
        except ValueError as error:
            raise ConfigurationError(
                f"the registry has metrics of these names already: {error}; leave"
                " registry out, or give a namespace",
                key="registry",
            ) from error
        return registry

    def __repr__(self) -> str:
        where = "this process" if self.directory is None else self.directory
        return f"<{type(self).__name__} of {where}>"

    def connect(self, application: t.Any = ANY) -> None:
        """Count the requests of an application; several applications are summed.

        It stays connected until :meth:`disconnect`, or as long as the application
        exists.

        :param application: The sender: the application, or the middleware around it; by
            default all applications.
        """
        sender, key = sender_of(application), sender_key(sender_of(application))
        if self._path is not None and key not in self._mounts:
            self._mounts[key] = Mount(
                sender,
                self._path,
                self.metrics_app,
                what="the metrics",
                log=log,
                advice="mount metrics_app where your framework mounts applications",
            )
        counted = self._counted
        exchange_opened.connect(self.opened, sender, weak=False, when=counted)
        exchange_closed.connect(self.closed, sender, weak=False, when=counted)
        got_request_exception.connect(self.failed, sender, weak=False, when=counted)
        if key not in self._applications:
            try:
                end = finalize(sender, self._forget, key)
                end.atexit = False
                self._applications[key] = end.detach
            except TypeError:
                # It cannot be weakly referenced; so it is held, as by the connections.
                self._applications[key] = lambda: sender
        self._work.connect(sender)
        if self._sql is not None:
            self._sql.connect(counted)
        if self._deliveries is not None:
            self._deliveries.connect()

    def disconnect(self, application: t.Any = ANY) -> None:
        """Stop counting the requests of an application. May be called twice.

        :param application: As for :meth:`connect`.
        """
        sender = sender_of(application)
        for signal, receiver in (
            (exchange_opened, self.opened),
            (exchange_closed, self.closed),
            (got_request_exception, self.failed),
        ):
            signal.disconnect(receiver, sender)
        self._work.disconnect(sender)
        self._forget(sender_key(sender))

    def _forget(self, key: t.Hashable) -> None:
        mount = self._mounts.pop(key, None)
        if mount is not None:
            mount.remove()
        end = self._applications.pop(key, None)
        if end is not None:
            end()
        if not self._applications:
            if self._sql is not None:
                self._sql.disconnect()
            if self._deliveries is not None:
                self._deliveries.disconnect()

    def opened(self, sender: object, *, exchange: Exchange) -> None:
        """Count an exchange as in flight."""
        self._store.open(exchange)

    def closed(self, sender: object, *, exchange: Exchange) -> None:
        """Count an exchange that has closed."""
        self._store.close(exchange)
        is_scrape = bool(self._scrapes) and exchange in self._scrapes
        if is_scrape and not self._with_scrapes:
            return
        route = route_of(exchange)
        status, outcome = exchange.status, exchange.outcome
        key: tuple[t.Any, ...] = (exchange.method, route, status, outcome)
        if self._own:
            key += self._own_values(exchange)
        response_seconds, stream_seconds = response_times(exchange)
        if self._exporter is not None:
            if not is_scrape:
                self._exporter.closed(exchange, key[4:], response_seconds)
            if not self._exporter.with_new_names:
                return
        exemplar = headers_seconds = None
        # No WebSocket has a response time.
        if response_seconds is not None or not is_websocket(exchange):
            headers_seconds = seconds_of(exchange.seconds_to_headers)
        if self._exemplar is not None and response_seconds is not None:
            exemplar = exemplar_of(self._exemplar, exchange, self._store.logged)
        self._store.put(
            self._requests.note,
            key,
            exchange.body_bytes,
            response_seconds,
            headers_seconds,
            exemplar,
        )
        if stream_seconds is not None:
            self._store.put(self._requests.streams.add, key, stream_seconds)

    def failed(self, sender: object, *, exchange: Exchange, where: str) -> None:
        """Count an exception that left the application."""
        key = route_of(exchange), where
        self._store.put(self._requests.failures.add, key, 1)
        if self._exporter is not None:
            self._exporter.failed(exchange, self._own_values(exchange))

    def metrics_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a scrape, as a WSGI application does, whatever the path.

        The response is Prometheus' text or OpenMetrics, and is compressed, as the
        client requests. ``?name[]=`` selects metrics. GET and HEAD are allowed.
        """
        exchange = environ.get(EXCHANGE_KEY)
        if isinstance(exchange, Exchange):
            self._scrapes.add(exchange)
            if not self._with_scrapes:
                self._store.close(exchange)
        return scrape(self.registry, self._access, environ, start_response)

    def metrics_view(self) -> WSGIApplication:
        """Return the answer to a scrape, as a view of Flask: :meth:`metrics_app`."""
        return self.metrics_app

    def serve(
        self, port: int = 0, *, host: str = "127.0.0.1", reuse_port: bool = False
    ) -> MetricsServer:
        """Serve the metrics on a separate port.

        :param port: The port; 0 for any that is free.
        :param host: The address to listen at; ``"0.0.0.0"`` for all.
        :param reuse_port: Whether other servers of this user may listen at the port,
            too, if they also set it: for two arbiters after SIGUSR2. The system chooses
            one of them for each scrape.
        :returns: The server; its :meth:`~MetricsServer.stop` ends it.
        :raises OSError: If it cannot listen there.
        """
        reuse_port = truth_of("reuse_port", reuse_port)
        return MetricsServer(self.metrics_app, host, port, reuse_port=reuse_port)

    def _own_values(self, exchange: Exchange) -> tuple[str, ...]:
        return tuple(
            self._own_value(name, function, exchange)
            for name, function in self._own.items()
        )

    def _own_value(self, name: str, function: LabelFunction, exchange: Exchange) -> str:
        try:
            value = function(exchange)
            return "" if value is None else str(value)[:LONGEST_FIELD]
        except Exception as error:  # noqa: BLE001  # the request is counted even so
            what = f"the function of the label {name!r} failed"
            warn(self._store.logged, what, error)
            return _FAILED
