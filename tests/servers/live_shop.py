"""The application that gunicorn serves to the tests of the live page."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import flask

from signalpost.integrations.flask import Signalpost

SECONDS_TO_WAIT = 25.0

app = flask.Flask("shop", instance_path=os.environ.get("SHOP_INSTANCE", "/nowhere"))
app.config["SIGNALPOST_RECEIVERS"] = {
    "live": {"path": "/_signalpost", "token_env": "LIVE_TOKEN"}
}


@app.get("/items/<name>")
def item(name: str) -> str:
    return name


@app.get("/boom")
def boom() -> str:
    raise LookupError("no such thing")


@app.get("/wait")
def wait() -> str:
    """Wait until a test makes the file named ``gate``."""
    gate = Path(app.instance_path, "gate")
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not gate.exists() and time.monotonic() < deadline:
        # A process is not notified of a new file.
        time.sleep(0.02)
    return "waited"


@app.get("/die")
def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "not dead"


# pytest imports each module, to look for doctests.
if "LIVE_TOKEN" in os.environ:
    Signalpost(app)
