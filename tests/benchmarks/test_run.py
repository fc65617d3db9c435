from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.send import new_receiver
from benchmarks.timing import Variant
from benchmarks.timing import verify
from benchmarks.timing import WrongCallsError
from signalpost.lifecycle import exchange_closed

SEND_ROWS = [
    "0 receivers",
    "1 receiver",
    "10 receivers",
    "100 receivers",
    "10 bound methods",
    "one of 1,000 senders",
    "unknown among 1,000 senders",
    "1 receiver, 3 keywords",
    "connect + disconnect",
]
REQUEST_ROWS = ["raw WSGI hello", "Flask hello"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    main(["--rounds", "2", "--json", str(file)])
    return file


@pytest.fixture(scope="module")
def figures(run: Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(run.read_text(encoding="utf-8"))
    return found


def test_every_row_is_measured_for_every_library(figures: dict[str, t.Any]) -> None:
    assert list(figures["send"]) == SEND_ROWS
    for found in figures["send"].values():
        assert list(found) == ["floor", "signalpost", "blinker"]


def test_every_application_is_measured_in_every_setting(
    figures: dict[str, t.Any],
) -> None:
    assert list(figures["middleware"]) == REQUEST_ROWS
    for found in figures["middleware"].values():
        assert list(found) == ["bare", "nobody listens", "1 receiver", "log_latency"]


def test_figures_are_positive(figures: dict[str, t.Any]) -> None:
    for found in (*figures["send"].values(), *figures["middleware"].values()):
        for figure in found.values():
            assert 0 < figure["minimum_ns"] <= figure["median_ns"]


def test_file_tells_what_was_measured_on(figures: dict[str, t.Any]) -> None:
    assert figures["python"] == ".".join(map(str, sys.version_info[:3]))
    assert list(figures["packages"]) == ["signalpost", "blinker", "flask"]
    assert figures["rounds"] == 2


def test_tables_are_printed_without_peers_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "blinker", None)
    monkeypatch.setitem(sys.modules, "flask", None)
    main(["--rounds", "1"])
    printed = capsys.readouterr().out
    assert "blinker is left out: it is not installed" in printed
    assert "the Flask hello is left out: flask is not installed" in printed
    for row in (*SEND_ROWS, "raw WSGI hello"):
        assert re.search(rf"^{re.escape(row)}( +[+-]?[\d.]+)+$", printed, re.MULTILINE)


def test_nothing_stays_connected(run: Path) -> None:
    assert not exchange_closed.receivers


def test_variant_that_calls_nobody_is_refused() -> None:
    receiver = new_receiver()
    idle = Variant("idle", lambda jobs: None, {receiver.__code__: 1})
    with pytest.raises(WrongCallsError, match=r"idle must run .*receive 3 times"):
        verify(idle)


def test_no_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err
