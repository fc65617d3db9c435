"""Make the tables of a shop by Alembic, as its users do."""

from __future__ import annotations

import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from alembic.config import Config

_TARGET = "target_metadata = None"
_METADATA = "from tests.integrations.relay.outboxes import Base"


def new_environment(folder: Path, url: str) -> Config:
    """Make an environment of Alembic's for the tables of a shop.

    :param folder: Where it is made.
    :param url: The database.
    """
    from alembic import command
    from alembic.config import Config

    # Without a file, as env.py would set up logging for the whole process by it.
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url)
    config.config_file_name = str(folder.with_suffix(".ini"))
    command.init(config, str(folder))
    config.config_file_name = None
    environment = folder / "env.py"
    text = environment.read_text("utf-8")
    assert _TARGET in text
    target = f"{_METADATA}\ntarget_metadata = Base.metadata"
    environment.write_text(text.replace(_TARGET, target), "utf-8")
    return config


def migrate(folder: Path, url: str) -> Config:
    """Make the tables of a shop by a migration that Alembic has written."""
    from alembic import command

    config = new_environment(folder, url)
    command.revision(config, "orders and outbox", autogenerate=True)
    command.upgrade(config, "head")
    return config
