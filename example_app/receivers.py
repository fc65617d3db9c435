"""Shows the shop's own receivers; ``signalpost.toml`` enables them by their path."""

from __future__ import annotations

import logging

from flask import Flask
from jinja2 import Template

logger = logging.getLogger("example_app")


def log_template(_app: Flask, *, template: Template, **_extra: object) -> None:
    """Log the name of the template that was rendered."""
    logger.info("rendered %s", template.name)


def log_message(_app: Flask, *, message: str, category: str, **_extra: object) -> None:
    """Log the message that is shown to the visitor."""
    logger.info("flashed %s: %r", category, message)
