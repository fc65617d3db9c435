"""What a session's written objects take up until its commit, with and without us."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from functools import partial
from typing import Any

from .report import table

OBJECTS = 5_000
AT_ONCE = 100
"""How many objects each flush writes."""

LEGEND = f"""\
Objects are written by flushes of {AT_ONCE} each, and the application keeps
none of them. "kept" is what is still there before the commit, "most" what there is
during the commit. "identities" is a receiver of committed that reads the identity and
the change, "objects" one that reads the object, which is loaded again."""

BARE = "not instrumented"
IDENTITIES = "identities"
READ = "objects"


def taken(objects: int = OBJECTS) -> dict[str, tuple[int, int]]:
    """Return the bytes that are kept, and at most, by how objects are followed."""
    return {
        name: _bytes_with(setting, objects) for name, setting in _settings().items()
    }


def shown(found: dict[str, tuple[int, int]], objects: int = OBJECTS) -> str:
    """Return what :func:`taken` returned as a table."""
    return table(
        [f"MB for {objects:,} objects", "kept", "most"],
        [[name, *(f"{one / 1e6:.2f}" for one in both)] for name, both in found.items()],
    )


def _settings() -> dict[str, Callable[[], AbstractContextManager[object]]]:
    from signalpost.integrations.sqlalchemy import committed

    def note(sender: object, *, identity: object, change: str) -> None:
        pass

    def read(sender: object, *, instance: Any) -> None:
        assert instance.name

    return {
        BARE: nullcontext,
        IDENTITIES: partial(committed.connected_to, note),
        READ: partial(committed.connected_to, read),
    }


def _bytes_with(
    setting: Callable[[], AbstractContextManager[object]], objects: int
) -> tuple[int, int]:
    import sqlalchemy as sa
    from sqlalchemy import orm

    from signalpost.integrations.sqlalchemy import instrument_models

    engine = sa.create_engine("sqlite://")
    mug: Any = _mapped_class()
    mug.metadata.create_all(engine)
    with instrument_models(), setting():
        _write(orm.Session(engine), mug, AT_ONCE)  # what is made once
        session = orm.Session(engine)
        tracemalloc.start()
        try:
            before = _traced()
            _write(session, mug, objects, is_committed=False)
            kept = _traced() - before
            tracemalloc.reset_peak()
            session.commit()
            most = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
            session.close()
            engine.dispose()
    return kept, most


def _write(session: Any, mug: Any, count: int, *, is_committed: bool = True) -> None:
    for start in range(0, count, AT_ONCE):
        session.add_all([mug(name=f"mug {start + one}") for one in range(AT_ONCE)])
        session.flush()
    if is_committed:
        session.commit()
        session.close()


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _mapped_class() -> type:
    import sqlalchemy as sa
    from sqlalchemy import orm

    class Mug(orm.declarative_base()):  # type: ignore[misc]  # made at run time
        __tablename__ = "mugs"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)

    return Mug
