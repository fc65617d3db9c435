from __future__ import annotations

import json
import math
import re
import sys
import typing as t

import pytest

from benchmarks import memory
from benchmarks import sql
from benchmarks.__main__ import main
from benchmarks.sql import AGAIN
from benchmarks.sql import AIMS
from benchmarks.timing import measure
from benchmarks.timing import Timing
from signalpost.exchange import Exchange
from signalpost.lifecycle import sql_executed
from signalpost.testing import capture

sa = pytest.importorskip("sqlalchemy")

OWN = [
    *("bare", "bare, another", "floor: times", "events: empty", "events: time"),
    *("no receiver", "had one", "1 receiver", "SqlLogger", "SqlLogger, logs each"),
    "count_sql",
]
PEERS = {
    "opentelemetry.instrumentation.sqlalchemy": [
        *("OTel SQLAlchemy, no-op", "OTel SQLAlchemy, SDK")
    ],
    "flask_sqlalchemy": ["record_queries"],
}
"""The set-ups of each peer, by the module that is imported."""


def leave_only(patch: pytest.MonkeyPatch, kept: str | None) -> None:
    # The tests must not depend on other installed packages.
    for module in PEERS:
        if module != kept:
            patch.setitem(sys.modules, module, None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, t.Any], str]:
    folder = tmp_path_factory.mktemp("sql")
    file, text = folder / "timings.json", folder / "tables.rst"
    with pytest.MonkeyPatch.context() as patch:
        leave_only(patch, None)
        options = ["sql", "--rounds", "2", "--json", str(file), "--rst", str(text)]
        main(options)
    found: dict[str, t.Any] = json.loads(file.read_text(encoding="utf-8"))
    return found, text.read_text(encoding="utf-8")


def test_statements_are_observed_in_every_way(
    run: tuple[dict[str, t.Any], str],
) -> None:
    assert list(run[0]["sql"]) == ["outside", "within"]
    for found in run[0]["sql"].values():
        assert list(found) == OWN
        for timing in found.values():
            assert 0 < timing["minimum_ns"] <= timing["median_ns"] < math.inf


def test_every_cell_is_a_number(run: tuple[dict[str, t.Any], str]) -> None:
    for name in ("bare, all of it", *OWN[1:]):
        line = rf"^{re.escape(name)}(  +[+-]?\d+\.\d){{2}}$"
        assert len(re.findall(line, run[1], re.MULTILINE)) == 2


def test_every_aim_has_its_measured_time(
    run: tuple[dict[str, t.Any], str],
) -> None:
    for row in ("outside", "within"):
        for name in AIMS:
            line = rf"^{row}, {name}(  +-?\d+\.\d){{2}}  +(yes|no)$"
            assert len(re.findall(line, run[1], re.MULTILINE)) == 1


def test_tables_of_statements_can_be_read_by_docutils(
    run: tuple[dict[str, t.Any], str],
) -> None:
    core = pytest.importorskip("docutils.core")
    settings = {"halt_level": 2, "report_level": 2}
    found = core.publish_doctree(run[1], settings_overrides=settings)
    assert sum(node.tagname == "table" for node in found.children) == 4


def test_versions_and_missing_peers_are_printed(
    run: tuple[dict[str, t.Any], str],
) -> None:
    assert f"sqlalchemy {run[0]['packages']['sqlalchemy']}" in run[1]
    for name in ("OpenTelemetry for SQLAlchemy", "Flask-SQLAlchemy"):
        assert f"{name} is left out: it is not installed" in run[1]


def test_statements_are_measured_without_the_rest(
    run: tuple[dict[str, t.Any], str],
) -> None:
    assert not {"send", "requests", "memory"} & run[0].keys()


def test_no_statement_is_observed_afterwards(
    run: tuple[dict[str, t.Any], str],
) -> None:
    engine = sa.create_engine("sqlite://")
    assert not sql_executed.receivers
    with capture(sql_executed) as sent, engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    engine.dispose()
    assert sent == []


def test_only_within_an_exchange_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_only(monkeypatch, None)
    seen = {}
    with sql.rows() as (found, _):
        for row in found:
            (connected,) = (one for one in row.variants if one.name == "1 receiver")
            with connected.setting(), capture(sql_executed) as sent:
                connected.batch(2)
            seen[row.name] = [type(one["exchange"]) for one in sent]
    assert seen == {"outside": [type(None)] * 2, "within": [Exchange] * 2}


def test_without_sqlalchemy_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    main(["sql", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert "the statements are left out: sqlalchemy is not installed" in printed
    assert "bare" not in printed


@pytest.mark.parametrize(("module", "set_ups"), PEERS.items())
def test_peer_observes_each_statement(
    monkeypatch: pytest.MonkeyPatch, module: str, set_ups: list[str]
) -> None:
    pytest.importorskip(module)
    leave_only(monkeypatch, module)
    with sql.rows() as (found, _):
        timings = measure(found, 1)
    for by_name in timings.values():
        assert list(by_name) == [*OWN, *set_ups]


def test_aim_of_nothing_is_what_cannot_be_measured() -> None:
    timings = dict.fromkeys(OWN, Timing(10_000, 10_000))
    timings |= {AGAIN: Timing(9_700, 9_700), "no receiver": Timing(10_400, 10_400)}
    timings |= {"had one": Timing(10_600, 10_600), "1 receiver": Timing(13e3, 13e3)}
    beside_aims = sql.aims_table({"outside": timings})
    lines = [line.split() for line in beside_aims.splitlines()]
    for line in (
        "outside, no receiver 0.5 0.4 yes",
        "outside, had one 0.5 0.6 no",
        "outside, 1 receiver 3.0 3.0 yes",
    ):
        assert line.split() in lines


def test_objects_that_are_written_are_not_kept() -> None:
    found = memory.bytes_of_objects(1000)
    bare, identities, objects = (kept for kept, _ in found.values())
    # Their identities are, at some hundred bytes each; an object takes over 1,000.
    assert identities - bare < 300_000
    assert objects - bare < 300_000


def test_table_of_written_objects_is_shown(run: tuple[dict[str, t.Any], str]) -> None:
    assert "MB for 200 objects" in run[1]
