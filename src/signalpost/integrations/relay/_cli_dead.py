"""The commands ``signalpost relay dead …``."""

from __future__ import annotations

import argparse
import json
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

from ...receivers.lines import single_line
from ...receivers.lines import truncated
from ._cli_broker import add_command
from ._cli_broker import address_of
from ._cli_broker import opened_for
from ._cli_broker import Parser
from ._cli_broker import print_lines
from ._transport import DeadLetter
from ._transport import Transport

__all__ = ["add_dead"]

_RIGHT = 0
_LONGEST_REASON: t.Final = 200


def add_dead(commands: t.Any) -> None:
    """Add the commands."""
    dead = commands.add_parser("dead", help="list, retry or drop dead letters")
    actions = dead.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    listing = add_command(actions, "list", _list, "list the dead letters of a group")
    listing.add_argument("--json", action="store_true", help="print JSON, one a line")
    text = "have the group receive dead letters again"
    retry = add_command(actions, "retry", _retry, text, "ID …")
    drop = add_command(actions, "drop", _drop, "delete dead letters", "ID …")
    for one in (retry, drop):
        one.add_argument("--all", action="store_true", help="all of them, not by ids")
    for one in (listing, retry, drop):
        one.add_argument("--group", required=True, help="whose they are")


def _list(chosen: argparse.Namespace) -> int:
    with opened_for(address_of(chosen)) as transport:
        for letter in transport.dead(chosen.group):
            if chosen.json:
                print_lines([json.dumps(_data_of(letter))])
            else:
                print_lines([_line_of(letter)])
    return _RIGHT


def _line_of(letter: DeadLetter) -> str:
    at = "" if letter.at is None else f"{letter.at:%Y-%m-%d %H:%M:%S}  "
    reason = single_line(truncated(letter.why.reason, _LONGEST_REASON))
    name = single_line(truncated(_type_of(letter), 100))
    return f"{letter.id}  {at}{name}  tries: {letter.why.tries}  {reason}"


def _type_of(letter: DeadLetter) -> str:
    """Return the name of a dead letter's signal, if it can be read."""
    try:
        event = json.loads(letter.body)
    except (ValueError, RecursionError):
        return "?"
    found = event.get("type") if isinstance(event, dict) else None
    return found if isinstance(found, str) else "?"


def _data_of(letter: DeadLetter) -> dict[str, t.Any]:
    return {
        "id": letter.id,
        "type": _type_of(letter),
        "at": None if letter.at is None else letter.at.isoformat(),
        "reason": letter.why.reason,
        "tries": letter.why.tries,
        "traceback": letter.why.traceback,
        "body": letter.body.decode("utf-8", "backslashreplace"),
    }


def _retry(chosen: argparse.Namespace) -> int:
    return _each(chosen, lambda transport: transport.retry, "to be received again")


def _drop(chosen: argparse.Namespace) -> int:
    return _each(chosen, lambda transport: transport.drop, "deleted")


def _each(
    chosen: argparse.Namespace,
    action_of: Callable[[Transport], Callable[[str, DeadLetter], None]],
    what: str,
) -> int:
    address = address_of(chosen)
    wanted = set(chosen.words)
    if bool(wanted) is bool(chosen.all):
        raise ValueError("give either the ids of dead letters or --all")
    number = 0
    with opened_for(address) as transport:
        for letter in _chosen(transport, chosen.group, wanted, is_all=chosen.all):
            action_of(transport)(chosen.group, letter)
            wanted.discard(letter.id)
            number += 1
    letters = "dead letter" if number == 1 else "dead letters"
    print_lines([f"{number} {letters} {what}."])
    if wanted:
        raise ValueError(f"no dead letter has the id {', '.join(sorted(wanted))}")
    return _RIGHT


def _chosen(
    transport: Transport, group: str, wanted: set[str], *, is_all: bool
) -> Iterator[DeadLetter]:
    # Read first: what is retried may fail, and be there again.
    for letter in [*transport.dead(group)]:
        if is_all or letter.id in wanted:
            yield letter
