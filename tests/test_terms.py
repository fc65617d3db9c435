from __future__ import annotations

from docutils import nodes
from docutils.core import publish_doctree

from docs.terms import first_uses
from docs.terms import TERMS
from tests.pages import DOCS


def linked(page: str) -> list[tuple[str, str]]:
    """Return the words of a page that become links, with their terms."""
    document = publish_doctree(page, settings_overrides={"report_level": 5})
    return [
        (part.astext(), part["term"])
        for _, parts in first_uses(document)
        for part in parts
        if isinstance(part, nodes.inline)
    ]


def test_only_the_first_use_is_linked() -> None:
    page = "Receivers get a payload.\n\nA receiver reads the payload.\n"
    assert linked(page) == [("Receivers", "receiver"), ("payload", "payload")]


def test_the_text_of_a_page_stays_the_same() -> None:
    document = publish_doctree("The sender of a signal is an application.\n")
    ((text, parts),) = first_uses(document)
    assert "".join(part.astext() for part in parts) == text.astext()


def test_titles_code_and_links_are_not_linked() -> None:
    page = (
        "Exchange\n========\n\n``exchange`` and `exchange <a.html>`_, exchange.py and"
        " exchange-closed\n\n::\n\n    exchange\n\nAn exchange.\n"
    )
    assert linked(page) == [("exchange", "exchange")]


def test_each_term_is_in_the_glossary() -> None:
    glossary = (DOCS / "glossary.rst").read_text(encoding="utf-8")
    assert [term for term in TERMS if f"\n   {term}\n" not in glossary] == []
