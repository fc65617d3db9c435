"""The released tests of other packages, run against ours.

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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pathlib import PurePosixPath

import pytest

import signalpost


@dataclass(frozen=True)
class Release:
    """A released source archive."""

    name: str
    """The distribution."""
    version: str
    """The version."""
    sha256: str
    """The digest of the archive."""

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return f"{self.name}-{self.version}.tar.gz"

    def fetch(
        self, request: pytest.FixtureRequest, factory: pytest.TempPathFactory
    ) -> Path:
        """Return the archive, downloaded unless it is cached.

        Skips when no index can be reached.
        """
        cache = getattr(request.config, "cache", None)
        if cache is None:
            kept = factory.mktemp(self.name)
        else:
            kept = cache.mkdir(f"{self.name}-{self.version}")
        path = Path(kept) / self.archive
        if not path.exists() or _digest(path) != self.sha256:
            self._download(path, factory.mktemp("download"))
        return path

    def _download(self, path: Path, directory: Path) -> None:
        command = [sys.executable, "-m", "pip", "download"]
        command += [f"{self.name}=={self.version}", f"--no-binary={self.name}"]
        command += ["--no-deps", "--dest", str(directory)]
        command += ["--quiet", "--disable-pip-version-check", "--retries=1"]
        try:
            pip = subprocess.run(command, capture_output=True, text=True, timeout=120)
            reason = "".join(pip.stderr.strip().splitlines()[-1:])
        except subprocess.TimeoutExpired:
            reason = "no answer within 120 seconds"
        downloaded = directory / self.archive
        if not downloaded.exists():
            pytest.skip(f"{self.archive} cannot be downloaded: {reason}")
        # Nothing of it is run unless it is what was released.
        assert _digest(downloaded) == self.sha256
        # Copied, then renamed: another test process never sees half of it.
        unfinished = path.with_name(f"{self.archive}.{os.getpid()}")
        unfinished.write_bytes(downloaded.read_bytes())
        unfinished.replace(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_tests(archive: Path, room: Path) -> None:
    """Write the folder ``tests`` of an archive into another folder."""
    with tarfile.open(archive) as members:
        for member in members:
            parts = PurePosixPath(member.name).parts[1:]
            content = members.extractfile(member)
            if content is None or parts[:1] != ("tests",) or ".." in parts:
                continue
            path = room.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def run_tests(
    room: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """Run the folder ``tests`` of a folder, in a separate process.

    :param environ: Additional variables of the process's environment.
    :returns: For each test, as ``"tests.test_basic::test_get"``, its failure, or
        ``None`` if it passed.
    """
    report = room / "report.xml"
    source = Path(signalpost.__file__).parents[1]
    # Coverage is that of our own tests.
    own = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    environment = {
        **own,
        "PYTHONPATH": os.pathsep.join([str(room), str(source)]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **(environ or {}),
    }
    # Receivers are left to die on purpose, which development mode reports.
    for name in ("PYTHONDEVMODE", "PYTHONWARNINGS", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    (room / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "tests", "-W", "error", *arguments]
    command += ["-c", "pytest.ini", "-p", "no:cacheprovider", f"--junitxml={report}"]
    run = subprocess.run(
        command, cwd=room, env=environment, capture_output=True, text=True, timeout=300
    )
    # 0: all passed; 1: some failed. Anything else is not a result.
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return _read_results(report)


PROBLEMS = ("error", "failure", "skipped")


def _read_results(report: Path) -> dict[str, str | None]:
    results: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problem = next((part for part in case if part.tag in PROBLEMS), None)
        name = f"{case.attrib['classname']}::{case.attrib['name']}"
        results[name] = None if problem is None else problem.text or problem.tag
    return results
