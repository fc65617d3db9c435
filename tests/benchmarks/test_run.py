from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import pytest

from benchmarks import libraries
from benchmarks import memory
from benchmarks import race
from benchmarks.__main__ import main
from benchmarks.libraries import Channel
from benchmarks.libraries import code_of
from benchmarks.libraries import new_receiver
from benchmarks.libraries import Sender
from benchmarks.report import table
from benchmarks.timing import Variant
from benchmarks.timing import verify
from benchmarks.timing import WrongCallsError
from signalpost import Signal
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
    "1 receiver, observed once",
    "isolated, any sender",
    "isolated, one sender",
    "isolated, another sends",
    "the same, names in a dictionary",
    "10 async receivers",
    "connecting, 0 others",
    "connecting, 10 others",
    "connecting, 100 others",
    "connecting, 10,000 others",
]
FOR_US_ONLY = [
    "1 receiver, observed once",
    "isolated, any sender",
    "isolated, one sender",
    "isolated, another sends",
    "the same, names in a dictionary",
]
PEERS = {
    "blinker": "blinker",
    "django.dispatch": "django",
    "psygnal": "psygnal",
    "pydispatch.dispatcher": "PyDispatcher",
    "pubsub.pub": "Pypubsub",
    "pyee": "pyee",
}
"""The name of each peer, by the module that is imported."""
REQUEST_PEERS = {
    "opentelemetry.instrumentation.wsgi": "OpenTelemetry for WSGI",
    "opentelemetry.instrumentation.flask": "OpenTelemetry for Flask",
    "prometheus_flask_exporter": "prometheus-flask-exporter",
    "sentry_sdk": "sentry-sdk",
}
"""The same for those that watch requests."""


def leave_blinker_only(patch: pytest.MonkeyPatch) -> None:
    # The tests must not depend on other installed packages.
    for module in (*PEERS, *REQUEST_PEERS):
        if module != "blinker":
            patch.setitem(sys.modules, module, None)


@pytest.fixture
def no_other_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_blinker_only(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    file, text = folder / "timings.json", folder / "tables.rst"
    with pytest.MonkeyPatch.context() as patch:
        leave_blinker_only(patch)
        main(
            ["send", "memory", "--rounds", "2", "--json", str(file), "--rst", str(text)]
        )
    return file


@pytest.fixture(scope="module")
def timings(run: Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(run.read_text(encoding="utf-8"))
    return found


def test_every_row_is_measured_for_every_library(timings: dict[str, t.Any]) -> None:
    assert list(timings["send"]) == SEND_ROWS
    for row, found in timings["send"].items():
        own = ["floor", "inline loop", "signalpost"]
        assert list(found) == (own if row in FOR_US_ONLY else [*own, "blinker"])


def test_figures_are_positive(timings: dict[str, t.Any]) -> None:
    for found in timings["send"].values():
        for timing in found.values():
            assert 0 < timing["minimum_ns"] <= timing["median_ns"]


def test_memory_of_a_connection_is_measured(timings: dict[str, t.Any]) -> None:
    assert len(timings["memory"]) == 4
    for taken in timings["memory"].values():
        assert list(taken) == ["signalpost", "blinker"]
        assert all(0 < bytes_each < 10_000 for bytes_each in taken.values())


def test_file_has_what_was_measured_on(timings: dict[str, t.Any]) -> None:
    assert timings["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"signalpost", "blinker", "flask"} <= timings["packages"].keys()
    assert timings["rounds"] == 2


def test_tables_are_written_as_they_are_printed(
    no_other_peers: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "growth.rst"
    main(["growth", "--pairs", "2000", "--rst", str(file)])
    assert file.read_text(encoding="utf-8") == capsys.readouterr().out


def test_written_tables_can_be_read_by_docutils(run: Path) -> None:
    text = run.with_suffix(".rst").with_stem("tables").read_text(encoding="utf-8")
    core = pytest.importorskip("docutils.core")
    settings = {"halt_level": 2, "report_level": 2}
    found = core.publish_doctree(text, settings_overrides=settings)
    assert sum(node.tagname == "table" for node in found.children) == 4


def test_tables_are_printed_without_peers_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (*PEERS, *REQUEST_PEERS, "flask"):
        monkeypatch.setitem(sys.modules, module, None)
    main(["--rounds", "1"])
    printed = capsys.readouterr().out
    for name in (*PEERS.values(), *REQUEST_PEERS.values()):
        assert f"{name} is left out: it is not installed" in printed
    assert "the Flask applications are left out: flask is not installed" in printed
    by_default = ("bare, all of it", "outside, 1 receiver", "functions, any sender")
    for row in (*SEND_ROWS, *by_default):
        line = rf"^{re.escape(row)}( +[+-]?[\d.]+)+( +(yes|no))?$"
        assert re.search(line, printed, re.MULTILINE)


@pytest.mark.parametrize(("module", "name"), PEERS.items())
def test_peer_reaches_its_receivers(module: str, name: str) -> None:
    pytest.importorskip(module)
    found, _ = libraries.libraries()
    columns = [one for one in found if one.name.lower().startswith(name.lower())]
    assert columns
    for library in columns:
        channel = Channel(library)
        receiver = new_receiver()
        channel.connect(receiver)
        verify(Variant(name, channel.sending(Sender()), {code_of(receiver): 1}))
        channel.disconnect(receiver)
        verify(Variant(name, channel.sending(Sender()), {code_of(receiver): 0}))


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    lines = [["one row", "1"], ["other", "2.5"]]
    assert table(["µs", "a bc"], lines).splitlines() == [
        "=======  ===",
        "µs        a",
        "          bc",
        "=======  ===",
        "one row    1",
        "other    2.5",
        "=======  ===",
    ]


def test_nothing_stays_of_connections_that_came_and_went() -> None:
    grown = memory.growth(libraries.OURS, 6_000)
    assert grown.bytes_after < 2 * grown.bytes_before


def test_threads_find_no_fault() -> None:
    outcome = race.race(Signal(), 0.2, race.SHORT_INTERVAL_SECONDS)
    assert outcome.sends > 0
    assert (outcome.raised, outcome.unraisable, outcome.missed) == (0, 0, 0)


def test_race_restores_what_it_changed() -> None:
    before = sys.getswitchinterval(), sys.unraisablehook
    race.race(Signal(), 0.01, race.SHORT_INTERVAL_SECONDS)
    assert (sys.getswitchinterval(), sys.unraisablehook) == before


def test_race_counts_sends_that_leave_a_receiver_out() -> None:
    class Deaf(Signal):
        def send(self, *args: t.Any, **payload: t.Any) -> list[t.Any]:
            return []

    outcome = race.race(Deaf(), 0.01, None)
    assert outcome.missed == outcome.sends > 0


def test_race_counts_calls_that_raise() -> None:
    class Failing(Signal):
        def disconnect(self, *args: t.Any, **payload: t.Any) -> bool:
            raise RuntimeError("no")

    assert race.race(Failing(), 0.01, None).raised > 0


def test_race_is_shown_for_every_interval(
    no_other_peers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["race", "--seconds", "0.05"])
    printed = capsys.readouterr().out
    for row in ("by default", "every 10 µs"):
        for name in ("signalpost", "blinker"):
            assert re.search(rf"^{name}, {row}( +\d+){{4}}$", printed, re.MULTILINE)


def test_nothing_stays_connected(run: Path) -> None:
    assert not exchange_closed.receivers


def test_variant_that_calls_no_receiver_is_refused() -> None:
    receiver = new_receiver()
    idle = Variant("idle", lambda jobs: None, {code_of(receiver): 1})
    with pytest.raises(WrongCallsError, match=r"idle must run .*receive 3 times"):
        verify(idle)


def test_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["request"])
    assert "must be one of send, requests, sql" in capsys.readouterr().err


def test_no_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err
