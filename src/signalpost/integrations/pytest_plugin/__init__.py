"""Fixtures, a marker and an option for pytest 8 and 9.

pytest finds the plugin if signalpost is installed. You need no import, and ``-p
no:signalpost`` turns it off. If no test uses the plugin, it adds nothing to a run: the
rest of signalpost is not imported, and no function is called for each test.
"""

from __future__ import annotations

import typing as t
from argparse import ArgumentTypeError
from collections.abc import Callable
from collections.abc import Generator
from contextlib import ExitStack

import pytest

if t.TYPE_CHECKING:
    from ...exchange import Exchange
    from ...testing import RequestFailure
    from ...testing import Sent
    from ...testing import StatementLimit

__all__ = [
    "capture_signals",
    "finished_exchanges",
    "max_statements",
    "request_failures",
    "restored_connections",
]

# Fixtures and hooks import what they need: most test runs use none of them.


@pytest.fixture
def capture_signals() -> Generator[Callable[..., list[Sent]]]:
    """Record what signals send until the end of the test: a function.

    ::

        def test_order_is_sent(capture_signals):
            sent = capture_signals(order_placed)
            place_order(7)
            assert sent[0]["order"] == 7

    It takes what :func:`signalpost.testing.capture` takes, and returns its list.

    .. versionadded:: 0.1
    """
    from ...testing import capture

    with ExitStack() as stack:

        def capture_until_end(*signals: t.Any, **options: t.Any) -> list[Sent]:
            return stack.enter_context(capture(*signals, **options))

        yield capture_until_end


@pytest.fixture
def finished_exchanges() -> Generator[list[Exchange]]:
    """Return the list of exchanges that close during the test, in order.

    ::

        def test_item_is_found(client, finished_exchanges):
            client.get("/items/7")
            assert finished_exchanges[0].route == "/items/<int:id>"

    As :func:`signalpost.testing.finished_exchanges`.

    .. versionadded:: 0.1
    """
    from ... import testing

    with testing.finished_exchanges() as exchanges:
        yield exchanges


@pytest.fixture
def request_failures() -> Generator[list[RequestFailure]]:
    """Return the list of the application's exceptions during the test, in order.

    ::

        def test_checkout_does_not_fail(client, request_failures):
            client.get("/checkout")
            assert request_failures == []

    As :func:`signalpost.testing.request_failures`.

    .. versionadded:: 0.1
    """
    from ... import testing

    with testing.request_failures() as failures:
        yield failures


@pytest.fixture
def max_statements() -> Generator[Callable[[int], StatementLimit]]:
    """Limit the SQL statements of a part of the test: a function.

    ::

        def test_orders_need_three_statements(client, max_statements):
            with max_statements(3):
                client.get("/orders")

    As :func:`signalpost.testing.max_statements`. The test fails if the function was
    called and its block never opened. A marker limits a whole test, without its
    fixtures: ``@pytest.mark.max_statements(3)``.

    .. versionadded:: 0.1
    """
    from ... import testing

    made: list[StatementLimit] = []

    def make(n: int, /) -> StatementLimit:
        made.append(testing.max_statements(n))
        return made[-1]

    yield make
    for one in made:
        if not one.is_used:
            pytest.fail(
                f"max_statements({one.limit}) was called and has limited nothing;"
                f" write: with max_statements({one.limit}): ...",
                pytrace=False,
            )


@pytest.fixture
def restored_connections() -> Generator[None]:
    """Restore every connection of every signal as it was before the test.

    ::

        @pytest.mark.usefixtures("restored_connections")
        def test_audit_is_connected():
            audit.connect_all()

    As :func:`signalpost.testing.restored`. The option ``signalpost_restore_connections
    = true`` in pytest's configuration does it for each test.

    .. versionadded:: 0.1
    """
    from ...testing import restored

    with restored():
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the command line, and that of the configuration."""
    parser.getgroup("signalpost").addoption(
        "--signalpost-slowest",
        type=_number,
        metavar="N",
        help="show the N slowest requests and the N slowest SQL statements of the run",
    )
    parser.addini(
        "signalpost_restore_connections",
        "after each test, restore the connections of all signals as before it",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, and the parts of the plugin that were asked for."""
    config.addinivalue_line(
        "markers",
        "max_statements(n): fail if the test executes more than n SQL statements; its"
        " fixtures are not counted",
    )
    if config.getini("signalpost_restore_connections"):
        from ._restoring import Restoring

        config.pluginmanager.register(Restoring(), "signalpost-restoring")
    if config.getoption("signalpost_slowest") is not None:
        from ._slowest import Slowest

        config.pluginmanager.register(Slowest(config), "signalpost-slowest")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Limit statements in this run if any of its tests has the marker."""
    manager = session.config.pluginmanager
    if manager.has_plugin("signalpost-limits"):
        return
    if any(item.get_closest_marker("max_statements") for item in session.items):
        from ._limits import Limits

        manager.register(Limits(), "signalpost-limits")


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a number from 1 up, got {text!r}")
    return int(text)
