"""The application that gunicorn serves to the tests of the live page."""

from __future__ import annotations

import os
import signal
import time

import flask

from signalpost.integrations.flask import Signalpost

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


@app.get("/sleep/<float:seconds>")
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@app.get("/die")
def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "not dead"


# pytest imports each module, to look for doctests.
if "LIVE_TOKEN" in os.environ:
    Signalpost(app)
