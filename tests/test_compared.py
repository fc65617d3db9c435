"""Each claim of the page that compares packages has a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "compared.rst").read_text(encoding="utf-8")
CITED = sorted(set(re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", PAGE)))
ROWS = re.findall(r"^   \* - (.+)\n     - (.+)$", PAGE, re.MULTILINE)


def functions(source: str) -> set[str]:
    """Return the names of the functions at the top of a module."""
    body = ast.parse(source).body
    return {one.name for one in body if isinstance(one, ast.FunctionDef)}


@pytest.mark.parametrize(("path", "name"), CITED)
def test_cited_test_exists(path: str, name: str) -> None:
    assert name in functions((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("feature", "ours"), ROWS)
def test_claimed_feature_cites_a_test(feature: str, ours: str) -> None:
    note = re.search(r"\[#([\w-]+)\]_$", ours)
    if note is None:
        assert ours == "no"
    else:
        assert re.search(rf"^\.\. \[#{note[1]}\]\s+``tests/", PAGE, re.MULTILINE)


def test_page_is_read() -> None:
    assert len(CITED) > 25
    assert len(ROWS) > 25
