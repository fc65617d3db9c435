"""The shop of the live page's tests, counted by Prometheus' receiver, too."""

from __future__ import annotations

import os
from collections.abc import Iterator

import flask

from signalpost.integrations.flask import Signalpost
from tests.servers import live_shop

CHUNK = b"x" * 65_536
CHUNKS = 2_000

app = flask.Flask("counted", instance_path=live_shop.app.instance_path)
app.config["SIGNALPOST_RECEIVERS"] = {
    "live": {
        "path": "/_signalpost",
        "token_env": "LIVE_TOKEN",
        "exclude": ["/metrics"],
    },
    "prometheus": {
        "path": "/metrics",
        "with_scrapes": False,
        "exclude": ["/_signalpost/**"],
    },
}
app.add_url_rule("/items/<name>", view_func=live_shop.item)
app.add_url_rule("/boom", view_func=live_shop.boom)


@app.get("/stream")
def stream() -> flask.Response:
    """Send more than a socket takes, so that a client can leave."""

    def chunks() -> Iterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK

    return flask.Response(chunks(), mimetype="application/octet-stream")


# pytest imports each module, to look for doctests.
if "LIVE_TOKEN" in os.environ:
    Signalpost(app)
