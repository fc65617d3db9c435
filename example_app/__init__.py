"""Shows an application factory that adds signalpost to a Flask application."""

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
        The SQLite file, created and filled at the first start. A relative path is
        relative to the instance folder.
    ``SECRET_KEY``
        Signs the cookie that holds the cart. The default is new in each process.
    ``SIGNALPOST_CONFIG``
        The file that names the receivers. The default is ``signalpost.toml`` in this
        folder; a relative path is relative to this folder. ``None`` enables none.

    The environment variable ``SHOP_LIVE_TOKEN`` is the token of the live page. The
    default is new in each process.

    :param config: Settings; they take precedence over environment variables such as
        ``SHOP_SIGNALPOST_CONFIG``.
    :raises ConfigurationError: If a receiver cannot be enabled.
    """
    # This does nothing if logging is configured already.
    logging.basicConfig(level=logging.INFO)
    app = Flask(__name__)
    app.config.from_mapping(
        DATABASE="shop.sqlite",
        MAX_CONTENT_LENGTH=64 * 1024,
        SECRET_KEY=secrets.token_hex(),
        # Browsers then send no cart with a form that another site submits.
        SESSION_COOKIE_SAMESITE="Lax",
        SIGNALPOST_CONFIG="signalpost.toml",
    )
    app.config.from_prefixed_env("SHOP")
    app.config.from_mapping(config)
    os.environ.setdefault("SHOP_LIVE_TOKEN", secrets.token_urlsafe())
    # Before the database, so that a mistake in the configuration creates no files.
    Signalpost(app)
    app.jinja_env.globals["has_live_page"] = "live" in enabled_for(app)
    if "failures" in enabled_for(app):
        # Otherwise Flask logs the same traceback a second time.
        app.logger.addFilter(_has_no_exception)
    init_database(app)
    # With an outbox, the shop writes to its own database and never waits for a broker.
    relay = Relay(
        source="shop", sends="outbox", outbox=OUTBOX, session_of=current_session
    )
    app.extensions["relay"] = relay.forward(order_placed, sender=app)
    app.register_blueprint(shop)
    return app


def _has_no_exception(record: logging.LogRecord) -> bool:
    return not record.exc_info
