from __future__ import annotations

import logging
import re
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest
import webtest
from flask import Flask

from signalpost.config import enabled_for
from signalpost.integrations import flask_cli
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import catalogue

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in the order of the page."""
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def logging_as_before() -> Generator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(autouse=True)
def no_receivers_left() -> Generator[None]:
    yield
    for signal in catalogue.values():
        for receiver in [*signal.receivers_for("anyone")]:
            signal.disconnect(receiver)


def run(source: str, **names: t.Any) -> dict[str, t.Any]:
    # basicConfig does nothing while there is a handler, such as pytest's.
    logging.getLogger().handlers.clear()
    namespace: dict[str, t.Any] = {"__name__": "example", **names}
    exec(compile(source, str(README), "exec"), namespace)
    return namespace


def lines_of(text: str) -> list[str]:
    """Return the lines with their durations made alike."""
    return re.sub(r"\d+\.\d ms", "0.0 ms", text).splitlines()


def test_the_page_has_the_examples_that_are_tested() -> None:
    assert len(blocks("python")) == 4
    assert len(blocks("text")) == 2
    assert len(blocks("toml")) == 1


def test_the_wsgi_example_logs_what_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = run(blocks("python")[0])
    assert webtest.TestApp(example["application"]).get("/").text == "hello"
    assert lines_of(capsys.readouterr().err) == lines_of(blocks("text")[0])


def test_the_flask_example_logs_what_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = run(blocks("python")[1])
    visitor = example["app"].test_client()
    referrer = "https://search.example/results?q=mug"
    assert (
        visitor.get("/", headers={"Referer": referrer}, buffered=True).text == "hello"
    )
    assert lines_of(capsys.readouterr().err) == lines_of(blocks("text")[1])


def test_the_receiver_example_reports(capsys: pytest.CaptureFixture[str]) -> None:
    shop = run(blocks("python")[1])
    example = run(blocks("python")[3])

    def fail() -> t.NoReturn:
        raise LookupError("no")

    shop["app"].add_url_rule("/fail", view_func=fail)
    assert shop["app"].test_client().get("/fail").status_code == 500
    assert example["report"]
    assert capsys.readouterr().out == (
        "GET /fail failed in the view: LookupError('no')\n"
    )


def test_the_toml_is_what_the_shop_is_switched_on_by() -> None:
    config = README.parent / "example_app" / "signalpost.toml"
    assert blocks("toml")[0] in config.read_text(encoding="utf-8")


def test_the_file_is_named_where_the_page_says(tmp_path: Path) -> None:
    app = Flask("shop", root_path=str(tmp_path))
    text = "[signalpost.receivers]\nrecorder = true\n"
    (tmp_path / "signalpost.toml").write_text(text)
    run(blocks("python")[2], app=app)
    Signalpost(app)
    assert [*enabled_for(app)] == ["recorder"]


@pytest.mark.parametrize("name", ["list", "receivers", "check", "watch"])
def test_the_commands_are_there(name: str) -> None:
    shown = [line.partition("#")[0].split() for line in console_lines()]
    command = ["$", "flask", "--app", "example_app", "signalpost", name]
    assert command in shown
    assert name in flask_cli.signalpost.commands


def console_lines() -> list[str]:
    return "".join(blocks("console")).splitlines()


def test_the_page_says_what_it_is_in_about_sixty_words() -> None:
    first = README.read_text(encoding="utf-8").split("\n\n")[1]
    assert len(first.split()) <= 62
