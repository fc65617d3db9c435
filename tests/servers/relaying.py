"""Dispatchers and listeners in separate processes, as users run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integrations.relay.outboxes import PATIENCE_SECONDS
from tests.integrations.relay.outboxes import wait_until

WORKER = """
import os
import time

from signalpost import Namespace

order_placed = Namespace().signal("order-placed", payload=("order",))

quick = int(os.environ.get("QUICK_RECEIVERS", "1000000"))

@order_placed.connect
def ship(sender, order):
    global quick
    quick -= 1
    time.sleep(float(os.environ.get("RECEIVER_SECONDS", "0")) if quick >= 0 else 0.2)
    with open(os.environ["RECEIVED"], "a") as file:
        file.write(f"{order}\\n")
"""


class Received:
    """The events that listeners of a group have recorded."""

    def __init__(self, folder: Path, group: str = "shipping") -> None:
        self.group = group
        self.path = folder / f"received-by-{group}"
        self.folder = folder
        (folder / "worker.py").write_text(WORKER)

    def orders(self) -> list[int]:
        if not self.path.exists():
            return []
        # The last line may be half written.
        lines = self.path.read_text().split("\n")[:-1]
        return [int(line) for line in lines]

    def counted(self) -> Counter[int]:
        return Counter(self.orders())

    @contextmanager
    def listening(
        self, url: str, *options: str, **environment: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a listener of the group until the block ends."""
        words = ["--group", self.group, *options, "worker:order_placed"]
        own = {"RECEIVED": str(self.path)} | environment
        with relay_command(self.folder, "listen", url, *words, **own) as process:
            yield process

    def kill_in_the_midst(
        self, url: str, times: int, after: int, *options: str
    ) -> None:
        """Start listeners, one after the other, and kill each once it has received.

        Each is slow after that, so that it has not received all before it is killed.
        """
        own = {"RECEIVER_SECONDS": "0.002", "QUICK_RECEIVERS": str(after + 5)}
        for _ in range(times):
            before = len(self.orders())
            with self.listening(url, *options, **own) as process:
                wait_until(
                    lambda start=before: len(self.orders()) >= start + after  # type: ignore[misc]
                )
                process.kill()


@contextmanager
def relay_command(
    folder: Path, *words: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``signalpost relay …`` until the block ends."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "signalpost", "relay", *words],
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code in {0, -signal.SIGKILL}, (folder / "log").read_text()


def repeated(counted: t.Mapping[int, int]) -> int:
    """Return how many came more than once."""
    return sum(count > 1 for count in counted.values())
