"""The engine that sends."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Iterator

from sqlalchemy import Engine

INSTRUMENTATION = "_signalpost"
"""The attribute of an engine, or of the class, that holds its instrumentation: so one
that is not used any more goes with it."""

_MOST_FRAMES = 64


def made_from(engine: Engine) -> Iterator[Engine]:
    """Yield an engine, and the engines that it was derived from by options."""
    found: Engine | None = engine
    while found is not None:
        yield found
        found = getattr(found, "_proxied", None)


def sender_of(engine: Engine) -> Engine:
    """Return the engine that an engine with options was derived from."""
    while (before := getattr(engine, "_proxied", None)) is not None:
        engine = before
    return engine


def instrumentation_of(engine: Engine) -> t.Any:
    """Return the instrumentation of an engine or of all engines; ``None`` without.

    :param engine: One that was not made from another.
    """
    for one in (engine, Engine):
        found = vars(one).get(INSTRUMENTATION)
        if found is not None and not found.is_paused:
            return found
    return None


def default_pool_name_of(engine: Engine) -> str:
    """Return the name of the pool of an engine.

    It is what the application calls it, or else server and database, as OpenTelemetry's
    conventions advise for ``db.client.connection.pool.name``. The folder of a SQLite
    file is left out: it is of this machine.
    """
    name: str | None = getattr(engine.pool, "logging_name", None)
    return name or getattr(engine, "logging_name", None) or _address_of(engine)


def _address_of(engine: Engine) -> str:
    url = engine.url
    server = url.host or engine.dialect.name
    if url.host and url.port is not None:
        server = f"{url.host}:{url.port}"
    database = url.database or ""
    if engine.dialect.name == "sqlite":
        database = database.replace("\\", "/").rpartition("/")[2].partition("?")[0]
        database = "" if database == ":memory:" else database
    return f"{server}/{database}" if database else server


def calling_engine() -> Engine | None:
    """Return the engine that is asking its pool for a connection.

    SQLAlchemy gives a pool its dialect, and not its engine, so the engine is looked for
    among the callers. This is done only when no connection is free.
    """
    frame = sys._getframe(1)  # noqa: SLF001  # inspect would read files
    for _ in range(_MOST_FRAMES):
        engine = frame.f_locals.get("self")
        if isinstance(engine, Engine):
            return engine
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
