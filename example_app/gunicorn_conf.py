"""Shows gunicorn's settings for the shop, and what it says of its workers.

``gunicorn --config example_app/gunicorn_conf.py`` serves it; ``PORT`` picks the port.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from typing import Any

from signalpost import NamedSignal
from signalpost.integrations.gunicorn import install_server_hooks
from signalpost.integrations.gunicorn import server_signals

wsgi_app = "example_app:create_app()"
bind = f"127.0.0.1:{os.environ.get('PORT') or '5000'}"
workers = 2
loglevel = "warning"

# One key for all workers, as each of them makes the application for itself.
os.environ.setdefault("SHOP_SECRET_KEY", f"shop-{secrets.token_hex()}")

logging.basicConfig(
    stream=sys.stdout, level=logging.INFO, format="[%(process)d] %(name)s %(message)s"
)
logger = logging.getLogger("example_app")


@server_signals.connect
def log_server(sender: Any, signal: NamedSignal, **payload: Any) -> None:
    """Log what becomes of server and workers; requests have receivers of their own."""
    if signal.name in ("pre-request", "post-request"):
        return
    worker: Any = payload.get("worker")
    if signal.name == "when-ready":
        logger.info("serving on %s (Ctrl-C stops it)", sender.LISTENERS[0])
    elif signal.name == "child-exit" and payload["is_silent"]:
        paths = [request.path for request in payload["requests"]]
        logger.error("worker %s died without a word, in %a", worker.pid, paths)
    else:
        logger.info("%s%s", signal.name, f" worker {worker.pid}" if worker else "")


install_server_hooks(globals())
