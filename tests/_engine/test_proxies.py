"""Senders behind proxies."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flask import current_app
from flask import Flask
from werkzeug.local import LocalProxy

from signalpost import ANY
from signalpost import named
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import ProxySenderWarning
from signalpost.testing import capture


class Shop:
    """A sender that can die."""


class CallableShop(Shop):
    def __call__(self) -> None: ...


def local(shop: Any) -> Any:
    return LocalProxy(lambda: shop)


def wrapt_proxy(shop: Any) -> Any:
    return pytest.importorskip("wrapt").ObjectProxy(shop)


def twice(shop: Any) -> Any:
    return local(weakref.proxy(shop))


PROXIES: dict[str, Callable[[Any], Any]] = {
    "local": local,
    "weak": weakref.proxy,
    "wrapt": wrapt_proxy,
    "twice": twice,
}
EACH = pytest.mark.parametrize("kind", PROXIES)
SHOPS = pytest.mark.parametrize("shop_class", [Shop, CallableShop])


def receive(sender: Any) -> str:
    return "received"


def give_back(sender: Any) -> list[Any]:
    return [sender]  # in a list, as a dead proxy cannot be compared


def receives(signal: Signal, sender: Any) -> bool:
    return [value for _, value in signal.send(sender)] == ["received"]


@EACH
@SHOPS
def test_object_sends_to_what_is_connected_to_its_proxy(
    kind: str, shop_class: type[Shop]
) -> None:
    signal, shop = Signal(), shop_class()
    signal.connect(receive, sender=PROXIES[kind](shop))
    assert receives(signal, shop)
    assert not receives(signal, shop_class())


@EACH
@SHOPS
def test_proxy_sends_to_what_is_connected_to_its_object(
    kind: str, shop_class: type[Shop]
) -> None:
    signal, shop, other = Signal(), shop_class(), shop_class()
    signal.connect(receive, sender=shop)
    for _ in range(3):
        assert receives(signal, PROXIES[kind](shop))
        assert not receives(signal, PROXIES[kind](other))


@EACH
def test_proxy_sends_to_what_is_connected_to_another_proxy(kind: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=local(shop))
    proxy = PROXIES[kind](shop)
    assert receives(signal, proxy)
    assert [outcome.value for outcome in signal.send_robust(proxy)] == ["received"]


@EACH
def test_proxy_is_asked_for_like_its_object(kind: str) -> None:
    signal, shop = Signal(), Shop()
    proxy = PROXIES[kind](shop)
    signal.connect(receive, sender=shop)
    assert signal.has_receivers_for(proxy)
    assert [*signal.receivers_for(proxy)] == [receive]


@EACH
def test_disconnect_from_a_proxy_is_one_from_its_object(kind: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=shop)
    assert signal.disconnect(receive, sender=PROXIES[kind](shop))
    signal.connect(receive, sender=PROXIES[kind](shop))
    assert signal.disconnect(receive, sender=shop)
    assert not signal.receivers


@EACH
def test_connecting_to_proxy_and_object_is_one_connection(kind: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=PROXIES[kind](shop))
    signal.connect(receive, sender=shop)
    signal.connect(receive, sender=PROXIES[kind](shop))
    assert len(signal.connections) == 1
    assert signal.connections[0].sender is shop


@EACH
def test_object_does_not_live_longer_by_a_connection_to_its_proxy(kind: str) -> None:
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=PROXIES[kind](shop))
    reference = weakref.ref(shop)
    del shop
    gc.collect()
    assert reference() is None
    assert not signal.receivers


@EACH
def test_receiver_gets_what_was_sent(kind: str) -> None:
    signal, shop = Signal(), Shop()
    proxy = PROXIES[kind](shop)
    signal.connect(give_back, sender=shop)
    signal.connect(give_back)
    for sender in (proxy, shop):
        for _, found in signal.send(sender):
            assert found[0] is sender


@EACH
def test_blocks_take_a_proxy(kind: str) -> None:
    signal, shop = Signal(), Shop()
    proxy = PROXIES[kind](shop)
    with (
        signal.connected_to(receive, sender=proxy),
        capture(signal, sender=proxy) as sent,
    ):
        assert (receive, "received") in signal.send(shop)
        with signal.disconnected_from(receive, sender=proxy):
            assert receive not in [receiver for receiver, _ in signal.send(shop)]
    assert len(sent) == 2
    assert not signal.receivers


@EACH
def test_decorator_takes_a_proxy(kind: str) -> None:
    signal, shop = Signal(), Shop()

    @signal.connect_via(PROXIES[kind](shop), once=True)
    def receiver(sender: Any) -> str:
        return "received"

    assert receives(signal, shop)
    assert not receives(signal, shop)


@EACH
def test_namespace_takes_a_proxy(kind: str) -> None:
    def receiver(sender: Any, signal: Any) -> str:
        return "received"

    namespace, shop = Namespace(), Shop()
    proxy = PROXIES[kind](shop)
    namespace.connect(receiver, sender=proxy)
    assert receives(namespace.signal("opened"), shop)
    assert namespace.disconnect(receiver, sender=shop)
    assert not receives(namespace.signal("opened"), proxy)


@EACH
def test_proxy_of_a_named_sender_is_received_by_its_name(kind: str) -> None:
    signal, shop, name = Signal(), Shop(), named("shop behind a proxy")
    name.bind(shop)
    signal.connect(receive, sender=name)
    assert receives(signal, PROXIES[kind](shop))


@pytest.mark.parametrize("proxy", [local, wrapt_proxy])
@pytest.mark.parametrize("value", ["shop", 7])
def test_proxy_of_a_value_is_matched_by_value(proxy: Any, value: Any) -> None:
    signal = Signal()
    signal.connect(receive, sender=proxy(value))
    assert receives(signal, value)
    assert receives(signal, proxy(value))


@pytest.mark.parametrize("proxy", [local, wrapt_proxy])
def test_proxy_of_a_subclass_is_received_with_its_base(proxy: Any) -> None:
    signal = Signal()
    signal.connect(receive, sender=Shop, subclasses=True)
    assert receives(signal, proxy(CallableShop))


@pytest.mark.filterwarnings("error")
def test_proxy_that_can_be_resolved_is_not_reported() -> None:
    signal, app = Signal(), Flask(__name__)
    with app.app_context():
        signal.connect(receive, sender=current_app)
        assert receives(signal, current_app)
    assert receives(signal, app)


def test_proxy_represents_its_object_of_the_moment() -> None:
    signal, one, other = Signal(), Shop(), Shop()
    current = [one]
    proxy: Any = LocalProxy(lambda: current[0])
    signal.connect(receive, sender=proxy)
    current[0] = other
    assert receives(signal, one)
    assert not receives(signal, other)
    assert not receives(signal, proxy)


def dead_weak_proxy() -> Any:
    return weakref.proxy(Shop())


def unbound_current_app() -> Any:
    return current_app


def failing_proxy() -> Any:
    def fail() -> Any:
        raise LookupError("no shop")

    return LocalProxy(fail)


def proxy_of_a_dead_proxy() -> Any:
    return local(dead_weak_proxy())


UNRESOLVED = pytest.mark.parametrize(
    "proxy",
    [dead_weak_proxy, unbound_current_app, failing_proxy, proxy_of_a_dead_proxy],
)


@UNRESOLVED
def test_proxy_that_cannot_be_resolved_is_reported_at_connect(proxy: Any) -> None:
    signal = Signal()
    with pytest.warns(ProxySenderWarning) as warned:
        signal.connect(receive, sender=proxy())
    assert warned[0].filename == __file__
    assert issubclass(ProxySenderWarning, UserWarning)


@UNRESOLVED
def test_proxy_that_cannot_be_resolved_is_reported_by_a_decorator(proxy: Any) -> None:
    signal = Signal()
    with pytest.warns(ProxySenderWarning):
        signal.connect_via(proxy())(receive)


@UNRESOLVED
def test_proxy_that_cannot_be_resolved_may_send(proxy: Any) -> None:
    signal, unresolved = Signal(), proxy()
    signal.connect(receive, sender=Shop)
    signal.connect(receive, sender="shop")
    for _ in range(3):
        assert signal.send(unresolved) == []
        assert signal.send_robust(unresolved) == []
    assert not signal.has_receivers_for(unresolved)
    assert [*signal.receivers_for(unresolved)] == []


@UNRESOLVED
def test_proxy_that_cannot_be_resolved_is_received_by_receivers_of_any(
    proxy: Any,
) -> None:
    signal, unresolved = Signal(), proxy()
    signal.connect(give_back)
    signal.connect(receive, sender=Shop, subclasses=True)
    for _ in range(3):
        ((_, found),) = signal.send(unresolved)
        assert found[0] is unresolved


@UNRESOLVED
def test_disconnect_from_a_proxy_that_cannot_be_resolved_does_nothing(
    proxy: Any,
) -> None:
    signal = Signal()
    signal.connect(receive)
    assert not signal.disconnect(receive, sender=proxy())
    assert receives(signal, "shop")


def test_proxy_that_dies_between_two_sends_is_as_one_that_was_dead() -> None:
    signal, shop = Signal(), Shop()
    proxy = weakref.proxy(shop)
    signal.connect(receive, sender=proxy)
    assert receives(signal, proxy)
    del shop
    gc.collect()
    assert signal.send(proxy) == []
    assert not signal.receivers


def test_function_that_wraps_another_is_no_proxy() -> None:
    def app() -> None: ...

    @functools.wraps(app)
    def wrapper() -> None: ...

    signal = Signal()
    signal.connect(receive, sender=wrapper)
    assert receives(signal, wrapper)
    assert not receives(signal, app)


def test_object_that_has_every_attribute_is_no_proxy() -> None:
    class Everything:
        def __getattr__(self, name: str) -> Any:
            return Shop

    signal, sender = Signal(), Everything()
    signal.connect(receive, sender=sender)
    assert receives(signal, sender)
    assert not receives(signal, Shop)
    assert not receives(signal, Everything())


def test_object_whose_attributes_raise_is_no_proxy() -> None:
    class Nothing:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    signal, sender = Signal(), Nothing()
    signal.connect(receive, sender=sender)
    assert receives(signal, sender)
    assert not receives(signal, Nothing())
    assert not signal.has_receivers_for(ANY)


@pytest.mark.filterwarnings("error")
def test_object_of_a_class_that_answers_everything_is_no_proxy() -> None:
    class Answering(type):
        def __getattr__(cls, name: str) -> Any:
            return lambda *_: None

    class Eager(metaclass=Answering): ...

    signal, shop = Signal(), Eager()
    signal.connect(receive, sender=shop)
    assert receives(signal, shop)
    assert not receives(signal, Eager())


class Reference:
    """A proxy of a type that nothing has seen yet."""

    def __init__(self, shop: object) -> None:
        self.shop = shop

    def _get_current_object(self) -> object:
        return self.shop


@pytest.mark.parametrize("kind", ["object", "wrapt"])
def test_first_proxy_of_its_type_sends_to_what_is_connected_to_its_object(
    kind: str,
) -> None:
    base: type[Any] = Reference
    if kind == "wrapt":
        base = pytest.importorskip("wrapt").ObjectProxy
    signal, shop = Signal(), Shop()
    signal.connect(receive, sender=shop)
    # From here on, senders without their own receivers have a cached route.
    assert not receives(signal, Shop())
    first, second, third = (type("New", (base,), {})(shop) for _ in range(3))
    assert receives(signal, first)
    assert signal.has_receivers_for(second)
    assert signal.send_robust(third) == [(receive, "received")]
