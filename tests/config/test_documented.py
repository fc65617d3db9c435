"""The blocks of the page about configuration are loaded unchanged."""

from __future__ import annotations

import sys
import textwrap
import types
import typing as t
from pathlib import Path

import pytest

from signalpost import Namespace
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import Configuration
from tests.config.loading import Write
from tests.config.receivers import Audit
from tests.config.receivers import new_shop
from tests.config.receivers import record

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "configuration.rst"


def blocks(form: str) -> list[str]:
    found = []
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line != f".. code-block:: {form}":
            continue
        block = []
        for inner in lines:
            if inner and not inner.startswith(" "):
                break
            block.append(inner)
        found.append(textwrap.dedent("\n".join(block)).strip() + "\n")
    return found


@pytest.fixture(autouse=True)
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules of the page be there."""
    audit: t.Any = types.ModuleType("stock.audit")
    audit.record, audit.reserve, audit.Audit = record, record, Audit
    events: t.Any = types.ModuleType("stock.events")
    events.order_placed = Namespace().signal("order-placed")
    for module in (types.ModuleType("stock"), audit, events):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("text", blocks("toml"))
def test_each_toml_block_is_loaded(text: str, write: Write) -> None:
    pytest.importorskip(
        "prometheus_client", reason="prometheus-client is not installed"
    )
    # There is no Flask here to serve the path.
    text = text.replace(', path = "/metrics"', "")
    enabled = Configuration.from_toml(write("a.toml", text)).load(new_shop())
    assert len(enabled) == text.count("= {") + text.count("= true")
    enabled.disable_all()


@pytest.mark.parametrize("text", blocks("ini"))
def test_each_ini_block_is_loaded(text: str, write: Write) -> None:
    enabled = Configuration.from_ini(write("a.ini", text)).load(new_shop())
    names = ["failures", "referrers", "stock.audit:record", "latency"]
    assert list(enabled) == (names if "[signalpost" in text else [])
    enabled.disable_all()


def test_there_are_blocks_of_each_form() -> None:
    assert len(blocks("toml")) == 4
    assert len(blocks("ini")) == 2


def test_each_ready_receiver_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in BUILTIN_RECEIVERS if f"``{name}``" not in text] == []
