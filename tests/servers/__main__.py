"""Prints the records behind each server: ``python -m tests.servers``."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Mapping
from collections.abc import Sequence

from tests.servers.launch import missing
from tests.servers.launch import SERVERS
from tests.servers.launch import version
from tests.servers.scenarios import complaints
from tests.servers.scenarios import observe
from tests.servers.scenarios import Observed
from tests.servers.scenarios import Scenario
from tests.servers.scenarios import SCENARIOS

SERVERS_IN_A_TABLE = 7


def main(names: Sequence[str]) -> int:
    """Ask the servers named, or else all; return how many checks failed."""
    here: dict[str, dict[str, Observed]] = {}
    failures = []
    for server in names or SERVERS:
        reason = missing(server)
        if reason is not None:
            _say(f"{server}: left out, as {reason}", sys.stderr)
            continue
        try:
            here[server] = observe(server)
        except Exception as error:  # noqa: BLE001  # the others are called nevertheless
            failures.append(f"{server} cannot be asked: {error}")
    for first in range(0, len(here), SERVERS_IN_A_TABLE):
        some = list(here)[first : first + SERVERS_IN_A_TABLE]
        head = ["", *some]
        rows = [
            [one.name, *(cell(server, one, here[server]) for server in some)]
            for one in SCENARIOS
        ]
        _say(table([head, *rows]) + "\n")
    _say("; ".join(dict.fromkeys(version(server) for server in here)))
    failures += [
        f"{server}, {one.name}: {complaint}"
        for server, all_observed in here.items()
        for one in SCENARIOS
        if one.name in all_observed
        for complaint in complaints(server, one, all_observed[one.name])
    ]
    for failure in failures:
        _say(failure, sys.stderr)
    return len(failures)


def cell(server: str, scenario: Scenario, observed: Mapping[str, Observed]) -> str:
    """Return the outcome that was recorded, with its marks."""
    seen = observed.get(scenario.name)
    if seen is None:
        return "–"
    record = seen.closed[0] if seen.closed else {"outcome": "nothing"}
    marks = "".join(
        mark
        for mark, is_due in (
            ("~", not record.get("body_bytes_exact", True)),
            ("t", not record.get("is_same_thread", True)),
            ("!", bool(complaints(server, scenario, seen))),
        )
        if is_due
    )
    return f"{record['outcome']} {marks}".rstrip()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, of which the first is the head, as reStructuredText."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(map(str.ljust, ["\\" if not row[0] else row[0], *row[1:]], widths))
        for row in rows
    ]
    return "\n".join([rule, lines[0].rstrip(), rule, *map(str.rstrip, lines[1:]), rule])


def _say(text: str, stream: t.TextIO | None = None) -> None:
    (stream or sys.stdout).write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
