from __future__ import annotations

import collections

import pytest

from tests.missing import needs
from tests.servers import load

pytest.importorskip("gunicorn")
needs_wrk = needs("wrk", "wrk")

AGREED = load.Counts(5, 5, 5, 5, 5, 5)
CLOSED = [
    {"request_id": f"wrk-{number}", "status": 200, "outcome": "complete"}
    for number in range(5)
]


def complaints(
    counts: load.Counts = AGREED,
    closed: list[dict[str, object]] = CLOSED,
    growth: float = 1.0,
    *words: str,
) -> list[str]:
    class Flat(load.Memory):
        @property
        def growth(self) -> float:
            return growth

    logged = collections.Counter(f"wrk-{number}" for number in range(5))
    counted = collections.Counter({("200", "complete"): 5})
    options = load._parser().parse_args(words)
    return load._complaints(counts, logged, closed, counted, Flat(0), options)


@needs_wrk
@pytest.mark.parametrize("words", [(), ("--max-requests", "200")], ids=["", "replaced"])
def test_every_count_is_the_same(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    # The time is too short to measure memory.
    code = load.main(["--seconds", "2", "--workers", "2", *words])
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("WRONG: ")]
    assert [line for line in lines if "memory" not in line] == []
    assert code == bool(lines)
    for kind in ("200 aborted", "200 complete", "200 error", "404 complete"):
        assert f"\n{kind} " in out


def test_without_wrk_it_shows_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert load.main([]) == 1
    assert "apt install wrk" in capsys.readouterr().out


def test_counts_that_agree_are_no_complaint() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (AGREED._replace(prometheus=6), "the server's own counts differ"),
        (AGREED._replace(access_log=4, live_page=4), "the server's own counts differ"),
        (AGREED._replace(live_page=4), "the live page"),
        (AGREED._replace(sent=6), "1 requests were not answered"),
        (AGREED._replace(sent=6, answered=6), "the clients have counted another"),
        (AGREED._replace(sent=4, answered=4), "the clients have counted another"),
    ],
)
def test_counts_that_differ_are_reported(counts: load.Counts, expected: str) -> None:
    (complaint,) = complaints(counts)
    assert complaint.startswith(expected)


def test_requests_that_were_not_logged_are_reported() -> None:
    others = [{**one, "request_id": "wrk-9"} for one in CLOSED]
    (complaint,) = complaints(closed=others)
    assert complaint == "the access log and the exchanges are not of the same requests"


def test_other_outcomes_are_reported() -> None:
    others = [{**one, "outcome": "error"} for one in CLOSED]
    (complaint,) = complaints(closed=others)
    assert complaint.startswith("Prometheus has other statuses and outcomes")


def test_growth_is_reported() -> None:
    assert complaints(AGREED, CLOSED, 1.2) == ["memory has grown to 1.200 times"]


def test_what_a_replaced_worker_has_closed_is_no_complaint() -> None:
    counts = AGREED._replace(sent=7)
    assert complaints(counts, CLOSED, 1.2, "--max-requests", "500") == []
