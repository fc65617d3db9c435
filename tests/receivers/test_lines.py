from __future__ import annotations

import logging
import typing as t

import pytest

from signalpost.receivers.lines import chosen_logger
from signalpost.receivers.lines import logfmt_value
from signalpost.receivers.lines import LONGEST_FIELD
from signalpost.receivers.lines import single_line
from signalpost.receivers.lines import truncated

CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, 0x202E, 0xD800]


@pytest.mark.parametrize("code", CONTROLS)
def test_a_control_character_is_escaped(code: int) -> None:
    line = logfmt_value(f"/a{chr(code)}b")
    assert line.isprintable()
    assert line.splitlines() == [line]
    assert chr(code) not in line
    line.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["/", "/products/<slug>", "/café", "https://a.example"]
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert logfmt_value(text) == text


def test_an_escape_cannot_be_forged() -> None:
    assert logfmt_value("/a\\nb") != logfmt_value("/a\nb")


@pytest.mark.parametrize("text", ["/a 200 complete", 'a"b', "a=b", ""])
def test_text_that_could_pass_for_several_fields_is_quoted(text: str) -> None:
    word = logfmt_value(text)
    assert word[0] == word[-1] == '"'
    assert '"' not in word[1:-1].replace('\\"', "")


def test_a_long_text_is_cut() -> None:
    assert logfmt_value("a" * 100_000) == "a" * LONGEST_FIELD + "…"
    assert len(logfmt_value("\x00" * 100_000)) < 10 * LONGEST_FIELD


def test_a_field_that_was_cut_is_cut_no_further() -> None:
    cut = truncated("a" * 100_000)
    assert cut == "a" * LONGEST_FIELD + "…"
    assert truncated(cut) == logfmt_value(cut) == cut


@pytest.mark.parametrize("code", CONTROLS)
def test_a_control_character_does_not_end_a_line(code: int) -> None:
    line = single_line(f"no mug{chr(code)}on the shelf")
    assert line.isprintable()
    assert line.splitlines() == [line]


@pytest.mark.parametrize("text", ["", 'a b = "c"', "C:\\shop", "café"])
def test_a_sentence_stays_as_it_is(text: str) -> None:
    assert single_line(text) == text


def test_backslashes_of_a_sentence_stay_single() -> None:
    assert single_line("C:\\shop\n") == "C:\\shop\\n"


def test_a_logger_can_be_given_by_name() -> None:
    shop = logging.getLogger("shop")
    assert chosen_logger("shop", "signalpost.latency") is shop
    assert chosen_logger(shop, "signalpost.latency") is shop
    assert chosen_logger(None, "shop") is shop


def test_what_is_no_logger_is_refused() -> None:
    wrong: t.Any = 7
    with pytest.raises(TypeError, match=r"got 7; write logger='signalpost\.latency'"):
        chosen_logger(wrong, "signalpost.latency")


def escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


@pytest.mark.parametrize("beside", ["", "é", "'", '"', "'\"", "\\"])
def test_each_character_is_escaped_whatever_is_beside_it(beside: str) -> None:
    # Of all planes, with what is not printable and what is.
    characters = [chr(code) + beside for code in range(0, 0x110000, 11)]
    line = "".join(escaped(one[0]) + one[1:] for one in characters)
    assert single_line("".join(characters)) == line
    word = "".join(
        (escaped(one[0]) if one[0] != "\\" else "\\\\") + one[1:].replace("\\", "\\\\")
        for one in characters
    )
    word = word.replace('"', '\\"')
    assert logfmt_value("".join((*characters, " ")), 10**7) == f'"{word} "'


def test_each_unprintable_character_is_escaped() -> None:
    text = "".join(filter(lambda one: not one.isprintable(), map(chr, range(0x110000))))
    assert single_line(text) == text.encode("unicode_escape").decode("ascii")
