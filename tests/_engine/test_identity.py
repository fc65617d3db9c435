from __future__ import annotations

import copy
import pickle

from signalpost import ANY
from signalpost import Signal
from signalpost._engine.identity import Symbol


def test_symbols_of_one_name_are_one_object() -> None:
    assert Symbol("one") is Symbol("one")
    assert Symbol("one") is not Symbol("another")
    assert Symbol("one") != Symbol("another")


def test_symbol_shows_its_name() -> None:
    assert repr(Symbol("one")) == "one"
    assert Symbol("one").name == "one"


def test_symbol_survives_pickling_and_copying() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ANY, protocol)) is ANY
    assert copy.copy(ANY) is ANY
    assert copy.deepcopy([ANY]) == [ANY]


def test_any_is_one_object_wherever_it_is_found() -> None:
    assert Signal.ANY is ANY
    assert Signal().ANY is ANY
    assert repr(ANY) == "ANY"
