"""Which methods of requests are recorded by their names."""

from __future__ import annotations

import typing as t
from pathlib import Path

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def methods_of(app: t.Any, *methods: t.Any) -> list[str]:
    """Return the methods that are recorded for requests."""
    with capture(exchange_closed) as sent:
        for method in methods:
            Server().serve(app, REQUEST_METHOD=method)
    return [one["exchange"].method for one in sent]


def new_app() -> SignalMiddleware:
    def dav(environ: t.Any, start_response: t.Any) -> t.Any:
        return hello(environ, start_response)

    return SignalMiddleware(dav)


def test_further_methods_of_a_configuration_are_recorded_by_name() -> None:
    app = new_app()
    before = methods_of(app, "PROPFIND")
    section = {"signalpost": {"methods": ["PROPFIND", "VERSION-CONTROL"]}}
    Configuration.from_mapping(section).load(app)
    found = methods_of(app, "PROPFIND", "VERSION-CONTROL", "GET", "REPORT", "propfind")
    assert before == ["_OTHER"]
    assert found == ["PROPFIND", "VERSION-CONTROL", "GET", "_OTHER", "_OTHER"]


def test_the_methods_of_one_application_are_not_those_of_another() -> None:
    one, other = new_app(), new_app()
    section = {"signalpost": {"methods": ["PROPFIND"]}}
    Configuration.from_mapping(section).load(one)
    assert methods_of(other, "PROPFIND") == ["_OTHER"]


def test_the_methods_of_an_ini_file_are_words(tmp_path: Path) -> None:
    path = tmp_path / "dav.ini"
    path.write_text("[signalpost]\nmethods = PROPFIND\n  REPORT\n", encoding="utf-8")
    app = new_app()
    Configuration.from_file(path).load(app)
    assert methods_of(app, "PROPFIND", "REPORT", "LOCK") == [
        "PROPFIND",
        "REPORT",
        "_OTHER",
    ]


def test_the_methods_of_flasks_configuration_are_recorded_by_name() -> None:
    app = flask.Flask("dav")
    app.config["SIGNALPOST_METHODS"] = ["PROPFIND"]
    Signalpost(app)
    assert methods_of(app, "PROPFIND", "REPORT") == ["PROPFIND", "_OTHER"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("PROPFIND", "methods must be a collection of methods, got 'PROPFIND'"),
        ([3], "each of the methods in methods must be a string, got 3"),
        (["propfind"], "at most 32 capital letters and hyphens, got 'propfind'"),
        (["A" * 33], "at most 32 capital letters"),
        (["PROP FIND"], "at most 32 capital letters"),
        ([chr(65 + n % 26) * (n // 26 + 1) for n in range(51)], "at most 50, got 51"),
    ],
)
def test_methods_that_do_not_fit_are_refused(wrong: t.Any, message: str) -> None:
    app = new_app()
    configuration = Configuration.from_mapping({"signalpost": {"methods": wrong}})
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(app)
    assert message in str(raised.value)
