from __future__ import annotations

import re

import pytest

from benchmarks import relay
from tests.integrations.relay.brokers import requires_redis


@requires_redis
def test_each_row_has_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert relay.main(["--rounds", "1", "--events", "400"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    figures = [re.findall(r"([\d,]+\.\d)(?:\s|$)", row) for row in rows]
    assert len(figures) == 6
    assert all(len(row) == 2 and all(one != "0.0" for one in row) for row in figures)
