"""The plugin as others get it: installed, and used by another distribution's tests."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYPROJECT = """
[build-system]
requires = ["flit_core>=3.11,<5"]
build-backend = "flit_core.buildapi"

[project]
name = "mug-shop"
version = "1.0"
description = "Mugs"
dependencies = ["signalpost"]
"""

APPLICATION = '''
"""Mugs."""

import sqlite3
import time

from signalpost import Namespace
from signalpost import SignalMiddleware
from signalpost.lifecycle import sql_executed

mug_sold = Namespace().signal("mug-sold", payload=("colour",))
database = sqlite3.connect(":memory:")


def execute(statement):
    started = time.perf_counter()
    rows = database.execute(statement).fetchall()
    payload = dict.fromkeys(sql_executed.payload)
    payload.update(
        statement=statement, duration_seconds=time.perf_counter() - started
    )
    sql_executed.send(database, **payload)
    return rows


def shop(environ, start_response):
    if environ["PATH_INFO"] == "/broken":
        raise LookupError("no mugs")
    for colour in ("blue", "red", "green"):
        execute("SELECT 'mug'")
        mug_sold.send("shop", colour=colour)
    start_response("200 OK", [])
    return [b"mugs"]


app = SignalMiddleware(shop)
'''

TESTS = """
from wsgiref.util import setup_testing_defaults

import pytest

import mug_shop


def visit(path):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    body = mug_shop.app(environ, lambda *_: None)
    try:
        return list(body)
    finally:
        getattr(body, "close", int)()


@pytest.mark.max_statements(3)
def test_shop(capture_signals, finished_exchanges, request_failures):
    sent = capture_signals(mug_shop.mug_sold)
    assert visit("/") == [b"mugs"]
    assert [one["colour"] for one in sent] == ["blue", "red", "green"]
    assert [one.path for one in finished_exchanges] == ["/"]
    assert request_failures == []


def test_failure(request_failures, max_statements):
    with pytest.raises(LookupError):
        visit("/broken")
    assert [one.where for one in request_failures] == ["call"]
    with max_statements(3) as statements:
        visit("/")
    assert statements[0].text == "SELECT 'mug'"


@pytest.mark.max_statements(2)
def test_too_many():
    visit("/")


@pytest.mark.usefixtures("restored_connections")
def test_connect():
    mug_shop.mug_sold.connect(print)


def test_connection_is_gone():
    assert not mug_shop.mug_sold.receivers
"""


def run(*command: str | Path, folder: Path) -> str:
    """Return what a program printed, whether it succeeded or not."""
    # Neither our sources nor a setting of this run may decide what is imported.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "COVERAGE"))
    }
    done = subprocess.run(
        [str(one) for one in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mug-shop")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "mug_shop.py").write_text(APPLICATION)
    (folder / "empty").mkdir()
    (folder / "tests").mkdir()
    (folder / "tests" / "test_mug_shop.py").write_text(TESTS)
    return folder


@pytest.fixture(scope="module")
def python(project: Path) -> Path:
    """Return the Python of an environment with both distributions."""
    for name in ("pip", "flit_core"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed, which builds the distributions")
    environment = project / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    is_windows = os.name == "nt"
    python = environment / ("Scripts/python.exe" if is_windows else "bin/python")
    paths = sysconfig.get_paths(
        "nt" if is_windows else "posix_prefix",
        {"base": str(environment), "platbase": str(environment)},
    )
    # pytest and pip are this environment's, as a test needs no network.
    ours = sysconfig.get_paths()["purelib"]
    (Path(paths["purelib"]) / "borrowed.pth").write_text(f"{ours}\n")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    printed = run(
        *(python, "-m", "pip", "install", *options, ROOT, project), folder=project
    )
    assert (Path(paths["purelib"]) / "signalpost").is_dir(), printed
    assert (Path(paths["purelib"]) / "mug_shop.py").is_file(), printed
    return python


def output_of(project: Path, python: Path, *options: str) -> str:
    command = (python, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error")
    return run(*command, *options, folder=project / "tests")


def test_another_distribution_uses_the_plugin(project: Path, python: Path) -> None:
    printed = output_of(project, python, "--strict-markers", "--signalpost-slowest=1")
    assert "1 failed, 4 passed" in printed, printed
    assert "expected at most 2 statements, got 3" in printed
    assert "3 times: SELECT ?" in printed
    # The application is installed, so the place is the line that called it.
    assert f"    at {project / 'tests' / 'test_mug_shop.py'}:" in printed
    assert "signalpost: slowest requests" in printed
    assert "signalpost: slowest statements" in printed


def test_plugin_can_be_turned_off(project: Path, python: Path) -> None:
    printed = output_of(project, python, "-p", "no:signalpost", "-k", "gone or many")
    assert "PytestUnknownMarkWarning" in printed
    assert "max_statements" in printed


def test_installed_package_imported_early_is_no_warning(
    project: Path, python: Path
) -> None:
    program = (
        "import sys, signalpost.testing, pytest;"
        " sys.exit(pytest.main(['-o', 'filterwarnings=error']))"
    )
    printed = run(python, "-c", program, folder=project / "tests")
    assert "1 failed, 4 passed" in printed, printed
    assert "warning" not in printed.lower()


def test_run_that_uses_nothing_imports_nothing(project: Path, python: Path) -> None:
    program = (
        "import sys, pytest; pytest.main(['-k', 'nothing']);"
        " ours = [name for name in sys.modules if name.startswith('signalpost')];"
        " print(*ours); print(sys.modules['signalpost'].__file__)"
    )
    printed = run(python, "-c", program, folder=project / "empty")
    modules, file = printed.splitlines()[-2:]
    assert modules == (
        "signalpost signalpost.integrations signalpost.integrations.pytest_plugin"
    )
    assert Path(file).is_relative_to(project / "environment")
