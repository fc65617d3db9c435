"""A separate PostgreSQL for a test, with its own port and folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.missing import not_installed
from tests.ports import free_port

START_SECONDS = 60
# Debian has them outside the PATH.
_PROGRAMS = Path("/usr/lib/postgresql")


def find_server() -> tuple[Path, pwd.struct_passwd]:
    """Return where PostgreSQL's programs are, and who may run them."""
    found = sorted(_PROGRAMS.glob("*/bin/postgres"))
    if not found:
        pytest.skip(not_installed("postgresql"))
    if os.getuid() != 0:
        return found[-1].parent, pwd.getpwuid(os.getuid())
    try:
        return found[-1].parent, pwd.getpwnam("postgres")
    except KeyError:
        # PostgreSQL does not run as root; the package makes this user.
        pytest.skip(f"{not_installed('postgresql')}: there is no user postgres")


@contextmanager
def running_postgresql(*settings: str) -> Iterator[str]:
    """Run a server until the block ends; yields where it is, as part of an address.

    :param settings: Further words of its command line.
    """
    # Not a folder of pytest's: each pytest that starts closes them to all other users.
    with tempfile.TemporaryDirectory(prefix="signalpost-postgresql-") as folder:
        yield from _served_in(Path(folder), settings)


def _served_in(place: Path, settings: tuple[str, ...]) -> Iterator[str]:
    programs, user = find_server()
    data = place / "data"
    data.mkdir()
    as_user: dict[str, t.Any] = {"cwd": place, "stdin": subprocess.DEVNULL}
    if os.getuid() == 0:
        as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        for folder in (place, data):
            shutil.chown(folder, user.pw_uid)
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "shop", "-A", "trust", "-N"],
        check=True,
        capture_output=True,
        timeout=START_SECONDS,
        **as_user,
    )
    port = str(free_port())
    at = ["-h", "127.0.0.1", "-p", port]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", "", "-F", *at, *settings],
            stdout=log,
            stderr=log,
            **as_user,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        ready = [str(programs / "pg_isready"), "-q", *at]
        while subprocess.run(ready, timeout=START_SECONDS).returncode != 0:
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield f"shop@127.0.0.1:{port}/postgres"
    finally:
        # Not SIGTERM, at which it would wait for what a failed test left connected.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
