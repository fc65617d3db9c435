from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from pathlib import Path

import flask
import pytest
from webtest import TestApp

from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import post_config_load
from signalpost.receivers.latency import LatencyLogger
from tests.integrations.serving import state_of
from tests.integrations.shop import new_shop


def configured(**config: t.Any) -> flask.Flask:
    app = new_shop()
    app.config.update(config)
    Signalpost(app)
    return app


def refusal(**config: t.Any) -> ConfigurationError:
    app = new_shop()
    app.config.update(config)
    with pytest.raises(ConfigurationError) as raised:
        Signalpost(app)
    assert "signalpost" not in app.extensions
    assert "wsgi_app" not in vars(app)
    assert not hearing(app)
    return raised.value


def hearing(app: flask.Flask) -> list[t.Any]:
    """Return what hears the end of this application's exchanges, and no other's."""
    return [one.receiver for one in exchange_closed.connections if one.sender is app]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(
        "[signalpost.receivers]\n"
        "latency = {slow_seconds = 0.5}\n"
        "referrers = true\n"
        "\n"
        "[stock.audit]\n"
        "days = 3\n"
    )
    return path


def test_without_configuration_nothing_is_enabled() -> None:
    app = configured()
    assert len(state_of(app).enabled) == 0
    assert not hearing(app)


def test_receivers_of_the_configuration_hear_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = configured(SIGNALPOST_RECEIVERS={"latency": True, "referrers": False})
    other = configured()
    caplog.set_level(logging.INFO, logger="signalpost")
    TestApp(app).get("/hello")
    TestApp(other).get("/hello")
    assert [record.name for record in caplog.records] == ["signalpost.latency"]
    assert list(state_of(app).enabled) == ["latency"]


def test_the_keys_are_read_once() -> None:
    app = configured(SIGNALPOST_RECEIVERS={"latency": {"slow_seconds": 0.5}})
    app.config["SIGNALPOST_RECEIVERS"]["latency"]["slow_seconds"] = 7
    app.config["SIGNALPOST_RECEIVERS"]["referrers"] = True
    latency = state_of(app).enabled["latency"]
    assert latency.options == {"slow_seconds": 0.5}
    assert len(state_of(app).enabled) == 1


def test_a_file_is_named_by_its_path(path: Path) -> None:
    app = configured(SIGNALPOST_CONFIG=path)
    enabled = state_of(app).enabled
    assert list(enabled) == ["latency", "referrers"]
    assert enabled["latency"].source == (
        f"{path}, line 2, [signalpost.receivers] latency"
    )


def test_a_relative_path_starts_where_flask_starts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = new_shop()
    monkeypatch.setattr(app.config, "root_path", str(path.parent))
    app.config["SIGNALPOST_CONFIG"] = path.name
    Signalpost(app)
    assert "latency" in state_of(app).enabled


def test_keys_win_over_the_file(path: Path) -> None:
    receivers = {"latency": {"slow_seconds": 0.1}, "referrers": False}
    app = configured(SIGNALPOST_CONFIG=path, SIGNALPOST_RECEIVERS=receivers)
    enabled = state_of(app).enabled
    assert list(enabled) == ["latency"]
    assert enabled["latency"].options == {"slow_seconds": 0.1}
    assert enabled["latency"].source == (
        'app.config["SIGNALPOST_RECEIVERS"], [signalpost.receivers] latency'
    )


def test_receivers_that_no_key_names_are_the_files(path: Path) -> None:
    app = configured(
        SIGNALPOST_CONFIG=path,
        SIGNALPOST_RECEIVERS={"referrers": {"paths": ["/"]}},
        SIGNALPOST_AUTO_IMPORT=["json"],
    )
    enabled = state_of(app).enabled
    assert enabled["latency"].source.startswith(str(path))
    assert enabled["referrers"].options == {"paths": ["/"]}


def test_modules_read_their_own_sections_of_the_file(path: Path) -> None:
    found: list[object] = []

    def hear(configuration: Configuration, application: object) -> None:
        found.append((configuration["stock.audit.days"], application))

    with post_config_load.connected_to(hear):
        app = configured(SIGNALPOST_CONFIG=path, SIGNALPOST_RECEIVERS={})
    assert found == [(3, app)]


def test_the_format_writes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = configured(SIGNALPOST_RECEIVERS={"latency": True}, SIGNALPOST_FORMAT="json")
    TestApp(app).get("/hello")
    state_of(app).enabled.disable_all()
    assert '"method":"GET"' in capsys.readouterr().err.replace(" ", "")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"SIGNALPOST_RECEIVERS": {"latencey": True}},
            'app.config["SIGNALPOST_RECEIVERS"], [signalpost.receivers] latencey: unk',
        ),
        (
            {"SIGNALPOST_RECEIVERS": ["latency"]},
            'app.config["SIGNALPOST_RECEIVERS"], [signalpost] receivers: expected',
        ),
        (
            {"SIGNALPOST_AUTO_IMPORT": "stock.audit"},
            'app.config["SIGNALPOST_AUTO_IMPORT"], [signalpost] auto-import: expected',
        ),
        (
            {"SIGNALPOST_FORMAT": "jason"},
            'app.config["SIGNALPOST_FORMAT"], [signalpost] format: expected one of',
        ),
        (
            {"SIGNALPOST_CONFIG": 3},
            'app.config["SIGNALPOST_CONFIG"]: expected a path, got 3',
        ),
    ],
)
def test_an_error_names_the_key(config: dict[str, t.Any], message: str) -> None:
    assert message in str(refusal(**config))


def test_a_file_that_is_missing_is_named_with_the_key(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    error = refusal(SIGNALPOST_CONFIG=path)
    assert error.source == str(path)
    assert error.__notes__ == ['app.config["SIGNALPOST_CONFIG"] names this file']


def test_a_refused_app_can_be_set_up_once_it_is_put_right() -> None:
    app = new_shop()
    app.config["SIGNALPOST_RECEIVERS"] = {"latency": True, "nonsense": True}
    with pytest.raises(ConfigurationError):
        Signalpost(app)
    app.config["SIGNALPOST_RECEIVERS"] = {"latency": True}
    Signalpost(app)
    assert list(state_of(app).enabled) == ["latency"]


def test_each_app_of_a_factory_has_receivers_of_its_own() -> None:
    apps = [configured(SIGNALPOST_RECEIVERS={"latency": True}) for _ in range(2)]
    loggers = [state_of(app).enabled["latency"].receiver for app in apps]
    assert loggers[0] is not loggers[1]
    for app, logger in zip(apps, loggers, strict=True):
        assert isinstance(logger, LatencyLogger)
        assert hearing(app) == [logger]
        assert enabled_for(app) is state_of(app).enabled


def test_current_app_is_the_app_that_it_stands_for() -> None:
    app = configured(SIGNALPOST_RECEIVERS={"latency": True})
    with app.app_context():
        assert enabled_for(flask.current_app) is enabled_for(app)


def test_receivers_go_with_their_application() -> None:
    receivers = {"latency": True, "referrers": True, "recorder": True}
    app = configured(SIGNALPOST_RECEIVERS=receivers)
    TestApp(app).get("/hello")
    gone: list[weakref.ref[t.Any]] = [weakref.ref(app)]
    gone += [weakref.ref(one.receiver) for one in state_of(app).enabled.values()]
    del app
    gc.collect()
    assert [one() for one in gone] == [None] * len(gone)


def test_receivers_can_be_disabled_while_the_application_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = configured(SIGNALPOST_RECEIVERS={"latency": True})
    caplog.set_level(logging.INFO, logger="signalpost")
    state_of(app).enabled.disable("latency")
    TestApp(app).get("/hello")
    assert caplog.records == []
