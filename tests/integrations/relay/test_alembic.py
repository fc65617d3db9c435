"""The outbox, made by the migrations of its user."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

pytest.importorskip("alembic", reason="alembic is not installed")

from alembic import command

from signalpost.integrations.relay import Listener
from tests.integrations.relay.listening import Shipping
from tests.integrations.relay.migrations import migrate
from tests.integrations.relay.outboxes import Base
from tests.integrations.relay.outboxes import new_signal
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import OUTBOX
from tests.integrations.relay.outboxes import running
from tests.integrations.relay.outboxes import wait_until


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def tables_of(database: Path) -> dict[str, str]:
    """Return the tables of a database, with the statements that made them."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        )
        tables = {name: sql for name, sql in found if not name.startswith("sqlite_")}
    engine.dispose()
    return tables


def test_a_migration_makes_all_tables(tmp_path: Path, database: Path) -> None:
    migrate(tmp_path / "migrations", f"sqlite:///{database}")
    tables = tables_of(database)
    assert tables.keys() == {*Base.metadata.tables, "alembic_version"}
    # A number that is given again would be taken for an event that was received.
    assert "AUTOINCREMENT" in tables[OUTBOX.events.name]


def test_a_second_migration_has_nothing_to_do(tmp_path: Path, database: Path) -> None:
    config = migrate(tmp_path / "migrations", f"sqlite:///{database}")
    command.check(config)
    # The check finds a difference if there is one.
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX signalpost_outbox_by_key")
    engine.dispose()
    with pytest.raises(Exception, match="signalpost_outbox_by_key"):
        command.check(config)


def test_an_event_crosses_through_migrated_tables(
    tmp_path: Path, database: Path
) -> None:
    url = f"sqlite:///{database}"
    migrate(tmp_path / "migrations", url)
    before = tables_of(database)
    signal = new_signal()
    shipping = Shipping(signal)
    listener = Listener(url, group="shipping", signals=[signal])
    with open_shop(database) as shop, running(listener):
        wait_until(shop.groups)
        shop.place_all(1, 2)
        wait_until(lambda: len(shipping.orders) == 2 and not shop.rows())
    assert shipping.orders == [1, 2]
    assert tables_of(database) == before


def test_a_migration_can_be_undone(tmp_path: Path, database: Path) -> None:
    config = migrate(tmp_path / "migrations", f"sqlite:///{database}")
    command.downgrade(config, "base")
    assert tables_of(database).keys() == {"alembic_version"}
