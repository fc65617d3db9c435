from __future__ import annotations

import subprocess
import sys

import pytest

import signalpost
from signalpost.wsgi.middleware import SignalMiddleware


def modules_after(program: str) -> set[str]:
    """Return the modules of signalpost that a new interpreter has imported."""
    program += "; import sys; print(*(m for m in sys.modules if 'signalpost' in m))"
    command = [sys.executable, "-c", program]
    return {*subprocess.check_output(command, text=True).split()}


def test_import_of_the_package_imports_nothing_else() -> None:
    assert modules_after("import signalpost") == {"signalpost"}


def test_signals_import_no_middleware() -> None:
    assert "signalpost.wsgi" not in modules_after("from signalpost import Signal")


@pytest.mark.parametrize("name", signalpost.__all__)
def test_every_name_is_there(name: str) -> None:
    assert name in dir(signalpost)
    value = getattr(signalpost, name)
    assert vars(signalpost)[name] is value


def test_name_of_another_module_is_the_same_object() -> None:
    assert signalpost.SignalMiddleware is SignalMiddleware


def test_star_imports_every_name() -> None:
    found: dict[str, object] = {}
    exec("from signalpost import *", found)
    assert {*signalpost.__all__} <= {*found}


@pytest.mark.parametrize("name", ["Middleware", "__wrapped__", "testing_", ""])
def test_other_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match="'signalpost' has no attribute"):
        getattr(signalpost, name)
