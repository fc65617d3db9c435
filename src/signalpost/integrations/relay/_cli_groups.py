"""The commands of groups: ``signalpost relay forget``, and a part of ``check``."""

from __future__ import annotations

import argparse
import typing as t
from collections.abc import Iterator

from ._cli_broker import add_command
from ._cli_broker import address_of
from ._cli_broker import opened_for
from ._cli_broker import print_lines
from ._transport import Backlog
from ._transport import Transport

__all__ = ["add_forget", "lines_of_groups"]

_RIGHT = 0


def add_forget(commands: t.Any) -> None:
    """Add the command."""
    text = "delete an unused group, with its dead letters"
    forget = add_command(commands, "forget", _forget, text, "GROUP")
    forget.epilog = "It refuses while the group has listeners or dead letters."
    forget.add_argument("--force", action="store_true", help="even if it has some")


def _forget(chosen: argparse.Namespace) -> int:
    address = address_of(chosen)
    if len(chosen.words) != 1:
        raise ValueError("give the name of one group")
    (group,) = chosen.words
    with opened_for(address) as transport:
        found = transport.backlog(group)
        if not chosen.force:
            _check_unused(found)
        transport.delete_group(group)
    lost = _number(found.waiting + found.dead, "event")
    print_lines([f"The group {group!r} is deleted, with {lost}."])
    return _RIGHT


def _check_unused(found: Backlog) -> None:
    """Check that a group can be deleted.

    :raises ValueError: If listeners or dead letters still need it.
    """
    if found.listeners:
        raise ValueError(
            f"the group {found.group!r} has {_number(found.listeners, 'listener')};"
            " stop them first: a listener that was killed counts for a minute more"
            " (--force deletes the group anyway)"
        )
    if found.dead:
        raise ValueError(
            f"the group {found.group!r} has {_number(found.dead, 'dead letter')}; retry"
            " or drop them first (--force deletes them, too)"
        )


def lines_of_groups(transport: Transport, groups: list[str]) -> Iterator[str]:
    """Yield a line about each group.

    :param groups: Their names; all that the broker shows if empty.
    """
    for one in groups or transport.groups():
        found = transport.backlog(one)
        age = found.oldest_seconds
        since = "" if age is None else f", the oldest for {age:.1f} s"
        verb = "waits" if found.waiting == 1 else "wait"
        yield (
            f"Group {one!r}: {_number(found.waiting, 'event')} {verb}{since};"
            f" {_number(found.dead, 'dead letter')};"
            f" {_number(found.listeners, 'listener')}."
        )


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
