"""The catalogue: the signals of an application in the course of a request.

Each signal has one moment, whichever code sends it. The sender is the application
object: the :class:`~flask.Flask` instance, or the callable given to
:class:`~signalpost.SignalMiddleware`. The exceptions are :data:`sql_executed`,
:data:`sql_failed`, :data:`sql_pool_changed` and :data:`post_config_load`.

An *exchange* is one request and its response, from the server's call to ``close()``.
Every exchange sends ``exchange-opened`` once and ``exchange-closed`` once, whatever
happens in between; the signals in between are those of the request's own course.
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
"""A server handed over a request.

*Sender*: the application.

*Sent when*: first thing in the middleware, once for every exchange. Under Flask no
context is pushed yet.

*Payload*:

- ``environ``: the WSGI environment (:pep:`3333`), the very dict that the application
  gets.
- ``exchange``: the :class:`~signalpost.exchange.Exchange`. Method, path, referrer and
  start are known; the rest grows.
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
- ``context``: the dict of variables that it is rendered with. A change to it is seen
  by the template.
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

- ``message``: what was flashed.
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
an error handler took; ``abort()`` is no error); and for what leaves the application
while it is called, while its body is iterated or when its body is closed, of which
Flask reports nothing. ``SystemExit`` and its like are sent too. The exception goes
on its way unchanged. Some extensions, such as Flask-RESTX, send Flask's signal for
each error that they answer, 404 included: an ``HTTPException`` with a code below 500
is not sent on, unless Flask is configured to trap it. Nor is an exception of the
server's input that means that the client left during its upload.

*Payload*:

- ``exception``: the exception. Also one that the application gives to
  ``start_response`` as ``exc_info`` (:pep:`3333`), unless it is the answer, as a 404.
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
Otherwise when the application has returned and its status is known; for one that
calls ``start_response`` only while its body is iterated, after the first chunk.
Not sent when the call raises, and by Flask not in all cases; to see each request
once, use :data:`exchange_closed`.

*Payload*:

- ``response``: Flask's response object, or a
  :class:`~signalpost.exchange.ResponseStart`. Both have ``status``, ``status_code``
  and ``headers``. A header that is set on Flask's reaches the client; a change of the
  other one's copy does nothing (:ref:`what to do there <header-changes>`).
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
"""An exchange is over: everything about it is known.

*Sender*: the application.

*Sent when*: exactly once for each :data:`exchange_opened`: when the server has closed
the response, or before an exception of the call goes on its way, or, should the
server never close the response, when Python frees it. No Flask context is pushed. If
Python frees it within another request, receivers run in an empty context: they see
neither that request nor its context variables.

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
:class:`~sqlalchemy.engine.Engine`. Of an ``AsyncEngine`` it is
``async_engine.sync_engine``; of what ``engine.execution_options()`` returns, the engine
that it was made from.

*Sent when*: once for each call of the driver, when it has returned or raised, in the
thread or task that made it. A large ``INSERT`` of many rows may be several statements,
each of which is sent. Not sent: what never got to the driver, as a statement with a
parameter missing; statements of the driver's own (``BEGIN``, ``COMMIT``); what is
executed on the driver's own connection.

*Payload*:

- ``statement``: the text that the driver got. Values are in it only where the
  application wrote them there.
- ``parameters``: what the driver got with it, or ``None`` unless
  :func:`~signalpost.integrations.sqlalchemy.instrument` was called for them.
- ``parameters_count``: how many values the statement got; how many sets of them if
  ``is_executemany``.
- ``duration_seconds``: how long the driver took. Rows that are fetched later are not
  in it, whichever driver: some fetch all of them, others none.
- ``row_count``: the number of rows that the driver reports as affected or, with some
  drivers, found; ``None`` if it reports none, or the statement failed.
- ``is_executemany``: whether it is a call of the driver's ``executemany``.
- ``exception``: what the application is about to get, or ``None``. Its text has the
  parameters in it, unless the engine was made with ``hide_parameters=True``, and a
  database may add values of its own.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``. Also
  ``None`` for the statements by which SQLAlchemy reads the database's version and
  settings when an engine connects first: they do not belong to the request.
"""

sql_failed: NamedSignal = catalogue.signal(
    "sql-failed",
    "The database has failed at something else than to execute a statement.",
    payload=("operation", "statement", "exception", "exchange"),
)
"""The database has failed at something else than to execute a statement.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: an operation beside the statements has raised, before the application gets
the exception, in the thread or task that it happened in. A statement that fails is sent
as :data:`sql_executed`.

*Payload*:

- ``operation``: what failed. ``"connect"``: a connection could not be made. ``"pool"``:
  no connection of the pool was free in time. ``"fetch"``: rows of a statement that had
  been executed could not be fetched. ``"begin"``, ``"prepare"``, ``"commit"`` and
  ``"rollback"``: of a transaction. ``"other"``: another call of the driver, such
  as that for the isolation level.
- ``statement``: for ``"fetch"``, the text that the driver got; otherwise ``None``.
- ``exception``: what the application is about to get, as for :data:`sql_executed`.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.
"""

sql_pool_changed: NamedSignal = catalogue.signal(
    "sql-pool-changed",
    "A connection was taken from its pool, or given back, or could not be had.",
    payload=("name", "change", "seconds", "state"),
)
"""A connection was taken from its pool, or given back, or could not be had.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: the pool has changed, in the thread or task that changed it. Not sent for a
connection that the garbage collector gives back, as a receiver must not run there: the
next signal of that pool has the right state.

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
    "work-started", "A unit of work begins, beside the requests.", payload=("exchange",)
)
"""A unit of work begins: a task, a command, what a thread does.

*Sender*: the one that was given to :class:`~signalpost.work.work`, as a rule the
application.

*Sent when*: first thing in the unit of work, once for each. No signal of a request is
sent for it.

*Payload*:

- ``exchange``: the :class:`~signalpost.work.Work`, which is the current exchange. A
  receiver of :data:`exchange_opened` that reads nothing else can be connected here.
"""

work_finished: NamedSignal = catalogue.signal(
    "work-finished",
    "A unit of work is over, once for each that was started.",
    payload=("exchange",),
)
"""A unit of work is over.

*Sender*: as for :data:`work_started`.

*Sent when*: once for each :data:`work_started`, whether the work raised or not. Not
sent if the process was killed meanwhile.

*Payload*:

- ``exchange``: the :class:`~signalpost.work.Work`, with its outcome, its duration and
  what it raised. It is still the current exchange.
"""

post_config_load: NamedSignal = catalogue.signal(
    "post-config-load",
    "The configuration has been read and what it names enabled.",
    payload=("application",),
)
"""The configuration has been read, and what it names is imported and enabled.

*Sender*: the :class:`~signalpost.config.Configuration`, whose sections can be read.

*Sent when*: a configuration has been loaded for an application, once for each. A module
that the configuration imports can connect a receiver of it, which reads the module's
own section and connects its receivers.

*Payload*:

- ``application``: the application that it was loaded for.
"""

request_arrived: NamedSignal = NamedSignal(
    "request-arrived", "A layer got a request; sent before anything is recorded."
)
"""A layer got a request. It is not in the catalogue, and has no payload.

For what must look at each request and costs too much if it has the request recorded:
a receiver of it alone lets no exchange be recorded. What such a receiver connects gets
the signals of that request already.

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
"""The signals of an exchange's own course."""

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
