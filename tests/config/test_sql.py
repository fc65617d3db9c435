from __future__ import annotations

import gc
import logging
import typing as t
from collections.abc import Generator

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import Enabled
from signalpost.config import enabled_for
from signalpost.exchange import current_exchange
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import transaction_beginning
from signalpost.integrations.sqlalchemy._engines import INSTRUMENTATION
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import post_config_load
from signalpost.lifecycle import sql_executed
from signalpost.receivers.sql_totals import sql_totals
from signalpost.testing import capture
from signalpost.testing import restored
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server


class Shop:
    """A WSGI application that executes a given number of statements."""

    def __init__(self, *, statements: int = 2) -> None:
        self._statements = statements
        self._engine = sa.create_engine(
            "sqlite://",
            poolclass=StaticPool,
            connect_args={"check_same_thread": False},
        )

    def __call__(self, environ: t.Any, start_response: t.Any) -> list[bytes]:
        self.ask(self._statements)
        start_response("200 OK", [])
        return [b"hello"]

    def ask(self, times: int = 1) -> None:
        with self._engine.connect() as connection:
            for _ in range(times):
                connection.execute(sa.text("SELECT 1"))

    def fail_to_commit(self, times: int = 1) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.rollback()
            connection.exec_driver_sql(
                "CREATE TABLE mugs (id INTEGER PRIMARY KEY, of INTEGER REFERENCES"
                " mugs(id) DEFERRABLE INITIALLY DEFERRED)"
            )
            connection.exec_driver_sql("INSERT INTO mugs VALUES (1, 2)")
            with pytest.raises(sa.exc.IntegrityError):
                connection.commit()

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture(autouse=True)
def nobody_listens() -> None:
    gc.collect()  # applications of other tests, with their receivers


@pytest.fixture
def shop() -> Generator[Shop]:
    shop = Shop()
    yield shop
    enabled_for(shop).disable_all()
    shop.close()


@pytest.fixture
def cafe() -> Generator[Shop]:
    cafe = Shop(statements=3)
    yield cafe
    enabled_for(cafe).disable_all()
    cafe.close()


def enable(application: Shop, **receivers: t.Any) -> Enabled:
    """Load a configuration; a name with a path in it is used unchanged."""
    given = {
        name if ":" in name else name.replace("_", "-"): options
        for name, options in receivers.items()
    }
    configuration = {"signalpost": {"receivers": given}}
    return Configuration.from_mapping(configuration).load(application)


def serve(*shops: Shop) -> None:
    for shop in shops:
        Server().serve(SignalMiddleware(shop))


def test_statements_of_a_request_are_on_its_line(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql_totals=True, latency=True)
    with caplog.at_level(logging.INFO):
        serve(shop)
    (line,) = caplog.messages
    assert " 5 bytes 2 statements in " in line
    fields = t.cast("t.Any", caplog.records[0].msg).fields
    assert fields["sql_count"] == 2
    assert fields["sql_duration_seconds"] > 0


def test_one_statement_is_reported_as_one(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql_totals=True, latency=True)
    shop._statements = 1
    with caplog.at_level(logging.INFO):
        serve(shop)
    assert " 5 bytes 1 statement in " in caplog.text


def test_request_without_statements_has_the_line_of_old(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql_totals=True, latency=True)
    shop._statements = 0
    with caplog.at_level(logging.INFO):
        serve(shop)
    assert caplog.messages[0].endswith(" 5 bytes")


def test_two_applications_count_each_statement_once(shop: Shop, cafe: Shop) -> None:
    for one in (shop, cafe):
        enable(one, sqlalchemy=True, sql_totals=True)
    with capture(exchange_closed) as closed:
        serve(shop, cafe)
    totals = [sql_totals(sent["exchange"]) for sent in closed]
    assert [one and one.count for one in totals] == [2, 3]


def test_a_receiver_receives_the_statements_of_its_own_application(
    shop: Shop, cafe: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql={"slow_seconds": 0})
    serve(shop, cafe)
    assert len(caplog.messages) == 2


def test_a_statement_outside_of_any_exchange_is_received(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql={"slow_seconds": 0})
    shop.ask()
    assert len(caplog.messages) == 1


def test_commit_that_fails_is_logged_and_counted(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql=True, sql_totals=True)
    shop.ask = shop.fail_to_commit  # type: ignore[method-assign]
    with capture(exchange_closed) as closed:
        serve(shop)
    assert caplog.messages == ["failed commit IntegrityError GET /"]
    totals = sql_totals(closed[0]["exchange"])
    assert totals is not None
    assert totals.failed == 1


def test_repetitions_are_reported_without_receivers_of_exchanges(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enable(shop, sqlalchemy=True, sql_repeats={"most_times": 1})
    serve(shop)
    (line,) = caplog.messages
    assert line.startswith("GET / repeated 2 times at=")


def test_statements_have_their_exchange_though_one_engine_alone_is_received(
    shop: Shop,
) -> None:
    enable(shop, sqlalchemy=True)
    found = []

    def keep(sender: object, **payload: t.Any) -> None:
        found.append(payload["exchange"])

    with sql_executed.connected_to(keep, shop._engine):
        serve(shop)
    assert [exchange.path for exchange in found] == ["/", "/"]


def test_there_is_no_exchange_without_receivers(shop: Shop) -> None:
    found: list[object] = []

    def ask(environ: t.Any, start_response: t.Any) -> list[bytes]:
        found.append(current_exchange())
        return shop(environ, start_response)

    SignalMiddleware(ask)(environ_of("/"), Server().start_response)
    assert found == [None]


def record_statement(engine: sa.Engine, statement: str) -> None:
    assert isinstance(engine, sa.Engine)
    received.append(statement)


def record_all(*_: object, **payload: t.Any) -> None:
    received.append(f"{payload['statement']} within {payload['exchange'].path}")


def record_configuration(configuration: Configuration, application: object) -> None:
    received.append(type(application).__name__)


received: list[str] = []


@pytest.mark.parametrize(
    ("receiver", "expected"),
    [("record_statement", "SELECT 1"), ("record_all", "SELECT 1 within /")],
)
def test_a_receiver_of_ones_own_receives_statements(
    shop: Shop, receiver: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received.clear()
    name = f"{__name__}:{receiver}"
    enable(shop, sqlalchemy=True, **{name: {"signal": "sql-executed"}})
    serve(shop)
    assert received == [expected, expected]


def test_a_receiver_of_ones_own_receives_that_the_configuration_is_read(
    shop: Shop,
) -> None:
    received.clear()
    name = f"{__name__}:record_configuration"
    enable(shop, **{name: {"signal": "post-config-load"}})
    assert received == ["Shop"]


def test_a_disabled_receiver_receives_no_statement(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    enabled = enable(shop, sqlalchemy=True, sql={"slow_seconds": 0})
    enabled.disable("sql")
    shop.ask()
    assert caplog.messages == []
    assert not sql_executed.receivers


def test_engines_send_until_the_last_application_disables_it(
    shop: Shop, cafe: Shop
) -> None:
    for one in (shop, cafe):
        enable(one, sqlalchemy=True)
    with capture(sql_executed) as sent:
        enabled_for(shop).disable("sqlalchemy")
        shop.ask()
        enabled_for(cafe).disable("sqlalchemy")
        shop.ask()
    assert len(sent) == 1


def test_an_engine_of_its_own_sends_while_all_are_paused(shop: Shop) -> None:
    enabled = enable(shop, sqlalchemy=True)
    with (
        instrument(shop._engine),
        capture(sql_executed, transaction_beginning) as sent,
    ):
        shop.ask()
        enabled.disable("sqlalchemy")
        shop.ask()
    names = [getattr(one.signal, "name", "") for one in sent]
    assert names == ["transaction-beginning", "sql-executed"] * 2


def test_what_was_paused_goes_on(shop: Shop) -> None:
    enabled = enable(shop, sqlalchemy=True)
    enabled.disable("sqlalchemy")
    enabled.enable("sqlalchemy")
    with capture(sql_executed) as sent:
        shop.ask()
    assert len(sent) == 1


def test_values_are_sent_if_the_configuration_asks_for_them(shop: Shop) -> None:
    enable(shop, sqlalchemy={"with_parameters": True})
    with capture(sql_executed) as sent, shop._engine.connect() as connection:
        connection.execute(sa.text("SELECT :name"), {"name": "blue"})
    assert sent[0]["parameters"] == ("blue",)


def test_receivers_of_statements_go_with_their_application() -> None:
    shop = Shop()
    enable(shop, sql=True)
    assert sql_executed.receivers
    shop.close()
    del shop
    gc.collect()
    assert not sql_executed.receivers
    assert not post_config_load.receivers


def test_what_a_restored_block_enabled_can_be_enabled_again(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    if (of_other_tests := vars(sa.Engine).get(INSTRUMENTATION)) is not None:
        of_other_tests.undo()
    with restored():
        enable(shop, sqlalchemy=True)
        enabled_for(shop).disable_all()
    enable(shop, sqlalchemy=True, sql=True)
    shop.ask = shop.fail_to_commit  # type: ignore[method-assign]
    serve(shop)
    assert caplog.messages == ["failed commit IntegrityError GET /"]
