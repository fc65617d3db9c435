"""A Flask application with a live page, for the tests that look at it in a browser.

``LIVE_FOLDER`` is where it records, and ``LIVE_TOKEN`` opens the page. ``LIVE_CLOCK``
has a time, and how many times faster the clock of this process is from then on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import typing as t
from collections.abc import Iterator
from datetime import datetime
from datetime import UTC
from urllib.parse import unquote

from flask import current_app
from flask import Flask
from flask import render_template_string
from flask import request
from flask import Response
from sqlalchemy import create_engine
from sqlalchemy import NullPool
from sqlalchemy import text

from signalpost._relaying import open_relays
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.relay import Event
from signalpost.integrations.relay import relay_delayed
from signalpost.integrations.relay import relay_received
from signalpost.integrations.relay import relay_sent
from signalpost.integrations.relay import WrittenEvent
from signalpost.work import work

PATH = "/_signalpost"
REPEATS = 8
SECONDS_TO_WAIT = 20.0


def quicken(begin: float, speed: int) -> None:
    """Let the clock of this process be faster; it measures durations as before."""
    clock = time.time
    vars(time)["time"] = lambda: begin + (clock() - begin) * speed


def new_app(folder: str) -> Flask:
    """Return the application; its page is opened by ``LIVE_TOKEN``."""
    app = Flask(__name__)
    app.config["SIGNALPOST_RECEIVERS"] = {
        "sqlalchemy": True,
        "live": {
            "folder": folder,
            "path": PATH,
            "token_env": "LIVE_TOKEN",
            "slow_seconds": 0.2,
            "with_receivers": True,
            # A browser asks for it by itself where a page names no icon.
            "exclude": ["/favicon.ico"],
        },
    }
    Signalpost(app)
    app.add_url_rule("/items/<int:number>", view_func=item)
    app.add_url_rule("/orders", view_func=orders)
    app.add_url_rule("/page", view_func=page)
    app.add_url_rule("/fail", view_func=fail)
    app.add_url_rule("/slow", view_func=slow)
    app.add_url_rule("/stream", view_func=stream)
    app.add_url_rule("/die", view_func=die)
    app.add_url_rule("/work", view_func=work_now)
    app.add_url_rule("/place", view_func=place)
    return app


def item(number: int) -> str:
    return str(os.getpid())


def orders() -> str:
    """Send a statement for each of several orders."""
    engine = create_engine("sqlite://", poolclass=NullPool)
    with engine.connect() as connection:
        for number in range(REPEATS):
            connection.execute(text("SELECT :n AS total"), {"n": number})  # N+1
    engine.dispose()
    return render_template_string("{{ 1 }}")


def page() -> str:
    """Render a template that the query names."""
    return render_template_string("hello")


def fail() -> t.NoReturn:
    raise LookupError(unquote(request.args.get("message", "no such shelf")))


def slow() -> str:
    threading.Event().wait(0.25)
    return "late"


def stream() -> Response:
    """Send a line a moment until the client leaves."""

    def lines() -> Iterator[str]:
        for _ in range(int(SECONDS_TO_WAIT * 20)):
            yield "line\n" * 200
            threading.Event().wait(0.05)

    return Response(lines(), mimetype="text/plain")


def work_now() -> str:
    """Do units of work, one of which fails; the query names them."""
    name = unquote(request.args.get("name", "pack"))
    with work(name, current_app):
        pass
    try:
        with work(f"{name}-again", current_app):
            raise LookupError("no lorry")
    except LookupError:
        return "done"


def place() -> str:
    """Report events of a relay; the query names them."""
    name = unquote(request.args.get("name", "order-placed"))
    error = LookupError(unquote(request.args.get("message", "no stock")))
    event = Event("7", "shop", name, {}, time=datetime.now(UTC))
    for exception in (error, None):
        relay_received.send(
            SHIPPING, event=event, duration_seconds=0.5, exception=exception
        )
    relay_sent.send(SHOP, event=WrittenEvent("7", name, None, b""))
    open_relays.add(SHOP)
    SHOP.waiting, SHOP.oldest_seconds = int(request.args.get("waiting", "0")), 30.0
    relay_delayed.send(SHOP, waiting=SHOP.waiting, reason="Connection refused")
    return "placed"


class Party:
    """A relay, or a listener, as others see it."""

    sends_later = True
    waiting = sent = dropped = tries = failures = 0
    oldest_seconds = 0.0

    def __init__(self, name: str) -> None:
        self.source = self.group = name

    def flush(self, seconds: float) -> int:
        return self.waiting

    def close(self, seconds: float) -> int:
        return 0


SHOP, SHIPPING = Party("shop"), Party("shipping")


def die() -> t.NoReturn:
    """End this worker as the kernel does if there is no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a signal that cannot be ignored was")


# In a server only: the tests import this module to know its names.
if "LIVE_FOLDER" in os.environ:
    if "LIVE_CLOCK" in os.environ:
        begin, speed = os.environ["LIVE_CLOCK"].split()
        quicken(float(begin), int(speed))
    app = new_app(os.environ["LIVE_FOLDER"])
