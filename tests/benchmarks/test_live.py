from __future__ import annotations

import contextlib
import io
import re
import sys

import pytest

from benchmarks import live
from benchmarks.report import BARE
from benchmarks.timing import Timing

pytest.importorskip("fcntl")
pytest.importorskip("flask")
pytest.importorskip("sqlalchemy")

OURS = [
    *("bare, another", "no receiver", "no-op receivers"),
    *("LiveRecorder, no waterfall", "LiveRecorder"),
]


@pytest.fixture(scope="module")
def printed() -> str:
    with pytest.MonkeyPatch.context() as patch:
        # The tests must not depend on other installed packages.
        patch.setitem(sys.modules, "flask_debugtoolbar", None)
        patch.setitem(sys.modules, "flask_monitoringdashboard", None)
        with contextlib.redirect_stdout(io.StringIO()) as text:
            live.main(["--rounds", "1", "--polls", "2"])
    return text.getvalue()


def test_each_way_to_record_has_its_costs(printed: str) -> None:
    for name in OURS:
        line = rf"^{re.escape(name)}(  +[+-]\d+\.\d){{4}}$"
        assert len(re.findall(line, printed, re.MULTILINE)) == 2


def test_peers_that_are_missing_are_named(printed: str) -> None:
    for name in ("flask-debugtoolbar", "Flask-MonitoringDashboard"):
        assert f"{name} is left out: it is not installed" in printed


def test_polls_of_full_workers_have_times_and_sizes(printed: str) -> None:
    for name in ("first", "unchanged", "changed"):
        line = rf"^{name}  +\d+\.\d  +\d+\.\d  +(?:–|\d+\.\d)(  +\d+,\d{{3}}){{2}}$"
        assert len(re.findall(line, printed, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    "what",
    ["until its numbers, bytes sent", "all files, bytes sent", "all files, bytes"],
)
def test_bytes_of_the_page_are_beside_their_aims(printed: str, what: str) -> None:
    line = rf"^{what}  +([\d,]+)  +([\d,]+)  +(yes|no)$"
    ((aim, size, reached),) = re.findall(line, printed, re.MULTILINE)
    numbers = [int(one.replace(",", "")) for one in (aim, size)]
    assert numbers[1] > 10_000
    assert (numbers[1] <= numbers[0]) == (reached == "yes")


@pytest.mark.parametrize("what", ["its file", "its lists", "other memory"])
def test_a_full_worker_takes_what_is_printed(printed: str, what: str) -> None:
    assert re.search(rf"^{what}.*  [\d,]+$", printed, re.MULTILINE)


def test_an_aim_that_is_missed_is_a_no() -> None:
    def costs(recorder: float) -> dict[str, Timing]:
        times = dict.fromkeys([BARE, *OURS], 1000.0)
        times[live.WATERFALL] += recorder
        return {name: Timing(one, one) for name, one in times.items()}

    for added, reached in ((39_000, "yes"), (41_000, "no")):
        text = live._shown(costs(added), costs(added))[-1]
        assert re.search(rf"^request, LiveRecorder  +40 .*{reached}$", text, re.M)
