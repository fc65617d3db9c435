from __future__ import annotations

import re

import pytest

from benchmarks import outbox


def test_each_row_has_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert outbox.main(["--transactions", "20"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("  ")[0] for row in rows] == [
        "a transaction",
        "with an event",
        "the event adds",
    ]
    figures = [re.findall(r"-?[\d,]+\.\d", row) for row in rows]
    assert all(len(row) == 2 for row in figures)
