from __future__ import annotations

import errno
import os
import socket
import typing as t
from pathlib import Path

import click.testing
import flask
import pytest

from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask_cli import signalpost


class FakeServer:
    """Serves nothing, and returns at once."""

    folders: t.ClassVar[list[t.Any]] = []
    url = "http://127.0.0.1:8000/#token=abc"

    def __init__(self, folder: t.Any, port: int) -> None:
        self.folders.append(folder)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def serve_until_stopped(self) -> None:
        pass


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    """Return the folders whose page was served."""
    monkeypatch.setattr(FakeServer, "folders", [])
    monkeypatch.setattr(
        "signalpost.integrations.flask_cli._live.LiveServer", FakeServer
    )
    return FakeServer.folders


def run(app: flask.Flask, *words: str) -> click.testing.Result:
    return app.test_cli_runner().invoke(signalpost, ["live", *words])


def new_app(tmp_path: Path, live: t.Any) -> flask.Flask:
    app = flask.Flask("shop", instance_path=str(tmp_path))
    app.config["SIGNALPOST_RECEIVERS"] = {"live": live} if live else {}
    Signalpost(app)
    return app


def test_the_folder_is_that_of_the_application(
    tmp_path: Path, served: list[t.Any]
) -> None:
    app = new_app(tmp_path, live=True)
    result = run(app)
    app.extensions["signalpost"].enabled.disable_all()
    assert result.exit_code == 0
    assert result.stdout == f"{FakeServer.url}\n"
    assert served == [tmp_path / "signalpost-live"]
    assert str(tmp_path) in result.stderr


def test_the_folder_is_that_of_the_receiver(
    tmp_path: Path, served: list[t.Any]
) -> None:
    app = new_app(tmp_path, {"folder": str(tmp_path / "chosen")})
    run(app)
    app.extensions["signalpost"].enabled.disable_all()
    assert served == [str(tmp_path / "chosen")]


def test_a_folder_that_is_given_needs_no_application(served: list[t.Any]) -> None:
    assert run(flask.Flask("bare"), "--folder", "/run/shop/live").exit_code == 0
    assert served == ["/run/shop/live"]


def test_a_receiver_that_is_not_enabled_is_noted(tmp_path: Path) -> None:
    result = run(new_app(tmp_path, live=None))
    assert result.exit_code == 0
    assert 'the receiver "live" is not enabled' in result.stderr


def test_a_port_that_is_taken_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run(
            flask.Flask("bare"), "--folder", str(tmp_path / "x"), "--port", port
        )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: the port {port} of 127.0.0.1 cannot be")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "is_port"),
    [
        (errno.EADDRINUSE, True),
        (errno.EACCES, True),
        (errno.EMFILE, False),
        (errno.ENOMEM, False),
    ],
)
def test_only_an_error_of_the_port_advises_another(
    monkeypatch: pytest.MonkeyPatch, number: int, is_port: bool
) -> None:
    def refuse(self: FakeServer, folder: t.Any, port: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FakeServer, "__init__", refuse)
    result = run(flask.Flask("bare"), "--folder", "/run/shop/live", "--port", "8765")
    assert result.exit_code == 1
    assert os.strerror(number) in result.stderr
    assert ("port 8765" in result.stderr) is is_port
    assert ("choose another with --port" in result.stderr) is is_port
