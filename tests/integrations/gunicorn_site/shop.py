"""The application that gunicorn serves to the tests."""

from __future__ import annotations

import os
import signal
import typing as t
from collections.abc import Iterator

import flask

from signalpost.integrations.flask import Signalpost
from tests.integrations.gunicorn_site.notes import wait_at_gate

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

app = flask.Flask("shop")


@app.get("/items/<int:number>")
def item(number: int) -> str:
    return f"{number} by {os.getpid()}"


@app.get("/gate")
def gate() -> str:
    """Wait until a test opens."""
    wait_at_gate()
    return "open"


@app.get("/long")
def long() -> t.Any:
    """Begin a body, and wait with the rest."""

    def body() -> Iterator[str]:
        yield "begun"
        wait_at_gate()
        yield "done"

    return flask.Response(body())


@app.get("/stuck")
def stuck() -> str:
    """Ignore SIGABRT, as code that never returns to Python."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})
    wait_at_gate()
    return "free"


Signalpost(app)


def copying(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    """Give the application a copy, and ask it for another page first."""
    app.test_client().get("/items/8", buffered=True)
    return app(dict(environ), start_response)
