"""A separate MariaDB for a test, with its own port and folder."""

from __future__ import annotations

import os
import pwd
import shutil
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
_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb-admin")
# Debian has the server's program where only root looks for it.
_FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


def find_programs() -> list[str]:
    """Return the paths of MariaDB's programs. Skips the test if one is missing."""
    paths = [shutil.which(name, path=_FOLDERS) for name in _PROGRAMS]
    found = [path for path in paths if path is not None]
    if len(found) < len(_PROGRAMS):
        pytest.skip(not_installed("mariadb-server"))
    return found


def find_user() -> pwd.struct_passwd:
    """Return the user that runs the server."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    try:
        return pwd.getpwnam("mysql")
    except KeyError:
        # MariaDB does not run as root; the package makes this user.
        pytest.skip(f"{not_installed('mariadb-server')}: there is no user mysql")


@contextmanager
def running_mariadb() -> Iterator[str]:
    """Run a server until the block ends; yields where it is, as part of an address."""
    # Not a folder of pytest's: each pytest that starts closes them to all other users.
    with tempfile.TemporaryDirectory(prefix="signalpost-mariadb-") as folder:
        yield from _served_in(Path(folder))


def _served_in(place: Path) -> Iterator[str]:
    server, install, admin = find_programs()
    user = find_user()
    as_user: dict[str, t.Any] = {"cwd": place, "stdin": subprocess.DEVNULL}
    if os.getuid() == 0:
        as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        shutil.chown(place, user.pw_uid)
    data = f"--datadir={place / 'data'}"
    installed = subprocess.run(
        [
            *(install, "--no-defaults", data, "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=START_SECONDS,
        **as_user,
    )
    assert installed.returncode == 0, installed.stdout.decode(errors="replace")
    at = ["--host=127.0.0.1", f"--port={free_port()}"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(server, "--no-defaults", data, f"--socket={place / 'socket'}"),
                *("--bind-address=127.0.0.1", at[1], "--skip-name-resolve"),
                f"--pid-file={place / 'pid'}",
            ],
            stdout=log,
            stderr=log,
            **as_user,
        )
    try:
        ping = [admin, "--no-defaults", "--user=root", *at, "--silent", "ping"]
        _wait_for(ping, process, place / "log")
        yield f"root@127.0.0.1:{at[1].partition('=')[2]}"
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(ping: list[str], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(ping, capture_output=True, timeout=START_SECONDS).returncode:
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.05)
