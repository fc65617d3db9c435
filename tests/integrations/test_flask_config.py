from __future__ import annotations

import gc
import logging
import os
import re
import typing as t
import weakref
from pathlib import Path

import flask
import pytest
from webtest import TestApp

from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.config import KNOWN_KEYS
from signalpost.errors import ConfigurationError
from signalpost.errors import ConfigurationWarning
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
    assert not receivers_of(app)
    return raised.value


def receivers_of(app: flask.Flask) -> list[t.Any]:
    """Return the receivers of the end of this application's exchanges only."""
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
    assert not receivers_of(app)


def test_receivers_of_the_configuration_receive_from_the_application(
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

    def receive(configuration: Configuration, application: object) -> None:
        found.append((configuration["stock.audit.days"], application))

    with post_config_load.connected_to(receive):
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
        assert receivers_of(app) == [logger]
        assert enabled_for(app) is state_of(app).enabled


def test_current_app_is_its_application() -> None:
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


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("SIGNALPOST_RECIEVERS", "did you mean 'SIGNALPOST_RECEIVERS'?"),
        ("SIGNALPOST_CONFIGURATION", "did you mean 'SIGNALPOST_CONFIG'?"),
        ("SIGNALPOST_AUTOIMPORT", "did you mean 'SIGNALPOST_AUTO_IMPORT'?"),
        ("SIGNALPOST_STRIKT", "did you mean 'SIGNALPOST_STRICT'?"),
        ("SIGNAL_POST_FORMAT", "did you mean 'SIGNALPOST_FORMAT'?"),
        ("SIGNALPST_FORMAT", "did you mean 'SIGNALPOST_FORMAT'?"),
        ("signalpost_format", "did you mean 'SIGNALPOST_FORMAT'?"),
        ("SignalpostFormat", "did you mean 'SIGNALPOST_FORMAT'?"),
        ("SIGNALPOST_X", "known are SIGNALPOST_AUTO_IMPORT, SIGNALPOST_CONFIG, "),
        ("SIGNALPOST_", "unknown key"),
        (
            "SIGNALPOST_LATNCY",
            """did you mean 'latency' in app.config["SIGNALPOST_RECEIVERS"]?""",
        ),
    ],
)
def test_a_key_that_is_not_known_is_an_error(key: str, advice: str) -> None:
    error = refusal(**{key: True})
    assert str(error).startswith(f'app.config["{key}"]: unknown key; known are ')
    assert advice in str(error)
    assert (error.source, error.key) == ("app.config", key)


def test_no_key_is_meant_by_one_that_is_like_none() -> None:
    assert "did you mean" not in str(refusal(SIGNALPOST_X=1))
    assert "did you mean" not in str(refusal(SIGNALPOST=1))


LATENCY = {"latency": True}
RECEIVERS_ALONE = 'write app.config["SIGNALPOST_RECEIVERS"] = …'
FORMAT_AND_RECEIVERS = (
    'write app.config["SIGNALPOST_FORMAT"] = … and'
    ' app.config["SIGNALPOST_RECEIVERS"] = …'
)


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("SIGNALPOST", {"receivers": LATENCY}, RECEIVERS_ALONE),
        ("SIGNALPOST", {"receivers": LATENCY, "format": "x"}, FORMAT_AND_RECEIVERS),
        ("SIGNALPOST", {"RECEIVERS": LATENCY}, RECEIVERS_ALONE),
        ("SIGNALPOST", {"signalpost": {"receivers": LATENCY}}, RECEIVERS_ALONE),
        ("SIGNALPOST", {"SIGNALPOST_RECEIVERS": LATENCY}, RECEIVERS_ALONE),
        ("SIGNALPOST", {"LATENCY": "true"}, RECEIVERS_ALONE),
        ("SIGNALPOST", LATENCY, RECEIVERS_ALONE),
        ("SIGNALPOST", {}, RECEIVERS_ALONE),
        (
            "SIGNALPOST",
            {"auto_import": ["shop.audit"]},
            'write app.config["SIGNALPOST_AUTO_IMPORT"] = …',
        ),
        ("SIGNALPOST", "a.toml", 'write app.config["SIGNALPOST_CONFIG"] = …'),
        ("SIGNALPOST", Path("a.ini"), 'write app.config["SIGNALPOST_CONFIG"] = …'),
        ("SIGNALPOST", True, "known are SIGNALPOST_AUTO_IMPORT, "),
        ("SIGNALPOST", ["latency"], "known are SIGNALPOST_AUTO_IMPORT, "),
        ("signalpost", LATENCY, RECEIVERS_ALONE),
        ("Signalpost", LATENCY, RECEIVERS_ALONE),
        ("SIGNAL_POST", LATENCY, RECEIVERS_ALONE),
        ("SIGNALPST", LATENCY, RECEIVERS_ALONE),
        ("SGINALPOST", "a.toml", 'write app.config["SIGNALPOST_CONFIG"] = …'),
        ("signalpost.receivers", LATENCY, RECEIVERS_ALONE),
        ("RECEIVERS", LATENCY, RECEIVERS_ALONE),
        ("OBSERVED", {"signalpost": {"receivers": {}}}, RECEIVERS_ALONE),
        ("OBSERVED", {"by": {"receivers": LATENCY}}, RECEIVERS_ALONE),
        (
            "SIGNALPOST_LATENCY",
            {"slow_seconds": 1},
            (
                'it is a receiver; write app.config["SIGNALPOST_RECEIVERS"] ='
                ' {"latency": …}'
            ),
        ),
        (
            "SIGNALPOST_SQL_TOTALS",
            True,
            (
                'it is a receiver; write app.config["SIGNALPOST_RECEIVERS"] ='
                ' {"sql-totals": …}'
            ),
        ),
        (
            "SIGNALPOST_DISABLED",
            True,
            (
                "SIGNALPOST_DISABLED is a variable of the environment; set it there,"
                " or do not call Signalpost(app)"
            ),
        ),
        (
            "signalpost_disable",
            True,
            "SIGNALPOST_DISABLED is a variable of the environment",
        ),
    ],
)
def test_a_key_that_is_meant_for_us_is_an_error_with_what_to_write(
    key: str, value: object, advice: str
) -> None:
    error = refusal(**{key: value})
    assert str(error).startswith(f'app.config["{key}"]: unknown key; {advice}')
    assert (error.source, error.key) == ("app.config", key)


def test_keys_of_others_are_no_mistakes() -> None:
    configured(SIGNALS=1, SIGNAL_PORT=2, POST_FORMAT=3, POSTSIGNAL="x", FORMAT="json")
    configured(
        RECEIVERS=["audit"],
        RECEIVER={"address": "x"},
        LATENCY={"receivers": {"sales": "sales@shop.test"}},
        WATCH=True,
        LOGGING={"loggers": {"signalpost": {"level": "INFO"}, 3: {}}},
        LEVELS={"signalpost": {"format": "json"}, "watch": {"x": 1}},
    )


def test_a_mapping_in_itself_under_another_key_is_no_mistake() -> None:
    endless: dict[str, t.Any] = {}
    endless.update({str(number): endless for number in range(1000)})
    configured(ENDLESS=endless)


def test_a_misspelt_key_that_is_set_later_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = configured()
    app.config["SIGNALPOST"] = {"receivers": LATENCY}
    TestApp(app).get("/hello")
    assert [one.getMessage() for one in caplog.records] == [
        (
            f"SIGNALPOST of {app!r} was set after Signalpost(app), which reads the"
            " configuration once; set it before"
        )
    ]


def test_each_key_that_is_documented_is_known() -> None:
    documented = set(
        re.findall(r"``(SIGNALPOST_\w+)``$", Signalpost.__doc__ or "", re.M)
    )
    assert documented == KNOWN_KEYS


def test_mistakes_of_keys_and_file_are_reported_together(path: Path) -> None:
    path.write_text("[signalpst]\n[signalpost.receivers]\nlatency = 3\nrecoder=true\n")
    error = refusal(
        SIGNALPOST_CONFIG=path,
        SIGNALPOST_STRICT="yes",
        SIGNALPOST_FORMATT="json",
        SIGNALPOST_FORMAT="jason",
        SIGNALPOST_RECEIVERS={"failure": True},
    )
    assert [(one.source, one.line, one.key) for one in error.errors] == [
        ("app.config", None, "SIGNALPOST_FORMATT"),
        ("app.config", None, "SIGNALPOST_STRICT"),
        (str(path), 1, "signalpst"),
        (str(path), 3, "latency"),
        (str(path), 4, "recoder"),
        ('app.config["SIGNALPOST_RECEIVERS"]', None, "failure"),
        ('app.config["SIGNALPOST_FORMAT"]', None, "format"),
    ]


def test_a_file_that_is_missing_hides_no_mistake_of_the_keys() -> None:
    error = refusal(SIGNALPOST_CONFIG="no.toml", SIGNALPOST_RECEIVERS={"latncy": True})
    lines = str(error).splitlines()
    assert len(lines) == 3
    assert lines[1].endswith('(app.config["SIGNALPOST_CONFIG"] names this file)')


def test_a_mapping_in_itself_is_refused() -> None:
    receivers: dict[str, t.Any] = {"latency": {}}
    receivers["latency"]["levels"] = receivers
    assert "in itself" in str(refusal(SIGNALPOST_RECEIVERS=receivers))


@pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
def test_the_environment_can_leave_an_application_as_it_was(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALPOST_DISABLED", value)
    app = new_shop()
    app.config.update(SIGNALPOST_RECEIVERS={"latncy": 3}, SIGNALPOST_CONFIG="no.toml")
    before = {**vars(app)}, {**app.config}, {**app.extensions}
    Signalpost(app)
    Signalpost(app)
    assert ({**vars(app)}, {**app.config}, {**app.extensions}) == before
    assert TestApp(app).get("/hello").status_code == 200
    assert not receivers_of(app)
    assert len(enabled_for(app)) == 0


@pytest.mark.parametrize("value", ["", "0", "no", "False", "off"])
def test_an_application_is_set_up_if_the_environment_does_not_object(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALPOST_DISABLED", value)
    assert list(state_of(configured(SIGNALPOST_RECEIVERS={"latency": True})).enabled)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SIGNALPOST_DISABLED", "perhaps", "DISABLED: expected 1 or 0, got 'perhaps'"),
        ("SIGNALPOST_DISABLED", "2", "SIGNALPOST_DISABLED: expected 1 or 0, got '2'"),
        ("SIGNALPOST_DISABLE", "1", "did you mean 'SIGNALPOST_DISABLED'?"),
        ("SIGNAL_POST_DISABLED", "1", "did you mean 'SIGNALPOST_DISABLED'?"),
    ],
)
def test_what_the_environment_cannot_mean_is_an_error(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    error = refusal()
    assert message in str(error)
    assert (error.source, error.key) == ("the environment", name)


def test_other_variables_of_the_environment_are_no_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNALPOST_RECORDS", "x")
    configured()


@pytest.mark.parametrize("name", ["SIGNALPOST_CONFIG", "SIGNALPOST_FORMAT"])
def test_a_variable_that_is_named_as_a_key_is_not_ignored_in_silence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "shop.toml")
    with pytest.warns(ConfigurationWarning) as caught:
        configured()
    (one,) = caught
    assert str(one.message) == (
        f"the environment, {name}: it is not read, as only SIGNALPOST_DISABLED is;"
        f' write app.config["{name}"] = os.environ["{name}"]'
    )


def test_a_variable_that_an_application_reads_itself_is_no_mistake(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALPOST_CONFIG", os.fspath(path))
    app = configured(SIGNALPOST_CONFIG=os.environ["SIGNALPOST_CONFIG"])
    assert "latency" in enabled_for(app)
    monkeypatch.setenv("SIGNALPOST_CONFIG", "")
    configured()
