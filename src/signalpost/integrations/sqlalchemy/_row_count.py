"""Read how many rows a driver reports for a statement."""

from __future__ import annotations

import typing as t

from sqlalchemy.engine import Dialect

# Drivers of MySQL have -1 as an unsigned number of 64 bits, for rows that they stream.
_UNKNOWN = 2**63


def row_count_of(cursor: t.Any, dialect: Dialect) -> int | None:
    """Return the number of rows of the last statement; ``None`` if it is not known.

    :param cursor: The driver's cursor, as :pep:`249` has it.
    :param dialect: The dialect of the driver.
    """
    try:
        count = cursor.rowcount
    except Exception:  # noqa: BLE001  # a driver's; the statement has succeeded
        return None
    # PEP 249 has -1 for an unknown number, and some drivers have None.
    if not isinstance(count, int) or not 0 <= count < _UNKNOWN:
        return None
    # Python's driver for SQLite counts the rows that RETURNING gives when the last one
    # is fetched, which is later.
    if not count and dialect.name == "sqlite" and cursor.description is not None:
        return None
    return count
