from __future__ import annotations

import itertools
import typing as t

import pytest

from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.brokers import running_redis

_numbers = itertools.count()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[RedisServer]:
    yield from running_redis(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def prefix() -> str:
    """Return names that no other test uses."""
    return f"test{next(_numbers)}"
