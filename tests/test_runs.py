"""Runs of tests in a separate process, ended from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 30
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# A server that no fixture ends, as if its start had been interrupted.
TEST = """
import os, pathlib, subprocess, sys, time
def test_it():
    child = subprocess.Popen(
        [sys.executable, "-c", {child!r}], start_new_session=True
    )
    pathlib.Path({found!r}).write_text(str(child.pid))
    {end}
"""
SLEEPS = "import time; time.sleep(60)"
REPORTS_WHAT_IT_IGNORES = (
    "import pathlib, signal; pathlib.Path({!r}).write_text("
    "str([signal.getsignal(one) == signal.SIG_IGN for one in (1, 2, 15)]))"
)

in_linux = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="/proc is not mounted"
)


@contextlib.contextmanager
def run(folder: Path, test: str, ignored: str = "") -> Generator[subprocess.Popen[str]]:
    """Run a test file with this conftest, under a shell that ignores signals."""
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (folder / "test_it.py").write_text(test)
    script = f"trap '' {ignored}; exec \"$@\"" if ignored else 'exec "$@"'
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    own = {
        "COVERAGE_PROCESS_START": "",
        "PYTEST_ADDOPTS": "",
        "PYTHONPATH": paths,
    }
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *command],
        cwd=folder,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it has not come true in time"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


@in_linux
@pytest.mark.parametrize("number", ENDINGS)
def test_a_run_that_is_interrupted_leaves_no_process(
    tmp_path: Path, number: int
) -> None:
    found = tmp_path / "child"
    test = TEST.format(child=SLEEPS, found=str(found), end="time.sleep(60)")
    with run(tmp_path, test) as process:
        until(lambda: found.exists() and found.read_text() != "")
        child = int(found.read_text())
        assert is_alive(child)
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, out
    until(lambda: not is_alive(child))


def test_a_process_of_a_test_ignores_nothing_that_the_run_ignores(
    tmp_path: Path,
) -> None:
    reported = tmp_path / "reported"
    child = REPORTS_WHAT_IT_IGNORES.format(str(reported))
    found = tmp_path / "child"
    end = "child.wait(30)\n    while not os.path.exists('go'): time.sleep(0.02)"
    test = TEST.format(child=child, found=str(found), end=end)
    with run(tmp_path, test, "HUP INT TERM") as process:
        until(found.exists)
        for number in ENDINGS:
            process.send_signal(number)
        (tmp_path / "go").touch()
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert reported.read_text() == "[False, False, False]"
