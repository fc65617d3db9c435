"""Shows an application factory that puts signalpost into a Flask application."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping

from flask import Flask

from signalpost.config import enabled_for
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.relay import Relay

from .database import current_session
from .database import init_database
from .database import OUTBOX
from .events import order_placed
from .shop import shop


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Return a shop that signalpost instruments.

    ``DATABASE``
        The SQLite file, made and filled at the first start. A relative path starts
        in the instance folder.
    ``SECRET_KEY``
        Signs the cookie that holds the cart. Unless given, it is new in each process.
    ``SIGNALPOST_CONFIG``
        The file that names the receivers; ``signalpost.toml`` beside this one unless
        given. A relative path starts here, and ``None`` is for no receivers.

    The environment variable ``SHOP_LIVE_TOKEN`` opens the live page. Unless given, it
    is new in each process.

    :param config: Settings; they win over ``SHOP_*`` environment variables, as
        ``SHOP_SIGNALPOST_CONFIG``.
    :raises ConfigurationError: If a receiver cannot be enabled.
    """
    # Only if nothing has set up logging yet, as under ``flask run``.
    logging.basicConfig(level=logging.INFO)
    app = Flask(__name__)
    app.config.from_mapping(
        DATABASE="shop.sqlite",
        MAX_CONTENT_LENGTH=64 * 1024,
        SECRET_KEY=secrets.token_hex(),
        # A form that another site sends here comes without the cart.
        SESSION_COOKIE_SAMESITE="Lax",
        SIGNALPOST_CONFIG="signalpost.toml",
    )
    app.config.from_prefixed_env("SHOP")
    app.config.from_mapping(config)
    # What opens the live page; behind a server of several workers one for all of them.
    os.environ.setdefault("SHOP_LIVE_TOKEN", secrets.token_urlsafe())
    # First, so that a mistake in its configuration leaves no files behind.
    Signalpost(app)
    app.jinja_env.globals["has_live_page"] = "live" in enabled_for(app)
    if "failures" in enabled_for(app):
        # Flask's own log of an exception would repeat the same.
        app.logger.addFilter(_is_no_exception)
    init_database(app)
    # The shop writes into its own database only, so it never waits for a broker.
    relay = Relay(
        source="shop", sends="outbox", outbox=OUTBOX, session_of=current_session
    )
    app.extensions["relay"] = relay.forward(order_placed, sender=app)
    app.register_blueprint(shop)
    return app


def _is_no_exception(record: logging.LogRecord) -> bool:
    return not record.exc_info
