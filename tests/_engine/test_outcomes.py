"""Outcomes as values: compared, hashed, copied and pickled."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from signalpost import Outcome
from signalpost import Signal

ERROR = LookupError("no such order")


def receive(sender: Any) -> str:
    return "received"


def receive_another(sender: Any) -> str:
    return "received"


def fail(sender: Any) -> None:
    raise ERROR


def give_back(sender: Any) -> LookupError:
    return ERROR


def outcome_of(receiver: Any) -> Outcome:
    signal = Signal()
    signal.connect(receiver)
    (outcome,) = signal.send_robust()
    return outcome


@pytest.mark.parametrize("receiver", [receive, fail])
def test_outcomes_of_the_same_are_equal(receiver: Any) -> None:
    one, other = outcome_of(receiver), outcome_of(receiver)
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, outcome_of(receive_another)}) == 2


def test_outcome_that_failed_differs_from_one_that_gives_an_exception() -> None:
    failed, given = Outcome(fail, exception=ERROR), Outcome(fail, ERROR)
    assert len({failed, given}) == 2
    assert (failed.failed, given.failed) == (True, False)
    assert outcome_of(give_back).value is ERROR


@pytest.mark.parametrize("receiver", [receive, fail])
def test_outcome_is_equal_to_its_copy(receiver: Any) -> None:
    outcome = outcome_of(receiver)
    assert copy.copy(outcome) == outcome


def test_outcome_can_be_pickled() -> None:
    outcome = outcome_of(receive)
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_outcome_that_failed_can_be_pickled() -> None:
    found = pickle.loads(pickle.dumps(outcome_of(fail)))
    assert found.failed
    assert found.receiver is fail
    assert str(found.exception) == "no such order"


@pytest.mark.parametrize(
    ("receiver", "text"),
    [(receive, "value='received'"), (fail, "exception=LookupError('no such order')")],
)
def test_outcome_shows_what_it_has(receiver: Any, text: str) -> None:
    assert repr(outcome_of(receiver)) == f"Outcome(receiver={receiver!r}, {text})"
