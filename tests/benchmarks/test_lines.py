from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import lines
from benchmarks.__main__ import main
from benchmarks.timing import Figure


def test_ids_and_lines_are_measured_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    main(["--lines", "--rounds", "1", "--json", str(file)])
    timed = json.loads(file.read_text())["lines"]
    assert {*timed} == {lines.IDS, lines.LINES}
    printed = capsys.readouterr().out
    for name in (lines.NEW, lines.WITHIN, lines.OUTSIDE):
        assert name in printed


def test_what_is_added_to_a_line_is_beside_its_aim() -> None:
    def figures(added_ns: float) -> dict[str, Figure]:
        by_name = {lines.BARE: 1_000.0, lines.WITHIN: 1_000 + added_ns}
        return {name: Figure(one, one) for name, one in by_name.items()}

    ids = {lines.NEW: Figure(2_000, 2_000)}
    assert "yes" in lines.shown([ids, figures(990)])[1]
    assert "no" in lines.shown([ids, figures(1_010)])[1].replace("measured", "")
