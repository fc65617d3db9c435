"""The parts of the documentation that are made from the code are complete."""

from __future__ import annotations

import sys
import tomllib
from inspect import signature
from pathlib import Path

import pytest

import signalpost
from docs import from_code
from signalpost.config import available_receivers
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import KNOWN_KEYS
from signalpost.integrations.relay._configured import ConfiguredRelay
from tests.pages import code_blocks

ROOT = Path(__file__).parent.parent
ROWS = {row.name: row for row in from_code.rows()}


@pytest.mark.parametrize("key", [*sorted(KNOWN_KEYS), "SIGNALPOST_DISABLED"])
def test_each_key_of_an_application_has_a_row(key: str) -> None:
    assert [name for name in ROWS if name.split(" ")[0] == key] == [key] or any(
        name.startswith(f"{key} (") for name in ROWS
    )


@pytest.mark.parametrize("name", sorted(BUILTIN_RECEIVERS))
def test_each_option_of_a_ready_receiver_has_a_row(name: str) -> None:
    (receiver,) = (one for one in available_receivers() if one.name == name)
    assert name in ROWS
    for option in receiver.options:
        row = ROWS[f"{name}.{option.name}"]
        assert row.meaning
        if option.is_exact:
            assert row.default == repr(option.default)


def test_no_row_is_of_what_does_not_exist() -> None:
    options = {
        f"{one.name}.{option.name}"
        for one in available_receivers()
        for option in one.options
    }
    options |= {f"relay.{name}" for name in signature(ConfiguredRelay).parameters}
    assert options <= set(ROWS)
    general = {row.name for row in from_code.GENERAL}
    assert set(ROWS) - options - set(BUILTIN_RECEIVERS) == general


def test_the_extras_are_those_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert from_code.extras() == extras


def test_the_changelog_has_each_fragment() -> None:
    kinds = {path.name.split(".")[-2] for path in (ROOT / "changes").glob("+*.rst")}
    assert kinds <= set(from_code.KINDS)
    texts = [text for kind in from_code.KINDS for text in from_code.fragments(kind)]
    assert len(texts) == len([*(ROOT / "changes").glob("+*.rst")])


def test_the_version_is_that_of_the_distribution() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert signalpost.__version__ == tomllib.loads(text)["project"]["version"]


def test_a_copied_package_has_no_version_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert signalpost.__version__ == "unknown"


def test_the_toml_of_the_configuration_page_is_its_python() -> None:
    (block,) = code_blocks("configuration", "toml")
    receivers = tomllib.loads(block)["signalpost"]["receivers"]
    assert receivers == {
        "latency": {"slow_seconds": 0.5, "exclude": ["/healthz"]},
        "failures": True,
    }
