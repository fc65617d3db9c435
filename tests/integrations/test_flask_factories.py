"""Receivers of a factory exist until its application is freed."""

from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from collections.abc import Callable

import flask
import pytest

from signalpost import named
from signalpost import Namespace
from signalpost import receiver as receives
from signalpost._engine.cleanup import deaths
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import template_rendered
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.receivers.referrers import ReferrerLogger
from signalpost.testing import restored
from tests.integrations.shop import new_shop
from tests.wsgi.serving import Server


@pytest.fixture(autouse=True)
def no_deaths() -> None:
    gc.collect()
    deaths.clear()


def served(app: flask.Flask, path: str = "/hello") -> bytes:
    return Server().serve(app, path=path, HTTP_REFERER="https://search.example/")


def create_app_of_the_readme() -> flask.Flask:
    app = new_shop()
    Signalpost(app)
    log_homepage_referrer = ReferrerLogger(paths=("/hello",))
    exchange_closed.connect(LatencyLogger(), app)
    request_started.connect(log_homepage_referrer, app)
    return app


def create_app_that_connects_first() -> flask.Flask:
    app = new_shop()
    log_latency, log_referrer = LatencyLogger(), ReferrerLogger(paths=("/hello",))
    exchange_closed.connect(log_latency, app)
    request_started.connect(log_referrer, app)
    Signalpost().init_app(app)
    return app


def create_app_by_name() -> flask.Flask:
    app = new_shop()
    log_latency, log_referrer = LatencyLogger(), ReferrerLogger(paths=("/hello",))
    exchange_closed.connect(log_latency, named(app.name))
    Signalpost(app)
    request_started.connect(log_referrer, named(app.name))
    return app


@pytest.mark.parametrize(
    "create_app",
    [create_app_of_the_readme, create_app_that_connects_first, create_app_by_name],
)
def test_a_factory_that_connects_logs_both_lines(
    create_app: Callable[[], flask.Flask], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with restored():
        app = create_app()
        gc.collect()
        assert served(app) == b"hello"
        names = [one.name for one in caplog.records]
        assert names == ["signalpost.referrers", "signalpost.latency"]
    assert not deaths


def test_a_recorders_methods_record_from_a_factory() -> None:
    def create_app() -> tuple[flask.Flask, weakref.ref[LatencyRecorder]]:
        app = new_shop()
        Signalpost(app)
        recorder = LatencyRecorder()
        for name, method in recorder.signals.items():
            catalogue[name].connect(getattr(recorder, method), app)
        return app, weakref.ref(recorder)

    app, found = create_app()
    gc.collect()
    served(app)
    recorder = found()
    assert recorder is not None
    assert recorder.snapshot().total.requests == 1


def test_local_functions_are_called_whichever_way_they_are_connected() -> None:
    calls: list[str] = []

    def create_app() -> flask.Flask:
        app = new_shop()

        @exchange_closed.connect_via(app, weak=True)
        def before(sender: object, exchange: Exchange) -> None:
            calls.append("before")

        Signalpost(app)

        @receives(exchange_closed, sender=app)
        def decorated(sender: object, exchange: Exchange) -> None:
            calls.append("decorated")

        def plain(sender: object, exchange: Exchange) -> None:
            calls.append("plain")

        exchange_closed.connect(plain, app)
        exchange_closed.connect(lambda sender, exchange: calls.append("inline"), app)

        @template_rendered.connect_via(app, weak=True)
        def of_flask(sender: object, **extra: object) -> None:
            calls.append("template")

        return app

    app = create_app()
    gc.collect()
    served(app, "/template")
    assert calls == ["template", "before", "decorated", "plain", "inline"]


def test_ones_own_signals_keep_the_receivers_of_an_application() -> None:
    shop = Namespace()
    placed = shop.signal("order-placed", payload=("order",))
    orders: list[object] = []

    def create_app() -> flask.Flask:
        app = new_shop()

        def first(sender: object, order: object) -> None:
            orders.append(("first", order))

        placed.connect(first, app)
        Signalpost(app)
        placed.connect(lambda sender, order: orders.append(("second", order)), app)
        return app

    app = create_app()
    gc.collect()
    placed.send(app, order=7)
    assert orders == [("first", 7), ("second", 7)]


def test_receivers_go_with_the_application_and_by_reference_count() -> None:
    def create_app() -> tuple[flask.Flask, weakref.ref[t.Any]]:
        app = new_shop()
        Signalpost(app)

        def local(sender: object, exchange: Exchange) -> None:
            pass

        exchange_closed.connect(local, app)
        return app, weakref.ref(local)

    before = len(exchange_closed.connections)
    gc.collect()
    gc.disable()
    try:
        app, local = create_app()
        served(app)
        application = weakref.ref(app)
        assert len(exchange_closed.connections) == before + 1
        del app
        assert (application(), local()) == (None, None)
        assert len(exchange_closed.connections) == before
    finally:
        gc.enable()


def test_a_receiver_that_refers_to_the_application_goes_with_it() -> None:
    def create_app() -> tuple[flask.Flask, weakref.ref[t.Any]]:
        app = new_shop()
        Signalpost(app)

        def local(sender: object, exchange: Exchange) -> None:
            assert sender is app

        exchange_closed.connect(local, app)
        return app, weakref.ref(local)

    app, local = create_app()
    served(app)
    application = weakref.ref(app)
    del app
    gc.collect()
    assert (application(), local()) == (None, None)


def test_disconnecting_releases_a_receiver_that_a_factory_connected() -> None:
    app = new_shop()
    Signalpost(app)

    def create() -> weakref.ref[t.Any]:
        def local(sender: object, exchange: Exchange) -> None:
            pass

        exchange_closed.connect(local, app)
        return weakref.ref(local)

    found = create()
    receiver = found()
    assert receiver is not None
    exchange_closed.disconnect(receiver, app)
    del receiver
    assert found() is None


# What no application keeps.


def connect_to_any() -> None:
    def local(sender: object, exchange: Exchange) -> None:
        raise AssertionError

    exchange_closed.connect(local)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        one.getMessage()
        for one in caplog.records
        if "was freed and never called" in one.message
    ]


def test_a_death_is_logged_once_in_debug_mode(caplog: pytest.LogCaptureFixture) -> None:
    app = new_shop()
    app.debug = True
    Signalpost(app)
    connect_to_any()
    gc.collect()
    for _ in range(3):
        served(app)
    (message,) = warnings_of(caplog)
    assert message.startswith(
        f"a receiver of exchange-closed that was connected at {__file__}:"
    )
    assert message.endswith(
        " (connect_to_any) was freed and never called: nothing else referred to it;"
        " connect"
        " it to the application, as in connect(receiver, app), keep it in a variable,"
        " or connect it with weak=False"
    )


def test_no_death_is_logged_without_debug_mode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_shop()
    Signalpost(app)
    connect_to_any()
    gc.collect()
    served(app)
    assert warnings_of(caplog) == []
    # It comes with the flag, as in a shell.
    app.debug = True
    served(app)
    assert len(warnings_of(caplog)) == 1
