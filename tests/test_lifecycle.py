from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from signalpost import lifecycle
from signalpost import NamedSignal
from signalpost.errors import PayloadError
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import SIGNALS_WITHIN
from signalpost.lifecycle import WORK_SIGNALS


def docstrings() -> dict[str, str]:
    """Return the string under each assignment of the catalogue."""
    tree = ast.parse(Path(inspect.getfile(lifecycle)).read_text())
    found = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            assert isinstance(following.value, ast.Constant)
            found[statement.target.id] = str(following.value.value)
    return found


def variable_of(signal: NamedSignal) -> str:
    return signal.name.replace("-", "_")


@pytest.mark.parametrize("name", sorted(catalogue))
def test_a_signal_is_a_variable_named_after_it(name: str) -> None:
    signal = catalogue[name]
    assert getattr(lifecycle, variable_of(signal)) is signal
    assert variable_of(signal) in lifecycle.__all__


@pytest.mark.parametrize("name", sorted(catalogue))
def test_a_signal_states_sender_moment_and_payload(name: str) -> None:
    signal = catalogue[name]
    text = docstrings()[variable_of(signal)]
    for heading in ("*Sender*:", "*Sent when*:", "*Payload*:"):
        assert heading in text
    for payload_name in signal.payload or ():
        assert f"``{payload_name}``" in text


def test_every_signal_that_carries_an_exchange_is_listed() -> None:
    carrying = [one for one in catalogue.values() if "exchange" in (one.payload or ())]
    assert {*EXCHANGE_SIGNALS, *SIGNALS_WITHIN, *WORK_SIGNALS} == set(carrying)


def test_a_receiver_that_asks_for_another_name_is_refused() -> None:
    def log(app: object, response: object) -> None: ...

    with pytest.raises(PayloadError, match=r"'response'.*environ, exchange"):
        exchange_closed.connect(log)
