"""The routes of a signal that sends read without a lock."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Hashable
from typing import Any

from .connection import Connection
from .identity import sender_key
from .route import Route
from .route import STALE_ROUTE
from .senders import SenderRecord
from .senders import SenderReference


class Generation:
    """Counter of changes: :attr:`current` is another object after each change."""

    __slots__ = ("current",)

    current: object
    """Identifies the latest change."""

    def __init__(self) -> None:
        self.current = object()


class Routes:
    """The routes that were made and are still valid.

    A sender's route is valid while its base is :attr:`any_route`, so that a change for
    all senders makes every route invalid in one step. Callers that change this object
    hold the lock of the table, but not for :meth:`forget_id`, which is one step.
    """

    __slots__ = ("any_route", "by_id", "generations", "inherited", "plain", "rest")

    any_route: Route | None
    """The route of ``ANY`` alone; ``None`` if it must be made."""
    rest: Route | None
    """The route of every sender that is not in :attr:`by_id`; ``None`` while such a
    sender may have its own route, or a block is open that stops sends."""
    plain: tuple[Connection, ...] | None
    """The connections of :attr:`rest` if it is plain: a send looks here first."""
    by_id: dict[int, Route]
    """The route of each sender with its own receivers, by id."""
    inherited: dict[int, SenderReference]
    """The senders among them that have receivers only by a name or a base class."""
    generations: tuple[Generation, ...]
    """The generations that are renewed after each change."""

    def __init__(self) -> None:
        self.any_route = None
        self.rest = None
        self.plain = None
        self.by_id = {}
        self.inherited = {}
        self.generations = ()

    def add(self, record: SenderRecord) -> None:
        """Add a sender that has its own receivers."""
        if record.is_by_id:
            self.by_id[_id_of(record.key)] = STALE_ROUTE
        else:
            self.withdraw()

    def publish(self, route: Route | None) -> None:
        """Publish a route for the sends of every sender without its own route."""
        self.rest = route
        self.plain = None if route is None else route.plain

    def withdraw(self) -> None:
        """Make these sends find their route again."""
        self.rest = self.plain = None

    def add_generation(self, generation: Generation) -> None:
        """Renew a generation after each change."""
        self.generations += (generation,)

    def changed(self, record: SenderRecord | None) -> None:
        """Make routes invalid: a sender's, or all of them. The last step of a change.

        :param record: The sender; ``None`` for all.
        """
        if record is None:
            self.any_route = self.rest = self.plain = None
        elif not record.is_by_id:
            record.route = STALE_ROUTE
        elif _id_of(record.key) in self.by_id:
            self.by_id[_id_of(record.key)] = STALE_ROUTE
        if self.generations:
            for generation in self.generations:
                generation.current = object()

    def keep(
        self,
        sender: Any,
        record: SenderRecord | None,
        route: Route,
        cleanup: Callable[[weakref.ref[Any]], None],
    ) -> None:
        """Keep the route of a sender.

        :param record: Its record; ``None`` if it has receivers only by a name or a base
            class.
        """
        if record is not None and not record.is_by_id:
            record.route = route
            return
        key = sender_key(sender)
        if record is None:
            reference = SenderReference(sender, cleanup)
            reference.key = key
            self.inherited[_id_of(key)] = reference
        self.by_id[_id_of(key)] = route

    def forget_inherited(self) -> None:
        """Remove senders that had receivers only by a name or a base class."""
        for key in [*self.inherited]:
            self.forget_id(key)

    def forget_all(self) -> None:
        """Remove every sender."""
        self.by_id.clear()
        self.inherited.clear()

    def forget_id(self, key: int) -> None:
        """Remove a freed sender, because its id may be used again."""
        self.by_id.pop(key, None)
        self.inherited.pop(key, None)

    def forget(self, record: SenderRecord) -> None:
        """Remove a sender that no longer has its own receivers."""
        if record.is_by_id:
            self.forget_id(_id_of(record.key))


def _id_of(key: Hashable) -> int:
    return t.cast("tuple[int]", key)[0]
