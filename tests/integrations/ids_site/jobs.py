"""Tasks of Celery, which have the ids of requests."""

from __future__ import annotations

import logging
import os
import typing as t

from celery import Celery

from signalpost.integrations.celery import connect_celery
from signalpost.receivers.context import ContextRecordFactory
from signalpost.receivers.formats import JsonFormatter

BROKER = os.environ.get("BROKER")

log = logging.getLogger("shop.jobs")

queue = Celery("shop")
queue.conf.update(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": BROKER,
        "data_folder_out": BROKER,
        "control_folder": f"{BROKER}/control",
        "store_processed": True,
        "processed_folder": f"{BROKER}/processed",
    },
    task_ignore_result=True,
    worker_enable_remote_control=False,
)


def pack(number: int) -> None:
    """Log a line, and send another task."""
    log.info("packed %d", number)
    shipping.delay(number)


def ship(task: t.Any, number: int) -> None:
    """Log a line, at the second try."""
    if not task.request.retries:
        log.info("tried %d", number)
        raise task.retry(countdown=0)
    log.info("shipped %d", number)


packing = queue.task(name="pack")(pack)
shipping = queue.task(name="ship", bind=True)(ship)


def write_lines() -> None:
    """Write the lines of a worker to the file that the server writes to."""
    logging.setLogRecordFactory(ContextRecordFactory())
    handler = logging.FileHandler(os.environ["LINES"])
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)


# A collection of doctests imports this, too.
if BROKER is not None:
    connect_celery(queue)
if "WORKER" in os.environ:
    write_lines()
