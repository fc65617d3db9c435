from __future__ import annotations

import logging
from collections.abc import Generator

import pytest

from signalpost.config import Configuration
from signalpost.config import Enabled
from signalpost.config import enabled_for
from signalpost.config import unseen_lines
from tests.config.loading import load
from tests.config.loading import Write
from tests.config.receivers import new_shop


@pytest.fixture
def logger() -> Generator[logging.Logger]:
    logger = logging.getLogger("shop.unseen")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()
    logger.propagate = True
    logger.disabled = False


def enabled_with(logger: logging.Logger, *names: str) -> Enabled:
    # Its handlers are the only ones then. Not before the test, as pytest adds its own
    # to each logger that does not propagate.
    logger.propagate = False
    return load({name: {"logger": logger.name} for name in names})


def with_handler(logger: logging.Logger, level: int) -> None:
    handler = logging.StreamHandler()
    handler.setLevel(level)
    logger.addHandler(handler)


def test_receivers_of_one_cause_share_a_sentence(logger: logging.Logger) -> None:
    enabled = enabled_with(logger, "latency", "referrers", "failures", "sql")
    assert unseen_lines(enabled) == [
        (
            "the lines of latency and referrers (INFO) are shown nowhere: the logger"
            " shop.unseen has no handler; call"
            " logging.getLogger('shop.unseen').addHandler(logging.StreamHandler())"
        )
    ]


@pytest.mark.parametrize(
    ("level", "hidden"),
    [
        (logging.INFO, ""),
        (logging.WARNING, "latency"),
        (logging.ERROR, "latency and sql"),
        (logging.CRITICAL, "failures, latency and sql"),
    ],
)
def test_a_handler_hides_what_is_below_its_level(
    logger: logging.Logger, level: int, hidden: str
) -> None:
    with_handler(logger, level)
    lines = unseen_lines(enabled_with(logger, "latency", "failures", "sql"))
    assert len(lines) == bool(hidden)
    assert all(one.startswith(f"the lines of {hidden} (") for one in lines)


def test_one_handler_that_shows_a_line_is_enough(logger: logging.Logger) -> None:
    with_handler(logger, logging.ERROR)
    with_handler(logger, logging.INFO)
    assert unseen_lines(enabled_with(logger, "latency")) == []


def test_receivers_that_log_nothing_are_not_named() -> None:
    assert unseen_lines(load({"recorder": True, "referrer-counter": True})) == []


def test_a_format_is_not_the_remedy_for_a_logger_of_an_application() -> None:
    ours, other = unseen_lines(
        load({"latency": True, "referrers": {"logger": "shop.access"}})
    )
    assert ours.startswith("the lines of latency (INFO)")
    assert 'write format = "text"' in ours
    assert other.startswith("the lines of referrers (INFO)")
    assert "format" not in other


def test_a_disabled_logger_is_named(logger: logging.Logger) -> None:
    with_handler(logger, logging.INFO)
    logger.disabled = True
    (line,) = unseen_lines(enabled_with(logger, "latency", "failures"))
    assert line.startswith("the logger shop.unseen is disabled")
    assert "disable_existing_loggers=False" in line


def test_a_disabled_logger_is_named_if_no_receiver_is_enabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enabled = load({})
    assert unseen_lines(enabled) == []
    monkeypatch.setattr(logging.getLogger("signalpost.signals"), "disabled", True)
    (line,) = unseen_lines(enabled)
    assert line.startswith("the logger signalpost.signals is disabled")
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    assert unseen_lines(enabled) == []


def test_a_level_that_was_chosen_needs_no_explanation(logger: logging.Logger) -> None:
    logger.setLevel(logging.CRITICAL)
    assert unseen_lines(enabled_with(logger, "latency", "failures")) == []


def test_a_level_below_info_is_not_expected_to_be_shown(logger: logging.Logger) -> None:
    logger.propagate = False
    options = {"logger": logger.name, "levels": {"complete": "debug"}}
    assert unseen_lines(load({"latency": options})) == []


@pytest.mark.parametrize(
    ("name", "text", "setting"),
    [
        ("shop.toml", "latency = true", 'format = "text"'),
        ("shop.ini", "latency = yes", "format = text"),
        ("a, line 3.toml", "latency = true", 'format = "text"'),
    ],
)
def test_the_file_that_enabled_a_receiver_is_named(
    write: Write, name: str, text: str, setting: str
) -> None:
    path = write(name, f"[signalpost.receivers]\n{text}\n")
    enabled = Configuration.from_file(path).load(new_shop())
    (line,) = unseen_lines(enabled)
    assert f"write {setting} in the section [signalpost] of {path}, or call" in line


def test_a_format_shows_every_line(write: Write) -> None:
    shop = new_shop()
    text = '[signalpost]\nformat = "json"\n[signalpost.receivers]\nlatency = true\n'
    enabled = Configuration.from_file(write("shop.toml", text)).load(shop)
    assert unseen_lines(enabled) == []
    enabled.disable_all()


def test_a_receiver_that_code_enabled_has_no_file_to_name() -> None:
    enabled = enabled_for(new_shop())
    enabled.enable("latency")
    (line,) = unseen_lines(enabled)
    assert line.endswith(
        'or write format = "text" in the section [signalpost] of a configuration'
    )
