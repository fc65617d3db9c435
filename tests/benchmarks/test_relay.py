from __future__ import annotations

import re
import shutil
import sys

import pytest

from benchmarks.__main__ import main
from tests.integrations.relay.brokers import requires_redis


@requires_redis
def test_each_row_has_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["relay", "--rounds", "2"])
    printed = capsys.readouterr().out
    for row in (
        *("send in the background", 'send with sends="now"', "XADD of redis-py, bare"),
        *("Celery's delay", "out", "received"),
    ):
        line = rf"^{re.escape(row)}(  +[\d,]*[1-9][\d,.]*){{2}}$"
        assert len(re.findall(line, printed, re.MULTILINE)) == 1
    assert len(re.findall(r"^bare, all of it  +\d+\.\d$", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^with an event .*  [+-]\d+\.\d$", printed, re.M)) == 2


def test_without_redis_the_message_shows_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("celery")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    main(["relay"])
    assert "apt install redis-server" in capsys.readouterr().out


def test_without_celery_the_relay_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.relay", raising=False)
    monkeypatch.setitem(sys.modules, "celery", None)
    main(["relay"])
    assert "the relay is left out: " in capsys.readouterr().out
