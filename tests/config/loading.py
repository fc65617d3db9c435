"""Helpers of the tests that load configurations."""

from __future__ import annotations

import gc
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

import pytest

from signalpost.config import Configuration
from signalpost.config import Enabled
from signalpost.errors import ConfigurationError
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_arrived
from tests.config.receivers import new_shop
from tests.config.receivers import Shop

Write = Callable[[str, str], Path]
"""Writes a file of that name and text, and returns its path."""


def load(receivers: Mapping[str, t.Any], application: object = None) -> Enabled:
    configuration = Configuration.from_mapping(
        {"signalpost": {"receivers": receivers}}, "a test"
    )
    return configuration.load(new_shop() if application is None else application)


def refusal(receivers: Mapping[str, t.Any]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        load(receivers)
    assert connections() == 0
    return raised.value


def receivers_of(sender: object) -> list[t.Any]:
    """Return the receivers of the end of this sender's exchanges only."""
    return [one.receiver for one in exchange_closed.connections if one.sender is sender]


INTEGRATED = {"flask-login", "opentelemetry", "prometheus", "sqlalchemy"}
"""The built-in receivers of other packages; tested with their integrations."""


def everybody() -> int:
    gc.collect()
    # The receiver "watch" is connected to the catalogue while there is a watcher.
    signals = (*catalogue.values(), request_arrived)
    return sum(len(signal.connections) for signal in signals)


def connections() -> int:
    gc.collect()
    return sum(
        isinstance(connection.sender, Shop)
        for signal in catalogue.values()
        for connection in signal.connections
    )
