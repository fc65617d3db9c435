"""The blocks of the documentation's pages, to be run unchanged."""

from __future__ import annotations

import textwrap
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def code_blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page that are in a language, in their order.

    :param page: As ``"howto/sql"``.
    """
    found = []
    lines = iter((DOCS / f"{page}.rst").read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line != f".. code-block:: {language}":
            continue
        block: list[str] = []
        for inner in lines:
            if inner and not inner.startswith(" "):
                break
            if block or not inner.lstrip().startswith(":"):  # an option of the block
                block.append(inner)
        found.append(textwrap.dedent("\n".join(block)).strip() + "\n")
    return found
