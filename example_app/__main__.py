"""Shows a development server: ``python -m example_app`` serves and logs the shop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys

from werkzeug.serving import make_server

from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError

from . import create_app

HOST = "127.0.0.1"

logger = logging.getLogger("example_app")


def main() -> None:
    """Serve the shop until Ctrl-C or SIGTERM; ``PORT`` picks the port."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(name)s %(message)s"
    )
    # The receiver "latency" already logs each request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serve(parse_port(os.environ.get("PORT") or "5000"))


def parse_port(text: str) -> int:
    """Return the port that a text names; 0 lets the system choose one."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 5
    if not is_number or int(text) > 65535:
        sys.exit(f"example_app: PORT must be a number from 0 to 65535, got {text!r}")
    return int(text)


def serve(port: int) -> None:
    """Serve the shop on a port of the local machine."""
    # Werkzeug would exit with its own message if the port is in use.
    try:
        bound = socket.create_server((HOST, port))
    except OSError as error:
        reason = f"cannot serve on {HOST}:{port}: {os.strerror(error.errno or 0)}"
        sys.exit(f"example_app: {reason}; choose another port, as in PORT=8000")
    with bound:
        try:
            app = create_app()
        except ConfigurationError as error:
            sys.exit(f"example_app: {error}")
        server = make_server(HOST, port, app, threaded=True, fd=bound.fileno())
        url = f"http://{HOST}:{server.port}"
        if "live" in enabled_for(app):
            token = os.environ["SHOP_LIVE_TOKEN"]
            logger.info("its live page is %s/_signalpost/#token=%s", url, token)
        logger.info("serving on %s (Ctrl-C stops it)", url)
        server.serve_forever()


if __name__ == "__main__":
    main()
