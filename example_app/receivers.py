"""Shows receivers of the shop's own; ``signalpost.toml`` enables them by their path."""

from __future__ import annotations

import logging

from flask import Flask
from jinja2 import Template

logger = logging.getLogger("example_app")


def log_template(_app: Flask, *, template: Template, **_extra: object) -> None:
    """Log which template a page was made from."""
    logger.info("rendered %s", template.name)


def log_message(_app: Flask, *, message: str, category: str, **_extra: object) -> None:
    """Log the message that a visitor is shown."""
    logger.info("flashed %s: %r", category, message)
