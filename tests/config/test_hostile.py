from __future__ import annotations

import os
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

import pytest

from signalpost.config import Configuration
from signalpost.config import configuration_of_keys
from signalpost.errors import ConfigurationError
from tests.config.loading import load
from tests.config.loading import Write
from tests.config.receivers import new_shop
from tests.growth import grows_at_most

IN_RECEIVERS = "[signalpost.receivers]\n"


def refused(path: str | os.PathLike[str]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_file(path).load(new_shop())
    assert len(str(raised.value)) < 3000 + len(os.fspath(path))
    assert str(raised.value).isprintable()
    return raised.value


def in_itself() -> dict[str, t.Any]:
    table: dict[str, t.Any] = {}
    table["again"] = table
    return table


def list_in_itself() -> list[t.Any]:
    found: list[t.Any] = []
    found.append(found)
    return found


def doubled(times: int) -> dict[str, t.Any]:
    """Return a table whose copy would be two to that power."""
    table: dict[str, t.Any] = {}
    for _ in range(times):
        table = {"a": table, "b": table}
    return table


@pytest.mark.parametrize("depth", [101, 200, 900, 5000, 100_000])
@pytest.mark.parametrize(
    "write_nested",
    [
        lambda depth: f"x = {'[' * depth}{']' * depth}",
        lambda depth: f"x = {'{a = ' * depth}1{'}' * depth}",
        lambda depth: f"{'.'.join('a' * depth)} = 1",
        lambda depth: f"{' . '.join('a' * depth)} = 1",
        lambda depth: '."'.join("a" * depth).replace(".", '".') + ' = 1\n"',
        lambda depth: f"[{'.'.join('a' * depth)}]",
        lambda depth: f"x = {{{'.'.join('a' * depth)} = 1}}",
        lambda depth: f"{IN_RECEIVERS}latency.{'.'.join('a' * depth)} = 1",
    ],
)
def test_nesting_without_end_is_refused(
    depth: int, write_nested: Callable[[int], str], write: Write
) -> None:
    refused(write("a.toml", write_nested(depth)))


def test_a_value_beyond_a_limit_is_named_with_its_line(write: Write) -> None:
    deep = f"{'[' * 110}{']' * 110}"
    for text, message in {
        f"x = {deep}": "nested deeper than 100",
        "x = 0x" + "f" * 5000: "more than 1024 bits",
        "x = [\n" + "1, " * 100_001 + "]": "more than 100000 values",
    }.items():
        error = refused(write("a.toml", f"y = 1\n\n{text}\n"))
        assert (error.line, error.key) == (3, "x")
        assert message in str(error)


@pytest.mark.parametrize("depth", [101, 3000])
def test_a_section_of_an_ini_file_with_many_parts_is_refused(
    depth: int, write: Write
) -> None:
    refused(write("a.ini", f"[{'.'.join('a' * depth)}]\nx = 1\n"))


@pytest.mark.parametrize(
    "value", ["9" * 5000, "-" + "9" * 5000, f"[{'9' * 5000}]", "0x" + "f" * 5000]
)
@pytest.mark.parametrize(
    "line", ["latency = {}", "latency = {{slow_seconds = {}}}", "here.x = {}"]
)
def test_numbers_of_thousands_of_digits_are_refused(
    value: str, line: str, write: Write
) -> None:
    refused(write("a.toml", IN_RECEIVERS + line.format(value)))


def test_numbers_of_thousands_of_digits_in_an_ini_file_are_refused(
    write: Write,
) -> None:
    refused(write("a.ini", f"{IN_RECEIVERS}here:Audit = days = {'9' * 5000}\n"))


@pytest.mark.parametrize(
    "path", ["a\0.toml", "a\0.ini", "a\ud800.toml", "x" * 5000 + ".toml", "\0", ""]
)
def test_a_path_that_no_file_can_have_is_refused(path: str) -> None:
    error = refused(path)
    assert error.source == path
    keys = {"SIGNALPOST_CONFIG": path}
    with pytest.raises(ConfigurationError):
        configuration_of_keys(keys, "/").load(new_shop())


def test_a_path_of_bytes_is_a_path(write: Write) -> None:
    path: t.Any = os.fsencode(write("a.toml", "[shop]\ndays = 3\n"))
    assert Configuration.from_file(path)["shop.days"] == 3
    assert Configuration.from_file(path).source.endswith("a.toml")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    assert "cannot be read" in str(refused(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    "mapping",
    [
        in_itself(),
        {"signalpost": in_itself()},
        {"signalpost": {"receivers": in_itself()}},
        {"signalpost": {"receivers": {"latency": in_itself()}}},
        {"signalpost": {"receivers": {"latency": {"exclude": list_in_itself()}}}},
        {"shop": doubled(90)},
        {"shop": doubled(40)},
        {"signalpost": {"receivers": {"here:Free": doubled(30)}}},
    ],
)
def test_what_is_in_itself_or_shared_is_refused(mapping: Mapping[str, t.Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_mapping(mapping, "a test").load(new_shop())
    assert str(raised.value).startswith(f"a test, {raised.value.key}: ")
    assert [raised.value.key] == [*mapping]


def test_what_is_shared_is_copied_for_each_place() -> None:
    options = {"days": 3}
    configuration = Configuration.from_mapping(
        {"a": options, "b": options, "a.more": {"x": 1}}
    )
    assert dict(configuration["b"]) == {"days": 3}
    assert configuration["a.more.x"] == 1


@pytest.mark.parametrize(
    "key", [3, None, ("a",), b"a", float("nan"), (10**5000,), list_in_itself]
)
def test_names_that_are_no_strings_are_refused(key: t.Any) -> None:
    with pytest.raises(ConfigurationError, match="a name must be a string, got"):
        Configuration.from_mapping({"signalpost": {"receivers": {key: True}}})


@pytest.mark.parametrize(
    "name",
    [
        "here:" + ".".join("a" * 3000),
        ".".join("a" * 3000) + ":x",
        "here:a\0b",
        "a\0b:x",
        ":",
        "::",
        "here:record:x",
        ".:x",
        "..:x",
        "",
        " latency",
        "\ud800:x",
    ],
)
def test_a_path_to_nowhere_is_a_mistake_with_its_key(name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load({name: {"signal": "exchange-closed"}})
    assert raised.value.key == name
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "path", ["", "here:", "here:record", "shop.no:x", "here:three.x", ":", "a\0:b"]
)
def test_a_signal_from_nowhere_is_a_mistake(path: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load({"here:record": {"signal": path}})
    assert raised.value.key == "here:record"


def written(count: int) -> str:
    wrong = [f'"no_such_{number}:x" = true' for number in range(count)]
    right = [f'"here:Free{number}" = false' for number in range(count)]
    modules = [f"no_such_{number}" for number in range(count // 10)]
    sections = [f"[others.s{number}]\nx = 1" for number in range(count)]
    return "\n".join(
        [
            f"[signalpost]\nauto-import = {modules}",
            IN_RECEIVERS,
            *wrong,
            *right,
            *sections,
        ]
    )


@pytest.mark.parametrize(
    ("suffix", "write_long"),
    [
        ("toml", written),
        ("toml", lambda count: f"{IN_RECEIVERS}latency = '{'x' * count * 500}'"),
        ("toml", lambda count: f"{IN_RECEIVERS}{'x' * count * 500} = true"),
        ("toml", lambda count: f"[{'x' * count * 500}\n"),
        ("ini", lambda count: f"{IN_RECEIVERS}x{' ' * count * 500}y\n"),
        ("ini", lambda count: f"[{' ' * count * 500}x\n"),
        ("ini", lambda count: f"{IN_RECEIVERS}{'.'.join('a' * count * 100)} = yes\n"),
        ("ini", lambda count: f"{IN_RECEIVERS}latency =\n{' x = y=z' * count * 50}\n"),
        (
            "ini",
            lambda count: "\n".join(
                f"[signalpost.receivers.here:r{number}]\nx = 1"
                for number in range(count)
            ),
        ),
    ],
)
def test_the_time_to_refuse_grows_with_the_input(
    suffix: str, write_long: Callable[[int], str], write: Write
) -> None:
    short, long = (write(f"{n}.{suffix}", write_long(n)) for n in (100, 1600))

    def refuse(path: Path) -> None:
        with pytest.raises(ConfigurationError):
            Configuration.from_file(path).load(new_shop())

    assert grows_at_most(64, lambda: refuse(short), lambda: refuse(long))
