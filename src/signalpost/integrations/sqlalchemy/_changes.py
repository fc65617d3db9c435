"""Keep the changes of a transaction to objects, without the objects."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import orm

from ..._engine.interest import is_read
from ..._engine.unseen import checked
from ...exchange import current_exchange
from ._model_catalogue import committed

_log = logging.getLogger("signalpost.signals")

Key: t.TypeAlias = tuple[t.Any, ...]
"""SQLAlchemy's identity key: the mapped base class, the primary key, and a token."""

_MOST_AT_ONCE = 500
"""How many objects are loaded again by one statement; databases limit parameters."""

_COMBINED = {
    ("created", "updated"): "created",
    # Another object in the place of one that was deleted.
    ("deleted", "created"): "updated",
}
"""The combined change, by the earlier change of an object and the new one."""


class _Change(t.NamedTuple):
    model: type
    what: str
    instance: object
    """The object, if it cannot be loaded again."""


class Changes:
    """The changes of one transaction to objects, in the order of each object's first.

    Objects are kept by their identity, not by themselves: a session does not keep what
    it has written, and what the application has dropped must not pile up until the
    commit. Only what is deleted is kept, if a receiver reads it, as it cannot be loaded
    again.
    """

    __slots__ = ("_by_key", "_shared")

    def __init__(self) -> None:
        self._by_key: dict[Key, _Change] = {}
        # Of many objects with one fate, all have one tuple.
        self._shared: dict[tuple[type, str], _Change] = {}

    def add(self, mapper: orm.Mapper[t.Any], instance: object, what: str) -> None:
        """Store the change of an object, during the flush."""
        model = type(instance)
        before: Key | None = sa.inspect(instance, raiseerr=True).key
        key: Key = mapper.identity_key_from_instance(instance)
        if key == before:
            key = before
        elif before in self._by_key and what == "updated":
            # Its primary key was changed.
            what = self._by_key.pop(before).what
        is_kept = what == "deleted" and is_read(committed, model, "instance")
        self._put(key, _Change(model, what, instance if is_kept else None))

    def merge(self, inner: Changes) -> None:
        """Add the changes of a savepoint of the transaction."""
        for key, change in inner._by_key.items():
            self._put(key, change)

    def send(self, session: orm.Session) -> int:
        """Send ``committed`` for each object.

        :returns: How many receivers raised.
        """
        failures = 0
        changes = [*self._by_key.items()]
        for start in range(0, len(changes), _MOST_AT_ONCE):
            part = changes[start : start + _MOST_AT_ONCE]
            instances = _instances(session, part)
            for key, change in part:
                payload = {
                    "instance": instances.get(key),
                    "identity": key[1],
                    "change": change.what,
                    "exchange": current_exchange(),
                }
                failures += committed.send_isolated(change.model, payload, _no_wrapper)
        return failures

    def _put(self, key: Key, change: _Change) -> None:
        before = self._by_key.get(key)
        if before is not None:
            if (before.what, change.what) == ("created", "deleted"):
                del self._by_key[key]
                return
            what = _COMBINED.get((before.what, change.what), change.what)
            change = change._replace(what=what)
        if change.instance is None:
            change = self._shared.setdefault((change.model, change.what), change)
        self._by_key[key] = change

    def __bool__(self) -> bool:
        return bool(self._by_key)


def _instances(
    session: orm.Session, changes: Iterable[tuple[Key, _Change]]
) -> dict[Key, object]:
    """Return the objects by their keys: the session's, or else loaded again."""
    found: dict[Key, object] = {}
    missing: dict[type, list[Key]] = {}
    for key, change in changes:
        instance = change.instance
        if change.what != "deleted":
            instance = session.identity_map.get(key)
        if instance is not None:
            found[key] = instance
        elif change.what != "deleted" and is_read(committed, change.model, "instance"):
            missing.setdefault(key[0], []).append(key)
    for model, keys in missing.items():
        found.update(_loaded(session, model, keys))
    return found


def _loaded(session: orm.Session, model: type, keys: list[Key]) -> dict[Key, object]:
    """Return those objects that are still in the database."""
    try:
        with session.no_autoflush:
            return {
                sa.inspect(one, raiseerr=True).key: one
                for one in _load(session, model, keys)
            }
    except Exception as error:  # noqa: BLE001  # the transaction is committed
        checked(_log, logging.ERROR).error(
            "%s: committed objects cannot be loaded again", committed, exc_info=error
        )
        # The transaction may refuse any other statement.
        session.rollback()
        return {}


def _load(session: orm.Session, model: t.Any, keys: list[Key]) -> Iterable[object]:
    columns = t.cast("orm.Mapper[t.Any]", sa.inspect(model)).primary_key
    if len(columns) == 1 and not any(key[2] for key in keys):
        chosen = columns[0].in_([key[1][0] for key in keys])
        return session.scalars(sa.select(model).where(chosen)).unique().all()
    # Not every database compares several columns with a list.
    loaded = (session.get(model, key[1], identity_token=key[2]) for key in keys)
    return [one for one in loaded if one is not None]


def _no_wrapper() -> None:
    """Run no async receiver: SQLAlchemy waits for a plain function."""
