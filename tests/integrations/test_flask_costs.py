"""The cost of connecting, by the number of applications: counted, not timed."""

from __future__ import annotations

import gc
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from functools import partial

import flask
import pytest

from signalpost import ANY
from signalpost import named
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import template_rendered
from signalpost.testing import restored
from tests.growth import calls_of

FEW, MANY = 10, 60


@pytest.fixture(autouse=True)
def nothing_else_runs() -> Generator[None]:
    """Let no application of another test be collected while calls are counted."""
    gc.collect()
    gc.disable()
    with restored():
        yield
    gc.enable()


def receive(sender: object, **payload: object) -> None: ...


def receive_too(sender: object, **payload: object) -> None: ...


def new_app(prepare: Callable[[flask.Flask], object]) -> flask.Flask:
    app = flask.Flask(__name__, static_folder=None)
    prepare(app)
    return app


def with_receivers(app: flask.Flask) -> None:
    Signalpost(app)
    exchange_closed.connect(receive, app)
    template_rendered.connect(receive, app)


def with_name(app: flask.Flask) -> None:
    Signalpost(app)
    exchange_closed.connect(receive, named("one name"))
    named("one name").bind(app)


class Change(t.NamedTuple):
    """Something that is done to the first of many applications."""

    name: str
    make: Callable[[flask.Flask], object]
    undo: Callable[[flask.Flask], object]


CHANGES = (
    Change(
        "a connection to every sender",
        lambda app: request_started.connect(receive_too, ANY),
        lambda app: request_started.disconnect(receive_too),
    ),
    Change(
        "a connection to every sender's exchanges",
        lambda app: exchange_closed.connect(receive_too, ANY),
        lambda app: exchange_closed.disconnect(receive_too),
    ),
    Change(
        "a connection to one application",
        lambda app: template_rendered.connect(receive_too, app),
        lambda app: template_rendered.disconnect(receive_too, app),
    ),
    Change(
        "a connection to a name",
        lambda app: template_rendered.connect(receive_too, named("nobody")),
        lambda app: template_rendered.disconnect(receive_too, named("nobody")),
    ),
    Change(
        "a connection to another kind of sender",
        lambda app: sql_executed.connect(receive_too, app.jinja_env),
        lambda app: sql_executed.disconnect(receive_too),
    ),
    Change(
        "a name for an application",
        lambda app: named("first").bind(app),
        lambda app: None,
    ),
    Change(
        "a setup",
        lambda app: Signalpost(flask.Flask("another", static_folder=None)),
        lambda app: None,
    ),
)


def costs(prepare: Callable[[flask.Flask], object], count: int) -> dict[str, int]:
    """Return how many calls each change takes with that many applications."""
    apps = [new_app(prepare) for _ in range(count)]
    app = apps[0]
    _ = app.jinja_env
    kept = named("nobody"), named("first")
    found = {}
    for change in CHANGES:
        for _ in range(2):  # the first time fills caches
            making = calls_of(partial(change.make, app))
            undoing = calls_of(partial(change.undo, app))
        found[change.name] = making
        found[f"the end of {change.name}"] = undoing
    del kept
    return found


@pytest.mark.parametrize("prepare", [Signalpost, with_receivers, with_name])
def test_a_change_costs_the_same_beside_many_applications(
    prepare: Callable[[flask.Flask], object],
) -> None:
    assert costs(prepare, MANY) == costs(prepare, FEW)


def test_a_setup_costs_the_same_beside_connections_to_its_name() -> None:
    name = "shop of many"
    exchange_closed.connect(receive, named(name))

    def setup() -> list[flask.Flask]:
        app = flask.Flask(name, static_folder=None)
        Signalpost(app)
        return [app]

    apps = setup()
    few = [calls_of(lambda: apps.extend(setup())) for _ in range(FEW)]
    for _ in range(MANY):
        apps += setup()
    assert calls_of(lambda: apps.extend(setup())) == few[-1]
