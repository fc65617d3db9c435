"""Shows every receiver of the shop: the one file to change or remove."""

from __future__ import annotations

import logging

from flask import Flask
from jinja2 import Template

from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import template_rendered
from signalpost.receivers.latency import log_latency
from signalpost.receivers.referrers import log_referrer

logger = logging.getLogger("example_app")


def connect_receivers(app: Flask) -> None:
    """Connect the shop's receivers to what this application sends."""
    request_started.connect(log_referrer, app)
    exchange_closed.connect(log_latency, app)
    template_rendered.connect(log_template, app)
    message_flashed.connect(log_message, app)
    got_request_exception.connect(log_failure, app)


def log_template(_app: Flask, *, template: Template, **_extra: object) -> None:
    """Log which template a page was made from."""
    logger.info("rendered %s", template.name)


def log_message(_app: Flask, *, message: str, category: str, **_extra: object) -> None:
    """Log what a visitor is told."""
    logger.info("flashed %s: %r", category, message)


def log_failure(
    _app: Flask, *, exception: BaseException, exchange: Exchange, **_extra: object
) -> None:
    """Log which page failed, and of what."""
    page = exchange.route or "before any page"
    kind = type(exception).__name__
    logger.warning("failed %s %s: %s", exchange.method, page, kind)
