"""Statements that a real database accepts, and the values that a mask of them shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Collection

from signalpost.receivers.masking import masked_for

SECRET = "Zq7351"
OTHER = "Wx9182"
_LONGEST = 160

_PIECES = (
    *(SECRET, SECRET, "'", "'", "''", "\\", "\\'", '"', '""', "`", "``", "$$", "$a$"),
    *("E'", "U&'", "N'", "x'", "b'", "q'", "q'[", "]'", "_utf8'", "--", "-- ", "--\n"),
    *(
        "/*",
        "*/",
        "/*!",
        "/**/",
        "#",
        "\n",
        "\r",
        "\t",
        "\xa0",
        " ",
        ",",
        "1",
        ".",
        "e",
    ),
    *(
        "(",
        ")",
        "[",
        "]",
        "||",
        "::text",
        ";",
        "%",
        "{",
        "}",
        "?",
        ":a",
        "@a",
        "é",
        "+",
    ),
)


def shown_values(
    returned: Callable[[str], str],
    dialects: Collection[str],
    seeds: Collection[str],
    tries: int,
) -> list[str]:
    """Return the statements in which a value is shown though it should be hidden.

    Statements are changed at random, and those that the database accepts are changed
    again. What the database returns is a value, and not a name.

    :param returned: Returns the rows of a statement as text; raises if the database
        does not accept it.
    :param dialects: The names of databases by whose rules the statements are masked.
    :param seeds: Statements to begin with.
    :param tries: How many statements are tried.
    """
    chance = random.Random(7351)  # the same ones in each run
    accepted = [*seeds]
    found = []
    for _ in range(tries):
        statement = _changed(chance.choice(accepted), chance)
        rows = _rows_of(returned, statement)
        if rows is None:
            continue
        accepted.append(statement)
        if SECRET in rows:
            found += _shown_in(statement, returned, dialects)
    return found


def _changed(statement: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 3)):
        start = chance.randint(len("SELECT "), len(statement))
        end = start + chance.choice((0, 0, 0, 1, 2, 4))
        piece = chance.choice(_PIECES)
        statement = f"{statement[:start]}{piece}{statement[end:]}"
    return statement[:_LONGEST]


def _rows_of(returned: Callable[[str], str], statement: str) -> str | None:
    try:
        return returned(statement)
    except Exception:  # noqa: BLE001  # of any driver, for most statements
        return None


def _shown_in(
    statement: str, returned: Callable[[str], str], dialects: Collection[str]
) -> list[str]:
    """Return the statement with each secret in turn replaced, where it is shown."""
    found = []
    parts = statement.split(SECRET)
    for place in range(1, len(parts)):
        before, after = SECRET.join(parts[:place]), SECRET.join(parts[place:])
        one = f"{before}{OTHER}{after}"
        shows = [name for name in dialects if OTHER in masked_for(one, name)]
        if shows and OTHER in (_rows_of(returned, one) or ""):
            found.append(f"{shows}: {one!r}")
    return found
