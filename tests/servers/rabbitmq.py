"""A RabbitMQ of a test's own: its folder, its ports, its processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.missing import not_installed
from tests.ports import free_port

START_SECONDS = 90
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitMQ:
    """A broker that can be killed and started again on the same port and files.

    :param place: A new folder; its path must be short.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._names_port = free_port()
        self._names: subprocess.Popen[bytes] | None = None
        self._broker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker, and return as soon as it takes connections."""
        if self._names is None:
            # Erlang would start it as a daemon that nothing ends.
            epmd = shutil.which("epmd")
            assert epmd is not None
            at = ["-port", str(self._names_port), "-address", "127.0.0.1"]
            self._names = subprocess.Popen(
                [epmd, *at], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        with (self.place / "log").open("ab") as log:
            self._broker = subprocess.Popen(
                [PROGRAM],
                cwd=self.place,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def kill(self) -> None:
        """End the broker as a power cut would."""
        assert self._broker is not None
        self._broker.kill()
        self._broker.wait(START_SECONDS)
        self._broker = None

    def stop(self) -> None:
        """End the broker, and what keeps the names of Erlang's nodes."""
        if self._broker is not None:
            self.kill()
        if self._names is not None:
            self._names.terminate()
            self._names.wait(START_SECONDS)
            self._names = None

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self._broker is not None
            assert self._broker.poll() is None, (self.place / "log").read_text()
            assert time.monotonic() < deadline, "RabbitMQ did not start"
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 5) as probe,
            ):
                # It takes connections only when all is there.
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                if probe.recv(1):
                    return
            time.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        config = self.place / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            "log.console.level = warning\n"
            # A test's machine may be nearly full.
            "disk_free_limit.absolute = 1MB\n"
        )
        (self.place / "plugins").write_text("[].\n")
        own = {
            "HOME": str(self.place),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"relay-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.place / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.place / "logs"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.place / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            # Or a shell waits for Erlang's machine, which then has another pid.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput -kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            ),
        }
        return os.environ | own


@contextlib.contextmanager
def running_rabbitmq(place: Path) -> Iterator[RabbitMQ]:
    """Run a broker until the block ends; skip the test where there is none.

    :param place: An empty folder.
    """
    if not PROGRAM.exists() or shutil.which("epmd") is None:
        pytest.skip(not_installed("rabbitmq-server"))
    broker = RabbitMQ(place)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
