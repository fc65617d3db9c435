from __future__ import annotations

import functools
import logging
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Outcome
from signalpost import Signal
from signalpost.errors import AsyncReceiverError
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError
from signalpost.errors import SignalpostError
from signalpost.errors import WeakReceiverWarning


class FailingCallable:
    def __call__(self, sender: Any) -> None:
        raise LookupError("no such order")


class Unprintable:
    def __call__(self, sender: Any) -> None:
        raise LookupError("no such order")

    def __repr__(self) -> str:
        raise AssertionError("must not be asked")


def fail(sender: Any) -> None:
    raise LookupError("no such order")


def succeed(sender: Any) -> str:
    return "done"


def interrupt(sender: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ReceiverError, TypeError),
        (PayloadError, TypeError),
        (AsyncReceiverError, RuntimeError),
    ],
)
def test_every_error_is_also_the_builtin_one(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, SignalpostError)
    assert issubclass(error, builtin)


def test_warning_is_a_user_warning() -> None:
    assert issubclass(WeakReceiverWarning, UserWarning)


@pytest.mark.parametrize("receiver", [None, "audit", 7], ids=repr)
def test_what_cannot_be_called_is_refused(receiver: Any) -> None:
    signal = Signal()
    with pytest.raises(ReceiverError) as refusal:
        signal.connect(receiver)
    assert repr(receiver) in str(refusal.value)
    assert refusal.value.receiver is receiver
    assert not signal.receivers


def test_block_refuses_what_cannot_be_called() -> None:
    receiver: Any = "audit"
    with pytest.raises(ReceiverError), Signal().connected_to(receiver):
        pass


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, SystemExit])
def test_send_lets_an_exception_through(error: type[BaseException]) -> None:
    def receiver(sender: Any) -> None:
        raise raised

    raised = error()
    signal = Signal()
    signal.connect(receiver)
    with pytest.raises(error) as failure:
        signal.send()
    assert failure.value is raised


def test_receivers_after_a_failure_are_not_called() -> None:
    signal = Signal()
    calls: list[Any] = []
    signal.connect(calls.append, sender="app", weak=False)
    signal.connect(fail)
    signal.connect(calls.append, weak=False)
    signal.connect(succeed)
    with pytest.raises(LookupError):
        signal.send("app")
    assert calls == ["app"]


def test_exception_names_signal_and_receiver() -> None:
    signal = NamedSignal("order-placed")
    signal.connect(fail)
    for sender in ("app", None):
        with pytest.raises(LookupError) as failure:
            signal.send(sender)
        (note,) = failure.value.__notes__
        assert "order-placed" in note
        assert "fail" in note


def test_exception_raised_again_and_again_is_noted_once() -> None:
    def receiver(sender: Any) -> None:
        raise constant

    constant = LookupError("no such order")
    signal = Signal()
    signal.connect(receiver)
    for _ in range(3):
        with pytest.raises(LookupError):
            signal.send()
    assert len(constant.__notes__) == 1


def test_exception_through_two_signals_names_both() -> None:
    def pass_on(sender: Any) -> None:
        inner.send(sender)

    inner, outer = NamedSignal("order-stored"), NamedSignal("order-placed")
    inner.connect(fail)
    outer.connect(pass_on)
    with pytest.raises(LookupError) as failure:
        outer.send()
    first, second = failure.value.__notes__
    assert "order-stored" in first
    assert "order-placed" in second


def test_note_names_a_partial_by_its_function() -> None:
    receiver = functools.partial(fail)
    signal = Signal()
    signal.connect(receiver)
    with pytest.raises(LookupError) as failure:
        signal.send()
    assert "fail" in failure.value.__notes__[0]


def test_receiver_that_cannot_be_printed_does_not_hide_its_exception() -> None:
    receiver = Unprintable()
    signal = Signal()
    signal.connect(receiver)
    with pytest.raises(LookupError, match="no such order"):
        signal.send()
    (outcome,) = signal.send_robust()
    assert isinstance(outcome.exception, LookupError)


def test_send_robust_calls_every_receiver() -> None:
    signal = Signal()
    signal.connect(fail)
    signal.connect(succeed)
    failed, passed = signal.send_robust()
    assert failed.receiver is fail
    assert failed.failed
    assert isinstance(failed.exception, LookupError)
    assert failed.value is None
    assert passed == Outcome(succeed, "done", None)
    assert not passed.failed


def test_returned_exception_is_not_a_failure() -> None:
    def receiver(sender: Any) -> Exception:
        return returned

    returned = LookupError("no such order")
    signal = Signal()
    signal.connect(receiver)
    (outcome,) = signal.send_robust()
    assert not outcome.failed
    assert outcome.value is returned
    assert outcome.exception is None


@pytest.mark.parametrize(
    "receiver",
    [fail, FailingCallable(), functools.partial(fail), FailingCallable().__call__],
    ids=["function", "callable", "partial", "method"],
)
def test_send_robust_isolates_every_kind_of_receiver(receiver: Any) -> None:
    signal = Signal()
    signal.connect(receiver, weak=False)
    (outcome,) = signal.send_robust("app")
    assert outcome.receiver == receiver
    assert isinstance(outcome.exception, LookupError)


def test_failure_is_logged_with_signal_receiver_and_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal = NamedSignal("order-placed")
    signal.connect(fail)
    signal.connect(succeed)
    (outcome, _) = signal.send_robust()
    (record,) = caplog.records
    assert record.name == "signalpost.signals"
    assert record.levelno == logging.ERROR
    assert "order-placed" in record.getMessage()
    assert "fail" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is outcome.exception


def test_success_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    signal = Signal()
    signal.connect(succeed)
    signal.send_robust()
    assert not caplog.records


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_send_robust_lets_what_is_no_exception_through(
    error: type[BaseException],
) -> None:
    def receiver(sender: Any) -> None:
        raise error

    signal = Signal()
    signal.connect(receiver)
    with pytest.raises(error):
        signal.send_robust()


def test_send_robust_calls_the_receivers_of_the_sender() -> None:
    signal = Signal()
    signal.connect(succeed, sender="app")
    assert [outcome.value for outcome in signal.send_robust("app")] == ["done"]
    assert signal.send_robust("api") == []


def test_send_robust_runs_an_async_receiver_in_its_wrapper() -> None:
    async def receiver(sender: Any) -> str:
        return "done"

    def run(function: Any) -> Any:
        def call(sender: Any, **payload: Any) -> Any:
            try:
                function(sender, **payload).send(None)
            except StopIteration as stop:
                return stop.value

        return call

    signal = Signal()
    signal.connect(receiver)
    assert signal.send_robust(_async_wrapper=run) == [Outcome(receiver, "done")]


def test_failure_of_the_wrapper_is_the_failure_of_its_receiver() -> None:
    async def receiver(sender: Any) -> None: ...

    def refuse(function: Any) -> Any:
        raise LookupError("no loop")

    signal = Signal()
    signal.connect(receiver)
    signal.connect(succeed)
    failed, passed = signal.send_robust(_async_wrapper=refuse)
    assert isinstance(failed.exception, LookupError)
    assert passed.value == "done"


def test_sender_given_by_name_is_refused() -> None:
    signal = NamedSignal("order-placed")
    signal.connect(succeed)
    with pytest.raises(PayloadError, match=r"order-placed.*send\(app\)"):
        signal.send(sender="app")
    with pytest.raises(PayloadError):
        signal.send_robust(sender="app")


def test_payload_may_have_a_name_of_its_own_called_sender() -> None:
    def receiver(app: Any, sender: Any) -> tuple[Any, Any]:
        return app, sender

    signal = Signal()
    signal.connect(receiver)
    assert signal.send("app", sender="mail") == [(receiver, ("app", "mail"))]


def test_payload_may_have_a_name_called_self() -> None:
    def receiver(sender: Any, **payload: Any) -> dict[str, Any]:
        return payload

    signal = Signal()
    signal.connect(receiver)
    assert signal.send("app", self=1) == [(receiver, {"self": 1})]
