from __future__ import annotations

import gc
import sys
import textwrap
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import pytest

from signalpost.lifecycle import catalogue
from tests.config import receivers
from tests.config.loading import Write
from tests.isolation import process_as_before


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_module(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[[str, str], None]]:
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write_module(name: str, text: str) -> None:
        write(f"{name}.py", text)
        written.append(name)

    yield write_module
    for name in written:
        sys.modules.pop(name, None)
    gc.collect()


@pytest.fixture(autouse=True)
def no_shops_left() -> Generator[None]:
    yield
    receivers.shops.clear()
    receivers.received_by_record.clear()
    # An error that a test keeps leads back to the test's own variables. A shop that is
    # one of them stays connected until it is collected.
    if any(
        isinstance(connection.sender, receivers.Shop)
        for signal in catalogue.values()
        for connection in signal.connections
    ):
        gc.collect()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a path such as ``here:record`` name one of the receivers."""
    monkeypatch.setitem(sys.modules, "here", receivers)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Generator[None]:
    with process_as_before():
        yield
