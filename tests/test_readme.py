from __future__ import annotations

import logging
import re
import tomllib
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest
import webtest
from flask import Flask

from docs import draw_terminal
from signalpost.config import enabled_for
from signalpost.integrations import flask_cli
from signalpost.integrations.flask import Signalpost
from tests.isolation import process_as_before

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "urls"
]


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in the order of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


QUICKSTART, OWN_RECEIVER, FILE_NAMED, WSGI = blocks("python")


@pytest.fixture(autouse=True)
def logging_as_before() -> Generator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Generator[None]:
    with process_as_before():
        yield


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
    assert len(blocks("text")) == 3
    assert len(blocks("toml")) == 1


def test_the_wsgi_example_logs_what_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = run(WSGI)
    assert webtest.TestApp(example["application"]).get("/").text == "hello"
    assert lines_of(capsys.readouterr().err) == lines_of(blocks("text")[2])


def as_logged(text: str) -> list[str]:
    """Return the lines of the format ``text`` without the times of day."""
    return lines_of(re.sub(r"^\d{4}-\S+ \S+ ", "", text, flags=re.MULTILINE))


def test_the_quickstart_logs_what_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = run(QUICKSTART)
    visitor = example["app"].test_client()
    headers = {"Referer": "https://search.example/results?q=mug"}
    assert visitor.get("/", headers=headers, buffered=True).text == "hello"
    enabled_for(example["app"]).disable_all()
    assert as_logged(capsys.readouterr().err) == lines_of(blocks("text")[0])


def test_the_quickstart_has_six_lines_below_its_imports() -> None:
    lines = [one for one in QUICKSTART.splitlines() if one and one[0] != "#"]
    assert len([one for one in lines if "import" not in one]) <= 6


def test_the_receiver_example_reports(capsys: pytest.CaptureFixture[str]) -> None:
    shop = run(QUICKSTART)
    example = run(OWN_RECEIVER)

    def fail() -> t.NoReturn:
        raise LookupError("no")

    shop["app"].add_url_rule("/fail", view_func=fail)
    assert shop["app"].test_client().get("/fail").status_code == 500
    enabled_for(shop["app"]).disable_all()
    assert example["report"]
    assert capsys.readouterr().out == (
        "GET /fail failed in the view: LookupError('no')\n"
    )


def test_the_picture_and_the_lines_on_sql_are_what_is_logged() -> None:
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    logged = "\n".join(draw_terminal.logged())
    drawn = "\n".join([*draw_terminal.drawn(logged.splitlines())])
    picture = (ROOT / "docs" / "_static" / "terminal.svg").read_text(encoding="utf-8")
    assert words_of(drawn) == words_of(picture.strip())
    plain = lines_of(re.sub(r"\x1b\[[\d;]*m", "", logged))
    assert set(lines_of(blocks("text")[1])) <= set(plain)


def words_of(picture: str) -> list[str]:
    return lines_of(re.sub(r"<[^>]*>", "", picture))


def test_every_link_is_absolute_and_of_a_page_that_there_is() -> None:
    targets = re.findall(r"(?<!!)\[[^]]+\]\(([^)]+)\)", TEXT)
    assert len(targets) > 10
    pages = {one.removeprefix(URLS["Documentation"]) for one in targets}
    pages -= {one.removeprefix(URLS["Documentation"]) for one in URLS.values()}
    assert [
        page
        for page in sorted(pages)
        if not (ROOT / "docs" / page).with_suffix(".rst").is_file()
    ] == []


def test_the_toml_is_what_the_shop_is_switched_on_by() -> None:
    config = README.parent / "example_app" / "signalpost.toml"
    assert blocks("toml")[0] in config.read_text(encoding="utf-8")


def test_the_file_is_named_where_the_page_shows(tmp_path: Path) -> None:
    app = Flask("shop", root_path=str(tmp_path))
    text = "[signalpost.receivers]\nrecorder = true\n"
    (tmp_path / "signalpost.toml").write_text(text)
    run(FILE_NAMED, app=app)
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


def test_the_page_begins_with_one_short_bold_sentence() -> None:
    first = TEXT.split("\n\n")[1]
    assert first.startswith("**")
    assert first.endswith(".**")
    assert len(first.split()) <= 30
