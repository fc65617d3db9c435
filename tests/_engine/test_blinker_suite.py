"""The tests that blinker 1.9.0 was released with, run against our signals.

They are fetched when they are needed and kept in pytest's cache; none of their text
is in this repository.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from pathlib import PurePosixPath

import pytest

import signalpost

ARCHIVE = "blinker-1.9.0.tar.gz"
ARCHIVE_SHA256 = "b4ce2265a7abece45e7cc896e98dbebe6cead56bcf805a3d23136d145f5445bf"
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
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the released source archive, downloaded unless it is cached.

    Skips when no index can be reached, except in CI, where it fails.
    """
    cache = getattr(request.config, "cache", None)
    if cache is None:
        kept = tmp_path_factory.mktemp("blinker")
    else:
        kept = cache.mkdir("blinker-1.9.0")
    path = Path(kept) / ARCHIVE
    if not path.exists() or digest(path) != ARCHIVE_SHA256:
        download(path, tmp_path_factory.mktemp("download"))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def download(path: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "blinker==1.9.0"]
    command += ["--no-deps", "--no-binary=blinker", "--dest", str(directory)]
    command += ["--quiet", "--disable-pip-version-check", "--retries=1"]
    try:
        pip = subprocess.run(command, capture_output=True, text=True, timeout=120)
        said = pip.stderr.strip()
    except subprocess.TimeoutExpired:
        said = "no answer within 120 seconds"
    downloaded = directory / ARCHIVE
    if not downloaded.exists():
        if os.environ.get("CI"):
            pytest.fail(f"pip could not download {ARCHIVE}: {said}")
        last_line = said.splitlines()[-1:]
        pytest.skip(f"pip could not download {ARCHIVE}: {''.join(last_line)}")
    # Nothing of it is run unless it is what was released.
    assert digest(downloaded) == ARCHIVE_SHA256
    # Copied, then renamed: another test process never sees half of it.
    unfinished = path.with_name(f"{ARCHIVE}.{os.getpid()}")
    unfinished.write_bytes(downloaded.read_bytes())
    unfinished.replace(path)


@pytest.fixture(scope="module")
def results(
    archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """Run the released tests against signalpost.

    :returns: For each test its failure, or ``None`` if it passed.
    """
    room = tmp_path_factory.mktemp("suite")
    write_tests(archive, room)
    write_package(room)
    report = room / "report.xml"
    source = Path(signalpost.__file__).parents[1]
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(room), str(source)]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    # Receivers are left to die on purpose, which development mode reports.
    for name in ("PYTHONDEVMODE", "PYTHONWARNINGS", "PYTEST_ADDOPTS"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "pytest", "tests", "-W", "error"]
    command += ["-c", "pytest.ini", "-p", "no:cacheprovider", f"--junitxml={report}"]
    run = subprocess.run(
        command, cwd=room, env=environ, capture_output=True, text=True, timeout=300
    )
    # 0: all passed; 1: some failed. Anything else is not a result.
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return read_results(report)


def write_tests(archive: Path, room: Path) -> None:
    (room / "tests").mkdir()
    with tarfile.open(archive) as members:
        for member in members:
            name = PurePosixPath(member.name)
            content = members.extractfile(member)
            if content is None or name.parts[1:-1] != ("tests",):
                continue
            (room / "tests" / name.name).write_bytes(content.read())


def write_package(room: Path) -> None:
    package = room / "blinker"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "_utilities.py").write_text(UTILITIES)
    (room / "tests" / "conftest.py").write_text(CONFTEST)
    (room / "pytest.ini").write_text("[pytest]\n")


PROBLEMS = ("error", "failure", "skipped")


def read_results(report: Path) -> dict[str, str | None]:
    results: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problem = next((part for part in case if part.tag in PROBLEMS), None)
        results[case.attrib["name"]] = (
            None if problem is None else problem.text or problem.tag
        )
    return results


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
