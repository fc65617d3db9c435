"""The screens of the page about the command line are true."""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import click.testing
import flask
import pytest

from signalpost.config import enabled_for
from signalpost.config import template
from signalpost.integrations.flask_cli import signalpost

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "command-line.rst"


def blocks(form: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(rf"\.\. code-block:: {form}\n\n((?:    .*\n|\n)+)", text)
    return [textwrap.dedent(one).strip() + "\n" for one in found]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[flask.Flask]:
    """Make the page's application, in a new module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.toml").write_text(blocks("toml")[0])
    path = tmp_path / "shop.py"
    path.write_text(blocks("python")[0])
    module: t.Any = types.ModuleType("shop")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "shop", module)
    exec(compile(path.read_text(), path, "exec"), vars(module))
    yield module.app
    enabled_for(module.app).disable_all()


def words_of(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("command", ["list", "receivers", "check"])
def test_a_screen_shows_what_the_command_prints(
    app: flask.Flask, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = f"$ flask --app shop signalpost {command}\n"
    (screen,) = [one for one in blocks("console") if one.startswith(start)]
    # The handlers of pytest, which no newcomer has.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    result = app.test_cli_runner().invoke(signalpost, [command])
    printed = words_of(result.output.replace(str(tmp_path), "/srv/shop"))
    shown = screen.removeprefix(start).replace("  RECEIVER    HOW", "")
    for part in shown.replace("                 WHERE", "").split("…"):
        # What depends on the packages that are installed.
        if "needs opentelemetry" not in part:
            assert words_of(part) in printed


def test_the_lines_of_the_template_are_true() -> None:
    (shown,) = [one for one in blocks("toml") if one.startswith("# latency")]
    assert shown in template()


def test_init_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (screen,) = [one for one in blocks("console") if "signalpost init" in one]
    result = click.testing.CliRunner().invoke(signalpost, ["init", "shop.toml"])
    output = words_of(result.output.replace(str(tmp_path), "/srv/shop"))
    assert words_of(screen.partition("\n")[2]) == output
    result = click.testing.CliRunner().invoke(signalpost, ["init", "shop.toml"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: shop.toml exists already")
    result = click.testing.CliRunner().invoke(signalpost, ["init"])
    assert result.stdout == template()
