"""The examples for pytest of the page about tests."""

from __future__ import annotations

import re
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import signalpost.integrations.flask
import signalpost.integrations.flask_testing
import signalpost.integrations.pytest_plugin._limits
import signalpost.integrations.pytest_plugin._restoring
import signalpost.integrations.pytest_plugin._slowest
import signalpost.integrations.sqlalchemy  # noqa: F401  # a run drops what it imports
from signalpost.integrations import pytest_plugin

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "testing.rst"
PLUGIN = "signalpost.integrations.pytest_plugin"
IS_INSTALLED = any(one.value == PLUGIN for one in entry_points(group="pytest11"))
OPTIONS = ("-W", "error")

# Where signalpost was installed without it, it is given to each run.
PLUGINS = () if IS_INSTALLED else (pytest_plugin,)


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language, in the order of the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text, re.MULTILINE
    )
    return [textwrap.dedent(one) for one in found]


def test_every_example_is_known() -> None:
    assert [len(blocks(one)) for one in ("python", "ini", "text")] == [2, 1, 2]


def test_fixtures_work_as_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shop=blocks("python")[0])
    pytester.runpytest_inprocess(*OPTIONS, plugins=PLUGINS).assert_outcomes(passed=4)


def test_limits_work_as_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_orders=blocks("python")[1])
    result = pytester.runpytest_inprocess(*OPTIONS, plugins=PLUGINS)
    result.assert_outcomes(passed=1, failed=1)
    shown = str(result.stdout).replace(str(pytester.path), "/srv/shop")
    assert blocks("text")[0].strip() in shown


def test_option_of_the_configuration_works_as_shown(
    pytester: pytest.Pytester,
) -> None:
    pytester.makefile(".ini", pytest=blocks("ini")[0])
    pytester.makepyfile(
        """
        from signalpost import Signal

        paid = Signal()

        def test_connects():
            paid.connect(print)

        def test_nothing_is_left():
            assert not paid.receivers
        """
    )
    pytester.runpytest_inprocess(*OPTIONS, plugins=PLUGINS).assert_outcomes(passed=2)


def test_option_of_the_command_line_works_as_shown(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_shop=blocks("python")[0])
    _, *options = blocks("text")[1].strip().removeprefix("$ ").split()
    result = pytester.runpytest_inprocess(*OPTIONS, *options, plugins=PLUGINS)
    result.stdout.fnmatch_lines(["*slowest requests*", "*ms POST /orders/*"])
