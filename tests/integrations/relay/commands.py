"""The command line of the relay, in separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

EVENTS = """
    from signalpost import Namespace

    order_placed = Namespace().signal("order-placed", payload=("order", "total"))
"""

SHIPPING = """
    import sys
    from shop.events import order_placed

    @order_placed.connect
    def ship(sender, order, total):
        print(sender, order, repr(total), flush=True)
"""


def new_site(folder: Path, **modules: str) -> Path:
    """Write an application, shop.events, and modules of receivers."""
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    for name, text in {"shop/events": EVENTS, "shipping": SHIPPING, **modules}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), "utf-8")
    return folder


def relay_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "signalpost", "relay", *words]


def run(
    site: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        relay_command(*words),
        cwd=site,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(site: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command; end it by yourself."""
    return subprocess.Popen(
        relay_command(*words),
        cwd=site,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
