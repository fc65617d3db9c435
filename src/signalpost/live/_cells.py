"""The cells of a file, one for each request in flight and each that closed last."""

from __future__ import annotations

from ._layout import CELL
from ._layout import CELL_HEAD
from ._layout import Layout
from ._layout import MARK_BYTES
from ._records import NUMBERS_BYTES
from ._records import PLACE_BYTES

__all__ = ["Cell", "Closed"]


class Cell:
    """The places of a request's cell in the file.

    :param layout: Where the cells are.
    :param number: Which one it is.
    """

    __slots__ = ("at", "end", "mark", "numbers_at", "place_at", "row_at", "status_at")

    def __init__(self, layout: Layout, number: int) -> None:
        self.at = layout.cells + number * CELL.size
        self.numbers_at = self.at + CELL_HEAD.size
        self.end = self.at + CELL.size
        self.place_at = self.end - PLACE_BYTES
        self.mark = layout.marks // MARK_BYTES + number
        """In numbers of 8 bytes."""
        self.row_at = self.place_at // 4 - 1
        """In numbers of 4 bytes."""
        self.status_at = self.at // 2 + 4
        """In numbers of 2 bytes."""


class Closed:
    """A closed request: the values to count, and its record."""

    __slots__ = (
        "cell",
        "extra",
        "is_aborted",
        "is_failed",
        "method",
        "path",
        "record",
        "response_seconds",
        "route",
        "started_at",
    )

    route: str | None
    """Of any length; it need not be printable."""
    cell: Cell | None
    """The cell that it has in the file since it was opened."""
    record: bytes
    """Its numbers; empty, and it has no cell, if there were too many at once."""
    extra: bytes
    """The events and further texts, which few records have."""

    def __init__(self) -> None:
        self.cell = None
        self.started_at = 0.0
        self.method = self.path = ""
        self.route = None
        self.is_failed = self.is_aborted = False
        self.response_seconds: float | None = None
        self.record = bytes(NUMBERS_BYTES)
        self.extra = b""
