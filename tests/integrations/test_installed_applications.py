"""The code of an application is known, also if it is installed as a package."""

from __future__ import annotations

import itertools
import os
import sys
import types
import typing as t
from collections.abc import Callable

import flask
import pytest
import sqlalchemy as sa

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import sql_executed
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.locations import is_of_application
from signalpost.receivers.sql import RepeatLogger
from tests.wsgi.serving import hello

PACKAGES = "/srv/venv/lib/python3/site-packages"
_numbers = itertools.count()


def new_package() -> str:
    """Return the folder of an installed package, each time another one."""
    return f"{PACKAGES}/mugs{next(_numbers)}"


def new_app(folder: str) -> flask.Flask:
    return flask.Flask("mugs", root_path=folder)


def function_of(file: str, source: str, **names: t.Any) -> t.Any:
    """Return the function ``run`` of a file that need not be there."""
    scope: dict[str, t.Any] = dict(names)
    exec(compile(source, file, "exec"), scope)
    return scope["run"]


@pytest.mark.parametrize("set_up", [Signalpost, SignalMiddleware])
def test_the_whole_package_of_an_application_is_its_code(
    set_up: Callable[[flask.Flask], object],
) -> None:
    package = new_package()
    before = is_of_application(f"{package}/store/rows.py")
    kept = set_up(app := new_app(f"{package}/web"))
    assert not before
    assert is_of_application(f"{package}/store/rows.py")
    assert not is_of_application(f"{package}s/rows.py")
    assert not is_of_application(f"{PACKAGES}/flask/app.py")
    del app, kept


def test_a_module_that_is_installed_is_the_code_and_nothing_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("one_mug")
    module.__file__ = f"{PACKAGES}/one_mug.py"
    monkeypatch.setitem(sys.modules, "one_mug", module)
    Signalpost(flask.Flask("one_mug", root_path=PACKAGES))
    assert is_of_application(f"{PACKAGES}/one_mug.py")
    assert not is_of_application(f"{PACKAGES}/flask/app.py")


def test_an_application_without_a_root_path_has_no_code_of_its_own() -> None:
    class Framework:
        root_path = f"{PACKAGES}/framework"

        def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
            return hello(environ, start_response)

    SignalMiddleware(Framework(), sender=object())
    SignalMiddleware(Framework())
    assert not is_of_application(f"{PACKAGES}/framework/app.py")


def test_a_repeated_statement_has_the_line_of_an_installed_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    package = new_package()
    app = new_app(f"{package}/web")
    Signalpost(app)
    engine = sa.create_engine("sqlite://")
    instrumentation = instrument(engine)
    source = (
        "def run():\n with engine.connect() as connection:\n"
        "  return [connection.scalar(one) for _ in range(3)]"
    )
    view = function_of(
        f"{package}/store/rows.py", source, engine=engine, one=sa.text("SELECT 1")
    )
    app.add_url_rule("/", "rows", view)
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        assert app.test_client().get("/", buffered=True).json == [1, 1, 1]
    (record,) = caplog.records
    assert f" at={package}/store/rows.py:3:run" in record.getMessage()
    instrumentation.undo()
    engine.dispose()


def test_failures_are_counted_by_the_line_of_an_installed_application() -> None:
    package = new_package()
    app = new_app(package)
    app.logger.disabled = True
    Signalpost(app)
    library = function_of(f"{PACKAGES}/driver.py", "def run():\n raise LookupError")
    for name in ("mugs", "jugs"):
        source = "def run():\n library()"
        view = function_of(f"{package}/{name}.py", source, library=library)
        app.add_url_rule(f"/{name}", name, view)
    failures = FailureLogger()
    client = app.test_client()
    with got_request_exception.connected_to(failures, app):
        for path in ("/mugs", "/jugs", "/jugs"):
            assert client.get(path, buffered=True).status_code == 500
    assert [(one.location, one.times) for one in failures.counts()] == [
        (f"{package}/jugs.py:2:run", 2),
        (f"{package}/mugs.py:2:run", 1),
    ]


def test_the_script_that_starts_a_server_is_not_the_application() -> None:
    scripts = os.path.dirname(sys.executable)
    assert not is_of_application(f"{scripts}/gunicorn")
    assert is_of_application(f"{scripts}/shop.py")
    assert is_of_application("/srv/bin/gunicorn")
