"""The receivers in ``flask signalpost list`` and ``check``, and their JSON."""

from __future__ import annotations

import gc
import json
import os
import sys
import typing as t
import warnings
from collections.abc import Generator
from pathlib import Path

import click.testing
import flask
import pytest
import sqlalchemy
from flask.cli import FlaskGroup

from signalpost import Namespace
from signalpost import Signal
from signalpost._engine.cleanup import deaths
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import enabled_for
from signalpost.errors import SenderWarning
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask_cli import signalpost
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_started
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.testing import restored
from signalpost.wsgi.unsent import instrumentations

HERE = os.path.relpath(__file__)


@pytest.fixture(autouse=True)
def without_others() -> Generator[None]:
    """Leave out what other tests have connected, or let die."""
    gc.collect()
    with restored(*catalogue.values()):
        for signal in catalogue.values():
            signal._clear_state()
        deaths.clear()
        yield


@pytest.fixture(autouse=True)
def no_instrumentation_of_others() -> Generator[None]:
    """Leave out the engines that other tests have instrumented."""
    others: list[t.Any] = [one for one in instrumentations if not one.is_paused]
    for one in others:
        one.is_paused = True
    yield
    for one in others:
        one.is_paused = False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def new_app(**config: t.Any) -> flask.Flask:
    app = flask.Flask("shop")
    app.config.update(config)
    Signalpost(app)
    return app


def run(app: flask.Flask, *words: str) -> click.testing.Result:
    return app.test_cli_runner().invoke(signalpost, words)


def listed(app: flask.Flask) -> str:
    result = run(app, "list")
    assert result.exit_code == 0, result.output
    return result.stdout


def data_of(app: flask.Flask, *words: str, code: int = 0) -> t.Any:
    result = run(app, *words, "--json")
    assert result.exit_code == code, result.output
    assert result.stdout.replace("\n", "").isprintable()
    return json.loads(result.stdout, parse_constant=pytest.fail)


def receive(sender: object) -> None:
    pass


def receive_all(sender: object, **extra: object) -> None:
    pass


def receive_too(sender: object) -> None:
    pass


def receivers_in(data: t.Any, signal: str) -> list[t.Any]:
    (found,) = [one for one in data["signals"] if one["name"] == signal]
    return list(found["receivers"])


@pytest.mark.parametrize("kind", ["toml", "ini"])
def test_what_is_enabled_by_a_file_has_its_name_and_line(
    folder: Path, kind: str
) -> None:
    name = f"shop.{kind}"
    value = {"toml": "true", "ini": "yes"}[kind]
    (folder / name).write_text(
        f"[signalpost.receivers]\n\nlatency = {value}\n# more\nrecorder = {value}\n"
    )
    app = new_app(SIGNALPOST_CONFIG=folder / name)
    lines = listed(app).splitlines()
    assert f"  latency  strong  {name}:3" in lines
    assert lines.count(f"  recorder  strong  {name}:5") == 2
    enabled_for(app).disable_all()


def test_the_receivers_of_statements_have_their_names_and_lines(folder: Path) -> None:
    names = ("sql", "sql-repeats", "sql-totals")
    lines = "".join(f"{name} = true\n" for name in names)
    (folder / "shop.toml").write_text(f"[signalpost.receivers]\n{lines}")
    app = new_app(SIGNALPOST_CONFIG=folder / "shop.toml")
    output = listed(app)
    enabled_for(app).disable_all()
    for number, name in enumerate(names, 2):
        assert f"  {name}  strong, any engine  shop.toml:{number}\n" in output


def test_every_ready_receiver_has_its_name(folder: Path) -> None:
    names = [name for name in BUILTIN_RECEIVERS if name not in ("sqlalchemy", "watch")]
    app = new_app(SIGNALPOST_RECEIVERS=dict.fromkeys(names, True))
    data = data_of(app, "list")
    enabled_for(app).disable_all()
    found = [one for signal in data["signals"] for one in signal["receivers"]]
    assert {one["name"] for one in found} == {*names}
    assert all(one["is_enabled_by_name"] for one in found)
    assert {one["file"] for one in found} == {'app.config["SIGNALPOST_RECEIVERS"]'}


def test_a_receiver_of_failed_statements_is_of_any_engine() -> None:
    app = new_app()
    with sql_failed.connected_to(receive):
        assert f"  {__name__}.receive  strong, any engine  " in listed(app)


def test_a_receiver_of_one_engine_is_listed() -> None:
    app = new_app()
    engine = sqlalchemy.create_engine("sqlite://")
    sql_executed.connect(receive, engine)
    output = listed(app)
    sql_executed.disconnect(receive)
    assert f"  {__name__}.receive  weak, one Engine  {HERE}:" in output


def test_the_receivers_of_ones_own_signals_are_listed_by_its_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Events:
        order_placed = Namespace().signal("order-placed", "An order was placed.")
        nameless = Signal()

    monkeypatch.setattr(sys.modules[__name__], "Events", Events, raising=False)
    receivers = {
        f"{__name__}:receive": {"signal": f"{__name__}:Events.order_placed"},
        f"{__name__}:receive_too": {"signal": f"{__name__}:Events.nameless"},
    }
    app = new_app(SIGNALPOST_RECEIVERS=receivers)
    output = listed(app)
    data = data_of(app, "list")
    enabled_for(app).disable_all()
    place = 'app.config["SIGNALPOST_RECEIVERS"]'
    assert output.endswith(
        f"\n{__name__}:Events.order_placed  An order was placed.\n"
        f"  {__name__}:receive  strong, any sender  {place}\n"
        f"{__name__}:Events.nameless\n"
        f"  {__name__}:receive_too  strong, any sender  {place}\n"
    )
    (found,) = receivers_in(data, f"{__name__}:Events.nameless")
    assert found["is_enabled_by_name"]
    assert "Events" not in listed(app)


def test_places_of_packages_are_relative_to_their_root(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = folder / ".venv" / "lib" / "site-packages"
    package = packages / "other_shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from signalpost.lifecycle import message_flashed\n"
        "@message_flashed.connect\n"
        "def count(sender): ...\n"
    )
    monkeypatch.syspath_prepend(packages)
    import other_shop  # type: ignore[import-not-found]

    try:
        output = listed(new_app())
    finally:
        message_flashed.disconnect(other_shop.count)
        del sys.modules["other_shop"]
    line = f"  other_shop.count  weak, any sender  other_shop{os.sep}__init__.py:2\n"
    assert line in output


def test_receivers_that_will_never_be_called_are_listed_with_the_reason() -> None:
    app, bare = new_app(), flask.Flask("bare")
    with pytest.warns(SenderWarning):
        message_flashed.connect(receive, "shop")
    exchange_closed.connect(receive, bare)
    output = listed(app)
    checked = run(app, "check")
    data = data_of(app, "list")
    for signal in (message_flashed, exchange_closed):
        signal.disconnect(receive)
    name = f"{__name__}.receive"
    section = output.partition("Receivers that will never be called:\n")
    flashed, closed = section[2].splitlines()
    assert flashed.startswith(
        f"  message-flashed  {name}: a string sends no signals: write named('shop')"
        f" for the application ({HERE}:"
    )
    assert closed.startswith(f"  exchange-closed  {name}: it has no layer: call ")
    assert checked.exit_code == 0
    assert checked.stderr.splitlines()[0].startswith(
        f"Warning: {name} will never be called by message-flashed: a string sends no"
    )
    assert len(checked.stderr.splitlines()) == 2
    assert [one["signal"] for one in data["never_called"]] == [
        "message-flashed",
        "exchange-closed",
    ]


def test_a_receiver_of_statements_that_is_connected_to_the_application_is_listed() -> (
    None
):
    app = new_app()
    catalogue.connect(receive_all, app)
    with pytest.warns(SenderWarning, match="engines do"):
        sql_executed.connect(receive, app)
    output = listed(app)
    checked = run(app, "check")
    sql_executed.disconnect(receive)
    catalogue.disconnect(receive_all, app)
    section = output.partition("Receivers that will never be called:\n")
    (line,) = section[2].splitlines()
    assert line.startswith(
        f"  sql-executed  {__name__}.receive: applications do not send it, engines do:"
    )
    (warning,) = checked.stderr.splitlines()
    assert "never be called by sql-executed: applications do not" in warning


def test_a_name_that_never_came_is_listed_and_one_that_came_is_not() -> None:
    from signalpost import named

    app = new_app()
    request_started.connect(receive, named("shop"))
    assert "never be called" not in listed(app)
    message_flashed.connect(receive, named("shpo"))
    output = listed(app)
    for signal in (message_flashed, request_started):
        signal.disconnect(receive)
    assert "no application has the name 'shpo'" in output


def test_receivers_of_others_that_are_called_are_not_among_them() -> None:
    app, other = new_app(), new_app()
    exchange_closed.connect(receive, other)
    sql_executed.connect(receive, object())
    output = listed(app)
    for signal in (exchange_closed, sql_executed):
        signal.disconnect(receive)
    assert "never be called" not in output


def test_receivers_that_died_uncalled_are_listed() -> None:
    def connect_one() -> None:
        def forgotten(sender: object) -> None: ...

        message_flashed.connect(forgotten)

    app = new_app()
    assert "freed" not in listed(app)
    connect_one()
    gc.collect()
    output = listed(app)
    assert "Receivers that were freed before they were called" in output
    last = output.splitlines()[-1]
    assert last.startswith(f"  message-flashed  connected at {HERE}:")
    assert last.endswith(f" in {connect_one.__qualname__}")
    (gone,) = data_of(app, "list")["died"]
    assert gone["signal"] == "message-flashed"
    assert gone["function"] == connect_one.__qualname__


def test_the_list_as_json_has_every_signal_and_each_fact() -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": True})
    message_flashed.connect(receive, app, once=True, priority=5, weak=False)
    data = data_of(app, "list")
    message_flashed.disconnect(receive)
    enabled_for(app).disable_all()
    assert [one["name"] for one in data["signals"]] == [*catalogue]
    assert data["application"] == "shop"
    assert data["mistakes"] == []
    (found,) = receivers_in(data, "message-flashed")
    assert found.pop("line") > 0
    assert found == {
        "name": f"{__name__}.receive",
        "receiver": f"{__name__}.receive",
        "is_enabled_by_name": False,
        "sender": None,
        "is_weak": False,
        "is_once": True,
        "priority": 5,
        "calls": 0,
        "file": __file__,
    }
    (found,) = receivers_in(data, "exchange-closed")
    assert (found["name"], found["is_enabled_by_name"]) == ("latency", True)


def result_of(config: dict[str, t.Any], *words: str) -> click.testing.Result:
    group = FlaskGroup(create_app=lambda: new_app(**config))
    return click.testing.CliRunner().invoke(group, ["signalpost", *words])


@pytest.mark.parametrize(
    ("command", "code"), [("list", 0), ("receivers", 0), ("check", 1)]
)
def test_the_mistakes_of_a_configuration_are_in_the_json(
    folder: Path, command: str, code: int
) -> None:
    (folder / "shop.toml").write_text(
        "[signalpost.receivers]\nlatencey = true\nlatency = {slow = 1}\n"
    )
    config = {"SIGNALPOST_CONFIG": folder / "shop.toml"}
    result = result_of(config, command, "--json")
    assert result.exit_code == code
    assert result.stderr == ""
    mistakes = json.loads(result.stdout)["mistakes"]
    assert [(one["line"], one["key"]) for one in mistakes] == [
        (2, "latencey"),
        (3, "latency"),
    ]
    assert mistakes[0]["file"] == str(folder / "shop.toml")
    assert mistakes[0]["section"] == "signalpost.receivers"
    assert mistakes[0]["message"].endswith("did you mean 'latency'?")


def test_the_check_as_json_has_what_is_enabled_and_warnings(folder: Path) -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": True})
    data = data_of(app, "check")
    enabled_for(app).disable_all()
    (warning,) = data.pop("warnings")
    assert warning.startswith("the lines of latency (INFO) are shown nowhere")
    assert data == {
        "file": None,
        "is_right": True,
        "receivers": ["latency"],
        "mistakes": [],
    }
    (folder / "shop.toml").write_text("[signalpost]\nformat = 'text'\n")
    data = data_of(app, "check", "shop.toml")
    assert (data["file"], data["warnings"]) == ("shop.toml", [])


def test_warnings_about_a_configuration_are_lines_of_the_check(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shop.toml").write_text("[signalpost.receivers]\nsql-totals = true\n")
    # As where the package is not installed.
    monkeypatch.setattr("signalpost.config._extras._is_installed", lambda name: False)
    config = {"SIGNALPOST_CONFIG": folder / "shop.toml"}
    result = result_of(config, "check")
    assert result.exit_code == 0
    line, unsent = result.stderr.splitlines()
    assert "no engine is instrumented" in unsent
    assert line.startswith(f"Warning: {folder}/shop.toml, line 2, [signalpost.receive")
    assert "pip install 'signalpost[sqlalchemy]'" in line
    found = json.loads(result_of(config, "check", "--json").stdout)["warnings"]
    assert [line, unsent] == [f"Warning: {warning}" for warning in found]


def test_other_warnings_of_an_application_are_given_as_ever(folder: Path) -> None:
    def create() -> flask.Flask:
        warnings.warn("of the shop's own", DeprecationWarning, stacklevel=1)
        return new_app()

    group = FlaskGroup(create_app=create)
    with pytest.warns(DeprecationWarning, match="of the shop's own"):
        result = click.testing.CliRunner().invoke(group, ["signalpost", "check"])
    assert result.exit_code == 0
    assert result.stderr == ""


def test_receivers_as_json_have_options_and_no_secret() -> None:
    options = {"token": "open-sesame", "with_sql": False, "max_routes": 7}
    app = new_app(SIGNALPOST_RECEIVERS={"prometheus": options})
    data = data_of(app, "receivers")
    enabled_for(app).disable_all()
    assert "sesame" not in json.dumps(data)
    by_name = {one["name"]: one for one in data["receivers"]}
    assert {*BUILTIN_RECEIVERS} <= {*by_name}
    assert by_name["latency"]["enabled"] is None
    assert by_name["latency"]["options"][0] == {
        "name": "slow_seconds",
        "is_required": False,
        "default": None,
    }
    enabled = by_name["prometheus"]["enabled"]
    assert enabled["options"] == {"token": "…", "with_sql": False, "max_routes": 7}


def test_an_option_that_json_has_no_word_for_is_text() -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": {"slow_seconds": 1e999}})
    data = data_of(app, "receivers")
    enabled_for(app).disable_all()
    by_name = {one["name"]: one for one in data["receivers"]}
    assert by_name["latency"]["enabled"]["options"] == {"slow_seconds": "inf"}


def never_called_in(app: flask.Flask) -> list[str]:
    return [one["receiver"] for one in data_of(app, "list")["never_called"]]


SQL_RECEIVERS = {"latency": True, "sql": True, "sql-totals": True, "sql-repeats": True}


def test_receivers_of_statements_are_listed_while_no_engine_is_instrumented() -> None:
    gc.collect()
    app = new_app(SIGNALPOST_RECEIVERS=SQL_RECEIVERS)
    sql_failed.connect(receive)
    output = listed(app)
    checked = run(app, "check")
    names = ["sql", "sql-totals", "sql-repeats", f"{__name__}.receive"]
    assert never_called_in(app) == names
    assert (
        "  sql-executed  sql: no engine is instrumented: enable the receiver"
        " sqlalchemy, or call signalpost.integrations.sqlalchemy.instrument()"
        ' (app.config["SIGNALPOST_RECEIVERS"])\n'
    ) in output
    assert (
        "Warning: sql-totals will never be called by sql-executed: no engine is"
        " instrumented:"
    ) in checked.stderr
    assert checked.exit_code == 0
    engine = sqlalchemy.create_engine("sqlite://")
    with instrument(engine):
        assert never_called_in(app) == []
    assert never_called_in(app) == names
    sql_failed.disconnect(receive)


def test_receivers_of_statements_are_called_where_all_engines_are_instrumented() -> (
    None
):
    app = new_app(SIGNALPOST_RECEIVERS={**SQL_RECEIVERS, "sqlalchemy": True})
    assert never_called_in(app) == []
    # Threads may use the engines, so they are only paused.
    assert enabled_for(app).disable("sqlalchemy")
    assert never_called_in(app) == ["sql", "sql-totals", "sql-repeats"]
    enabled_for(app).disable_all()


def test_what_also_receives_requests_needs_no_engine() -> None:
    names = ("prometheus", "opentelemetry", "live", "watch")
    app = new_app(SIGNALPOST_RECEIVERS=dict.fromkeys(names, True))
    assert never_called_in(app) == []
    enabled_for(app).disable_all()


def test_what_is_enabled_and_needs_no_signal_now_is_listed_with_its_line(
    folder: Path,
) -> None:
    (folder / "shop.toml").write_text(
        "[signalpost.receivers]\nlatency = true\nwatch = true\n"
    )
    app = new_app(SIGNALPOST_CONFIG="shop.toml")
    title = "Receivers that are enabled and need no signal now:\n"
    section = listed(app).partition(title)
    assert section[2] == "  watch  shop.toml:3\n"
    assert data_of(app, "list")["without_signals"] == [
        {"name": "watch", "file": os.fspath(folder / "shop.toml"), "line": 3}
    ]
    enabled_for(app).disable_all()
