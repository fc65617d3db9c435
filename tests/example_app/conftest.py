from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import pytest
from flask import Flask
from webtest import TestApp

from example_app import create_app
from example_app.audit import enable_audit
from signalpost.config import enabled_for
from signalpost.lifecycle import post_config_load

# Connected as its module is imported, it would receive the configurations of all tests.
post_config_load.disconnect(enable_audit)


@pytest.fixture(autouse=True)
def audit_is_imported() -> Generator[None]:
    with post_config_load.connected_to(enable_audit):
        yield


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "made" / "at" / "start" / "shop.sqlite"


@pytest.fixture
def open_shop(database: Path) -> Generator[Callable[..., TestApp]]:
    """Open shops whose receivers, some of them of all senders, end with the test."""
    shops = []

    def open_one(**config: object) -> TestApp:
        app = create_app({"DATABASE": str(database)} | config)
        shops.append(app)
        return TestApp(app)

    yield open_one
    for app in shops:
        enabled_for(app).disable_all()


@pytest.fixture
def browser(open_shop: Callable[..., TestApp]) -> TestApp:
    return open_shop()


@pytest.fixture
def app(browser: TestApp) -> Flask:
    """Return the shop that the browser looks at."""
    assert isinstance(browser.app, Flask)
    return browser.app
