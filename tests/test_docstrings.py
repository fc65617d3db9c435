from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import signalpost

SOURCE = Path(signalpost.__file__).parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings() -> Iterator[tuple[str, str]]:
    """Give each docstring, and where it is."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, DOCUMENTED):
                name = getattr(node, "name", "")
                yield (
                    f"{path.relative_to(SOURCE)}: {name}",
                    ast.get_docstring(node) or "",
                )


def test_each_field_of_a_docstring_begins_a_line() -> None:
    # Within a line, Sphinx reads it as a part of the field before.
    found = {
        place
        for place, text in docstrings()
        for line in text.splitlines()
        if re.search(r".\s*:(?:param|raises|returns)\b", line)
    }
    assert found == set()
