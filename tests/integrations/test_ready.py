"""What is ready in a configuration, and needs a package that we do not."""

from __future__ import annotations

import pytest

from signalpost.config import Configuration
from signalpost.config import READY
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

INTEGRATED = sorted(
    name for name, path in READY.items() if path.startswith("signalpost.integrations.")
)


def test_those_of_each_package_are_known() -> None:
    assert INTEGRATED == ["opentelemetry", "prometheus", "sqlalchemy"]


@pytest.mark.parametrize("name", INTEGRATED)
def test_it_is_enabled_and_disabled_by_its_name(name: str) -> None:
    configuration = {"signalpost": {"receivers": {name: True}}}
    enabled = Configuration.from_mapping(configuration).load(hello)
    try:
        assert enabled[name].path == READY[name]
        server = Server()
        server.serve(hello)
        assert server.status == "200 OK"
    finally:
        enabled.disable_all()
    assert len(enabled) == 0
