"""Shows gunicorn settings that log the workers and combine their metrics.

``gunicorn --config example_app/gunicorn_conf.py`` serves the shop; ``PORT`` sets the
port.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from typing import Any

from signalpost import NamedSignal
from signalpost.integrations.gunicorn import install_server_hooks
from signalpost.integrations.gunicorn import server_signals
from signalpost.integrations.prometheus import GunicornMetrics
from signalpost.integrations.prometheus import merge_worker

METRICS = "shop-metrics-"

wsgi_app = "example_app:create_app()"
bind = f"127.0.0.1:{os.environ.get('PORT') or '5000'}"
workers = 2
loglevel = "warning"

# Each worker creates its own application; these must be the same in all of them.
os.environ.setdefault("SHOP_SECRET_KEY", f"shop-{secrets.token_hex()}")
os.environ.setdefault("SHOP_LIVE_TOKEN", secrets.token_urlsafe())

# gunicorn reads this file again on SIGHUP; the metrics must then stay in their folder.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=METRICS)

logging.basicConfig(
    stream=sys.stdout, level=logging.INFO, format="[%(process)d] %(name)s %(message)s"
)
logger = logging.getLogger("example_app")


@server_signals.connect
def log_server(sender: Any, signal: NamedSignal, **payload: Any) -> None:
    """Log when the server and its workers start and exit, but not each request."""
    if signal.name in ("pre-request", "post-request"):
        return
    worker: Any = payload.get("worker")
    if signal.name == "when-ready":
        url, token = sender.LISTENERS[0], os.environ["SHOP_LIVE_TOKEN"]
        logger.info("its live page is %s/_signalpost/#token=%s", url, token)
        logger.info("serving on %s (Ctrl-C stops it)", url)
    elif signal.name == "child-exit" and payload["is_silent"]:
        paths = [request.path for request in payload["requests"]]
        logger.error("worker %s ended without a signal, in %a", worker.pid, paths)
    else:
        logger.info("%s%s", signal.name, f" worker {worker.pid}" if worker else "")
    directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    if signal.name == "on-exit" and os.path.basename(directory).startswith(METRICS):
        shutil.rmtree(directory)


server_signals["child-exit"].connect(merge_worker)
GunicornMetrics().connect(server_signals)
install_server_hooks(globals(), queue_header="X-Request-Start")
