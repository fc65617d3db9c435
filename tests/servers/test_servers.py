from __future__ import annotations

import pytest

from tests.servers.__main__ import main
from tests.servers.launch import missing
from tests.servers.launch import SERVERS
from tests.servers.launch import serving
from tests.servers.scenarios import complaints
from tests.servers.scenarios import observe
from tests.servers.scenarios import Observed
from tests.servers.scenarios import Scenario
from tests.servers.scenarios import SCENARIOS


@pytest.fixture(scope="module")
def observed(request: pytest.FixtureRequest) -> dict[str, Observed]:
    """Start each server once, for all that it is asked."""
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    return observe(request.param)


@pytest.mark.parametrize(
    ("observed", "server", "scenario"),
    [
        pytest.param(server, server, scenario, id=f"{server}: {scenario.name}")
        for server in SERVERS
        for scenario in SCENARIOS
        if server in (scenario.servers or SERVERS)
    ],
    indirect=["observed"],
    scope="module",
)
def test_each_exchange_is_recorded_once_and_as_it_was(
    observed: dict[str, Observed], server: str, scenario: Scenario
) -> None:
    found = complaints(server, scenario, observed[scenario.name])
    assert found == []


def test_a_server_that_dies_at_its_start_is_reported_with_its_output() -> None:
    with (
        pytest.raises(RuntimeError, match="No module named 'no_such_module'"),
        serving("wsgiref", "no_such_module:application"),
    ):
        pass


def test_a_server_that_cannot_start_is_named_and_the_others_are_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def observe_or_fail(server: str) -> dict[str, Observed]:
        if server == "wsgiref":
            raise RuntimeError("it ended with code 1:\nno port is free")
        return {}

    monkeypatch.setattr("tests.servers.__main__.observe", observe_or_fail)
    assert main(["wsgiref", "waitress"]) == 1
    printed = capsys.readouterr()
    assert "wsgiref cannot be asked: it ended with code 1" in printed.err
    assert "waitress" in printed.out
