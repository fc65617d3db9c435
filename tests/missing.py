"""Skips of tests that need what is not installed. In CI these are failures.

What CI installs is listed in ``.ci/run`` and in ``pyproject.toml``. A test that is
skipped there would go unnoticed. The reason of each such skip has the words
``NAME is not installed``, or is that of :func:`pytest.importorskip`.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_MISSING = re.compile(
    r"(?P<name>\S+) (?:is not installed|cannot be downloaded)"
    r"|could not import '(?P<module>[\w.]+)'"
)


def not_installed(package: str) -> str:
    """Return the reason to skip a test that needs a package of Debian."""
    return f"Debian's package {package} is not installed"


def needs(package: str, *programs: str) -> pytest.MarkDecorator:
    """Skip a test unless the programs of a package of Debian are on the ``PATH``."""
    is_here = all(shutil.which(program) for program in programs)
    return pytest.mark.skipif(not is_here, reason=not_installed(package))


def is_in_ci() -> bool:
    """Return whether tests that need what is not installed must fail."""
    return os.environ.get("CI") == "true"


def left_out() -> set[str]:
    """Return the packages that CI does not install, because only a compiler can."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    built: list[str] = tomllib.loads(text)["dependency-groups"]["servers-built"]
    return {requirement.partition("==")[0] for requirement in built}


def fail_if_missing(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a failure of a skip whose reason is what CI installs."""
    # That of an expected failure has a traceback instead.
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return
    path, line, reason = report.longrepr
    found = _MISSING.search(reason)
    if found is None or found["name"] in left_out():
        return
    report.outcome = "failed"
    what = reason.removeprefix("Skipped: ")
    report.longrepr = f"{path}:{line}: {what}; in CI this is a failure, see .ci/run"


# The first wrapper is the outermost: skip marks are evaluated within it.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    fail_if_missing(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    fail_if_missing(report)
    return report
