"""Built-in receivers that need another package."""

from __future__ import annotations

import gc

import pytest
import sqlalchemy as sa

from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import Configuration
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import sql_executed
from signalpost.testing import capture
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

INTEGRATED = sorted(
    name
    for name, path in BUILTIN_RECEIVERS.items()
    if path.startswith("signalpost.integrations.")
)


@pytest.fixture(autouse=True)
def only_what_is_used() -> None:
    gc.collect()  # applications of other tests, with their receivers


def connections() -> int:
    return sum(len(signal.connections) for signal in catalogue.values())


def instrumented() -> int:
    """Return how many statements of one are sent."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with capture(sql_executed) as sent, engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    engine.dispose()
    return len(sent)


def test_those_of_each_package_are_known() -> None:
    assert INTEGRATED == ["flask-login", "opentelemetry", "prometheus", "sqlalchemy"]


@pytest.mark.parametrize("name", INTEGRATED)
def test_it_is_enabled_and_disabled_by_its_name(name: str) -> None:
    if name == "flask-login":
        pytest.importorskip("flask_login")
    before, sends_before = connections(), instrumented()
    configuration = {"signalpost": {"receivers": {name: True}}}
    enabled = Configuration.from_mapping(configuration).load(hello)
    try:
        assert enabled[name].path == BUILTIN_RECEIVERS[name]
        assert connections() > before or instrumented() > sends_before
        server = Server()
        server.serve(hello)
        assert server.status == "200 OK"
    finally:
        enabled.disable_all()
    assert len(enabled) == 0
    assert (connections(), instrumented()) == (before, sends_before)
