"""The example shop, and a second process that confirms its orders."""

from __future__ import annotations

import json
import signal
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.example_app.test_main import Server
from tests.example_app.test_main import started
from tests.integrations.relay.brokers import running_redis
from tests.integrations.relay.outboxes import wait_until

RELAYED = ("example_app.relayed",)
TOKEN = "an-anchor-and-a-lantern"


class Visitor:
    """A browser that keeps its cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def ask(self, path: str, **form: str) -> tuple[str, str]:
        """Return where a request has ended, and the page."""
        data = urlencode(form).encode() if form else None
        with self._opener.open(self.url + path, data, timeout=30) as answer:
            return answer.geturl().removeprefix(self.url), answer.read().decode()


def shown_at(url: str) -> set[tuple[str, str, str]]:
    """Return the events on the live page that processes of this minute have."""
    asked = urllib.request.Request(  # ours
        f"{url}/_signalpost/data.json", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:  # ours
        data = json.load(answer)
    return {
        (one["direction"], one["name"], one["party"])
        for one in data["relay"]
        if one["events"]
    }


@pytest.mark.parametrize("has_broker", [False, True])
def test_order_is_confirmed_by_another_process(
    tmp_path: Path, has_broker: bool
) -> None:
    redis = running_redis(tmp_path) if has_broker else iter(())
    server = next(redis, None)
    broker = "" if server is None else server.url
    environment = {"PORT": "0", "RELAY_URL": broker, "SHOP_LIVE_TOKEN": TOKEN}
    try:
        with started(tmp_path, RELAYED, **environment) as process:
            shop = Server(process)
            visitor = Visitor(shop.url)
            visitor.ask("/cart/add", slug="brass-bell", quantity="2")
            path, page = visitor.ask("/orders", unused="")
            assert path == "/orders/1"
            assert "98.00" in page
            wait_until(lambda: "It is confirmed." in visitor.ask(path)[1])
            # An event is recorded after its receiver has confirmed the order.
            relayed = {("received", "order-placed", "confirming")}
            if has_broker:
                relayed.add(("sent", "order-placed", "signalpost_outbox"))
            wait_until(lambda: relayed <= shown_at(shop.url))
            assert shop.stop(signal.SIGTERM) == 0
            assert process.stderr is not None
            log = process.stderr.read()
    finally:
        for _ in redis:
            pass
    assert "confirmed order 1 of example_app: 9800 cents" in log
    assert "Traceback" not in log
