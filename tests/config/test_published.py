from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import Enabled
from signalpost.config import ENTRY_POINT_GROUP
from signalpost.errors import ConfigurationError
from signalpost.errors import ConfigurationWarning
from tests._engine.racing import run_together
from tests.config.loading import load
from tests.config.loading import refusal
from tests.config.loading import Write
from tests.config.receivers import new_shop
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def publish(write: Write, distribution: str, **names: str) -> None:
    """Write the metadata of an installed distribution."""
    points = "".join(f"{name} = {path}\n" for name, path in names.items())
    folder = f"{distribution}-1.0.dist-info"
    write(f"{folder}/METADATA", f"Name: {distribution}\nVersion: 1.0\n")
    write(f"{folder}/entry_points.txt", f"[{ENTRY_POINT_GROUP}]\n{points}")


def test_a_published_name_is_known(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", stock="here:Audit")
    monkeypatch.syspath_prepend(tmp_path)
    enabled = load({"stock": {"days": 7}})
    assert enabled["stock"].path == "here:Audit"
    assert "did you mean 'stock'?" in str(refusal_beside(enabled, {"stok": True}))


def refusal_beside(
    enabled: Enabled, receivers: Mapping[str, t.Any]
) -> ConfigurationError:
    enabled.disable_all()
    return refusal(receivers)


def test_a_name_that_two_distributions_publish_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", stock="here:Audit")
    publish(write, "stockpiling", stock="here:Plain")
    monkeypatch.syspath_prepend(tmp_path)
    error = refusal({"stock": True})
    assert "publish 'stock': here:Audit, here:Plain; write the path" in str(error)


def test_a_published_name_does_not_replace_a_ready_receiver(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", latency="here:Audit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(ConfigurationWarning, match="here:Audit is published by that"):
        enabled = load({"latency": True})
    assert enabled["latency"].path == BUILTIN_RECEIVERS["latency"]


class Distributions:
    """A finder of distributions that finds none, and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def find_spec(self, *_: object) -> None: ...

    def find_distributions(self, *_: object) -> Iterable[Distribution]:
        self.times += 1
        return ()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Distributions:
    asked = Distributions()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, asked])
    return asked


def test_distributions_are_read_once_for_all_receivers_and_applications(
    asked: Distributions,
) -> None:
    for _ in range(3):
        load({"latency": True, "here:Audit": True, "referrers": True})
    assert asked.times == 1


def test_distributions_are_read_once_for_all_unknown_names(
    asked: Distributions,
) -> None:
    load({"latency": True}).disable_all()
    before = asked.times
    error = refusal({f"nothing-{number}": number % 2 == 0 for number in range(50)})
    assert len(error.errors) == 50
    assert asked.times == before + 1


def test_a_receiver_that_is_installed_meanwhile_is_enabled_by_itself(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    enabled = load({"latency": True})
    publish(write, "stocktaking", stock="here:Audit")
    importlib.invalidate_caches()
    assert enabled.enable("stock", days=7).path == "here:Audit"


def test_distributions_are_read_once_by_threads(asked: Distributions) -> None:
    run_together(*[lambda: load({"latency": True})] * 6)
    assert asked.times == 1


def test_distributions_of_another_path_are_read(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: Distributions,
) -> None:
    publish(write, "site/stocktaking", stock="here:Audit")
    load({"latency": True}).disable_all()
    with monkeypatch.context() as with_another_path:
        with_another_path.syspath_prepend(tmp_path / "site")
        enabled = load({"stock": True, "latency": True})
        assert (set(enabled), asked.times) == ({"stock", "latency"}, 2)
    error = refusal_beside(enabled, {"stock": True})
    assert "unknown receiver 'stock'" in str(error)


def test_what_is_installed_meanwhile_is_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    load({"latency": True}).disable_all()
    publish(write, "stocktaking", stock="here:Audit")
    # As after any installation: the import system keeps lists of folders.
    importlib.invalidate_caches()
    enabled = load({"stock": True})
    assert enabled["stock"].path == "here:Audit"
    assert "did you mean 'stock'?" in str(refusal_beside(enabled, {"stok": True}))


def test_a_published_receiver_is_enabled_beside_ready_ones(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", stock="here:Audit", shelf="here:Free")
    monkeypatch.syspath_prepend(tmp_path)
    receivers = {"latency": True, "stock": {"days": 7}, "shelf": False, "sql": True}
    shop = new_shop()
    enabled = load(receivers, shop)
    assert [(one.name, one.path) for one in enabled.values()] == [
        ("latency", BUILTIN_RECEIVERS["latency"]),
        ("stock", "here:Audit"),
        ("sql", BUILTIN_RECEIVERS["sql"]),
    ]
    Server().serve(SignalMiddleware(hello, sender=shop), path="/a")
    assert enabled["stock"].receiver.received == ["opened /a", "closed /a"]
    refused = refusal_beside(enabled, {"stok": False, "latncy": False, "shelf": True})
    assert [one.key for one in refused.errors] == ["stok", "latncy"]
    assert "known are failures, " in str(refused)
    assert ", shelf, " in str(refused)


STOCKTAKING = """\
from signalpost.receivers.lines import logfmt_value


class StockKeeper:
    signals = {"exchange-closed": "__call__"}

    def __init__(self, *, word: str = "closed") -> None:
        self.word = word

    def __call__(self, sender, *, exchange, **_):
        print(self.word, logfmt_value(exchange.path), exchange.status)
"""

PYPROJECT = """\
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"

[project]
name = "stocktaking"
version = "1.0"
description = "Publishes a receiver"

[project.entry-points."signalpost.receivers"]
stock-keeper = "stocktaking:StockKeeper"
"""

SERVE = """\
from wsgiref.util import setup_testing_defaults

from signalpost import SignalMiddleware
from signalpost.config import Configuration


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


wrapped = SignalMiddleware(app)
Configuration.from_file("shop.toml").load(wrapped)
environ = {"PATH_INFO": "/shelf"}
setup_testing_defaults(environ)
body = wrapped(environ, lambda status, headers: None)
b"".join(body)
getattr(body, "close", lambda: None)()
"""


@pytest.mark.skipif(
    importlib.util.find_spec("flit_core") is None, reason="flit_core is not installed"
)
def test_an_installed_distribution_publishes_a_receiver(
    write: Write, tmp_path: Path
) -> None:
    write("stocktaking/stocktaking.py", STOCKTAKING)
    write("stocktaking/pyproject.toml", PYPROJECT)
    write("serve.py", SERVE)
    write("shop.toml", '[signalpost.receivers]\nstock-keeper = {word = "kept"}\n')
    site = tmp_path / "site"
    run(
        tmp_path,
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-build-isolation", "--no-index", "--no-deps", "--target", str(site)),
        str(tmp_path / "stocktaking"),
    )
    start = f"import runpy, sys; sys.path.insert(0, {str(site)!r})"
    code = f"{start}; runpy.run_path('serve.py')"
    assert run(tmp_path, "-c", code) == "kept /shelf 200\n"


def run(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
