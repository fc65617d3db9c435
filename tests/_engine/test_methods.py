"""Methods marked in a class and connected for each instance."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from signalpost import connect_methods
from signalpost import disconnect_methods
from signalpost import Namespace
from signalpost import receiver_method
from signalpost import Signal
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError

opened, closed = Signal(), Signal()


@pytest.fixture(autouse=True)
def _empty() -> Any:
    yield
    for signal in (opened, closed):
        signal.disconnect_all()


class Shop:
    """Connects its methods as an application's own class would."""

    def __init__(self, name: str = "shop") -> None:
        self.name = name
        connect_methods(self)

    @receiver_method(opened)
    def note(self, sender: Any) -> str:
        return f"{self.name} noted"

    @receiver_method([opened, closed], sender="app", priority=1)
    def count(self, sender: Any) -> str:
        return f"{self.name} counted"

    def other(self, sender: Any) -> str:
        return "not marked"


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def test_marked_methods_of_an_instance_are_connected() -> None:
    shop = Shop()
    assert values_sent(opened) == ["shop noted"]
    assert values_sent(opened, "app") == ["shop counted", "shop noted"]
    assert values_sent(closed, "app") == ["shop counted"]
    assert values_sent(closed) == []
    assert shop.note("direct") == "shop noted"


def test_each_instance_is_connected_for_itself() -> None:
    one, other = Shop("one"), Shop("other")
    assert values_sent(opened) == ["one noted", "other noted"]
    disconnect_methods(one)
    assert values_sent(opened) == ["other noted"]
    assert values_sent(closed, "app") == ["other counted"]
    assert other.name == "other"


def test_class_that_is_never_made_is_not_connected() -> None:
    signal = Signal()

    class Unused:
        @receiver_method(signal)
        def note(self, sender: Any) -> None: ...

    assert not signal.receivers
    assert callable(Unused.note)


def test_methods_live_as_long_as_their_instance() -> None:
    shop = Shop()
    reference = weakref.ref(shop)
    gc.collect()
    assert values_sent(opened) == ["shop noted"]
    del shop
    gc.collect()
    assert reference() is None
    assert not opened.receivers
    assert not closed.receivers


def test_connecting_twice_is_connecting_once() -> None:
    shop = Shop()
    connect_methods(shop)
    assert values_sent(opened, "app") == ["shop counted", "shop noted"]
    disconnect_methods(shop)
    assert not opened.receivers


def test_disconnecting_twice_is_no_error() -> None:
    shop = Shop()
    disconnect_methods(shop)
    disconnect_methods(shop)
    assert not closed.receivers
    connect_methods(shop)
    assert values_sent(opened) == ["shop noted"]


def test_disconnecting_leaves_other_connections() -> None:
    shop = Shop()
    opened.connect(shop.other)
    disconnect_methods(shop)
    assert values_sent(opened) == ["not marked"]


def test_inherited_methods_are_connected() -> None:
    class Branch(Shop): ...

    branch = Branch("branch")
    assert values_sent(opened) == ["branch noted"]
    assert values_sent(closed, "app") == ["branch counted"]
    disconnect_methods(branch)
    assert not opened.receivers


def test_overridden_method_is_connected_once() -> None:
    class Branch(Shop):
        @receiver_method(opened)
        def note(self, sender: Any) -> str:
            return f"{super().note(sender)} by the branch"

    branch = Branch("branch")
    assert values_sent(opened) == ["branch noted by the branch"]
    assert isinstance(branch, Shop)


def test_methods_of_several_bases_are_connected_once() -> None:
    class Left(Shop): ...

    class Right(Shop):
        @receiver_method(closed)
        def add(self, sender: Any) -> str:
            return "added"

    class Both(Left, Right): ...

    both = Both("both")
    assert values_sent(opened) == ["both noted"]
    assert values_sent(closed) == ["added"]
    assert both.name == "both"


def test_method_may_be_marked_twice() -> None:
    class Kiosk:
        @receiver_method(opened, sender="app")
        @receiver_method(closed)
        def note(self, sender: Any) -> str:
            return "noted"

    kiosk = Kiosk()
    connect_methods(kiosk)
    assert values_sent(opened, "app") == ["noted"]
    assert values_sent(opened, "api") == []
    assert values_sent(closed) == ["noted"]


def test_options_of_connect_are_kept() -> None:
    class Kiosk:
        @receiver_method(opened, once=True, when=lambda sender: sender != "api")
        def note(self, sender: Any) -> str:
            return "noted"

        @receiver_method(closed, strict=True, dispatch_uid="kiosk")
        def refuse(self, sender: Any) -> None:
            raise LookupError

    kiosk = Kiosk()
    connect_methods(kiosk)
    assert values_sent(opened, "api") == []
    assert values_sent(opened) == ["noted"]
    assert values_sent(opened) == []
    assert closed.connections[0].dispatch_uid == "kiosk"
    with pytest.raises(LookupError):
        closed.send_robust()


def test_marked_method_is_never_strong() -> None:
    marking: Any = receiver_method
    with pytest.raises(TypeError):
        marking(opened, weak=False)


def test_async_method_is_async() -> None:
    class Kiosk:
        @receiver_method(opened)
        async def note(self, sender: Any) -> str:
            return "noted"

    kiosk = Kiosk()
    connect_methods(kiosk)
    with pytest.raises(RuntimeError):
        opened.send()
    ((_, value),) = asyncio.run(opened.send_async())
    assert value == "noted"


def test_method_with_a_private_name_is_connected() -> None:
    class Kiosk:
        @receiver_method(opened)
        def __note(self, sender: Any) -> str:
            return "noted"

    kiosk = Kiosk()
    connect_methods(kiosk)
    assert values_sent(opened) == ["noted"]


def test_properties_of_the_instance_are_not_read() -> None:
    class Kiosk(Shop):
        @property
        def broken(self) -> None:
            raise AssertionError("must not be read")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("must not be asked")

    kiosk = Kiosk("kiosk")
    assert values_sent(opened) == ["kiosk noted"]
    disconnect_methods(kiosk)


def test_methods_read_a_declared_payload() -> None:
    moved = Namespace().signal("moved", payload=("to", "by"))

    class Kiosk:
        @receiver_method(moved)
        def note(self, sender: Any, to: int) -> int:
            return to

    kiosk = Kiosk()
    connect_methods(kiosk)
    assert [value for _, value in moved.send("app", to=7, by=1)] == [7]


def test_method_that_asks_for_what_is_not_sent_is_refused() -> None:
    moved = Namespace().signal("moved", payload=("to",))

    class Kiosk:
        @receiver_method(moved)
        def note(self, sender: Any, by: int) -> None: ...

    kiosk = Kiosk()
    with pytest.raises(PayloadError, match="'by'"):
        connect_methods(kiosk)
    assert not moved.receivers


@pytest.mark.parametrize("wrong", [None, "opened", [], [None], Namespace()], ids=repr)
def test_what_is_no_signal_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        receiver_method(wrong)


def test_instance_without_marked_methods_is_no_error() -> None:
    class Plain: ...

    plain = Plain()
    connect_methods(plain)
    disconnect_methods(plain)


def test_instance_that_cannot_be_weakly_referenced_is_refused() -> None:
    class Slotted:
        __slots__ = ()

        @receiver_method(opened)
        def note(self, sender: Any) -> None: ...

    with pytest.raises(ReceiverError, match="weak"):
        connect_methods(Slotted())
    assert not opened.receivers


def test_instances_that_are_equal_are_connected_for_themselves() -> None:
    class Equal(Shop):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    one, other = Equal("one"), Equal("other")
    assert values_sent(opened) == ["one noted", "other noted"]
    disconnect_methods(other)
    assert values_sent(opened) == ["one noted"]
    assert one == other
