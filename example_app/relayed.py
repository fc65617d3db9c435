"""Shows the shop together with a process that confirms its orders.

``python -m example_app.relayed`` needs no broker: the second process reads the outbox
in the shop's own database. With a broker, such as ``RELAY_URL=redis://127.0.0.1/0``, a
third process publishes the events of the outbox, and the second receives them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL

from .__main__ import main
from .database import open_database

STOP_SECONDS = 10
ROOT = Path(__file__).parents[1]
LIVE = ROOT / "instance" / "signalpost-live"


def commands_for(path: Path, broker: str | None) -> list[list[str]]:
    """Return the arguments of each ``signalpost relay`` that the shop needs.

    :param path: The shop's database.
    :param broker: The broker's URL; ``None`` without a broker.
    :returns: A list of arguments for each process, as ``[["listen", …]]``.
    """
    database = URL.create("sqlite", database=str(path)).render_as_string()
    listen = ["--group", "confirming", "--import", "example_app.confirming"]
    listen += ["example_app.events:order_placed"]
    # With this, the shop's live page shows these processes, too.
    live = ["--live", str(LIVE)]
    if broker is None:
        return [["listen", database, *listen, *live]]
    # The broker's URL may contain a password, and other users can read command lines,
    # so the URL is passed in the environment.
    return [["listen", *listen, *live], ["dispatch", "--database", database, *live]]


@contextlib.contextmanager
def running(commands: Sequence[Sequence[str]], **environment: str) -> Iterator[None]:
    """Run commands until the block ends."""
    processes = [
        subprocess.Popen(  # noqa: S603  # no input of others is in it
            [sys.executable, "-m", "signalpost", "relay", *words],
            cwd=ROOT,
            env=os.environ | environment,
            # Ctrl-C must reach the shop only, which then terminates these processes.
            start_new_session=True,
        )
        for words in commands
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(STOP_SECONDS)


def run() -> None:
    """Serve the shop and confirm its orders until Ctrl-C."""
    # The same path as in the shop, where it is relative to the instance folder.
    path = Path(ROOT, "instance", os.environ.get("SHOP_DATABASE") or "shop.sqlite")
    # The listener fails if its tables do not exist yet.
    open_database(str(path))
    broker = os.environ.get("RELAY_URL") or None
    own = {"SHOP_DATABASE": str(path)}
    os.environ |= own
    if broker is not None:
        own["SIGNALPOST_RELAY_URL"] = broker
    with running(commands_for(path, broker), **own):
        main()


if __name__ == "__main__":
    run()
