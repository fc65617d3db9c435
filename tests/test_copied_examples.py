from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterable

import pytest

from tests.pages import code_blocks
from tests.pages import DOCS


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


def bound_in(sources: Iterable[str]) -> set[str]:
    """Return the names that examples define, import or assign."""
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.alias):
                found.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def read_in(source: str) -> set[str]:
    return {
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def unseen_names(text: str) -> list[str]:
    """Return names of a page that a shown example reads and a hidden one defines.

    :returns: As ``"71: visit"``, with the line of the example.
    """
    hidden = hidden_lines(text)
    examples = doctest.DocTestParser().get_examples(text)
    shown = [one for one in examples if one.lineno not in hidden]
    defined = bound_in(one.source for one in shown)
    unseen = bound_in(one.source for one in examples if one.lineno in hidden) - defined
    return [
        f"{example.lineno + 1}: {name}"
        for example in shown
        for name in sorted(read_in(example.source) & unseen)
    ]


PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.rst"))
IMPORTED = re.compile(r"from signalpost[\w.]* import (.+)")


def names_of_signalpost() -> set[str]:
    """Return the names that any page imports from signalpost."""
    lines = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    return {name.strip() for one in IMPORTED.findall(lines) for name in one.split(",")}


@pytest.mark.parametrize("page", PAGES)
def test_a_reader_can_copy_the_examples(page: str) -> None:
    assert unseen_names((DOCS / page).read_text(encoding="utf-8")) == []


def test_a_name_that_only_a_comment_defines_is_found() -> None:
    text = "..\n    >>> def visit():\n    ...     pass\n\nVisit it:\n\n>>> visit()\n"
    assert unseen_names(text) == ["7: visit"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_imports_the_names_of_signalpost_that_its_code_uses(page: str) -> None:
    blocks = code_blocks(page.removesuffix(".rst"), "python")
    text = (DOCS / page).read_text(encoding="utf-8")
    examples = [one.source for one in doctest.DocTestParser().get_examples(text)]
    used = {name for block in blocks for name in read_in(block)}
    defined = bound_in([*blocks, *examples])
    assert sorted(used & names_of_signalpost() - defined) == []
