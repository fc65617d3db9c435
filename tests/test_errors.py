from __future__ import annotations

import inspect
import pickle
import typing as t

import pytest

from signalpost import errors

ERRORS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.SignalpostError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_survives_pickling_with_its_message(
    kind: type[errors.SignalpostError],
) -> None:
    again = pickle.loads(pickle.dumps(kind("what was expected")))
    assert type(again) is kind
    assert str(again) == "what was expected"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ApplicationError, TypeError),
        (errors.AsyncReceiverError, RuntimeError),
        (errors.ConfigurationError, ValueError),
        (errors.ConfigurationWarning, UserWarning),
        (errors.ExchangeClosedError, RuntimeError),
        (errors.ExtensionError, RuntimeError),
        (errors.PayloadError, TypeError),
        (errors.ReceiverError, TypeError),
        (errors.WeakReceiverWarning, UserWarning),
    ],
)
def test_an_error_is_what_python_would_have_raised(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(kind, builtin)


def test_objects_are_kept_as_attributes() -> None:
    error = errors.PayloadError("no", "signal", "receiver")
    assert (error.signal, error.receiver) == ("signal", "receiver")
    assert error.args == ("no",)


def test_everything_raised_is_exported() -> None:
    assert set(errors.__all__) == {
        name for name, value in vars(errors).items() if _is_ours(value)
    }


def _is_ours(value: t.Any) -> bool:
    return inspect.isclass(value) and value.__module__ == errors.__name__
