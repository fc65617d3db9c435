from __future__ import annotations

import json
import math
import re
import sys
import typing as t

import pytest

from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.middleware import AGAIN
from benchmarks.middleware import AIMS
from benchmarks.middleware import aims_table
from benchmarks.middleware import measure_all
from benchmarks.middleware import rows
from benchmarks.report import BARE
from benchmarks.timing import Timing
from signalpost.lifecycle import exchange_closed

RAW = ["raw hello", "raw stream"]
FLASK = ["Flask hello", "Flask stream"]
FLOORS = ["floor: times", "floor: times, logs", "floor: times, counts bytes"]
INTEGRATED = {
    "prometheus_client": ["PrometheusMetrics"],
    "opentelemetry.context": ["OpenTelemetry, no-op", "OpenTelemetry, SDK"],
}
"""Our own integrations, by the module that each needs."""
OBSERVING = ["no receiver", "1 receiver", "LatencyLogger", "reads bytes"]
PEERS = {
    "opentelemetry.instrumentation.wsgi": ["OTel WSGI, no-op", "OTel WSGI, SDK"],
    "opentelemetry.instrumentation.flask": ["OTel Flask, no-op", "OTel Flask, SDK"],
    "prometheus_flask_exporter": ["prometheus-flask-exporter"],
    "sentry_sdk": ["sentry, errors only", "sentry, traces"],
}
"""The set-ups of each peer, by the module that is imported."""
FLASK_ALONE = {"opentelemetry.instrumentation.flask", "prometheus_flask_exporter"}


def leave_only(patch: pytest.MonkeyPatch, kept: str | None) -> None:
    # The tests must not depend on other installed packages.
    for module in PEERS:
        if module != kept:
            patch.setitem(sys.modules, module, None)
    for module in INTEGRATED:
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, t.Any], str]:
    folder = tmp_path_factory.mktemp("requests")
    file, text = folder / "timings.json", folder / "tables.rst"
    options = ["requests", "--rounds", "2", "--json", str(file), "--rst", str(text)]
    with pytest.MonkeyPatch.context() as patch:
        leave_only(patch, None)
        main(options)
    found: dict[str, t.Any] = json.loads(file.read_text(encoding="utf-8"))
    return found, text.read_text(encoding="utf-8")


def test_every_application_is_watched_in_every_way(
    run: tuple[dict[str, t.Any], str],
) -> None:
    layers = [BARE, AGAIN, *FLOORS, *(f"middleware: {name}" for name in OBSERVING)]
    ours = [name for names in INTEGRATED.values() for name in names]
    extensions = [f"extension: {name}" for name in (*OBSERVING, *ours)]
    found = run[0]["requests"]
    assert list(found) == [*RAW, *FLASK]
    for name in RAW:
        assert list(found[name]) == layers
    for name in FLASK:
        assert list(found[name]) == [*layers, *extensions]


def test_every_figure_of_a_request_is_a_positive_number(
    run: tuple[dict[str, t.Any], str],
) -> None:
    for found in run[0]["requests"].values():
        for timing in found.values():
            assert 0 < timing["minimum_ns"] <= timing["median_ns"] < math.inf


def test_every_cell_of_the_tables_is_a_number_or_a_dash(
    run: tuple[dict[str, t.Any], str],
) -> None:
    number = r"[+-]?[\d.]+"
    layers = [f"middleware: {name}" for name in OBSERVING]
    for name in ("bare, all of it", AGAIN, *FLOORS, *layers):
        line = rf"^{re.escape(name)}(  +{number}){{4}}$"
        assert len(re.findall(line, run[1], re.MULTILINE)) == 2
    for name in OBSERVING:
        line = rf"^extension: {re.escape(name)}(  +–){{2}}(  +{number}){{2}}$"
        assert len(re.findall(line, run[1], re.MULTILINE)) == 2


def test_every_aim_has_its_measured_time(
    run: tuple[dict[str, t.Any], str],
) -> None:
    measured = [aim for aim in AIMS if aim.floor in (None, *FLOORS)]
    assert len(AIMS) - len(measured) == 2
    for aim in measured:
        line = rf"^{aim.application}, {aim.set_up}(  +-?[\d.]+){{2}}  +(yes|no)$"
        assert len(re.findall(line, run[1], re.MULTILINE)) == 1


def test_requests_are_measured_without_the_rest(
    run: tuple[dict[str, t.Any], str],
) -> None:
    assert "send" not in run[0]
    assert "bytes a connection" not in run[1]


def test_versions_of_the_peers_are_printed(
    run: tuple[dict[str, t.Any], str],
) -> None:
    assert f"werkzeug {run[0]['packages']['werkzeug']}" in run[1]


def test_tables_of_requests_can_be_read_by_docutils(
    run: tuple[dict[str, t.Any], str],
) -> None:
    core = pytest.importorskip("docutils.core")
    settings = {"halt_level": 2, "report_level": 2}
    found = core.publish_doctree(run[1], settings_overrides=settings)
    assert sum(node.tagname == "table" for node in found.children) == 3


def test_nothing_stays_connected_after_requests(
    run: tuple[dict[str, t.Any], str],
) -> None:
    assert not exchange_closed.receivers


def test_aim_is_reached_up_to_its_limit_only() -> None:
    names = {aim.set_up for aim in AIMS if aim.application == "raw hello"}
    timings = dict.fromkeys((BARE, *FLOORS), Timing(1000, 1000))
    timings |= dict.fromkeys(names, Timing(9000, 9000))
    timings["middleware: no receiver"] = Timing(1300, 1300)
    beside_aims = aims_table({"raw hello": timings})
    assert re.search(r"no receiver +0\.3 +0\.3 +yes$", beside_aims, re.MULTILINE)
    assert re.search(r"1 receiver +3\.0 +8\.0 +no$", beside_aims, re.MULTILINE)


def test_aim_for_a_logger_follows_the_floor_that_logs() -> None:
    names = {aim.set_up for aim in AIMS if aim.application == "raw hello"}
    timings = dict.fromkeys((BARE, *FLOORS, *names), Timing(1000, 1000))
    timings["floor: times, logs"] = Timing(11_000, 11_000)
    beside_aims = aims_table({"raw hello": timings})
    assert re.search(r"LatencyLogger +15\.0 +0\.0 +yes$", beside_aims, re.MULTILINE)


def test_every_peer_is_measured_where_it_can_watch() -> None:
    for module in PEERS:
        pytest.importorskip(module)
    timings = measure_all(rows()[0], 1)
    for application, by_name in timings.items():
        for module, set_ups in PEERS.items():
            can_watch = application in FLASK or module not in FLASK_ALONE
            for name in set_ups:
                assert (name in by_name) is can_watch
                assert not can_watch or 0 < by_name[name].minimum_ns < math.inf


def test_process_that_ends_is_reported_by_name(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with (
        peers.apart("unknown") as measured,
        pytest.raises(peers.NoAnswerError, match="process of unknown has ended"),
    ):
        measured(1)
    assert "KeyError: 'unknown'" in capfd.readouterr().err
