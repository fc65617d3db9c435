"""Observe the changes of many-to-many relationships by a flush."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm.attributes import get_history

from . import _model_catalogue as signals
from ._lazy_listeners import EventListener
from ._lazy_listeners import EventSource
from ._objects import has_receivers
from ._objects import send


def sources_of_m2m_changed() -> list[EventSource]:
    """Return the event sources for many-to-many relationships that are written."""
    return [
        EventListener(orm.Session, "before_flush", _before),
        EventListener(orm.Session, "after_flush", _after),
    ]


def _before(session: orm.Session, context: object, objects: object) -> None:
    _send_changes(session, "pre")


def _after(session: orm.Session, context: object) -> None:
    _send_changes(session, "post")


def _send_changes(session: orm.Session, when: str) -> None:
    changed = [*session.new, *session.dirty]
    # All of it first, as a receiver may change more.
    for change in [change for instance in changed for change in _changes(instance)]:
        instance, relationship, action, objects = change
        send(
            signals.m2m_changed,
            instance,
            relationship=relationship.key,
            action=f"{when}_{action}",
            objects=objects,
            model=relationship.mapper.class_,
        )


def _changes(
    instance: Any,
) -> Generator[tuple[Any, orm.RelationshipProperty[Any], str, tuple[Any, ...]]]:
    if not has_receivers(signals.m2m_changed, type(instance)):
        return
    mapper: orm.Mapper[Any] = sa.inspect(instance).mapper
    for relationship in mapper.relationships:
        if relationship.secondary is None or relationship.viewonly:
            continue
        history = get_history(instance, relationship.key, _WITHOUT_LOADING)
        if history.deleted:
            yield instance, relationship, "remove", tuple(history.deleted)
        if history.added:
            yield instance, relationship, "add", tuple(history.added)


_WITHOUT_LOADING = orm.PassiveFlag.PASSIVE_NO_INITIALIZE | getattr(
    # Early versions of SQLAlchemy 2.0 have no such flag, and do not report those.
    orm.PassiveFlag,
    "INCLUDE_PENDING_MUTATIONS",
    orm.PassiveFlag.PASSIVE_NO_INITIALIZE,
)
"""The flag of the flush itself: with what was put into a collection that is not loaded,
as the other side of a relationship often is."""
