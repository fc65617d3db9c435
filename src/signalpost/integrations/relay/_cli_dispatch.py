"""The command ``signalpost relay dispatch``."""

from __future__ import annotations

import argparse
import logging
import os
import typing as t

from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from ...errors import OutboxError
from ._cli_broker import add_command
from ._cli_broker import add_live
from ._cli_broker import address_of
from ._cli_broker import print_lines
from ._cli_broker import recorded
from ._dispatch import Dispatcher
from ._table import OutboxTable

__all__ = ["add_dispatch"]

DATABASE_VARIABLE: t.Final = "SIGNALPOST_RELAY_DATABASE"
_LINES: t.Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_RIGHT = 0


def add_dispatch(commands: t.Any) -> None:
    """Add the command."""
    text = "publish the committed events of an outbox"
    dispatch = add_command(commands, "dispatch", _dispatch, text)
    dispatch.epilog = (
        "It runs until SIGTERM or Ctrl-C. Several may run at once, for one outbox."
    )
    dispatch.add_argument(
        "--database",
        default=os.environ.get(DATABASE_VARIABLE),
        metavar="URL",
        help="the database of the outbox, as sqlite:///shop.db; else the environment"
        f" variable {DATABASE_VARIABLE} has it",
    )
    dispatch.add_argument(
        "--table",
        default="signalpost_outbox",
        metavar="NAME",
        help="the outbox (%(default)s)",
    )
    dispatch.add_argument(
        "--batch",
        type=int,
        default=100,
        metavar="N",
        help="how many events to publish at once (%(default)s)",
    )
    dispatch.add_argument(
        "--max-tries",
        type=int,
        metavar="N",
        help="how often to try an event that the broker refuses (for ever)",
    )
    dispatch.add_argument(
        "--once", action="store_true", help="publish the existing events and exit"
    )
    add_live(dispatch)


def _dispatch(chosen: argparse.Namespace) -> int:
    address = address_of(chosen)
    if chosen.words:
        raise ValueError(f"dispatch takes one URL, got also {chosen.words[0]!r}")
    if not chosen.database:
        raise ValueError(
            f"no database is given: write --database URL, or set {DATABASE_VARIABLE}"
        )
    dispatcher = Dispatcher(
        address.url,
        database=chosen.database,
        outbox=_table_named(chosen.table),
        prefix=chosen.prefix,
        batch=chosen.batch,
        max_tries=chosen.max_tries,
    )
    logging.basicConfig(level=logging.INFO, format=_LINES)
    if chosen.once:
        with recorded(chosen):
            return _publish_once(dispatcher)
    logging.getLogger("signalpost.relay").info(
        "relay: publishes %s to %s", chosen.table, address.shown
    )
    with recorded(chosen):
        dispatcher.run()
    return _RIGHT


def _publish_once(dispatcher: Dispatcher) -> int:
    try:
        while dispatcher.dispatch():
            pass
        count, _seconds = dispatcher.waiting()
    except DBAPIError as error:
        # Without the statement, which holds the event.
        raise OutboxError(f"the database cannot be used: {error.orig}") from error
    finally:
        dispatcher.close()
    print_lines([f"Published {dispatcher.sent} events; {count} wait."])
    return _RIGHT


def _table_named(name: str) -> OutboxTable:
    schema, _dot, table = name.rpartition(".")
    return OutboxTable(MetaData(), name=table, schema=schema or None)
