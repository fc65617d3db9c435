from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from signalpost.console.layout import cut
from signalpost.console.layout import location
from signalpost.console.layout import Row
from signalpost.console.layout import table
from signalpost.console.layout import unstyled
from signalpost.console.layout import wrapped

ROWS = [
    Row("latency", "strong", "shop.toml:4"),
    Row("shop.views.orders.count", "weak, any sender", "shop/views/orders.py:123"),
    Row(
        "shop.warehouse.stocktaking.reservations.reserve_or_wait.<locals>.reserve",
        "strong, named('warehouse'), once, priority -20, called 12345 times",
        "/srv/applications/shop/warehouse/stocktaking/reservations/waiting.py:98765",
    ),
    Row("x" * 300, "weak", "y" * 300),
    Row("with a space", "", ""),
]


def lines_of(width: int | None, rows: list[Row] = ROWS) -> list[str]:
    return [unstyled(line) for line in table(rows, rows, width)]


@pytest.mark.parametrize("width", [30, 60, 80, 81, 120, 200, 1000])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, lines_of(width))) <= width


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_no_name_is_cut(width: int) -> None:
    joined = "".join(line.strip() for line in lines_of(width))
    for row in ROWS:
        assert row.name in joined


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_fact_and_no_number_of_a_line_is_lost(width: int) -> None:
    text = " ".join(" ".join(lines_of(width)).split())
    for word in ("named('warehouse'),", "once,", "priority", "-20,", "12345", "times"):
        assert word in text
    assert "aiting.py:98765" in text


def test_a_terminal_that_is_wide_enough_has_a_line_each_in_columns() -> None:
    assert lines_of(80, ROWS[:2]) == [
        "  latency                  strong            shop.toml:4",
        "  shop.views.orders.count  weak, any sender  shop/views/orders.py:123",
    ]


def test_a_pipe_has_a_line_each_uncut() -> None:
    lines = lines_of(None)
    assert [line.strip() for line in lines] == ["  ".join(row).strip() for row in ROWS]


def test_the_columns_are_those_of_the_whole_table() -> None:
    (line,) = table(ROWS[:1], ROWS[:2], 80)
    assert unstyled(line) == lines_of(80, ROWS[:2])[0]


def test_what_is_not_printable_is_escaped() -> None:
    row = Row("a\x1b[31m", "b\n", "c\u202e")
    for width in (None, 80):
        lines = lines_of(width, [row])
        assert len(lines) == 1
        assert lines[0].isprintable()


def test_an_empty_table_has_no_lines() -> None:
    assert table([], [], 80) == table([], [], None) == []


@pytest.mark.parametrize("width", [1, 2, 3, 10, 11])
def test_cut_text_has_the_width_that_was_asked_for(width: int) -> None:
    text = cut("shop.py:9876", width)
    assert len(text) == width
    assert "…" in text


def test_text_that_fits_is_not_cut() -> None:
    assert cut("shop.py:9", 9) == "shop.py:9"


@pytest.mark.parametrize("width", [20, 60, 80])
def test_wrapped_text_fits_whatever_its_words(width: int) -> None:
    lines = wrapped("name", "  " + "word " * 30 + "x" * 300, width, indent=4)
    assert max(len(unstyled(line)) for line in lines) <= width
    assert lines[0].startswith("\x1b[1mname\x1b[0m  word")


def test_places_are_relative_to_where_the_reader_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packages = os.path.join(tmp_path, "lib", "site-packages")
    monkeypatch.setattr(sys, "path", ["", os.fspath(tmp_path / "src"), packages])
    beside = f"{tmp_path}-other/shop.py"
    assert location(f"{tmp_path}/src/shop.py", 3) == "src/shop.py:3"
    assert location(f"{packages}/shop/views.py", 3) == "shop/views.py:3"
    assert location(beside, 3) == f"{beside}:3"
    assert location('app.config["X"]') == 'app.config["X"]'


def columns_of(line: str) -> int:
    return sum(2 if one == "漢" else 1 for one in line)


@pytest.mark.parametrize("width", [30, 31, 60, 80])
def test_wide_characters_count_as_two_columns(width: int) -> None:
    text = f"shop.toml, line 4: unknown receiver {'漢' * 50}; 漢 is wide"
    lines = wrapped("", text, width, indent=4)
    assert all(columns_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert max(map(columns_of, lines)) > width / 2


def test_columns_of_a_table_are_under_each_other_beside_wide_characters() -> None:
    rows = [Row("漢漢", "weak", "shop.py:1"), Row("latency", "strong", "漢.py:2")]
    assert lines_of(80, rows) == [
        "  漢漢     weak    shop.py:1",
        "  latency  strong  漢.py:2",
    ]


@pytest.mark.parametrize("width", [30, 31])
def test_a_wide_place_is_cut_to_the_terminal(width: int) -> None:
    rows = [Row("shop", "weak", f"{'漢' * 40}.py:98765")]
    lines = lines_of(width, rows)
    assert all(columns_of(line) <= width for line in lines)
    assert lines[-1].endswith("漢.py:98765")


def test_text_that_is_escaped_has_no_filler() -> None:
    assert wrapped("", "漢\0漢", 80) == ["漢\\x00漢"]
