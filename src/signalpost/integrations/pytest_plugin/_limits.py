"""The marker that limits the statements of a test."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from ...errors import NotInstrumentedError
from ...errors import TooManyStatementsError
from ...testing import max_statements
from ...testing import StatementLimit


class Limits:
    """A plugin for runs in which some test has the marker."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Count the statements of a test, but not those of its fixtures."""
        marker = item.get_closest_marker("max_statements")
        if marker is None:
            return (yield)
        block = _block_of(marker)
        block.__enter__()
        try:
            result = yield
        except BaseException as error:
            block.__exit__(type(error))
            raise
        problem = None
        try:
            block.__exit__()
        except (NotInstrumentedError, TooManyStatementsError) as error:
            problem = str(error)
        # Not in the except clause: pytest would show both exceptions.
        if problem is not None:
            pytest.fail(problem, pytrace=False)
        return result


def _block_of(marker: pytest.Mark) -> StatementLimit:
    try:
        return max_statements(*marker.args, **marker.kwargs)
    except (TypeError, ValueError) as error:
        problem = str(error)
    pytest.fail(f"{problem}; as a marker: {_MARKER}", pytrace=False)


_MARKER = "@pytest.mark.max_statements(3)"
