from __future__ import annotations

import sys
import types
import typing as t
from collections.abc import Mapping

import pytest

from signalpost import Namespace
from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.exchange import Exchange
from tests.config.loading import load
from tests.config.loading import refusal
from tests.config.loading import Write
from tests.config.receivers import received_by_record
from tests.config.receivers import Shop
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

own = Namespace()
order_placed = own.signal("order-placed")
basket_filled = own.signal("basket-filled", payload=("exchange",))


class Stock:
    """A receiver of signals of signalpost and of its module."""

    signals: t.ClassVar[Mapping[str, str]] = {
        "exchange-closed": "closed",
        "shop_events:order_placed": "placed",
        "shop_events:more.basket_filled": "filled",
    }

    def __init__(self) -> None:
        self.noted: list[str] = []

    def closed(self, sender: object, *, exchange: Exchange) -> None:
        self.noted.append(f"closed {exchange.path}")

    def placed(self, sender: object, **payload: t.Any) -> None:
        self.noted.append(f"placed {sender} {payload}")

    def filled(self, sender: object) -> None:
        self.noted.append("filled")


@pytest.fixture(autouse=True)
def shop_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a path such as ``shop_events:order_placed`` name one of the signals."""
    module: t.Any = types.ModuleType("shop_events")
    module.order_placed = order_placed
    module.more = types.SimpleNamespace(basket_filled=basket_filled)
    module.Stock = Stock
    module.nothing = None
    monkeypatch.setitem(sys.modules, "shop_events", module)


def test_a_receiver_is_given_a_signal_by_its_path() -> None:
    enabled = load({"here:record": {"signal": "shop_events:order_placed"}})
    assert enabled["here:record"].signals == ("shop_events:order_placed",)
    order_placed.send("till", order=3)
    enabled.disable_all()
    order_placed.send("till", order=4)
    assert received_by_record == ["till"]
    assert not order_placed.receivers


def test_a_file_names_a_signal_by_its_path(write: Write) -> None:
    shop = Shop()
    for name, text in {
        "a.toml": '"here:record" = {signal = "shop_events:order_placed"}',
        "a.ini": "here:record =\n  signal = shop_events:order_placed",
    }.items():
        path = write(name, f"[signalpost.receivers]\n{text}\n")
        enabled = Configuration.from_file(path).load(shop)
        order_placed.send(name)
        enabled.disable_all()
    assert received_by_record == ["a.toml", "a.ini"]


def test_a_class_may_receive_signals_of_both_kinds() -> None:
    shop = Shop()
    enabled = load({"shop_events:Stock": True}, shop)
    Server().serve(SignalMiddleware(hello, sender=shop), path="/a")
    order_placed.send("till")
    basket_filled.send("basket", exchange=None)
    noted = enabled["shop_events:Stock"].receiver.noted
    enabled.disable_all()
    assert noted == ["closed /a", "placed till {}", "filled"]
    assert not order_placed.receivers
    assert not basket_filled.receivers


def test_an_exchange_of_another_application_is_not_received() -> None:
    shop, other = Shop(), Shop()
    enabled = load({"shop_events:Stock": True}, shop)
    basket_filled.send("basket", exchange=Exchange({}, other))
    basket_filled.send("basket", exchange=Exchange({}, shop))
    noted = enabled["shop_events:Stock"].receiver.noted
    enabled.disable_all()
    assert noted == ["filled"]


def test_a_wrong_receiver_leaves_no_connection_to_a_signal_of_ones_own() -> None:
    refusal({"here:record": {"signal": "shop_events:order_placed"}, "latncy": True})
    assert not order_placed.receivers


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shop_events:order_place", "no 'order_place'; did you mean 'order_placed'?"),
        ("shop_event:order_placed", "module 'shop_event' cannot be imported"),
        ("shop_events:nothing", "'shop_events:nothing' must be a signal, got None"),
        ("shop_events:Stock", "must be a signal, got <Stock>; create one with"),
        ("flask:request_started", "must be a signal, got <NamedSignal>"),
        ("order-placed", "write your own as package.module:object"),
    ],
)
def test_what_is_no_signal_is_refused(path: str, message: str) -> None:
    assert message in str(refusal({"here:record": {"signal": path}}))
