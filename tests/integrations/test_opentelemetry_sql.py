"""Spans of statements and of receivers, and what metrics are measured by."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from functools import partial

import pytest
import sqlalchemy as sa
from opentelemetry.semconv._incubating.attributes.db_attributes import (
    DbSystemNameValues,
)
from opentelemetry.trace import SpanKind

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from tests.integrations.telemetry import about
from tests.integrations.telemetry import has_error
from tests.integrations.telemetry import identity
from tests.integrations.telemetry import nothing_left
from tests.integrations.telemetry import parent
from tests.integrations.telemetry import Telemetry
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

WAIT_SECONDS = 30
BOUND = sa.text("SELECT :name").bindparams(name="secret")


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    found = Telemetry()
    with nothing_left(found):
        yield found


@pytest.fixture
def engine() -> Generator[sa.Engine]:
    found = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with instrument(found):
        yield found
    found.dispose()


def serve(telemetry: Telemetry, work: Callable[[], object], **options: t.Any) -> None:
    """Serve a request to an application that does some work."""

    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        work()
        return hello(environ, start_response)

    middleware = SignalMiddleware(application)
    opentelemetry = telemetry.connected(middleware, **options)
    try:
        Server().serve(middleware)
    finally:
        opentelemetry.disconnect(middleware)


def execute(engine: sa.Engine, statement: t.Any, values: t.Any = None) -> None:
    with engine.begin() as connection:
        connection.execute(statement, values)


def test_statement_is_a_span_below_the_request(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    serve(telemetry, lambda: execute(engine, BOUND))
    span = telemetry.span("SELECT")
    whole = telemetry.span("GET")
    assert span.kind is SpanKind.CLIENT
    assert parent(span) == identity(whole)
    assert about(span) == {
        "db.operation.name": "SELECT",
        "db.query.text": "SELECT ?",
        "db.system.name": "sqlite",
    }
    assert not has_error(span)
    assert span.start_time is not None
    assert span.end_time is not None
    assert whole.start_time is not None
    assert whole.start_time <= span.start_time <= span.end_time


def test_statement_is_below_the_span_that_is_current(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def work() -> None:
        with telemetry.tracer.start_as_current_span("own"):
            execute(engine, BOUND)

    serve(telemetry, work)
    assert parent(telemetry.span("SELECT")) == identity(telemetry.span("own"))


def test_statement_that_fails_is_an_error_without_its_parameters(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def work() -> None:
        statement = sa.text("SELECT :name FROM nowhere")
        with pytest.raises(sa.exc.OperationalError, match="secret"):
            execute(engine, statement, {"name": "secret"})

    serve(telemetry, work)
    span = telemetry.span("SELECT")
    assert has_error(span)
    assert about(span)["error.type"] == "sqlalchemy.exc.OperationalError"
    assert "secret" not in span.to_json()
    assert not has_error(telemetry.span("GET"))


def test_statement_for_many_shows_of_how_many(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    execute(engine, sa.text("CREATE TABLE mugs (name TEXT)"))
    insert = sa.text("INSERT INTO mugs VALUES (:name)")
    values = [{"name": "blue"}, {"name": "red"}]
    serve(telemetry, lambda: execute(engine, insert, values))
    assert about(telemetry.span("INSERT"))["db.operation.batch.size"] == 2


@pytest.mark.parametrize(
    "payload",
    [
        {"parameters_count": 0},
        {"parameters_count": 1},
        {"parameters_count": 2},
        {"parameters_count": 200},
        {"parameters_count": 1, "is_executemany": True},
        {"parameters_count": 0, "is_executemany": True},
    ],
)
def test_statement_that_is_no_batch_has_no_batch_size(
    telemetry: Telemetry, payload: dict[str, object]
) -> None:
    serve(telemetry, lambda: send_as("an engine", **payload))
    assert "db.operation.batch.size" not in about(telemetry.span("SELECT"))


def test_plain_statement_with_parameters_has_no_batch_size(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    values = {"a": 1, "b": 2, "c": 3}
    serve(telemetry, lambda: execute(engine, sa.text("SELECT :a, :b, :c"), values))
    assert "db.operation.batch.size" not in about(telemetry.span("SELECT"))


def test_statement_outside_of_an_exchange_is_left_out(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    middleware = SignalMiddleware(lambda *given: hello(*given))
    opentelemetry = telemetry.connected(middleware)
    with telemetry.tracer.start_as_current_span("job"):
        execute(engine, BOUND)
    opentelemetry.disconnect(middleware)
    assert telemetry.span().name == "job"


def test_statement_in_an_exchange_that_another_records_is_left_out(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    middleware = SignalMiddleware(lambda *given: hello(*given))
    opentelemetry = telemetry.connected(middleware)
    other = Telemetry()
    serve(other, lambda: execute(engine, BOUND))
    opentelemetry.disconnect(middleware)
    assert telemetry.begun == 0
    assert other.begun == 2


def test_statement_in_a_thread_without_the_span_is_below_the_request(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def work() -> None:
        exchange = current_exchange()
        thread = threading.Thread(target=tell, args=(exchange,))
        thread.start()
        thread.join(WAIT_SECONDS)

    def tell(exchange: Exchange | None) -> None:
        send_as(engine, exchange=exchange)

    serve(telemetry, work)
    assert parent(telemetry.span("SELECT")) == identity(telemetry.span("GET"))


def send_as(engine: object, **payload: t.Any) -> None:
    whole = {
        "statement": "SELECT 1",
        "parameters": None,
        "parameters_count": 0,
        "duration_seconds": 0.25,
        "row_count": None,
        "is_executemany": False,
        "exception": None,
        "exchange": current_exchange(),
        **payload,
    }
    sql_executed.send(engine, **whole)


class Dialect:
    def __init__(self, name: object) -> None:
        self.name = name


class Url:
    def __init__(self, database: object, host: object, port: object) -> None:
        self.database = database
        self.host = host
        self.port = port


class Engine:
    def __init__(self, name: object, url: object) -> None:
        self.dialect = Dialect(name)
        self.url = url


class Unhashable(Engine):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize(
    ("engine", "name", "expected"),
    [
        (
            Engine("postgresql", Url("shop", "db.example", 5432)),
            "SELECT shop",
            {
                "db.system.name": "postgresql",
                "db.namespace": "shop",
                "server.address": "db.example",
                "server.port": 5432,
            },
        ),
        (
            Engine("mssql", Url(None, "db.example", None)),
            "SELECT",
            {"db.system.name": "microsoft.sql_server", "server.address": "db.example"},
        ),
        (Engine("oracle", None), "SELECT", {"db.system.name": "oracle.db"}),
        (
            Engine("sqlite", Url("shop.db", None, None)),
            "SELECT",
            {"db.system.name": "sqlite"},
        ),
        (Engine(None, None), "SELECT", {"db.system.name": "other_sql"}),
        (Unhashable("mysql", None), "SELECT", {"db.system.name": "mysql"}),
        ("an engine", "SELECT", {"db.system.name": "other_sql"}),
    ],
    ids=["postgresql", "mssql", "oracle", "sqlite", "none", "unhashable", "text"],
)
def test_database_is_reported_by_what_its_engine_has(
    telemetry: Telemetry, engine: object, name: str, expected: dict[str, object]
) -> None:
    def work() -> None:
        send_as(engine)
        send_as(engine)

    serve(telemetry, work)
    for span in telemetry.spans[:2]:
        assert span.name == name
        query = {"db.operation.name": "SELECT", "db.query.text": "SELECT ?"}
        assert about(span) == {**expected, **query}
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.end_time - span.start_time == 250_000_000


# By SQLAlchemy's dialects.
NAMES = [
    *(
        "cockroachdb",
        "db2",
        "firebird",
        "hana",
        "informix",
        "mariadb",
        "mssql",
        "mysql",
    ),
    *("netezza", "oracle", "postgresql", "redshift", "spanner+spanner", "sqlite"),
    "teradatasql",
]


@pytest.mark.parametrize("dialect", NAMES)
def test_database_has_a_name_of_the_conventions(
    telemetry: Telemetry, dialect: str
) -> None:
    serve(telemetry, lambda: send_as(Engine(dialect, None)))
    found = about(telemetry.spans[0])["db.system.name"]
    assert found in {one.value for one in DbSystemNameValues}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (" \n  select 1", "SELECT"),
        ("-- x\nSELECT\n1", "SELECT"),
        ("/* x */ (SELECT 1)", "SELECT"),
        ("WITH\na AS (SELECT 1) SELECT * FROM a", "WITH"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH"),
        ("-- a comment", "other_sql"),
        ("FROBNICATE all", "other_sql"),
        ("", "other_sql"),
        ("x" * 1_000_000, "other_sql"),
    ],
)
def test_statement_is_named_by_its_operation_if_it_is_known(
    telemetry: Telemetry, statement: str, name: str
) -> None:
    serve(telemetry, lambda: send_as("an engine", statement=statement))
    span = telemetry.spans[0]
    assert span.name == name
    assert len(about(span)["db.query.text"]) <= 10_000


def test_what_fails_beside_a_statement_is_a_span_without_duration(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def work() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.rollback()
            connection.exec_driver_sql(
                "CREATE TABLE mugs (id INTEGER PRIMARY KEY, of INTEGER REFERENCES"
                " mugs(id) DEFERRABLE INITIALLY DEFERRED)"
            )
            connection.exec_driver_sql("INSERT INTO mugs VALUES (1, 2)")
            with pytest.raises(sa.exc.IntegrityError):
                connection.commit()

    serve(telemetry, work)
    span = telemetry.span("commit")
    assert span.kind is SpanKind.CLIENT
    assert parent(span) == identity(telemetry.span("GET"))
    assert has_error(span)
    assert about(span) == {
        "db.operation.name": "commit",
        "db.system.name": "sqlite",
        "error.type": "sqlalchemy.exc.IntegrityError",
    }
    assert span.start_time == span.end_time


def test_fetch_that_fails_is_a_span_with_its_statement(telemetry: Telemetry) -> None:
    def work() -> None:
        sql_failed.send(
            "an engine",
            operation="fetch",
            statement="SELECT 1",
            exception=LookupError(),
            exchange=current_exchange(),
        )

    serve(telemetry, work)
    assert about(telemetry.span("fetch"))["db.query.text"] == "SELECT ?"
    sql_failed.send(
        "an engine",
        operation="commit",
        statement=None,
        exception=LookupError(),
        exchange=None,
    )


SECRETS = "SELECT a FROM t1 WHERE b = 'secret' AND c = 4242 /* secret */"


def work_with_secrets(engine: object) -> None:
    send_as(engine, statement=SECRETS)
    sql_failed.send(
        engine,
        operation="fetch",
        statement=SECRETS,
        exception=LookupError("secret"),
        exchange=current_exchange(),
    )


def test_values_in_a_statement_are_not_in_its_span(telemetry: Telemetry) -> None:
    serve(telemetry, lambda: work_with_secrets("an engine"))
    for span in telemetry.spans[:2]:
        text = "SELECT a FROM t1 WHERE b = ? AND c = ?"
        assert about(span)["db.query.text"] == text
        assert "secret" not in span.to_json()


def test_values_in_a_statement_are_in_its_span_where_asked_for(
    telemetry: Telemetry,
) -> None:
    work = partial(work_with_secrets, "an engine")
    serve(telemetry, work, with_sql_values=True)
    for span in telemetry.spans[:2]:
        assert about(span)["db.query.text"] == SECRETS


def insert_twice(engine: sa.Engine) -> None:
    secret = "".join(("Zq", "7351"))  # not in a line of source of the traceback
    execute(engine, sa.text("CREATE TABLE mugs (name TEXT UNIQUE)"))
    values = {"name": secret}
    for _ in range(2):
        execute(engine, sa.text("INSERT INTO mugs VALUES (:name)"), values)


@pytest.mark.parametrize("with_values", [False, True])
def test_values_in_the_message_of_an_exception_are_not_in_its_event(
    telemetry: Telemetry, engine: sa.Engine, with_values: bool
) -> None:
    options = {"with_sql_values": True} if with_values else {}
    with pytest.raises(sa.exc.IntegrityError):
        serve(telemetry, lambda: insert_twice(engine), **options)
    (event,) = telemetry.span("GET").events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "sqlalchemy.exc.IntegrityError"
    for key in ("exception.message", "exception.stacktrace"):
        text = str(event.attributes[key])
        assert ("Zq7351" in text) == with_values
        assert "UNIQUE constraint failed: mugs.name" in text
        assert "INSERT INTO mugs VALUES (?)" in text


def test_event_of_any_other_exception_is_the_sdk_s(telemetry: Telemetry) -> None:
    def work() -> t.NoReturn:
        raise LookupError("no 'mug'")

    with pytest.raises(LookupError):
        serve(telemetry, work)
    (event,) = telemetry.span("GET").events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "no 'mug'"


def test_statements_are_left_out_if_they_are_to_be(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    serve(telemetry, lambda: execute(engine, BOUND), with_sql_spans=False)
    assert telemetry.span().name == "GET"


# Receivers


def note(sender: object) -> None:
    """Be called."""


def fail(sender: object) -> None:
    raise LookupError("no such thing")


def test_receivers_are_spans_if_they_are_asked_for(telemetry: Telemetry) -> None:
    with exchange_closed.connected_to(note):
        serve(telemetry, lambda: None, with_receiver_spans=True)
    span = telemetry.span("receiver of exchange-closed")
    assert span.kind is SpanKind.INTERNAL
    assert parent(span) == identity(telemetry.span("GET"))
    assert about(span) == {
        "signalpost.receiver": f"{__name__}.note",
        "signalpost.signal": "exchange-closed",
    }


def test_receiver_that_fails_is_an_error_of_its_own_span(telemetry: Telemetry) -> None:
    with request_started.connected_to(fail):
        serve(telemetry, lambda: None, with_receiver_spans=True)
    span = telemetry.span("receiver of request-started")
    assert has_error(span)
    assert about(span)["error.type"] == "LookupError"
    assert len(span.events) == 1
    assert not has_error(telemetry.span("GET"))


def test_receivers_are_no_spans_unless_they_are_asked_for(
    telemetry: Telemetry,
) -> None:
    with exchange_closed.connected_to(note):
        serve(telemetry, lambda: None)
    assert telemetry.span().name == "GET"


def test_receiver_outside_of_an_exchange_is_no_span(telemetry: Telemetry) -> None:
    middleware = SignalMiddleware(lambda *given: hello(*given))
    opentelemetry = telemetry.connected(middleware, with_receiver_spans=True)
    with request_started.connected_to(note):
        request_started.send("shop", environ={}, exchange=None)
    opentelemetry.disconnect(middleware)
    assert telemetry.begun == 0


# Metrics


def measured(telemetry: Telemetry, app: t.Any, **options: t.Any) -> SignalMiddleware:
    middleware = SignalMiddleware(lambda *given: app(*given))
    telemetry.connected(middleware, **options)
    return middleware


def test_request_is_measured_by_what_the_application_chose(
    telemetry: Telemetry,
) -> None:
    Server().serve(
        measured(telemetry, hello),
        SERVER_PROTOCOL="HTTP/2.0",
        HTTP_HOST="anything.example",
        path="/anything",
        HTTP_USER_AGENT="anything",
    )
    assert telemetry.points("http.server.request.duration") == [
        (
            {
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "network.protocol.version": "2",
                "url.scheme": "http",
            },
            1,
        )
    ]


def test_request_is_active_until_it_is_closed(telemetry: Telemetry) -> None:
    body: t.Any = Server().call(measured(telemetry, hello))
    labels = {"http.request.method": "GET", "url.scheme": "http"}
    assert telemetry.points("http.server.active_requests") == [(labels, 1)]
    body.close()
    assert telemetry.points("http.server.active_requests") == [(labels, 0)]


def test_sizes_are_measured_if_they_are_asked_for(telemetry: Telemetry) -> None:
    app = measured(telemetry, hello, with_size_metrics=True)
    for length in ("12", "", "-1", "9" * 99, "twelve", 12):
        Server().serve(app, CONTENT_LENGTH=length)
    ((_, count),) = telemetry.points("http.server.request.body.size")
    assert count == 1
    ((_, count),) = telemetry.points("http.server.response.body.size")
    assert count == 6


def test_sizes_are_not_measured_otherwise(telemetry: Telemetry) -> None:
    Server().serve(measured(telemetry, hello))
    assert telemetry.points("http.server.response.body.size") == []


def test_traffic_does_not_make_series(telemetry: Telemetry) -> None:
    class Rule:
        def __init__(self, rule: str) -> None:
            self.rule = rule
            self.endpoint = "page"

    class Request:
        def __init__(self, rule: str) -> None:
            self.url_rule = Rule(rule)

    def page(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        environ["werkzeug.request"] = Request("/page")
        if environ["REQUEST_METHOD"] == "POST":
            raise type("Error" + environ["PATH_INFO"], (Exception,), {})
        return hello(environ, start_response)

    app = measured(telemetry, page)
    for number in range(1100):
        # A front that lets the client choose the mount point of the application.
        Server().serve(app, SCRIPT_NAME=f"/{number}", HTTP_HOST=f"{number}.example")
    Server().serve(app, SCRIPT_NAME="/0")
    for number in range(150):
        with pytest.raises(Exception, match=r"^$"):
            Server().serve(app, method="POST", path=f"/{number}")
    points = telemetry.points("http.server.request.duration")
    routes = {labels.get("http.route") for labels, _ in points}
    errors = {labels.get("error.type") for labels, _ in points}
    assert len(routes - {None}) == 1001
    assert len(errors - {None}) == 101
    assert sum(count for _, count in points) == 1251
