"""Values of options that look right, and would mean something else."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from signalpost.config import checked_file
from tests.config.loading import refusal

Mistakes = Callable[..., list[str]]


@pytest.fixture
def mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mistakes:
    monkeypatch.chdir(tmp_path)

    def mistakes(text: str, name: str = "shop.toml") -> list[str]:
        (tmp_path / name).write_text(text)
        checked = checked_file(name)
        assert checked.receivers == () or not checked.mistakes
        return [str(one) for one in checked.mistakes]

    return mistakes


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("latency", "exclude"),
        ("latency", "fields"),
        ("recorder", "exclude"),
        ("prometheus", "exclude"),
        ("prometheus", "networks"),
        ("opentelemetry", "exclude"),
        ("opentelemetry", "query_keys"),
        ("live", "exclude"),
        ("failures", "ignore"),
        ("failures", "ignore_statuses"),
        ("referrers", "paths"),
        ("referrer-counter", "paths"),
        ("referrer-counter", "own_origins"),
    ],
)
@pytest.mark.parametrize("value", [{"/healthz": True}, {}, "/healthz", 7])
def test_a_value_that_is_no_collection_is_refused(
    name: str, option: str, value: t.Any
) -> None:
    message = str(refusal({name: {option: value}}))
    assert f"{option} must be a" in message
    assert "; its options are" not in message


def test_headers_of_ids_in_a_table_are_refused(mistakes: Mistakes) -> None:
    (message,) = mistakes('[signalpost.id-headers]\nX-Request-ID = "yes"\n')
    assert message.startswith("shop.toml, line 1, [signalpost] id-headers: id_headers")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("sqlalchemy", "with_parameters"),
        ("opentelemetry", "with_sql_values"),
        ("opentelemetry", "with_sql_spans"),
        ("opentelemetry", "with_sql_metrics"),
        ("opentelemetry", "with_size_metrics"),
        ("opentelemetry", "with_receiver_spans"),
        ("prometheus", "with_sql"),
        ("sql", "with_values"),
        ("failures", "handled"),
    ],
)
@pytest.mark.parametrize("value", ["no", "false", 0, 1, []])
def test_only_true_and_false_are_a_truth(name: str, option: str, value: t.Any) -> None:
    message = str(refusal({name: {option: value}}))
    assert f"{option} must be True or False, got {value!r}" in message


@pytest.mark.parametrize(
    ("option", "method"),
    [
        ("tracer_provider", "get_tracer"),
        ("meter_provider", "get_meter"),
        ("propagator", "extract"),
    ],
)
def test_text_is_no_object_of_opentelemetry(option: str, method: str) -> None:
    message = str(refusal({"opentelemetry": {option: "shop.tracing:provider"}}))
    assert f"{option} must have the method {method}, got 'shop.tra" in message


def test_a_number_for_a_file_closes_no_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as file:
        message = str(refusal({"prometheus": {"token_file": file.fileno()}}))
        assert os.fstat(file.fileno()).st_size == 0
    assert "token_file must be the path of a file, got " in message


class Needing:
    """A receiver that cannot be made without an option."""

    signals: t.ClassVar = {"exchange-closed": "__call__"}

    def __init__(self, *, stock: str, folder: str, days: int = 7) -> None: ...

    def __call__(self, sender: object) -> None: ...


def test_options_that_are_missing_are_named() -> None:
    path = f"{__name__}:Needing"
    assert str(refusal({path: True})).endswith(
        "it needs the options folder, stock; its options are days, folder, stock"
    )
    unknown, missing = refusal({path: {"stock": "x", "dys": 3}}).errors
    assert str(unknown).endswith("folder, stock; did you mean 'days'?")
    assert str(missing).endswith(
        "it needs the option folder; its options are days, folder, stock"
    )


@pytest.mark.parametrize(
    "section",
    ["tool.signalpost", "flask.signalpost", "tool.shop.Signal-Post", "a.b.c.signlpost"],
)
def test_our_section_within_another_is_refused(
    mistakes: Mistakes, section: str
) -> None:
    outer, _, name = section.rpartition(".")
    (message,) = mistakes(f"[{section}.recievers]\nlatency = true\n")
    assert message == (
        f"shop.toml, line 1, [{outer}] {name}: unknown section, as nothing is read"
        f" below {outer}; did you mean [signalpost]?"
    )


@pytest.mark.parametrize(
    "text",
    [
        '[loggers.signalpost]\nlevel = "INFO"\n',
        '[logging.formatters.signalpost]\nformat = "%(message)s"\n',
        '[levels]\nsignalpost = "INFO"\n',
        '[shop.receivers]\nlatency = "of deliveries"\n',
    ],
)
def test_what_others_call_by_our_name_is_no_mistake(
    mistakes: Mistakes, text: str
) -> None:
    assert mistakes(text) == []


def test_an_option_that_an_ini_file_gives_twice_is_refused(mistakes: Mistakes) -> None:
    text = "[signalpost.receivers]\nlatency =\n  slow_seconds = 1\n  slow_seconds = 2\n"
    (message,) = mistakes(text, "shop.ini")
    assert message.endswith("latency: option slow_seconds is given twice")


def test_a_truth_with_lines_below_is_shown_whole(mistakes: Mistakes) -> None:
    text = "[signalpost.receivers]\nlatency = yes\n  and more\n"
    (message,) = mistakes(text, "shop.ini")
    assert message.endswith(r"for each option, got 'yes\nand more'")
