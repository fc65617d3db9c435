"""Finds the first use of each term of the glossary on a page, to link it.

It needs docutils only, so that tests can use it without Sphinx.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from docutils import nodes

# Left out: words that also have their everyday meaning, such as connection or status.
TERMS = (
    "exchange",
    "middleware",
    "namespace",
    "outbox",
    "outcome",
    "payload",
    "receiver",
    "relay",
    "route",
    "sender",
    "signal",
    "unit of work",
)
PLURALS = {"unit of work": "units of work"}
# A link within a link is not possible, and a literal is code.
UNLINKED = {"download_reference", "literal", "pending_xref", "reference"}


def is_prose(text: nodes.Text) -> bool:
    """Return whether a text is in a paragraph, and not in a link or in code."""
    node = text.parent
    while node is not None and node.tagname not in UNLINKED:
        if isinstance(node, nodes.paragraph):
            return True
        node = node.parent
    return False


def first_uses(
    document: nodes.document,
) -> Iterator[tuple[nodes.Text, list[nodes.Node]]]:
    """Yield each text with a first use, and the nodes to replace it with.

    Among these nodes, a :class:`docutils.nodes.inline` with the attribute ``term`` is a
    use of that term.
    """
    left = set(TERMS)
    for text in [one for one in document.findall(nodes.Text) if is_prose(one)]:
        parts: list[nodes.Node] = []
        end = 0
        for found in WORDS.finditer(text):
            term = BY_WORD[found[0].lower()]
            if term in left:
                left.remove(term)
                parts.append(nodes.Text(text[end : found.start()]))
                parts.append(nodes.inline(found[0], found[0], term=term))
                end = found.end()
        if parts:
            yield text, [*parts, nodes.Text(text[end:])]


BY_WORD = {term: term for term in TERMS}
BY_WORD |= {PLURALS.get(term, f"{term}s"): term for term in TERMS}
# Not in gunicorn-signals or signal.py, which are other things.
WORDS = re.compile(rf"(?i)(?<![\w.-])(?:{'|'.join(BY_WORD)})(?![\w-]|\.\w)")
