from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from webtest import TestApp

from example_app.audit import AuditLogger
from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError


def write(path: Path, section: str) -> str:
    text = f'[signalpost]\nauto-import = ["example_app.audit"]\n{section}\n'
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_change_of_the_cart_is_logged_with_where_it_came_from(
    browser: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "example_app.audit")
    browser.get("/cart", extra_environ={"REMOTE_ADDR": "192.0.2.7"})
    browser.post(
        "/cart/add",
        {"slug": "brass-bell", "quantity": "1"},
        extra_environ={"REMOTE_ADDR": "192.0.2.7"},
    )
    lines = [text for name, _, text in caplog.record_tuples if name.endswith(".audit")]
    assert lines == ["192.0.2.7 POST /cart/add 303"]


def test_audit_reads_its_own_section(
    open_shop: Callable[..., TestApp], tmp_path: Path
) -> None:
    config = write(tmp_path / "one.toml", '[shop.audit]\nroutes = ["/cart"]')
    enabled = enabled_for(open_shop(SIGNALPOST_CONFIG=config).app)
    assert [(one.name, one.options) for one in enabled.values()] == [
        ("example_app.audit:AuditLogger", {"routes": ["/cart"]})
    ]


def test_audit_without_its_section_is_off(
    open_shop: Callable[..., TestApp], tmp_path: Path
) -> None:
    config = write(tmp_path / "none.toml", "")
    assert not enabled_for(open_shop(SIGNALPOST_CONFIG=config).app)


def test_wrong_option_of_the_section_is_an_error(
    open_shop: Callable[..., TestApp], tmp_path: Path
) -> None:
    config = write(tmp_path / "wrong.toml", '[shop.audit]\nroute = "/cart"')
    with pytest.raises(ConfigurationError, match="did you mean 'routes'"):
        open_shop(SIGNALPOST_CONFIG=config)


def test_one_string_of_routes_is_refused() -> None:
    with pytest.raises(TypeError, match="write \\['/cart'\\]"):
        AuditLogger(routes="/cart")
