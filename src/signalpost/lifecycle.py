"""The catalogue: the signals of an application for each stage of a request.

Each signal has one moment, whichever code sends it. The sender is the application
object: the :class:`~flask.Flask` instance, or the callable given to
:class:`~signalpost.SignalMiddleware`. The exceptions are :data:`sql_executed`,
:data:`sql_failed`, :data:`sql_pool_changed` and :data:`post_config_load`.

An *exchange* is one request and its response, from the server's call to ``close()``.
Every exchange sends ``exchange-opened`` once and ``exchange-closed`` once, in every
case. The signals in between depend on the request.
"""

from __future__ import annotations

from ._engine.namespace import Namespace
from ._engine.signal import NamedSignal

__all__ = [
    "EXCHANGE_SIGNALS",
    "SENT_BY_OTHERS",
    "SIGNALS_WITHIN",
    "WORK_SIGNALS",
    "appcontext_popped",
    "appcontext_pushed",
    "appcontext_tearing_down",
    "before_render_template",
    "catalogue",
    "exchange_closed",
    "exchange_opened",
    "got_request_exception",
    "message_flashed",
    "post_config_load",
    "request_arrived",
    "request_finished",
    "request_started",
    "request_tearing_down",
    "sql_executed",
    "sql_failed",
    "sql_pool_changed",
    "template_rendered",
    "work_finished",
    "work_started",
]

catalogue: Namespace = Namespace()
"""Every signal of this page by its name, as in ``catalogue["request-started"]``."""

exchange_opened: NamedSignal = catalogue.signal(
    "exchange-opened",
    "First thing in the middleware, once for every exchange.",
    payload=("environ", "exchange"),
)
"""A server has passed a request to the application.

*Sender*: the application.

*Sent when*: first thing in the middleware, once for every exchange. Flask has not
pushed a context yet.

*Payload*:

- ``environ``: the WSGI environment (:pep:`3333`), the same dict that the application
  gets.
- ``exchange``: the :class:`~signalpost.exchange.Exchange`. Method, path, referrer and
  start are set; the other fields are set later.
"""

request_started: NamedSignal = catalogue.signal(
    "request-started",
    "Flask's moment, or before a WSGI application is called.",
    payload=("environ", "exchange"),
)
"""The application begins to work on a request.

*Sender*: the application.

*Sent when*: with the Flask extension, at the moment of Flask's ``request_started``:
the contexts are pushed and the route is known, no ``before_request`` function has
run. Otherwise just before the application is called. Not sent if Flask fails to
open the session.

*Payload*: ``environ`` and ``exchange``, as for :data:`exchange_opened`.
"""

before_render_template: NamedSignal = catalogue.signal(
    "before-render-template",
    "Flask is about to render a template.",
    payload=("template", "context"),
)
"""Flask is about to render a template.

*Sender*: the Flask application.

*Sent when*: Flask's ``before_render_template`` is.

*Payload*:

- ``template``: the :class:`jinja2.Template`.
- ``context``: the dict of variables for the template. The template gets changes to it.
"""

template_rendered: NamedSignal = catalogue.signal(
    "template-rendered",
    "Flask has rendered a template.",
    payload=("template", "context"),
)
"""Flask has rendered a template. Streamed templates send it before the first chunk.

*Sender*: the Flask application.

*Sent when*: Flask's ``template_rendered`` is.

*Payload*: ``template`` and ``context``, as for :data:`before_render_template`.
"""

message_flashed: NamedSignal = catalogue.signal(
    "message-flashed",
    "A message was flashed for the next page.",
    payload=("message", "category"),
)
"""A message was flashed for the next page.

*Sender*: the Flask application.

*Sent when*: Flask's ``message_flashed`` is.

*Payload*:

- ``message``: the flashed message.
- ``category``: its category, ``"message"`` unless one was given.
"""

got_request_exception: NamedSignal = catalogue.signal(
    "got-request-exception",
    "The application failed: in the view, call, body or close.",
    payload=("exception", "where", "environ", "exchange"),
)
"""The application failed. Each exception is sent once.

*Sender*: the application.

*Sent when*: at the moment of Flask's ``got_request_exception`` (not for an error that
an error handler handled, and not for ``abort()``). Also for exceptions that leave the
application while it is called, while its body is iterated or when its body is closed,
for which Flask sends no signal. ``SystemExit`` and similar exceptions are sent, too.
The exception is raised unchanged. Some extensions, such as Flask-RESTX, send Flask's
signal for each error that they answer, even for 404: an ``HTTPException`` with a code
below 500 is not sent on, unless Flask is configured to trap it. An exception of the
server's input that means that the client disconnected during its upload is not sent
either.

*Payload*:

- ``exception``: the exception. Also one that the application passes to
  ``start_response`` as ``exc_info`` (:pep:`3333`), unless it is the response, such as a
  404.
- ``where``: ``"view"`` (Flask's moment), ``"call"``, ``"iteration"`` or ``"close"``.
- ``environ`` and ``exchange``: as for :data:`exchange_opened`.
"""

request_finished: NamedSignal = catalogue.signal(
    "request-finished",
    "The response is ready and its body not yet sent.",
    payload=("response", "environ", "exchange"),
)
"""The response is ready and its body not yet sent.

*Sender*: the application.

*Sent when*: with the Flask extension, at the moment of Flask's ``request_finished``.
Otherwise when the application has returned and its status is known; if the application
calls ``start_response`` only while its body is iterated, after the first chunk. Not
sent if the call raises, and with Flask not in all cases. To receive each request once,
use :data:`exchange_closed`.

*Payload*:

- ``response``: Flask's response object, or a
  :class:`~signalpost.exchange.ResponseStart`. Both have ``status``, ``status_code`` and
  ``headers``. The client gets a header that you set on Flask's response. The other one
  is a copy, and changes have no effect (:ref:`what to do instead <header-changes>`).
- ``environ`` and ``exchange``: as for :data:`exchange_opened`.
"""

request_tearing_down: NamedSignal = catalogue.signal(
    "request-tearing-down", "Flask tears a request context down.", payload=("exc",)
)
"""Flask tears a request context down.

Before the body is sent; for a body that uses ``stream_with_context``, Flask 3.1.2
and 3.1.3 send it once more at the end.

*Sender*: the Flask application.

*Sent when*: Flask's ``request_tearing_down`` is.

*Payload*:

- ``exc``: the unhandled exception that the request ended with, or ``None``.
"""

appcontext_pushed: NamedSignal = catalogue.signal(
    "appcontext-pushed", "Flask pushed an application context.", payload=()
)
"""Flask pushed an application context: for a request, a command or a test.

*Sender*: the Flask application.

*Sent when*: Flask's ``appcontext_pushed`` is. Not once a request under
``stream_with_context``.

*Payload*: none.
"""

appcontext_tearing_down: NamedSignal = catalogue.signal(
    "appcontext-tearing-down",
    "Flask tears an application context down.",
    payload=("exc",),
)
"""Flask tears an application context down.

*Sender*: the Flask application.

*Sent when*: Flask's ``appcontext_tearing_down`` is.

*Payload*:

- ``exc``: the unhandled exception that the context ended with, or ``None``.
"""

appcontext_popped: NamedSignal = catalogue.signal(
    "appcontext-popped", "Flask popped an application context.", payload=()
)
"""Flask popped an application context.

*Sender*: the Flask application.

*Sent when*: Flask's ``appcontext_popped`` is.

*Payload*: none.
"""

exchange_closed: NamedSignal = catalogue.signal(
    "exchange-closed",
    "The server has closed the response, once for every exchange.",
    payload=("environ", "exchange"),
)
"""An exchange has ended: all its fields are set.

*Sender*: the application.

*Sent when*: exactly once for each :data:`exchange_opened`: when the server has closed
the response, or before the middleware raises an exception of the call. If the server
never closes the response, when Python frees it. No Flask context is pushed. If Python
frees the response during another request, receivers run in an empty context, without
that request and its context variables.

*Payload*: ``environ`` and ``exchange``, as for :data:`exchange_opened`. After the
receivers have run, the exchange drops the environment.
"""

sql_executed: NamedSignal = catalogue.signal(
    "sql-executed",
    "The database has executed a statement, or failed to.",
    payload=(
        "statement",
        "parameters",
        "parameters_count",
        "duration_seconds",
        "row_count",
        "is_executemany",
        "exception",
        "exchange",
    ),
)
"""The database has executed a statement, or failed to.

*Sender*: the engine of the database, not the application. With SQLAlchemy it is the
:class:`~sqlalchemy.engine.Engine`. For an ``AsyncEngine`` it is
``async_engine.sync_engine``. For the result of ``engine.execution_options()``, it is
the original engine.

*Sent when*: once for each call of the driver, when it has returned or raised, in the
thread or task of the call. A large ``INSERT`` of many rows may be several statements,
each of which is sent. Not sent for statements that never reach the driver, such as one
with a missing parameter; for the driver's own statements (``BEGIN``, ``COMMIT``); and
for statements on the driver's own connection.

*Payload*:

- ``statement``: the text that the driver got. It contains values only if the
  application wrote them into it.
- ``parameters``: the parameters that the driver got; ``None`` unless
  :func:`~signalpost.integrations.sqlalchemy.instrument` was called with
  ``with_parameters=True``.
- ``parameters_count``: the number of values, or of sets of values if
  ``is_executemany``.
- ``duration_seconds``: how long the driver took, without rows that are fetched later.
  Some drivers fetch all rows during the call, others none.
- ``row_count``: the number of rows that the driver reports as affected or, with some
  drivers, found; ``None`` if it reports none, or the statement failed.
- ``is_executemany``: ``True`` for a call of the driver's ``executemany``.
- ``exception``: the exception that the application is about to get, or ``None``. Its
  text contains the parameters, unless the engine was created with
  ``hide_parameters=True``, and a database may add other values.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``. Also
  ``None`` for the statements by which SQLAlchemy reads the database's version and
  settings when an engine connects first: they do not belong to the request.
"""

sql_failed: NamedSignal = catalogue.signal(
    "sql-failed",
    "The database has failed at another operation than a statement.",
    payload=("operation", "statement", "exception", "exchange"),
)
"""The database has failed at another operation than a statement.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: an operation that is not a statement has raised, before the application
gets the exception, in the same thread or task. A failed statement is sent as
:data:`sql_executed`.

*Payload*:

- ``operation``: the failed operation. ``"connect"``: a connection could not be made.
  ``"pool"``: no connection of the pool was free in time. ``"fetch"``: rows of an
  executed statement could not be fetched. ``"begin"``, ``"prepare"``, ``"commit"`` and
  ``"rollback"``: of a transaction. ``"other"``: another call of the driver, such as
  that for the isolation level, or for a cursor if the connection is lost.
- ``statement``: for ``"fetch"``, the text that the driver got; for a statement without
  a cursor, its text; otherwise ``None``.
- ``exception``: the exception that the application is about to get, as for
  :data:`sql_executed`.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.
"""

sql_pool_changed: NamedSignal = catalogue.signal(
    "sql-pool-changed",
    "A connection was taken from its pool or given back, or none was free.",
    payload=("name", "change", "seconds", "state"),
)
"""A connection was taken from its pool or given back, or none was free.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: the pool has changed, in the thread or task that changed it. Not sent if
the garbage collector gives a connection back, because a receiver must not run there;
the next signal of the pool has the right state.

*Payload*:

- ``name``: the name of the pool; see
  :func:`~signalpost.integrations.sqlalchemy.instrument`.
- ``change``: ``"taken"``, ``"returned"``; ``"awaited"``: a caller begins to wait, as
  all connections that the pool may open are in use; ``"timed-out"``: no connection was
  free in time; ``"disposed"``: the idle connections were closed.
- ``seconds``: for ``"taken"`` and ``"timed-out"``, how long the caller waited, the time
  to open and to test a connection included; for ``"returned"``, how long the connection
  was in use; otherwise ``None``. It is also ``None`` for ``"returned"`` if the
  connection was taken before this signal had a receiver.
- ``state``: the :class:`~signalpost.receivers.sql_pools.PoolState` after the change.
"""

work_started: NamedSignal = catalogue.signal(
    "work-started",
    "A unit of work begins: a task, a command, a thread.",
    payload=("exchange",),
)
"""A unit of work begins: a task, a command, the work of a thread.

*Sender*: the sender that was given to :class:`~signalpost.work.work`, usually the
application.

*Sent when*: first thing in the unit of work, once for each. No signal of a request is
sent for it.

*Payload*:

- ``exchange``: the :class:`~signalpost.work.Work`, which is the current exchange. A
  receiver of :data:`exchange_opened` that reads nothing else can be connected here.
"""

work_finished: NamedSignal = catalogue.signal(
    "work-finished",
    "A unit of work has ended, once for each that was started.",
    payload=("exchange",),
)
"""A unit of work has ended.

*Sender*: as for :data:`work_started`.

*Sent when*: once for each :data:`work_started`, even if the work raised. Not sent if
the process was killed.

*Payload*:

- ``exchange``: the :class:`~signalpost.work.Work`, with its outcome, its duration and
  its exception. It is still the current exchange.
"""

post_config_load: NamedSignal = catalogue.signal(
    "post-config-load",
    "The configuration has been loaded and its receivers are enabled.",
    payload=("application",),
)
"""The configuration has been loaded: its modules are imported, its receivers are
enabled.

*Sender*: the :class:`~signalpost.config.Configuration`, whose sections can be read.

*Sent when*: a configuration has been loaded for an application, once for each. A module
that the configuration imports can connect a receiver to this signal. The receiver reads
the module's section and connects other receivers.

*Payload*:

- ``application``: the application that it was loaded for.
"""

request_arrived: NamedSignal = NamedSignal(
    "request-arrived", "A middleware got a request; sent before anything is recorded."
)
"""A middleware got a request. The signal is not in the catalogue, and has no payload.

It is for receivers that must run at each request without the cost of a record: a
receiver of this signal alone causes no exchange to be recorded. If it connects other
receivers, they get the signals of the same request.

*Sender*: the application.

*Sent when*: first thing in a layer, of each layer around the application.
"""

EXCHANGE_SIGNALS: tuple[NamedSignal, ...] = (
    exchange_opened,
    request_started,
    got_request_exception,
    request_finished,
    exchange_closed,
)
"""The signals of the stages of an exchange."""

SIGNALS_WITHIN: tuple[NamedSignal, ...] = (sql_executed, sql_failed)
"""Signals of other senders, with the exchange within which they are sent. While
neither they nor :data:`EXCHANGE_SIGNALS` have a receiver, no exchange is recorded."""

WORK_SIGNALS: frozenset[NamedSignal] = frozenset((work_started, work_finished))
"""The signals of units of work. Their sender is what the work was given: an
application without a layer, too."""

SENT_BY_OTHERS: frozenset[NamedSignal] = frozenset(
    (sql_executed, sql_failed, sql_pool_changed, post_config_load)
)
"""The signals whose sender is not the application."""
