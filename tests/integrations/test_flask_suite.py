"""The tests that Flask was released with, with ``Signalpost`` on every application."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.released import Release
from tests.released import run_tests
from tests.released import write_tests

RELEASES = {
    "3.0.3": "ceb27b0af3823ea2737928a4d99d125a06175b8512c445cbd9a9ce200ef76842",
    "3.1.3": "0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb",
}
FEWEST_TESTS = 450
FEWEST_APPLICATIONS = 400

# Released before pytest renamed what its tests import.
ALONE = """\
from _pytest import monkeypatch
from _pytest.compat import NOTSET

monkeypatch.notset = NOTSET
"""

# At the end of the constructor, so that the application is set up in a subclass's.
EVERYWHERE = """\
import functools
import os
from pathlib import Path

import alone
import flask
from signalpost import lifecycle
from signalpost.integrations.flask import Signalpost

OF_OTHERS = {
    lifecycle.post_config_load,
    lifecycle.sql_executed,
    lifecycle.sql_failed,
    lifecycle.sql_pool_changed,
}
count = 0
receivers = os.environ["RECEIVERS"]  # now, as tests replace it
construct = flask.Flask.__init__


def receive(sender, **payload):
    pass


if receivers == "every":
    for signal in lifecycle.catalogue.values():
        signal.connect(receive)


@functools.wraps(construct)
def construct_and_set_up(self, *arguments, **options):
    global count
    construct(self, *arguments, **options)
    Signalpost(self)
    if receivers == "own":
        for signal in lifecycle.catalogue.values():
            # What an application does not send is refused by a warning.
            if signal not in OF_OTHERS:
                signal.connect(receive, self)
    count += 1


flask.Flask.__init__ = construct_and_set_up


def pytest_unconfigure():
    Path("count").write_text(str(count))
"""

Results = dict[str, str | None]


@pytest.fixture(scope="module")
def room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with the released tests of the Flask that is installed."""
    installed = version("flask")
    if installed not in RELEASES:
        pytest.skip(f"the digest of Flask {installed} is not in RELEASES")
    release = Release("flask", installed, RELEASES[installed])
    room = tmp_path_factory.mktemp("suite")
    write_tests(release.fetch(request, tmp_path_factory), room)
    (room / "alone.py").write_text(ALONE)
    (room / "everywhere.py").write_text(EVERYWHERE)
    return room


@pytest.fixture(scope="module")
def alone(room: Path) -> Results:
    """Return the results without signalpost: some fail with newer packages."""
    return run_tests(room, "-p", "alone")


def test_the_released_tests_run_and_pass(alone: Results) -> None:
    assert len(alone) > FEWEST_TESTS
    assert list(alone.values()).count(None) > FEWEST_TESTS


@pytest.mark.parametrize("receivers", ["none", "own", "every"])
def test_what_passes_without_signalpost_passes_with_it(
    room: Path, alone: Results, receivers: str
) -> None:
    results = run_tests(room, "-p", "everywhere", environ={"RECEIVERS": receivers})
    assert results.keys() == alone.keys()
    failures = {
        name: problem
        for name, problem in results.items()
        if problem is not None and alone[name] is None
    }
    assert not failures, "\n".join(f"{name}\n{text}" for name, text in failures.items())
    assert int((room / "count").read_text()) > FEWEST_APPLICATIONS
