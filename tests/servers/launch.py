"""Real servers, each in a separate process on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Generator
from importlib import metadata
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 20.0
"""How long a server may take to accept, or to stop when asked to."""
GUNICORNS_TIMEOUT = 30
"""How many seconds a worker may be silent, on a machine that may stall."""

SERVERS = (
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-gevent",
    "gevent",
    "waitress",
    "werkzeug",
    "werkzeug-debugger",
    "wsgiref",
    "cheroot",
    "granian",
    "bjoern",
    "uwsgi",
    "uwsgi-offload",
    "mod_wsgi",
)
"""Every name that :func:`serving` takes."""

_MODULES = {
    "gunicorn-sync": ("gunicorn",),
    "gunicorn-gthread": ("gunicorn",),
    "gunicorn-gevent": ("gunicorn", "gevent"),
    "uwsgi": ("pyuwsgi",),
    "uwsgi-offload": ("pyuwsgi",),
    "werkzeug-debugger": ("werkzeug",),
    "wsgiref": (),
}


class Address(t.NamedTuple):
    """Where a server listens."""

    host: str
    port: int


def missing(server: str) -> str | None:
    """Return why a server cannot run here, or ``None`` if it can."""
    for module in _MODULES.get(server, (server,)):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    if server == "mod_wsgi" and _program("mod_wsgi-express") is None:
        return "mod_wsgi-express is not installed"
    return None


def version(server: str) -> str:
    """Return the name and version of what a server is, as ``"waitress 3.0.2"``."""
    if server == "wsgiref":
        return f"Python {platform.python_version()}"
    modules = _MODULES.get(server, (server,))
    return ", ".join(f"{one} {metadata.version(one)}" for one in modules)


@contextlib.contextmanager
def serving(
    server: str, app: str, timeout: int = GUNICORNS_TIMEOUT, /, **environment: str
) -> Generator[Address]:
    """Run a server with an application until the block ends.

    :param server: One of :data:`SERVERS`.
    :param app: The WSGI application, as ``"package.module:attribute"``.
    :param timeout: The seconds after which gunicorn ends a worker that is silent.
    :param environment: Environment variables for the server.
    :returns: Where it listens; it accepts by then.
    :raises RuntimeError: If it ends, or does not accept in time; with its output.
    """
    address = Address("127.0.0.1", free_port())
    with tempfile.TemporaryDirectory(prefix="signalpost-") as scratch:
        log = Path(scratch, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(server, app, address, Path(scratch), timeout),
                cwd=ROOT,
                env=_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_until_accepting(process, address, log)
            yield address
        finally:
            _stop(process)


def _environment() -> dict[str, str]:
    # A server that is killed must not leave half a file of coverage behind.
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_")
    }
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return own | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def _program(name: str) -> str | None:
    """Return a command of this environment, else one of the system's."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def _command(
    server: str, app: str, address: Address, scratch: Path, timeout: int
) -> list[str]:
    at = f"{address.host}:{address.port}"
    if server not in SERVERS:
        raise ValueError(f"server must be one of {SERVERS}, got {server!r}")
    if server.startswith("gunicorn-"):
        return [
            *(sys.executable, "-m", "gunicorn", app, "--bind", at),
            *("--worker-class", server.partition("-")[2], "--workers", "1"),
            *("--timeout", str(timeout), "--graceful-timeout", "1"),
            "--no-control-socket",
        ]
    if server == "granian":
        return [
            *(sys.executable, "-m", "granian", app, "--interface", "wsgi"),
            *("--host", address.host, "--port", str(address.port)),
            *("--workers", "1", "--blocking-threads", "4", "--no-ws"),
            *("--workers-kill-timeout", "1"),
        ]
    if server.startswith("uwsgi"):
        offload = ["--offload-threads", "1"] if server == "uwsgi-offload" else []
        return [
            *(sys.executable, "-m", "tests.servers.start", "uwsgi", app),
            *(str(address.port), *offload),
        ]
    if server == "mod_wsgi":
        return _mod_wsgi_command(app, address, scratch)
    return [
        *(sys.executable, "-m", "tests.servers.start"),
        *(server, app, str(address.port)),
    ]


def _mod_wsgi_command(app: str, address: Address, scratch: Path) -> list[str]:
    module, _, attribute = app.partition(":")
    # Apache refuses to work as root; and another user may not reach this Python. So
    # root goes by another name, in a namespace of the process's own.
    renamed = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
    return [
        *(renamed if os.getuid() == 0 else ()),
        *(str(_program("mod_wsgi-express")), "start-server", module),
        *("--application-type", "module", "--callable-object", attribute),
        *("--host", address.host, "--port", str(address.port)),
        *("--processes", "1", "--threads", "4", "--log-to-terminal"),
        *("--server-root", str(scratch / "apache"), "--working-directory", str(ROOT)),
        *("--python-path", str(ROOT / "src"), "--python-path", str(ROOT)),
    ]


def _wait_until_accepting(
    process: subprocess.Popen[bytes], address: Address, log: Path
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            # Nothing reports that another process has begun to listen.
            time.sleep(0.02)
        else:
            return
    code = process.poll()
    what = "does not accept" if code is None else f"ended with code {code}"
    output = log.read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"{process.args!r} {what}; its output:\n{output}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and all that it started: its group is its own."""
    process.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    # It is left unreaped, so that its number still names its group and no other.
    while not _has_ended(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    # A worker may outlive its master, even one that has ended well.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_SECONDS)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    if process.returncode is not None:
        return True
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None
