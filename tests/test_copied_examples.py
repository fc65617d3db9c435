from __future__ import annotations

import ast
import doctest
from collections.abc import Iterable
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def hidden_lines(text: str) -> set[int]:
    """Return the numbers of the lines that are in a comment of a page, from 0."""
    found, is_hidden = set(), False
    for number, line in enumerate(text.splitlines()):
        if is_hidden and line.strip() and not line.startswith(" "):
            is_hidden = False
        if line.strip() == "..":
            is_hidden = True
        if is_hidden:
            found.add(number)
    return found


def bound_in(examples: Iterable[doctest.Example]) -> set[str]:
    """Return the names that examples define, import or assign."""
    found = set()
    for example in examples:
        for node in ast.walk(ast.parse(example.source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.alias):
                found.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def read_in(example: doctest.Example) -> set[str]:
    return {
        node.id
        for node in ast.walk(ast.parse(example.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def unseen_names(text: str) -> list[str]:
    """Return names of a page that a shown example reads and a hidden one defines.

    :returns: As ``"71: visit"``, with the line of the example.
    """
    hidden = hidden_lines(text)
    examples = doctest.DocTestParser().get_examples(text)
    shown = [one for one in examples if one.lineno not in hidden]
    unseen = bound_in(one for one in examples if one.lineno in hidden) - bound_in(shown)
    return [
        f"{example.lineno + 1}: {name}"
        for example in shown
        for name in sorted(read_in(example) & unseen)
    ]


@pytest.mark.parametrize(
    "page", sorted(str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.rst"))
)
def test_a_reader_can_copy_the_examples(page: str) -> None:
    assert unseen_names((DOCS / page).read_text(encoding="utf-8")) == []


def test_a_name_that_only_a_comment_defines_is_found() -> None:
    text = "..\n    >>> def visit():\n    ...     pass\n\nVisit it:\n\n>>> visit()\n"
    assert unseen_names(text) == ["7: visit"]
