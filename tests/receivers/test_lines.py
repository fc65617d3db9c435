from __future__ import annotations

import pytest

from signalpost.receivers.lines import LONGEST_FIELD
from signalpost.receivers.lines import one_word

CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, 0x202E, 0xD800]


@pytest.mark.parametrize("code", CONTROLS)
def test_a_control_character_is_escaped(code: int) -> None:
    line = one_word(f"/a{chr(code)}b")
    assert line.isprintable()
    assert line.splitlines() == [line]
    assert chr(code) not in line
    line.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["/", "/products/<slug>", "/café", "https://a.example"]
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert one_word(text) == text


def test_an_escape_cannot_be_forged() -> None:
    assert one_word("/a\\nb") != one_word("/a\nb")


@pytest.mark.parametrize("text", ["/a 200 complete", 'a"b', "a=b", ""])
def test_text_that_could_pass_for_several_fields_is_quoted(text: str) -> None:
    word = one_word(text)
    assert word[0] == word[-1] == '"'
    assert '"' not in word[1:-1].replace('\\"', "")


def test_a_long_text_is_cut() -> None:
    assert one_word("a" * 100_000) == "a" * LONGEST_FIELD + "…"
    assert len(one_word("\x00" * 100_000)) < 10 * LONGEST_FIELD
