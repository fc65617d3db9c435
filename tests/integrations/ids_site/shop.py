"""An application of two blueprints, whose lines go to a file as JSON."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import flask

from signalpost.integrations.flask import Signalpost
from signalpost.receivers.context import ContextFilter
from signalpost.receivers.formats import JsonFormatter

log = logging.getLogger("shop")
pool = ThreadPoolExecutor(4)

mugs = flask.Blueprint("mugs", __name__, url_prefix="/mugs")
orders = flask.Blueprint("orders", __name__, url_prefix="/orders")


@mugs.get("/<int:number>")
def mug(number: int) -> flask.Response:
    log.info("view %d", number)
    work = pool.submit(copy_context().run, log.info, "thread %d", number)
    work.result()

    def body() -> list[str]:
        log.info("body %d", number)
        return ["mug"]

    return flask.Response(chunk for chunk in body())


@orders.get("/<int:number>")
def order(number: int) -> str:
    log.info("view %d", number)
    for _ in pool.map(
        lambda context: context.run(log.info, "thread %d", number),
        [copy_context(), copy_context()],
    ):
        pass
    raise LookupError(number)


@mugs.post("/<int:number>")
@orders.post("/<int:number>")
def pack(number: int) -> str:
    # Only the test of Celery gives a broker.
    from .jobs import packing

    log.info("view %d", number)
    pool.submit(copy_context().run, log.info, "thread %d", number).result()
    packing.delay(number)
    return "accepted"


@orders.errorhandler(LookupError)
def missing(error: LookupError) -> tuple[str, int]:
    log.info("error %s", error)
    return "none", 404


def create_app() -> flask.Flask:
    """Return the application, with its id in responses and on lines."""
    handler = logging.FileHandler(os.environ["LINES"])
    handler.addFilter(ContextFilter())
    handler.setFormatter(JsonFormatter())
    for name in ("shop", "signalpost"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    app = flask.Flask("shop")
    app.register_blueprint(mugs)
    app.register_blueprint(orders)
    app.config["SIGNALPOST_RECEIVERS"] = {"id-header": True, "latency": True}
    Signalpost(app)
    return app


app = create_app() if "LINES" in os.environ else None
