"""The tests that blinker 1.9.0 was released with, run against our signals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.released import Release
from tests.released import run_tests
from tests.released import write_tests

BLINKER = Release(
    "blinker",
    "1.9.0",
    "b4ce2265a7abece45e7cc896e98dbebe6cead56bcf805a3d23136d145f5445bf",
)
RELEASED_TESTS = 25

DIFFERENCES = {
    "test_empty_bucket_growth": (
        "blinker keeps the empty tables of a sender until they are cleaned up; ours"
        " go with the last connection"
    ),
    "test_filtered_receiver_weakref": (
        "blinker keeps a receiver registered after the only sender that it was"
        " connected to has died; ours is free then"
    ),
}

# What the tests import as blinker, made of our names.
PACKAGE = """\
from signalpost import ANY as ANY
from signalpost import NamedSignal as NamedSignal
from signalpost import Namespace as Namespace
from signalpost import Signal as Signal
from signalpost import default_namespace as default_namespace
from signalpost import signal as signal
"""
UTILITIES = "from signalpost._engine.identity import Symbol as Symbol\n"

# Coroutine tests run without a plugin; and a blinker that happens to be installed
# must not be tested in our place.
CONFTEST = """\
import asyncio
import inspect

import blinker
import signalpost

assert blinker.Signal is signalpost.Signal


def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(pyfuncitem.obj())
    return True
"""


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """Run the released tests against signalpost.

    :returns: For each test its failure, or ``None`` if it passed.
    """
    archive = BLINKER.fetch(request, tmp_path_factory)
    room = tmp_path_factory.mktemp("suite")
    write_tests(archive, room)
    write_package(room)
    results = run_tests(room)
    return {name.partition("::")[2]: problem for name, problem in results.items()}


def write_package(room: Path) -> None:
    package = room / "blinker"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "_utilities.py").write_text(UTILITIES)
    (room / "tests" / "conftest.py").write_text(CONFTEST)


def test_every_released_test_runs(results: dict[str, str | None]) -> None:
    assert len(results) == RELEASED_TESTS


def test_released_tests_pass_but_for_the_differences(
    results: dict[str, str | None],
) -> None:
    failures = {
        name: problem
        for name, problem in results.items()
        if problem is not None and name not in DIFFERENCES
    }
    assert not failures, "\n".join(f"{name}\n{text}" for name, text in failures.items())


@pytest.mark.parametrize("name", sorted(DIFFERENCES))
def test_difference_is_still_one(name: str, results: dict[str, str | None]) -> None:
    assert results[name] is not None, f"no longer differs: {DIFFERENCES[name]}"
