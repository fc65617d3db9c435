"""Forms of calls that are easy to get wrong: they work, or the error shows how."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import signalpost
from signalpost import ANY
from signalpost import Delivery
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Observation
from signalpost import observe
from signalpost import Outcome
from signalpost import receiver
from signalpost import Signal
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError

# The decorator for several signals


@pytest.mark.parametrize("nothing", [[], (), set(), {}, iter(())], ids=type)
def test_receiver_of_no_signals_is_refused(nothing: Any) -> None:
    with pytest.raises(TypeError, match=r"receiver\(\)"):
        receiver(nothing)


@pytest.mark.parametrize("count", [0, 2])
def test_receiver_of_a_namespace_is_refused(count: int) -> None:
    namespace: Any = Namespace()
    for number in range(count):
        namespace.signal(f"signal-{number}")
    with pytest.raises(TypeError, match=r"\.connect"):
        receiver(namespace)


def test_receiver_of_a_namespace_among_signals_is_refused() -> None:
    wrong: Any = [Signal(), Namespace()]
    with pytest.raises(TypeError):
        receiver(wrong)


def test_receiver_of_the_signals_of_a_namespace_is_connected() -> None:
    namespace = Namespace()
    opened, closed = namespace.signal("opened"), namespace.signal("closed")

    @receiver(namespace.values())
    def note(sender: Any) -> str:
        return "noted"

    for signal in (opened, closed):
        assert signal.send() == [(note, "noted")]


# Connecting without a receiver


@pytest.mark.parametrize(
    "options", [{}, {"once": True}, {"sender": "app"}, {"weak": False, "priority": 1}]
)
def test_connect_without_a_receiver_decorates(options: dict[str, Any]) -> None:
    signal = Signal()

    @signal.connect(**options)  # type: ignore[untyped-decorator, unused-ignore]
    def note(sender: Any) -> str:
        return "noted"

    assert note("direct") == "noted"
    assert signal.send("app") == [(note, "noted")]
    assert bool(signal.send("app")) is not options.get("once", False)
    assert bool(signal.send("api")) is not ("once" in options or "sender" in options)


def test_connect_without_a_receiver_connects_nothing_yet() -> None:
    signal = Signal()
    decorate = signal.connect(once=True)
    assert not signal.receivers
    assert callable(decorate)


def test_connect_without_a_receiver_decorates_several() -> None:
    def other(sender: Any) -> None: ...

    def one(sender: Any) -> None: ...

    signal = Signal()
    decorate = signal.connect(sender="app")
    assert decorate(one) is one
    assert decorate(other) is other
    assert [called for called, _ in signal.send("app")] == [one, other]


def test_connect_of_none_is_still_refused() -> None:
    nothing: Any = None
    with pytest.raises(ReceiverError, match="callable"):
        Signal().connect(nothing)
    with pytest.raises(ReceiverError, match="callable"):
        Signal().connect(once=True)(nothing)


def test_function_that_a_decorator_connects_is_not_reported_as_lost() -> None:
    signal = Signal()

    @signal.connect(priority=1)
    def note(sender: Any) -> None: ...

    assert list(signal.receivers_for("app")) == [note]


def test_place_of_a_decorated_function_is_where_it_is() -> None:
    signal = Signal()

    @signal.connect(once=True)
    def note(sender: Any) -> None: ...

    place = signal.connections[0].connected_at
    assert place is not None
    assert place.startswith(f"{__file__}:")


# Functions of a class body

CONNECT: dict[str, Callable[[], Any]] = {
    "connect": lambda: Signal().connect,
    "connect with options": lambda: Signal().connect(once=True),
    "connect_via": lambda: Signal().connect_via("app"),
    "receiver": lambda: receiver(Signal()),
    "receiver of several": lambda: receiver([Signal(), Signal()], weak=False),
    "namespace": lambda: Namespace().connect,
}
EACH = pytest.mark.parametrize("kind", CONNECT)


@EACH
def test_function_of_a_class_body_is_refused(kind: str) -> None:
    with pytest.raises(ReceiverError) as refusal:

        class Shop:
            @CONNECT[kind]()  # type: ignore[untyped-decorator, unused-ignore]
            def note(self, sender: Any, **payload: Any) -> None: ...

    message = str(refusal.value)
    for form in ("@receiver_method(", "connect_methods(self)", "@staticmethod"):
        assert form in message


@EACH
def test_coroutine_function_of_a_class_body_is_refused(kind: str) -> None:
    with pytest.raises(ReceiverError, match="receiver_method"):

        class Shop:
            class Inner:
                @CONNECT[kind]()  # type: ignore[untyped-decorator, unused-ignore]
                async def note(self, sender: Any, **payload: Any) -> None: ...


@EACH
def test_function_that_is_connected_below_it_in_a_class_body_is_refused(
    kind: str,
) -> None:
    with pytest.raises(ReceiverError, match="receiver_method"):

        class Shop:
            def note(self, sender: Any, **payload: Any) -> None: ...

            CONNECT[kind]()(note)


@EACH
def test_function_of_a_function_is_connected(kind: str) -> None:
    class Shop:
        def open(self) -> Any:
            @CONNECT[kind]()  # type: ignore[untyped-decorator, unused-ignore]
            def note(sender: Any, **payload: Any) -> None: ...

            return note

    assert callable(Shop().open())


def note_elsewhere(sender: Any, **payload: Any) -> str:
    return "noted elsewhere"


@EACH
def test_function_of_a_module_may_be_connected_in_a_class_body(kind: str) -> None:
    class Shop:
        note = CONNECT[kind]()(note_elsewhere)

    assert Shop.note is note_elsewhere


@pytest.mark.parametrize("kind", [*CONNECT])
def test_connecting_keeps_no_variable_of_the_caller_alive(kind: str) -> None:
    class Shop: ...

    shop = Shop()
    reference = weakref.ref(shop)
    CONNECT[kind]()(note_elsewhere)
    del shop
    assert reference() is None


def test_static_method_of_a_class_body_is_connected() -> None:
    signal = Signal()

    class Shop:
        @signal.connect  # type: ignore[type-var, unused-ignore]
        @staticmethod
        def note(sender: Any) -> str:
            return "noted"

    assert [value for _, value in signal.send()] == ["noted"]
    assert Shop.note("direct") == "noted"
    assert Shop().note("direct") == "noted"


def test_static_method_with_options_is_connected() -> None:
    signal = Signal()

    class Shop:
        @signal.connect(sender="app", priority=1)  # type: ignore[type-var, unused-ignore]
        @staticmethod
        def note(sender: Any) -> str:
            return "noted"

    assert [value for _, value in signal.send("app")] == ["noted"]
    assert signal.disconnect(Shop.note)
    assert not signal.receivers


def test_method_of_a_class_is_connected_outside_of_it() -> None:
    class Shop:
        def note(self, sender: Any) -> str:
            return "noted"

    signal, shop = Signal(), Shop()
    signal.connect(shop.note)
    assert signal.send() == [(shop.note, "noted")]


# A receiver of a signal and of its namespace


@pytest.mark.parametrize("is_signal_first", [True, False])
def test_receiver_of_signal_and_namespace_is_called_once(is_signal_first: bool) -> None:
    def note(sender: Any, **payload: Any) -> dict[str, Any]:
        return payload

    namespace = Namespace()
    opened = namespace.signal("opened")
    if is_signal_first:
        opened.connect(note)
    namespace.connect(note)
    if not is_signal_first:
        opened.connect(note)
    assert opened.send("app", door=1) == [(note, {"door": 1, "signal": opened})]
    (outcome,) = opened.send_robust("app", door=1)
    assert outcome.value == {"door": 1, "signal": opened}
    (pair,) = asyncio.run(opened.send_async("app", door=1))
    assert pair == (note, {"door": 1, "signal": opened})


def test_receiver_of_namespace_and_one_sender_is_called_once() -> None:
    def note(sender: Any, signal: NamedSignal) -> str:
        return signal.name

    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(note)
    namespace.connect(note, sender="app")
    assert opened.send("app") == [(note, "opened")]
    assert opened.send("api") == [(note, "opened")]


def test_method_of_signal_and_namespace_is_called_once() -> None:
    class Shop:
        def note(self, sender: Any, signal: NamedSignal) -> str:
            return signal.name

    namespace, shop = Namespace(), Shop()
    opened = namespace.signal("opened", payload=())
    opened.connect(functools.partial(shop.note, signal=opened), weak=False)
    namespace.connect(shop.note)
    namespace.connect(shop.note, sender="app")
    assert [value for _, value in opened.send("app")] == ["opened", "opened"]


# Outcomes


def give(sender: Any) -> str:
    return "given"


def fail(sender: Any) -> None:
    raise LookupError("no such order")


def test_outcome_unpacks_as_in_blinker_and_django() -> None:
    signal = Signal()
    signal.connect(give)
    signal.connect(fail)
    (one, value), (other, error) = signal.send_robust()
    assert (one, value) == (give, "given")
    assert other is fail
    assert isinstance(error, LookupError)


def test_outcomes_make_a_dictionary() -> None:
    signal = Signal()
    signal.connect(give)
    signal.connect(fail)
    outcomes: Any = signal.send_robust()
    by_receiver = dict(outcomes)
    assert by_receiver[give] == "given"
    assert isinstance(by_receiver[fail], LookupError)


def test_outcome_has_a_length_and_places() -> None:
    error = LookupError()
    for outcome, second in ((Outcome(give, 1), 1), (Outcome(fail, None, error), error)):
        assert len(outcome) == 2
        assert outcome[0] is outcome.receiver
        assert outcome[1] is second
        assert tuple(outcome) == (outcome.receiver, second)


def test_outcome_keeps_value_and_exception_apart() -> None:
    error = LookupError()
    returned, raised = Outcome(give, error), Outcome(give, None, error)
    assert (returned.value, returned.exception, returned.failed) == (error, None, False)
    assert (raised.value, raised.exception, raised.failed) == (None, error, True)
    assert [*returned] == [*raised]


def test_outcome_of_a_receiver_that_gives_none_has_not_failed() -> None:
    def give_none(sender: Any) -> None: ...

    signal = Signal()
    signal.connect(give_none)
    (outcome,) = signal.send_robust()
    assert (outcome.value, outcome.exception, outcome.failed) == (None, None, False)
    assert [*outcome] == [give_none, None]


def test_outcome_of_an_async_send_unpacks() -> None:
    async def give_later(sender: Any) -> str:
        return "given"

    signal = Signal()
    signal.connect(give_later)
    ((found, value),) = asyncio.run(signal.send_robust_async())
    assert (found, value) == (give_later, "given")


# What a reader of generated documentation sees


def callables_of(one: Any) -> list[Any]:
    """Return an object, or the class and its methods, that can be called."""
    names = vars(one) if inspect.isclass(one) else []
    found = [one, *(getattr(one, name) for name in names)]
    return [each for each in found if callable(each)]


@pytest.mark.parametrize("name", signalpost.__all__)
def test_signature_holds_no_address(name: str) -> None:
    for one in callables_of(getattr(signalpost, name)):
        with contextlib.suppress(ValueError):  # a few of C have no signature
            assert " at 0x" not in str(inspect.signature(one))


def test_constant_holds_no_address() -> None:
    constants = [ANY, Signal.ANY, signalpost.named("app"), NamedSignal("opened")]
    constants += [signalpost.default_namespace, signalpost.lifecycle.catalogue]
    for constant in constants:
        assert "0x" not in repr(constant)


# Senders by name, and observers in a block


@pytest.mark.parametrize("payload", [{}, {"order": 7}])
def test_send_robust_async_refuses_a_sender_by_name(payload: dict[str, Any]) -> None:
    signal = NamedSignal("order-placed")
    signal.connect(give)
    for send in (signal.send_robust_async, signal.send_async):
        with pytest.raises(PayloadError, match=r"order-placed.*send\(app\)"):
            asyncio.run(send(sender="app", **payload))


def test_send_robust_async_refuses_a_sender_by_name_without_receivers() -> None:
    with pytest.raises(PayloadError):
        asyncio.run(Signal().send_robust_async(sender="app"))


def test_observation_is_what_its_block_gives() -> None:
    signal, seen = Signal(), list[Delivery]()
    signal.connect(give)
    made = observe(seen.append, signal)
    with made as observation:
        signal.send()
        assert observation is made
    assert isinstance(observation, Observation)
    signal.send()
    assert len(seen) == 1


def test_observation_may_be_stopped_within_its_block() -> None:
    signal, seen = Signal(), list[Delivery]()
    signal.connect(give)
    with observe(seen.append, signal) as observation:
        observation.stop()
        signal.send()
    assert seen == []
