from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
import types
import typing as t
from collections.abc import Generator
from collections.abc import Iterator
from pathlib import Path

import click.testing
import flask
import pytest
from flask.cli import FlaskGroup

from signalpost import named
from signalpost import observe
from signalpost._engine.cleanup import deaths
from signalpost.config import enabled_for
from signalpost.config import ENTRY_POINT_GROUP
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask_cli import signalpost
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import post_config_load
from signalpost.receivers.watch import Message
from signalpost.receivers.watch import watch_folder
from signalpost.testing import restored

ORIGIN = 'app.config["SIGNALPOST_RECEIVERS"]'
SOURCE = f"{ORIGIN}, [signalpost.receivers]"
HERE = os.path.relpath(__file__)


def new_app(name: str = "shop", **config: t.Any) -> flask.Flask:
    app = flask.Flask(name)
    app.config.update(config)
    Signalpost(app)
    return app


def run(app: flask.Flask, *words: str, **options: t.Any) -> click.testing.Result:
    return app.test_cli_runner().invoke(signalpost, words, **options)


def printed(app: flask.Flask, *words: str, **options: t.Any) -> str:
    result = run(app, *words, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(app: flask.Flask, *words: str) -> str:
    """Return what is printed by a command that ends with code 1."""
    result = run(app, *words)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.stderr


def receivers_of(output: str, signal: str) -> list[str]:
    """Return the lines of a signal's receivers."""
    lines = iter(output.splitlines())
    for line in lines:
        if line.startswith(f"{signal} "):
            break
    found = []
    for line in lines:
        if not line.startswith(" "):
            break
        found.append(line.strip())
    return found


def connected_at(output: str, signal: str) -> list[str]:
    """Return the receivers without the number of the line, which moves."""
    return [line.rpartition(":")[0] for line in receivers_of(output, signal)]


def receive(sender: object) -> None:
    pass


def receive_too(sender: object) -> None:
    pass


def receive_thrice(sender: object) -> None:
    pass


class Odd:
    """Take ``any`` option; see :class:`~shop.Other`."""

    signals: t.ClassVar = {"exchange-closed": "__call__"}

    def __init__(self, first: int, **more: object) -> None:
        self.first = first

    def __call__(self, sender: object) -> None:
        pass


class NoSignature:
    __signature__ = "none"


class FakeWatcher:
    """Yields the given messages, and is then interrupted, as by Ctrl-C."""

    messages: t.ClassVar[list[Message]] = []

    def __init__(self, folder: object, *, application: flask.Flask | None) -> None:
        self.folder = folder or watch_folder(application)

    def __enter__(self) -> FakeWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Message]:
        yield from self.messages
        raise KeyboardInterrupt


def message(signal: str = "exchange-closed", **values: t.Any) -> Message:
    told: Message = {"signal": signal, "time": 0.0, "process": 7, "dropped": 0}
    return told | values


def page(path: str, status: int | None = 200, **values: t.Any) -> Message:
    return message(method="GET", path=path, status=status, **values)


@pytest.fixture
def comes(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Give the messages that come to a watcher."""
    monkeypatch.setattr("signalpost.integrations.flask_cli._watch.Watcher", FakeWatcher)
    messages: list[Message] = []
    monkeypatch.setattr(FakeWatcher, "messages", messages)
    return messages


@pytest.fixture
def watched() -> flask.Flask:
    return new_app(SIGNALPOST_RECEIVERS={"watch": True})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Give the working directory of a new user; its modules are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def paths_shown(app: flask.Flask, *words: str) -> list[str]:
    return [line.split()[3] for line in printed(app, "watch", *words).splitlines()]


def test_flask_finds_the_commands_by_itself() -> None:
    found = FlaskGroup().get_command(click.Context(FlaskGroup()), "signalpost")
    assert found is signalpost
    assert set(signalpost.commands) == {
        *("list", "receivers", "check", "watch", "live", "init")
    }


def test_help_has_whole_sentences() -> None:
    output = printed(flask.Flask("bare"), "--help")
    assert [line.split()[0] for line in output.splitlines()[-6:]] == [
        *("check", "init", "list", "live", "receivers", "watch")
    ]
    assert "..." not in output.partition("Commands:")[2]


@pytest.fixture(autouse=True)
def without_others() -> Generator[None]:
    """Leave out what other tests have connected, or let die."""
    gc.collect()
    with restored(*catalogue.values()):
        for signal in catalogue.values():
            signal._clear_state()
        deaths.clear()
        yield


def test_each_signal_is_listed_with_its_moment() -> None:
    lines = printed(new_app(), "list").splitlines()
    assert [line.partition("  ")[0] for line in lines] == [*catalogue]
    assert "message-flashed  A message was flashed for the next page." in lines


def test_a_signal_without_a_docstring_is_listed_by_its_name() -> None:
    catalogue.signal("for-a-test-of-the-list")
    try:
        lines = printed(new_app(), "list").splitlines()
    finally:
        del catalogue["for-a-test-of-the-list"]
    assert lines[-1] == "for-a-test-of-the-list"


def test_a_receiver_is_listed_with_how_and_where_it_was_connected() -> None:
    app = new_app()
    message_flashed.connect(receive, app, priority=-3)
    message_flashed.connect(receive_too, named("shop"), once=True, weak=False)
    message_flashed.connect(receive_thrice)
    output = printed(app, "list")
    for one in (receive, receive_too, receive_thrice):
        message_flashed.disconnect(one)
    assert connected_at(output, "message-flashed") == [
        f"{__name__}.receive_too  strong, named('shop'), once  {HERE}",
        f"{__name__}.receive_thrice  weak, any sender  {HERE}",
        f"{__name__}.receive  weak, priority -3  {HERE}",
    ]


def test_a_receiver_of_a_with_block_has_no_line() -> None:
    app = new_app()
    with message_flashed.connected_to(receive, app):
        output = printed(app, "list")
    assert receivers_of(output, "message-flashed") == [
        f"{__name__}.receive  strong  in a with block"
    ]


def test_calls_are_reported_once_they_were_observed() -> None:
    app = new_app()
    message_flashed.connect(receive, app)
    outputs = []
    with observe(lambda delivery: None, message_flashed):
        for _ in range(2):
            message_flashed.send(app, message="saved", category="info")
            outputs.append(printed(app, "list"))
    message_flashed.disconnect(receive)
    counts = [connected_at(one, "message-flashed")[0].split("  ")[1] for one in outputs]
    assert counts == ["weak, called 1 time", "weak, called 2 times"]


def test_receivers_of_other_applications_are_not_listed() -> None:
    app, other = new_app(), new_app("other", SIGNALPOST_RECEIVERS={"latency": True})
    message_flashed.connect(receive, other)
    message_flashed.connect(receive_too, named("other"))
    output = printed(app, "list")
    for one in (receive, receive_too):
        message_flashed.disconnect(one)
    assert not any(line.startswith(" ") for line in output.splitlines())


def test_what_is_enabled_is_listed_by_its_name_and_who_asked_for_it() -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": True, "recorder": True})
    output = printed(app, "list")
    assert receivers_of(output, "exchange-closed") == [
        f"latency  strong  {ORIGIN}",
        f"recorder  strong  {ORIGIN}",
    ]
    assert receivers_of(output, "exchange-opened") == [f"recorder  strong  {ORIGIN}"]


def test_hundreds_of_receivers_have_a_line_each() -> None:
    app = new_app()
    for number in range(300):

        def visit(sender: object, number: int = number) -> None:
            pass

        exchange_closed.connect(visit, app, weak=False)
    lines = receivers_of(printed(app, "list"), "exchange-closed")
    assert len(lines) == 300


def test_available_receivers_are_listed_with_options() -> None:
    lines = printed(new_app(), "receivers").splitlines()
    first = lines.index("off referrers(paths=None, logger=None)")
    assert lines[first + 1] == (
        "    Log the referrer of each request; connect it to request-started."
    )
    assert lines[-2:] == [
        "off watch(folder=None)",
        "    Send each signal of the catalogue to watchers in other processes.",
    ]


def test_a_token_is_not_reported() -> None:
    options = {"token": "open-sesame", "with_sql": False}
    app = new_app(SIGNALPOST_RECEIVERS={"prometheus": options})
    told = printed(app, "receivers")
    enabled_for(app).disable_all()
    assert "with token=… with_sql=False" in told
    assert "sesame" not in told


def test_enabled_receivers_are_listed_with_their_source() -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": {"slow_seconds": 0.5}})
    lines = printed(app, "receivers").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("on"))
    assert lines[start].startswith("on  latency(slow_seconds=None, ")
    assert lines[start + 2] == f"    enabled by {SOURCE} latency, with slow_seconds=0.5"


def test_receivers_of_ones_own_are_reported_too() -> None:
    classes = {f"{__name__}:Odd": {"first": 1, "second": 2}}
    function = {f"{__name__}:receive": {"signal": "exchange-closed"}}
    output = printed(new_app(SIGNALPOST_RECEIVERS=classes | function), "receivers")
    assert (
        f"on  {__name__}:Odd(first)\n"
        "    Take any option; see Other.\n"
        f"    enabled by {SOURCE} {__name__}:Odd, with first=1 second=2\n"
        f"on  {__name__}:receive\n"
        f"    enabled by {SOURCE} {__name__}:receive, with signal='exchange-closed'\n"
    ) in output


def test_what_others_publish_is_listed_even_if_it_is_broken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder / "stocktaking-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stocktaking\n")
    (package / "entry_points.txt").write_text(
        f"[{ENTRY_POINT_GROUP}]\n"
        f"odd = {__name__}:NoSignature\n"
        "torn = no_such_module:nothing\n"
        "other = other module\n"
        "bare = flask\n"
    )
    monkeypatch.syspath_prepend(folder)
    lines = printed(new_app(), "receivers").splitlines()
    assert "off odd" in lines
    start = lines.index("off torn")
    assert lines[start + 1] == "    cannot be imported: no_such_module:nothing"
    assert "off other" in lines
    assert "off bare" in lines


def test_a_right_configuration_is_called_so() -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": True, "watch": True})
    assert printed(app, "check") == (
        "The configuration is right; it enables latency, watch.\n"
    )
    assert printed(new_app(), "check") == (
        "The configuration is right; it enables no receiver.\n"
    )


def test_lines_that_nothing_shows_are_a_warning_and_no_failure(folder: Path) -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": True, "referrers": True})
    (folder / "shop.toml").write_text("[signalpost.receivers]\nlatency = true\n")
    for words, names, setting in (
        (
            ["check"],
            "latency and referrers",
            'app.config["SIGNALPOST_FORMAT"] = "text"',
        ),
        (["check", "shop.toml"], "latency", 'format = "text"'),
    ):
        result = run(app, *words)
        assert result.exit_code == 0
        assert result.stderr.startswith(
            "Warning, unless a server sets up logging: the lines of"
            f" {names} (INFO) are shown nowhere: "
        )
        assert f"write {setting}" in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_format_leaves_nothing_to_warn_of() -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"latency": True}, SIGNALPOST_FORMAT="text")
    assert run(app, "check").stderr == ""
    app.extensions["signalpost"].enabled.disable_all()


@pytest.mark.parametrize("command", ["list", "receivers", "check", "watch", "live"])
def test_an_application_that_is_not_set_up_is_refused(command: str) -> None:
    assert refusal(flask.Flask("bare"), command) == (
        "Error: the application 'bare' is not set up; call"
        " signalpost.integrations.flask.Signalpost(app) where it is made\n"
    )


def result_for(
    create: t.Callable[[], flask.Flask], *words: str
) -> click.testing.Result:
    """Return the result of a command that loads the application by itself."""
    return click.testing.CliRunner().invoke(
        FlaskGroup(create_app=create), ["signalpost", *words]
    )


@pytest.mark.parametrize("command", ["check", "watch", "live"])
def test_a_broken_configuration_is_reported_in_one_line(command: str) -> None:
    result = result_for(
        lambda: new_app(SIGNALPOST_RECEIVERS={"latencey": True}), command
    )
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {SOURCE} latencey: unknown receiver")
    assert result.output.endswith("did you mean 'latency'?\n")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "receivers"])
def test_what_is_right_is_listed_below_what_is_wrong(command: str) -> None:
    receivers = {"latencey": True, "latency": True, "recoder": False}
    result = result_for(
        lambda: new_app(SIGNALPOST_RECEIVERS=receivers, SIGNALPOST_STRICT="no"), command
    )
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "Error: 3 mistakes in the configuration:"
    assert [line.split(": ")[0] for line in result.stderr.splitlines()[1:]] == [
        '  app.config["SIGNALPOST_STRICT"]',
        f"  {SOURCE} latencey",
        f"  {SOURCE} recoder",
    ]
    assert "latency" in result.stdout
    assert ORIGIN in result.stdout


@pytest.mark.parametrize("command", ["list", "receivers"])
def test_a_file_that_is_missing_hides_no_list(command: str) -> None:
    result = result_for(lambda: new_app(SIGNALPOST_CONFIG="missing.toml"), command)
    assert result.exit_code == 0
    assert "cannot be read: No such file" in result.stderr
    assert len(result.stdout.splitlines()) > 10


def test_a_check_prints_each_mistake_in_a_line(folder: Path) -> None:
    (folder / "broken_here.py").write_text("1 / 0\n")
    (folder / "shop.toml").write_text(
        "[signalpst]\nx = 1\n[signalpost.receivers]\n'broken_here:x' = true\n"
    )
    sys.path.insert(0, str(folder))
    result = result_for(
        lambda: new_app(SIGNALPOST_CONFIG=folder / "shop.toml", SIGNALPOST_STRIKT=True),
        "check",
    )
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "Error: 3 mistakes in the configuration:"
    assert lines[1].startswith('  app.config["SIGNALPOST_STRIKT"]: unknown key; known')
    assert ", line 2, " not in lines[2]
    assert lines[3].endswith(f"by zero ({folder}/broken_here.py, line 1)")
    assert len(lines) == 4


def test_mistakes_of_an_application_are_kept_for_its_command_alone() -> None:
    receivers = {"latencey": True}
    result_for(lambda: new_app(SIGNALPOST_RECEIVERS=receivers), "list")
    with pytest.raises(ConfigurationError):
        new_app(SIGNALPOST_RECEIVERS=receivers)


def test_a_configuration_error_of_the_applications_own_is_reported() -> None:
    def create() -> flask.Flask:
        app = new_app(SIGNALPOST_RECEIVERS={"latencey": True})
        enabled_for(app).enable("recoder")
        return app

    result = result_for(create, "list")
    assert result.exit_code == 1
    assert result.output.startswith("Error: 2 mistakes in the configuration:\n")


@pytest.mark.parametrize("command", ["list", "receivers", "check", "watch", "live"])
def test_an_application_that_is_disabled_is_reported(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALPOST_DISABLED", "1")
    result = result_for(new_app, command)
    assert result.exit_code == 1
    assert result.output == (
        "Error: the application 'shop' is not set up, because SIGNALPOST_DISABLED is"
        " set in the environment; unset it to see what is configured\n"
    )


SECRETS = {
    "api_key": "open-sesame",
    "apiKey": "open-sesame",
    "dsn": "postgresql://shop:open-sesame@db/shop",
    "webhook_url": "https://hooks.test/services/open-sesame",
    "headers": {"Authorization": "Bearer open-sesame"},
    "target": "https://shop:open-sesame@queue.test/in?token=open-sesame",
    "line": "host=db password=open-sesame",
    "more": [{"login": {"user": "open-sesame"}}, "Bearer open-sesame"],
}


@pytest.mark.parametrize("command", ["list", "receivers", "check"])
def test_no_command_shows_a_secret(command: str) -> None:
    receivers = {f"{__name__}:Odd": {"first": 1, **SECRETS}}
    result = result_for(lambda: new_app(SIGNALPOST_RECEIVERS=receivers), command)
    assert result.exit_code == 0
    assert "sesame" not in result.output
    if command == "receivers":
        assert "first=1 api_key=… apiKey=… dsn=… webhook_url=… headers=…" in (
            result.output
        )
        assert "target='https://queue.test/…' line=…" in result.output


def test_a_check_of_what_is_wrong_shows_no_secret() -> None:
    receivers = {
        "latency": SECRETS["dsn"],
        "prometheus": {"token": "open sesame"},
        f"{__name__}:Refusing": SECRETS,
    }
    result = result_for(lambda: new_app(SIGNALPOST_RECEIVERS=receivers), "check")
    assert result.exit_code == 1
    assert "sesame" not in result.output
    assert "Refusing: refused …; " in result.output


class Refusing:
    """Refuses what it is given, with the value in its message."""

    signals: t.ClassVar = {"exchange-closed": "__call__"}

    def __init__(self, **options: object) -> None:
        raise ValueError(f"refused {options['api_key']}")


def test_a_default_that_is_a_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Keyed:
        def __init__(self, api_key: str = "open-sesame", size: int = 3) -> None: ...

    monkeypatch.setattr(sys.modules[__name__], "Odd", Keyed)
    receivers = {f"{__name__}:Odd": {"signal": "exchange-closed", "size": 4}}
    monkeypatch.setattr(Keyed, "__call__", lambda self, sender: None, raising=False)
    lines = printed(new_app(SIGNALPOST_RECEIVERS=receivers), "receivers")
    assert f"on  {__name__}:Odd(api_key=…, size=3)\n" in lines


HOSTILE = "\x1b[31m\n\u202e"


@pytest.mark.parametrize("command", ["list", "receivers", "check"])
def test_names_of_files_are_escaped(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"odd_module{HOSTILE}:receive{HOSTILE}"
    module = types.ModuleType("odd_module")
    monkeypatch.setattr(module, f"receive{HOSTILE}", receive, raising=False)
    monkeypatch.setitem(sys.modules, f"odd_module{HOSTILE}", module)
    path = folder / f"shop{HOSTILE}.toml"
    escaped = HOSTILE.replace("\x1b", "\\u001b").replace("\n", "\\n")
    path.write_text(
        "[signalpost.receivers]\n"
        f'"odd_module{escaped}:receive{escaped}" = {{signal = "exchange-closed"}}\n'
        f'"wrong{escaped}" = true\n'
        f'[signalpst."x{escaped}"]\n',
        encoding="utf-8",
    )
    result = result_for(lambda: new_app(SIGNALPOST_CONFIG=path), command)
    assert len(result.stderr.splitlines()) == 3
    assert all(line.isprintable() for line in result.output.split("\n"))
    assert (name in result.output) is False


def test_a_missing_file_is_reported_with_the_place_that_names_it(folder: Path) -> None:
    def create() -> flask.Flask:
        return new_app(SIGNALPOST_CONFIG=folder / "shop.toml")

    result = click.testing.CliRunner().invoke(
        FlaskGroup(create_app=create), ["signalpost", "check"]
    )
    assert result.exit_code == 1
    assert result.output.splitlines()[1] == (
        '(app.config["SIGNALPOST_CONFIG"] names this file)'
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shop.toml", "[signalpost.receivers]\nlatency = {slow_seconds = 0.5}\n"),
        ("shop.ini", "[signalpost.receivers]\nlatency =\n  slow_seconds = 0.5\n"),
    ],
)
def test_a_file_is_checked_without_an_application(
    folder: Path, name: str, text: str
) -> None:
    (folder / name).write_text(text)
    assert printed(flask.Flask("bare"), "check", name) == (
        "The configuration is right; it enables latency.\n"
    )


def test_a_file_for_flask_is_right_without_an_application(folder: Path) -> None:
    (folder / "shop.toml").write_text(
        "[signalpost.receivers]\n"
        'prometheus = {path = "/metrics"}\n'
        "opentelemetry = true\nsqlalchemy = true\n"
    )
    assert printed(flask.Flask("bare"), "check", "shop.toml") == (
        "The configuration is right; it enables prometheus, opentelemetry,"
        " sqlalchemy.\n"
    )


def test_what_a_file_enables_for_a_check_is_disabled_again(folder: Path) -> None:
    (folder / "shop.toml").write_text(
        '[signalpost]\nformat = "json"\n[signalpost.receivers]\nwatch = true\n'
    )
    before = [signal.connections for signal in catalogue.values()]
    printed(flask.Flask("bare"), "check", "shop.toml")
    assert [signal.connections for signal in catalogue.values()] == before


def test_the_modules_of_a_file_are_found_beside_it(folder: Path) -> None:
    (folder / "beside_the_file.py").write_text("def record(sender): ...\n")
    (folder / "shop.toml").write_text(
        '[signalpost]\nauto-import = ["beside_the_file"]\n'
    )
    sys.path[:] = [one for one in sys.path if one not in ("", str(folder))]
    printed(flask.Flask("bare"), "check", "shop.toml")
    assert "beside_the_file" in sys.modules
    printed(flask.Flask("bare"), "check", "shop.toml")
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.toml", None, "cannot be read: No such file"),
        ("shop.txt", b"", "must end in .toml or .ini"),
        ("shop.toml", b"\xff", "not UTF-8 at byte 0"),
        ("shop.toml", b"[signalpost", "not TOML"),
        ("shop.ini", b"signalpost", "not an INI file"),
        (
            "shop.toml",
            b"[signalpost.receivers]\nlatency = {slow = 1}",
            "shop.toml, line 2, [signalpost.receivers] latency: unknown option 'slow'",
        ),
        (
            "shop.ini",
            b"[signalpost.receivers]\nlatency = slow_seconds = soon",
            "shop.ini, line 2, [signalpost.receivers] latency: ",
        ),
        (
            "shop.toml",
            b'[signalpost]\nauto-import = ["no_such_module"]',
            "No module named 'no_such_module'\n",
        ),
    ],
)
def test_a_wrong_file_is_refused(
    folder: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    output = refusal(flask.Flask("bare"), "check", name)
    assert output.startswith(f"Error: {name}")
    assert reason in output
    assert output.count("\n") == 1


def test_a_module_that_cannot_be_imported_is_reported_with_its_line(
    folder: Path,
) -> None:
    module = folder / "fails_at_import.py"
    module.write_text("days = {}\ndays['kept']\n")
    (folder / "shop.toml").write_text(
        '[signalpost]\nauto-import = ["fails_at_import"]\n'
    )
    output = refusal(flask.Flask("bare"), "check", "shop.toml")
    assert output.endswith(f"KeyError: 'kept' ({module}, line 2)\n")


def test_a_module_that_cannot_read_its_section_is_reported_with_its_line(
    folder: Path,
) -> None:
    def read(configuration: t.Any) -> None:
        raise LookupError("no section")

    (folder / "shop.toml").touch()
    with post_config_load.connected_to(read):
        output = refusal(flask.Flask("bare"), "check", "shop.toml")
    line = read.__code__.co_firstlineno + 1
    assert output == (
        "Error: shop.toml: a receiver of post-config-load failed: LookupError:"
        f" no section ({__file__}, line {line})\n"
    )


def test_a_message_is_shown_as_one_line(
    watched: flask.Flask, comes: list[Message]
) -> None:
    comes += [
        message("post-config-load"),
        page("/a b", None),
        page("/a", 500, outcome="error", duration_seconds=0.25, exception="OSError"),
    ]
    lines = printed(watched, "watch").splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "post-config-load",
        'exchange-closed GET "/a b"',
        "exchange-closed GET /a 500 error 250.0 ms OSError",
    ]
    assert all(len(line.partition(" ")[0]) == len("00:00:00.000") for line in lines)


@pytest.mark.parametrize(
    "path",
    ["/a\nb", "/\x1b[31mred", "/\x9b31m", "/\u2028/\u2029", "/\r/\x7f", "/\ud800"],
)
def test_a_hostile_path_gives_one_line_without_escape_sequences(
    watched: flask.Flask, comes: list[Message], path: str
) -> None:
    comes.append(page(path, None))
    output = printed(watched, "watch", color=True)
    assert len(output.splitlines()) == 1
    assert output.rstrip("\n").isprintable()


def test_a_long_text_is_cut(watched: flask.Flask, comes: list[Message]) -> None:
    comes.append(message("s" * 60_000, method="G" * 60_000, path="/" * 60_000))
    assert len(printed(watched, "watch")) < 4000


@pytest.mark.parametrize(
    "broken",
    [
        {"signal": ["exchange-closed"]},
        {"signal": "x", "path": "/a"},
        {"signal": "x", "path": {}, "status": [], "outcome": {}, "exception": []},
        {"signal": "x", "time": "soon", "duration_seconds": "long"},
        {"signal": "x", "time": 1e300, "dropped": "many", "process": []},
        {"signal": "x", "time": float("nan"), "duration_seconds": float("inf")},
    ],
)
def test_a_message_that_no_sender_of_ours_would_send_is_shown_all_the_same(
    watched: flask.Flask, comes: list[Message], broken: Message
) -> None:
    comes.append(broken)
    assert printed(watched, "watch", "--path", "*").count("\n") == 1


@pytest.mark.parametrize(
    ("status", "colour"), [(200, 32), (302, 36), (404, 33), (503, 31)]
)
def test_statuses_outcomes_and_exceptions_are_coloured(
    watched: flask.Flask, comes: list[Message], status: int, colour: int
) -> None:
    comes.append(page("/", status, outcome="error", exception="OSError"))
    output = printed(watched, "watch", color=True)
    assert (
        f"GET / \x1b[{colour}m{status}\x1b[0m"
        " \x1b[31merror\x1b[0m \x1b[31mOSError\x1b[0m"
    ) in output


def test_a_status_of_no_class_has_no_colour(
    watched: flask.Flask, comes: list[Message]
) -> None:
    comes += [page("/", 101), page("/", 999)]
    assert "\x1b" not in printed(watched, "watch", color=True)


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ({"sql_count": 1, "sql_duration_seconds": 0.0021}, "1 statement in 2.1 ms"),
        ({"sql_count": 12, "sql_duration_seconds": 0.5}, "12 statements in 500.0 ms"),
        ({"sql_count": 2, "sql_duration_seconds": "long"}, "2 statements in -"),
        ({"sql_count": "many", "sql_duration_seconds": 0.5}, "3.0 ms"),
    ],
)
def test_the_statements_of_an_exchange_are_shown(
    watched: flask.Flask, comes: list[Message], values: t.Any, end: str
) -> None:
    comes.append(page("/", outcome="complete", duration_seconds=0.003, **values))
    assert printed(watched, "watch").endswith(f" {end}\n")


def test_messages_as_json_are_an_object_a_line(
    watched: flask.Flask, comes: list[Message]
) -> None:
    comes += [page("/a\n\x1b", 404), page("/", duration_seconds=float("nan"))]
    comes.append(message("x", odd=t.cast("t.Any", ["list"])))
    lines = printed(watched, "watch", "--json", "--status", "4xx").splitlines()
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert json.loads(lines[0]) == comes[0]
    _, second, third = printed(watched, "watch", "--json").splitlines()
    assert json.loads(second, parse_constant=pytest.fail)["duration_seconds"] == "nan"
    assert json.loads(third)["odd"] is None


@pytest.mark.parametrize("command", ["list", "receivers", "watch"])
def test_nothing_is_coloured_for_who_asked_for_no_colour(
    watched: flask.Flask, comes: list[Message], command: str
) -> None:
    comes.append(page("/", outcome="complete"))
    assert "\x1b" in printed(watched, command, color=True, env={"NO_COLOR": ""})
    assert "\x1b" not in printed(watched, command, color=True, env={"NO_COLOR": "1"})


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], ["/a", "/a/b", "/c", "/[x]", "/late"]),
        (["--path", "/a"], ["/a"]),
        (["--path", "/a*"], ["/a", "/a/b"]),
        (["--path", "/[x]"], ["/[x]"]),
        (["--path", "/c", "--path", "/a"], ["/a", "/c"]),
        (["--status", "404"], ["/a/b"]),
        (["--status", "5xx"], ["/c"]),
        (["--status", "5??"], ["/c"]),
        (["--status", "4XX", "--status", "503"], ["/a/b", "/c"]),
        (["--signal", "request-*"], ["/[x]"]),
        (["--signal", "exchange-closed", "--path", "/a*", "--status", "2xx"], ["/a"]),
        (["--signal", "request-finished", "--status", "404"], []),
    ],
)
def test_only_what_passes_each_filter_is_shown(
    watched: flask.Flask, comes: list[Message], words: list[str], shown: list[str]
) -> None:
    comes += [page("/a"), page("/a/b", 404), page("/c", 503)]
    comes.append(message("request-finished", method="GET", path="/[x]", status=200))
    comes += [page("/late", None), message("post-config-load", path=None)]
    if not words:
        comes.pop()
    assert paths_shown(watched, *words) == shown


@pytest.mark.parametrize("status", ["4", "4040", "abc", "04x", "4*4", "[45]", ""])
def test_a_status_that_cannot_be_is_refused(watched: flask.Flask, status: str) -> None:
    result = run(watched, "watch", "--status", status)
    assert result.exit_code == 2
    assert f"expected a status such as 404 or 5xx, got {status!r}" in result.stderr


def test_ctrl_c_ends_it_with_code_0(watched: flask.Flask, comes: list[Message]) -> None:
    result = run(watched, "watch")
    assert result.exit_code == 0
    assert result.stderr == f"Watching {watch_folder(watched)} (Ctrl-C ends it)\n\n"


def test_dropped_events_are_reported(
    watched: flask.Flask, comes: list[Message]
) -> None:
    comes += [page("/", dropped=3), page("/", dropped=3), page("/", dropped=5)]
    comes += [page("/", process=8, dropped=9), page("/", dropped=6)]
    lines = run(watched, "watch").stderr.splitlines()
    assert lines[1:-1] == [
        "2 more dropped by process 7",
        "1 more dropped by process 7",
    ]


def test_the_folder_of_the_receiver_is_watched(
    comes: list[Message], folder: Path
) -> None:
    app = new_app(SIGNALPOST_RECEIVERS={"watch": {"folder": "/tmp/of-the-receiver"}})
    assert "Watching /tmp/of-the-receiver " in run(app, "watch").stderr


def test_a_folder_may_be_watched_without_an_application(comes: list[Message]) -> None:
    result = run(flask.Flask("bare"), "watch", "--folder", "/tmp/of-the-user")
    assert result.exit_code == 0
    assert result.stderr.startswith("Watching /tmp/of-the-user ")


def test_the_receiver_that_is_not_enabled_is_reported(comes: list[Message]) -> None:
    notes = run(new_app(), "watch").stderr
    assert notes.startswith("Note: the receiver \"watch\" is not enabled for 'shop',")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("exchange-close", "'exchange-close'; did you mean 'exchange-closed'?"),
        ("Exchange-Closed", "'Exchange-Closed'; did you mean 'exchange-closed'?"),
        ("zzz-*", "'zzz-*'; known are exchange-opened, request-started, "),
        ("?", "'?'; known are exchange-opened, "),
        ("", "''; known are exchange-opened, "),
    ],
)
def test_an_unknown_signal_is_refused_at_once(
    watched: flask.Flask, comes: list[Message], name: str, problem: str
) -> None:
    result = run(watched, "watch", "--signal", "exchange-*", "--signal", name)
    assert result.exit_code == 2
    assert f"unknown signal {problem}" in result.stderr
    assert "Watching" not in result.stderr


@pytest.mark.parametrize("words", [[], ["--folder", "/tmp/of-the-user"]])
def test_a_signal_of_the_applications_own_may_be_watched(
    watched: flask.Flask, comes: list[Message], words: list[str]
) -> None:
    catalogue.signal("for-a-test-of-watching")
    try:
        result = run(watched, "watch", "--signal", "for-a-*", *words)
    finally:
        del catalogue["for-a-test-of-watching"]
    assert result.exit_code == 0


def test_a_folder_whose_path_is_too_long_is_refused(
    watched: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On Linux none is.
    monkeypatch.setattr(
        "signalpost.receivers.watch_sockets.has_short_addresses", lambda: False
    )
    output = refusal(watched, "watch", "--folder", "/tmp/" + "x" * 200)
    assert output.startswith("Error: the path of a folder for sockets has at most")


def test_a_folder_that_cannot_be_made_is_refused_in_plain_words(
    watched: flask.Flask,
) -> None:
    assert refusal(watched, "watch", "--folder", "/dev/null/below") == (
        "Error: /dev/null/below cannot be used: Not a directory; choose another with"
        ' --folder, and with the option folder of "watch"\n'
    )


def test_a_system_without_unix_sockets_is_reported(
    watched: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("socket.AF_UNIX")
    output = refusal(watched, "watch")
    assert output.startswith("Error: watching needs Unix sockets")


def test_a_folder_that_others_can_enter_is_refused(watched: flask.Flask) -> None:
    output = refusal(watched, "watch", "--folder", "/tmp")
    assert output.startswith("Error: /tmp must be")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_refused(watched: flask.Flask) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 12345, 12345)
        output = refusal(watched, "watch", "--folder", folder)
    assert output.startswith(f"Error: {folder} must belong to the user 0")


def test_a_command_may_run_in_another_thread(
    watched: flask.Flask, comes: list[Message]
) -> None:
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(run(watched, "watch").exit_code)
    )
    thread.start()
    thread.join(20)
    assert codes == [0]


def test_what_an_encoding_lacks_is_escaped(
    watched: flask.Flask, comes: list[Message]
) -> None:
    comes.append(page("/caf\xe9"))
    runner = watched.test_cli_runner(charset="ascii")
    result = runner.invoke(signalpost, ["watch"])
    assert result.exit_code == 0
    assert "GET /caf\\xe9 200" in result.stdout
