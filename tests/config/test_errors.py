from __future__ import annotations

import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import checked_file
from signalpost.config import Configuration
from signalpost.config._checking import with_causes
from signalpost.errors import ConfigurationError
from signalpost.errors import SignalpostError
from signalpost.lifecycle import post_config_load
from tests.config.loading import connections
from tests.config.loading import load
from tests.config.loading import refusal
from tests.config.loading import Write
from tests.config.receivers import new_shop
from tests.config.receivers import Shop


def test_an_error_shows_file_line_section_and_key(write: Write) -> None:
    path = write(
        "a.toml",
        """\
        # latencey = true
        [shop]
        latencey = true

        [signalpost.receivers]  # ours
        failures = false
        "latencey" = {slow_seconds = 0.5}
        """,
    )
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_toml(path).load(new_shop())
    error = raised.value
    assert (error.source, error.section, error.key, error.line) == (
        str(path),
        "signalpost.receivers",
        "latencey",
        7,
    )
    assert str(error) == (
        f"{path}, line 7, [signalpost.receivers] latencey: unknown receiver"
        f" 'latencey'; known are {', '.join(sorted(BUILTIN_RECEIVERS))}; write"
        " your own as package.module:object; did you mean 'latency'?"
    )
    assert isinstance(error, (SignalpostError, ValueError))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[signalpost.receivers.latencey]\nslow_seconds = 1\n", 1),
        ("[signalpost]\nreceivers.latencey = true\n", 2),
        ("signalpost.receivers.latencey.slow_seconds = 1\n", 1),
        ("[signalpost]\nreceivers = {latencey = true}\n", 2),
        ("[signalpost]\n\nreceivers = {'lat\\u0065ncey' = true}\n", 3),
    ],
)
def test_a_line_is_found_however_it_is_written(
    text: str, line: int | None, write: Write
) -> None:
    with pytest.raises(ConfigurationError, match="unknown receiver") as raised:
        Configuration.from_toml(write("a.toml", text)).load(new_shop())
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("receivers", "message"),
    [
        ({"shop": True}, "unknown receiver 'shop'; known are failures"),
        ({"latency": 3}, "expected true, false or a table of options, got 3"),
        ({"latency": "yes"}, "expected true, false or a table of options, got 'yes'"),
        (
            {"latency": {"slow_second": 1}},
            "unknown option 'slow_second'; its options are exclude, fields, ",
        ),
        ({"latency": {"slow_seconds": -1}}, "slow_seconds must be a number"),
        (
            {"here:Audit": {"days": 0}},
            "days must be at least 1, got 0; its options are days, form, is_loud",
        ),
        (
            {"here:Optionless": {"days": 1}},
            "unknown option 'days'; it has no options",
        ),
        (
            {"here:record": True},
            'as {signal = "shop.events:order_placed"}; got None',
        ),
        (
            {"here:record": {"signal": "exchange-close"}},
            "unknown signal 'exchange-close'; known are appcontext-popped, ",
        ),
        (
            {"here:record": {"signal": "exchange-closed", "days": 3}},
            "it takes no option days, because it is not a class; give it signal only",
        ),
        (
            {"here:record_nothing": {"days": 3}},
            "it takes no option days, because it is not a class; give it none",
        ),
        (
            {"here:three": {"signal": "exchange-closed"}},
            "it cannot be connected: receiver must be callable, got 3",
        ),
        ({"here:Misled": True}, "it cannot be connected: "),
        ({"here:Misspelt": True}, "; did you mean 'exchange-closed'?"),
        (
            {"here:recrod": {"signal": "exchange-closed"}},
            "module 'here' has no 'recrod'; did you mean 'record'?",
        ),
        ({"here:": True}, "module 'here' has no ''"),
        (
            {"no_such_module:record": True},
            "module 'no_such_module' cannot be imported: ModuleNotFoundError: No mod",
        ),
        ({":record": True}, "module '' cannot be imported: ValueError"),
        (
            {"here:Listing": True},
            "signals must be a dict of names of signals and of methods, got",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    receivers: dict[str, t.Any], message: str
) -> None:
    error = refusal(receivers)
    assert message in str(error)
    assert error.source == "a test"
    assert error.section == "signalpost.receivers"
    assert [error.key] == [*receivers]


def test_nothing_is_half_enabled_after_an_error() -> None:
    shop = Shop()
    before = load({"here:ConnectsItself": True}, shop)
    with pytest.raises(ConfigurationError):
        load({"here:Audit": True, "latency": True, "nonsense": True}, shop)
    assert list(before) == ["here:ConnectsItself"]
    assert connections() == 0


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"recievers": {}}, "recievers", "did you mean 'receivers'?"),
        (
            {"level": 3},
            "level",
            "unknown key; known are auto-import, format, id-headers, methods",
        ),
        ({"receivers": ["latency"]}, "receivers", "expected a table of receivers"),
        ({"auto-import": "shop.audit"}, "auto-import", "expected a list of modules"),
        ({"auto-import": [3]}, "auto-import", "expected a list of modules"),
        ({"format": "jason"}, "format", "got 'jason'; did you mean 'json'?"),
        ({"format": 3}, "format", "expected one of json, logfmt, text, got 3"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(
    table: dict[str, t.Any], key: str, message: str
) -> None:
    configuration = Configuration.from_mapping({"signalpost": table}, "a test")
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(new_shop())
    assert message in str(raised.value)
    assert (raised.value.section, raised.value.key) == ("signalpost", key)


def test_signalpost_must_be_a_section() -> None:
    with pytest.raises(ConfigurationError, match="a test, signalpost: expected a tab"):
        Configuration.from_mapping({"signalpost": 3}, "a test").load(new_shop())


def test_a_module_that_fails_is_named_with_its_line_and_its_error(
    write_module: Callable[[str, str], None], write: Write
) -> None:
    write_module("stock_sound", "")
    write_module("stock_broken", "import no_such_thing")
    path = write(
        "a.toml",
        """\
        [signalpost]
        auto-import = [
            "stock_sound",
            # stock_broken comes last
            "stock_broken",
        ]

        [shop]
        """,
    )
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_toml(path).load(new_shop())
    assert str(raised.value).startswith(
        f"{path}, line 5, [signalpost] auto-import: module 'stock_broken' cannot be"
        " imported: ModuleNotFoundError: No module named 'no_such_thing'"
    )
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_module_whose_line_is_not_found_is_named_with_that_of_the_key(
    write: Write,
) -> None:
    path = write(
        "a.toml", '[signalpost]\nauto-import = ["no_\\u0073uch"]\n[shop]\na = 1\n'
    )
    with pytest.raises(ConfigurationError, match=r"'no_such' cannot be") as raised:
        Configuration.from_toml(path).load(new_shop())
    assert raised.value.line == 2


def test_a_module_that_ends_the_process_is_a_mistake(
    write_module: Callable[[str, str], None],
) -> None:
    write_module("stock_tool", "import sys; sys.exit('usage: stock_tool FILE')")
    configuration = Configuration.from_mapping(
        {"signalpost": {"auto-import": ["stock_tool"]}}, "a test"
    )
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(new_shop())
    assert str(raised.value) == (
        "a test, [signalpost] auto-import: module 'stock_tool' cannot be imported:"
        " SystemExit: usage: stock_tool FILE"
    )


class Ending:
    """Ends the process wherever it is used."""

    def __init__(self) -> None:
        raise SystemExit(3)

    def __call__(self, sender: object) -> None:
        pass


class Holder(type):
    @property
    def receive(cls) -> object:
        raise SystemExit(3)


class Holding(metaclass=Holder):
    pass


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("Ending", "SystemExit: 3; it has no options"),
        ("Holding.receive", f"'receive' of module '{__name__}' cannot be read: Sys"),
    ],
)
def test_a_receiver_that_ends_the_process_is_a_mistake(path: str, message: str) -> None:
    error = refusal({f"{__name__}:{path}": {"signal": "exchange-closed"}})
    assert message in str(error)


def test_a_file_whose_receiver_ends_the_process_is_checked(write: Write) -> None:
    def end(configuration: Configuration, application: object) -> None:
        raise SystemExit(0)

    path = write("a.toml", "[signalpost.receivers]\nlatency = true\n")
    with post_config_load.connected_to(end):
        (mistake,) = checked_file(path).mistakes
    assert "a receiver of post-config-load failed: SystemExit: 0" in str(mistake)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.toml", b"days 3"), ("a.ini", b"days = 3"), ("a.toml", b"\xff")],
)
def test_a_file_that_cannot_be_parsed_has_no_line_of_a_library(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_file(tmp_path / name)
    (mistake,) = with_causes([raised.value])
    assert ".py" not in str(mistake)
