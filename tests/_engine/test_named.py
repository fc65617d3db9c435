"""Senders by name, which receivers may know before there are any."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import flask
import pytest

from signalpost import ANY
from signalpost import named
from signalpost import Signal
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import request_started

_numbers = itertools.count()


class Shop:
    """A sender that can die."""


@pytest.fixture
def name() -> str:
    """Return a name that no other test uses."""
    return f"shop {next(_numbers)}"


def receive(sender: Any, **extra: Any) -> str:
    return "received"


def receive_another(sender: Any, **extra: Any) -> str:
    return "another"


def values_sent(signal: Signal, sender: Any) -> list[str]:
    return [value for _, value in signal.send(sender)]


def test_sender_bound_after_connecting_is_received(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    assert values_sent(signal, shop) == []
    assert not signal.has_receivers_for(shop)
    named(name).bind(shop)
    for _ in range(3):
        assert values_sent(signal, shop) == ["received"]
    assert signal.has_receivers_for(shop)
    assert list(signal.receivers_for(shop)) == [receive]


def test_sender_bound_before_connecting_is_received(name: str) -> None:
    signal, shop = Signal(), Shop()
    named(name).bind(shop)
    gc.collect()
    assert values_sent(signal, shop) == []
    signal.connect(receive, sender=named(name))
    assert values_sent(signal, shop) == ["received"]


def test_others_are_not_received(name: str) -> None:
    signal, shop = Signal(), Shop()
    named(name).bind(shop)
    signal.connect(receive, sender=named(name))
    for sender in (Shop(), None, name, 7, ANY):
        assert values_sent(signal, sender) == []
        assert not signal.has_receivers_for(sender)


def test_senders_of_one_name_are_all_received(name: str) -> None:
    signal = Signal()
    shops = [Shop() for _ in range(3)]
    named(name).bind(shops[0])
    signal.connect(receive, sender=named(name))
    for shop in shops[1:]:
        named(name).bind(shop)
    assert [values_sent(signal, shop) for shop in shops] == [["received"]] * 3
    assert named(name).senders == shops


def test_names_of_one_sender_are_all_received(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    signal.connect(receive_another, sender=named(name + " again"))
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["received"]
    named(name + " again").bind(shop)
    assert values_sent(signal, shop) == ["received", "another"]


def test_receiver_of_a_name_and_of_its_sender_is_called_once(name: str) -> None:
    signal, shop = Signal(), Shop()
    named(name).bind(shop)
    signal.connect(receive)
    signal.connect(receive, sender=named(name))
    signal.connect(receive, sender=shop)
    assert values_sent(signal, shop) == ["received"]


def test_order_is_that_of_connecting(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive_another, sender=named(name))
    signal.connect(receive, sender=shop)
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["another", "received"]


def test_binding_twice_changes_nothing(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    named(name).bind(shop)
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["received"]
    assert named(name).senders == [shop]


def test_disconnect_by_name_before_there_is_a_sender(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    assert signal.disconnect(receive, sender=named(name))
    assert not signal.receivers
    named(name).bind(shop)
    assert values_sent(signal, shop) == []


def test_disconnect_by_name_afterwards(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["received"]
    assert signal.disconnect(receive, sender=named(name))
    assert values_sent(signal, shop) == []
    assert not signal.has_receivers_for(shop)


def test_disconnect_by_the_sender(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    assert not signal.disconnect(receive, sender=shop)
    named(name).bind(shop)
    assert signal.disconnect(receive, sender=shop)
    assert values_sent(signal, shop) == []
    assert not signal.receivers


def test_disconnect_from_all_is_one_from_the_name(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    named(name).bind(shop)
    assert signal.disconnect(receive)
    assert values_sent(signal, shop) == []


def test_connection_outlives_the_sender(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["received"]
    del shop
    gc.collect()
    assert named(name).senders == []
    shop = Shop()
    assert values_sent(signal, shop) == []
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["received"]


def test_object_at_the_address_of_a_dead_sender_is_not_received(name: str) -> None:
    signal = Signal()
    signal.connect(receive, sender=named(name))
    addresses = set()
    for _ in range(100):
        shop = Shop()
        addresses.add(id(shop))
        assert values_sent(signal, shop) == []
        named(name).bind(shop)
        assert values_sent(signal, shop) == ["received"]
        del shop
    assert len(addresses) < 100, "no address was used again, so nothing is proved"


def test_sender_is_not_kept_alive(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    named(name).bind(shop)
    signal.send(shop)
    reference = weakref.ref(shop)
    del shop
    gc.collect()
    assert reference() is None


def test_one_name_is_one_object_while_its_sender_lives(name: str) -> None:
    shop = Shop()
    named(name).bind(shop)
    gc.collect()
    assert named(name).senders == [shop]


def test_one_name_is_one_object_while_something_is_connected(name: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=named(name))
    gc.collect()
    named(name).bind(shop)
    assert values_sent(signal, shop) == ["received"]


def test_unused_name_is_forgotten(name: str) -> None:
    reference = weakref.ref(named(name))
    gc.collect()
    assert reference() is None


def test_name_does_not_keep_a_signal_alive(name: str) -> None:
    signal, shop = Signal(), Shop()
    named(name).bind(shop)
    signal.connect(receive, sender=named(name))
    signal.send(shop)
    reference = weakref.ref(signal)
    del signal
    gc.collect()
    assert reference() is None
    named(name).bind(Shop())


def test_class_may_be_a_sender_of_a_name(name: str) -> None:
    signal = Signal()
    signal.connect(receive, sender=named(name))
    named(name).bind(Shop)
    assert values_sent(signal, Shop) == ["received"]
    assert values_sent(signal, Shop()) == []


def test_one_call_is_one_for_all_senders_of_a_name(name: str) -> None:
    signal = Signal()
    shops = [Shop(), Shop()]
    signal.connect(receive, sender=named(name), once=True)
    for shop in shops:
        named(name).bind(shop)
    assert [values_sent(signal, shop) for shop in shops] == [["received"], []]


def test_block_may_wait_for_a_name(name: str) -> None:
    signal, shop = Signal(), Shop()
    with signal.connected_to(receive, sender=named(name)):
        named(name).bind(shop)
        assert values_sent(signal, shop) == ["received"]
    assert values_sent(signal, shop) == []


def test_connection_shows_the_name_it_waits_for(name: str) -> None:
    signal = Signal()
    signal.connect(receive, sender=named(name))
    (connection,) = signal.connections
    assert connection.sender is named(name)
    assert repr(connection.sender) == f"named({name!r})"


@pytest.mark.parametrize("sender", ["app", 7, None, (1, 2), object()])
def test_sender_that_cannot_be_weakly_referenced_is_refused(
    sender: Any, name: str
) -> None:
    with pytest.raises(TypeError, match="weakly referenceable"):
        named(name).bind(sender)
    assert named(name).senders == []


@pytest.mark.parametrize("wrong", [7, None, b"shop", ("shop",)])
def test_name_that_is_no_string_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="must be a string"):
        named(wrong)


def test_application_of_a_factory_is_received_by_its_name() -> None:
    def create_app() -> flask.Flask:
        app = flask.Flask("shop")
        Signalpost(app)
        return app

    received = []

    @request_started.connect_via(named("shop"))
    def note(app: flask.Flask) -> None:
        received.append(app)

    try:
        apps = [create_app(), create_app()]
        other = flask.Flask("other shop")
        Signalpost(other)
        for app in (*apps, other):
            app.test_client().get("/")
    finally:
        request_started.disconnect(note)
    assert received == apps
