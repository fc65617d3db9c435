"""The lines in which a served process records its signals for the tests."""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

from signalpost import NamedSignal

PATIENCE_SECONDS = 10.0


def wait_at_gate() -> None:
    path = Path(os.environ["SHOP_NOTES"] + ".gate")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists() and time.monotonic() < deadline:
        # A process is not notified of a new file.
        time.sleep(0.02)


def note(
    run: str, sender: t.Any, signal: NamedSignal, payload: dict[str, t.Any]
) -> None:
    """Add one line to the file that the test reads.

    :param run: Which run of the configuration file receives it.
    """
    line = {"signal": signal.name, "pid": os.getpid(), "run": run, **_told(payload)}
    if signal.name == "when-ready":
        line["port"] = sender.LISTENERS[0].sock.getsockname()[1]
    descriptor = os.open(
        os.environ["SHOP_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
    )
    with open(descriptor, "a", encoding="utf-8") as notes:
        notes.write(json.dumps(line) + "\n")


def _told(payload: dict[str, t.Any]) -> dict[str, t.Any]:
    told = {
        name: value
        for name, value in payload.items()
        if name in ("is_silent", "new_value", "duration_seconds", "queue_seconds")
    }
    if "requests" in payload:
        told["requests"] = [f"{one.method} {one.path}" for one in payload["requests"]]
        told["exchanges"] = [repr(one.exchange) for one in payload["requests"]]
    if "worker" in payload:
        told["worker"] = payload["worker"].pid
        told["aborted"] = payload["worker"].aborted
    if "req" in payload:
        told["path"] = payload["req"].path
    exchange = payload.get("exchange")
    if exchange is not None:
        told["exchange_path"] = exchange.path
        told["route"] = exchange.route
        told["outcome"] = exchange.outcome
        told["exception"] = type(exchange.exception).__name__
    return told
