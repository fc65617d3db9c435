"""Receivers that live as long as the sender that they are connected to."""

from __future__ import annotations

import gc
import typing as t
import warnings
import weakref
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread

import pytest

from signalpost import named
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import receiver as receives
from signalpost import Signal
from signalpost._engine.cleanup import deaths
from signalpost._engine.keeping import keeper_for
from signalpost._engine.kept import Keeper
from signalpost.testing import restored


class Shop:
    """A sender that keeps its receivers."""

    keeper: Keeper | None = None


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, sender: object) -> None:
        self.calls += 1

    def note(self, sender: object) -> None:
        self.calls += 1


def shop_that_keeps() -> Shop:
    shop = Shop()
    shop.keeper = keeper_for(shop)
    return shop


@contextmanager
def collected_by_count() -> Generator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(autouse=True)
def no_deaths() -> None:
    deaths.clear()


def by_connect(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    def function(sender: object) -> str:
        return "called"

    signal.connect(function, sender)
    return weakref.ref(function)


def by_connect_via(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    @signal.connect_via(sender, weak=True)
    def function(sender: object) -> str:
        return "called"

    return weakref.ref(function)


def by_decorator(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    @receives(signal, sender=sender)
    def function(sender: object) -> str:
        return "called"

    return weakref.ref(function)


def inline(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    counter = [Counter()]
    found = weakref.ref(counter[0])
    signal.connect(counter.pop(), sender)
    return found


def by_method(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    counter = Counter()
    signal.connect(counter.note, sender)
    return weakref.ref(counter)


def by_uid(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    def function(sender: object) -> str:
        return "called"

    signal.connect(function, sender, dispatch_uid="uid")
    return weakref.ref(function)


def by_replace(signal: Signal, sender: object) -> weakref.ref[t.Any]:
    by_uid(signal, sender)

    def function(sender: object) -> str:
        return "called"

    signal.connect(function, sender, dispatch_uid="uid", replace=True)
    return weakref.ref(function)


WAYS = [by_connect, by_connect_via, by_decorator, by_method, by_uid, by_replace, inline]
Way = Callable[[Signal, object], "weakref.ref[t.Any]"]
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
def test_a_receiver_of_a_sender_that_keeps_it_lives_as_long(way: Way) -> None:
    signal, shop = Signal(), shop_that_keeps()
    with collected_by_count():
        found = way(signal, shop)
        assert found() is not None
        assert len(signal.send(shop)) == 1
        del shop
        assert found() is None
        assert not signal.receivers
    assert not deaths


@pytest.mark.parametrize("way", [by_connect, by_method, by_uid, by_connect_via])
def test_a_receiver_connected_before_is_kept_from_then_on(way: Way) -> None:
    signal, shop = Signal(), Shop()
    held: list[object] = []

    def hold(signal: Signal, receiver: object, **extra: object) -> None:
        held.append(receiver)

    signal.receiver_connected.connect(hold)
    found = way(signal, shop)
    shop.keeper = keeper_for(shop)
    held.clear()
    assert found() is not None
    assert len(signal.send(shop)) == 1


@each_way
def test_a_receiver_of_a_name_of_the_sender_is_kept(way: Way) -> None:
    signal, shop = Signal(), Shop()
    name = named("a shop that keeps")
    name.bind(shop)
    shop.keeper = keeper_for(shop)
    found = way(signal, name)
    assert found() is not None
    assert len(signal.send(shop)) == 1


def test_a_whole_namespaces_receiver_of_the_sender_is_kept() -> None:
    space, shop = Namespace(), shop_that_keeps()
    placed, paid = space.signal("placed"), space.signal("paid")
    calls: list[object] = []

    def set_up() -> weakref.ref[t.Any]:
        def note(sender: object, signal: NamedSignal) -> None:
            calls.append(signal)

        space.connect(note, shop)
        return weakref.ref(note)

    found = set_up()
    for signal in (placed, paid):
        signal.send(shop)
    assert calls == [placed, paid]
    receiver = found()
    assert receiver is not None
    space.disconnect(receiver, shop)
    del receiver
    assert found() is None


def disconnected(signal: Signal, shop: Shop, receiver: t.Any) -> None:
    signal.disconnect(receiver, shop)


def disconnected_from_all(signal: Signal, shop: Shop, receiver: t.Any) -> None:
    signal.disconnect(receiver)


def all_disconnected(signal: Signal, shop: Shop, receiver: t.Any) -> None:
    signal.disconnect_all()


def cleared(signal: Signal, shop: Shop, receiver: t.Any) -> None:
    signal._clear_state()


@pytest.mark.parametrize(
    "end", [disconnected, disconnected_from_all, all_disconnected, cleared]
)
@pytest.mark.parametrize("way", [by_connect, by_connect_via])
def test_disconnecting_releases_a_kept_receiver(
    end: Callable[[Signal, Shop, t.Any], None], way: Way
) -> None:
    signal, shop = Signal(), shop_that_keeps()
    with collected_by_count():
        found = way(signal, shop)
        end(signal, shop, found())
        assert found() is None
    assert shop.keeper is not None
    assert len(shop.keeper) == 0


def test_a_receiver_for_a_single_call_is_released_after_it() -> None:
    signal, shop = Signal(), shop_that_keeps()

    def set_up() -> weakref.ref[t.Any]:
        def function(sender: object) -> str:
            return "called"

        signal.connect(function, shop, once=True)
        return weakref.ref(function)

    with collected_by_count():
        found = set_up()
        assert [value for _, value in signal.send(shop)] == ["called"]
        assert signal.send(shop) == []
        assert found() is None


def test_a_receiver_that_another_replaces_is_released() -> None:
    signal, shop = Signal(), shop_that_keeps()
    with collected_by_count():
        first = by_uid(signal, shop)
        second = by_replace(signal, shop)
        assert (first(), second() is None) == (None, False)
    assert shop.keeper is not None
    assert len(shop.keeper) == 1


def test_what_a_block_restores_is_kept_again() -> None:
    signal, shop = Signal(), shop_that_keeps()
    found = by_connect(signal, shop)
    with restored(signal):
        signal.disconnect_all()
        assert signal.send(shop) == []
    assert found() is not None
    assert len(signal.send(shop)) == 1
    with signal.disconnected_from(t.cast("t.Any", found()), shop):
        assert signal.send(shop) == []
    assert len(signal.send(shop)) == 1
    assert shop.keeper is not None
    assert len(shop.keeper) == 1


def test_a_receiver_connected_within_its_block_is_kept_after_it() -> None:
    signal, shop = Signal(), shop_that_keeps()

    def set_up() -> weakref.ref[t.Any]:
        def function(sender: object) -> str:
            return "called"

        with signal.connected_to(function, shop):
            signal.connect(function, shop)
        return weakref.ref(function)

    found = set_up()
    assert found() is not None
    assert len(signal.send(shop)) == 1


def test_a_receiver_of_any_sender_stays_weak() -> None:
    signal, shop = Signal(), shop_that_keeps()
    with collected_by_count():
        assert by_connect(signal, Signal.ANY)() is None
        assert by_connect(signal, Shop())() is None
    assert signal.send(shop) == []


def test_no_warning_is_given_for_what_a_sender_keeps() -> None:
    signal, shop = Signal(), shop_that_keeps()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signal.connect(Counter(), shop)
        signal.connect(Counter().note, shop)
        signal.connect(lambda sender: None, shop)
    assert len(signal.send(shop)) == 3


def test_a_receiver_that_refers_to_its_sender_goes_with_it() -> None:
    signal, shop = Signal(), shop_that_keeps()
    shop_reference = weakref.ref(shop)

    def set_up(shop: Shop) -> weakref.ref[t.Any]:
        def function(sender: object) -> Shop:
            return shop

        signal.connect(function, shop)
        return weakref.ref(function)

    found = set_up(shop)
    del shop
    gc.collect()
    assert (shop_reference(), found()) == (None, None)
    assert not signal.receivers
    assert not deaths


def test_a_sender_that_lets_go_of_its_keeper_keeps_nothing() -> None:
    signal, shop = Signal(), shop_that_keeps()
    with collected_by_count():
        found = by_connect(signal, shop)
        shop.keeper = None
        assert found() is None
        assert by_connect(signal, shop)() is None


def test_two_signals_keep_one_receiver_until_both_are_disconnected() -> None:
    one, other, shop = Signal(), Signal(), shop_that_keeps()

    def set_up() -> weakref.ref[t.Any]:
        def function(sender: object) -> str:
            return "called"

        one.connect(function, shop)
        other.connect(function, shop)
        return weakref.ref(function)

    with collected_by_count():
        found = set_up()
        one.disconnect(found(), shop)
        assert len(other.send(shop)) == 1
        other.disconnect(found(), shop)
        assert found() is None


def test_threads_that_connect_and_disconnect_leave_nothing_behind() -> None:
    signal, shop = Signal(), shop_that_keeps()

    def work() -> None:
        for _ in range(300):
            found = by_connect(signal, shop)
            receiver = found()
            assert receiver is not None
            signal.send(shop)
            signal.disconnect(receiver, shop)

    threads = [Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert shop.keeper is not None
    assert len(shop.keeper) == 0
    assert not signal.receivers


# Receivers that died before they were called.


def test_a_receiver_that_dies_before_a_send_is_remembered() -> None:
    space = Namespace()
    with collected_by_count():
        by_connect(space.signal("placed"), Signal.ANY)
        by_method(space.signal("paid"), Signal.ANY)
    placed, paid = deaths
    assert (placed.signal_name, paid.signal_name) == ("placed", "paid")
    assert placed.connected_in == "by_connect"
    assert placed.connected_at.startswith(f"{__file__}:")
    assert placed.connected_at != paid.connected_at


def test_a_receiver_that_dies_after_a_send_is_not_remembered() -> None:
    signal = Signal()

    def set_up() -> None:
        def function(sender: object) -> str:
            return "called"

        signal.connect(function)
        signal.send("shop")

    with collected_by_count():
        set_up()
    assert not deaths
    assert not signal.receivers


def test_a_receiver_that_was_disconnected_is_not_remembered() -> None:
    signal = Signal()

    def set_up() -> None:
        def function(sender: object) -> str:
            return "called"

        signal.connect(function)
        signal.disconnect(function)
        with signal.connected_to(function):
            pass

    with collected_by_count():
        set_up()
    assert not deaths


def test_a_receiver_that_was_reported_at_once_is_not_remembered() -> None:
    signal = Signal()
    with pytest.warns(UserWarning, match="is freed as connect"):
        signal.connect(Counter())
    assert not deaths


def test_the_deaths_of_a_hundred_receivers_are_remembered() -> None:
    space = Namespace()
    with collected_by_count():
        for number in range(150):
            by_connect(space.signal(f"signal-{number}"), Signal.ANY)
    assert [one.signal_name for one in deaths][::99] == ["signal-50", "signal-149"]
    assert len(deaths) == 100


def test_the_deaths_of_one_line_are_remembered_once() -> None:
    space = Namespace()
    with collected_by_count():
        by_method(space.signal("paid"), Signal.ANY)
        for _ in range(150):
            by_connect(space.signal("placed"), Signal.ANY)
    assert [one.signal_name for one in deaths] == ["paid", "placed"]
