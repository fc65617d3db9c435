"""Shows the shop beside a process that confirms its orders: two processes, or three.

``python -m example_app.relayed`` needs no broker: the second process reads the outbox
in the shop's own database. With one, as ``RELAY_URL=redis://127.0.0.1/0``, a third
publishes what the outbox has, and the second receives it from there.
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
    """Return the commands of ``signalpost relay`` that run beside the shop.

    :param path: The shop's database.
    :param broker: The broker's URL; ``None`` if there is none.
    """
    database = URL.create("sqlite", database=str(path)).render_as_string()
    listen = ["--group", "confirming", "--import", "example_app.confirming"]
    listen += ["example_app.events:order_placed"]
    # The shop's live page shows what they do.
    live = ["--live", str(LIVE)]
    if broker is None:
        return [["listen", database, *listen, *live]]
    # The URL has a password, maybe, and command lines can be read by others.
    return [["listen", *listen, *live], ["dispatch", "--database", database, *live]]


@contextlib.contextmanager
def running(commands: Sequence[Sequence[str]], **environment: str) -> Iterator[None]:
    """Run commands until the block ends."""
    processes = [
        subprocess.Popen(  # noqa: S603  # our own words
            [sys.executable, "-m", "signalpost", "relay", *words],
            cwd=ROOT,
            env=os.environ | environment,
            # Ctrl-C is for the shop, which ends them.
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
    """Serve the shop, and confirm what is ordered."""
    # As Flask does: a relative path starts in the instance folder.
    path = Path(ROOT, "instance", os.environ.get("SHOP_DATABASE") or "shop.sqlite")
    # The listener looks for its tables at once.
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
