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
    block: list[str] | None = None
    for line in (DOCS / f"{page}.rst").read_text(encoding="utf-8").splitlines():
        if block is None or (line and not line.startswith(" ")):
            block = [] if line == f".. code-block:: {language}" else None
            if block is not None:
                found.append(block)
        elif block or not line.lstrip().startswith(":"):  # an option of the block
            block.append(line)
    return [textwrap.dedent("\n".join(one)).strip() + "\n" for one in found]
