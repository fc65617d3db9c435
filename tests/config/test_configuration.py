from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from tests.config.loading import Write


def test_a_section_is_a_configuration_of_its_own() -> None:
    configuration = Configuration.from_mapping({"shop": {"audit": {"days": 3}}}, "x")
    section = configuration["shop"]["audit"]
    assert isinstance(section, Configuration)
    assert dict(section) == {"days": 3}
    assert (section.source, section.section) == ("x", "shop.audit")


@pytest.mark.parametrize(
    "mapping",
    [
        {"shop": {"audit": {"days": 3}, "name": "corner"}},
        {"shop.audit": {"days": 3}, "shop": {"name": "corner"}},
        {"shop": {"name": "corner"}, "shop.audit": {"days": 3}},
    ],
)
def test_dotted_names_are_tables_in_each_other(mapping: dict[str, t.Any]) -> None:
    configuration = Configuration.from_mapping(mapping)
    assert configuration["shop.audit"] == {"days": 3}
    assert configuration["shop"]["audit.days"] == 3
    assert configuration["shop.name"] == "corner"
    assert list(configuration) == ["shop"]
    assert len(configuration) == 1


def test_a_dotted_key_below_the_top_is_found_unchanged() -> None:
    configuration = Configuration.from_mapping({"shop": {"a.b": {"c.d": 1}, "a": {}}})
    assert configuration["shop.a.b.c.d"] == 1


def test_a_missing_name_lists_the_known_ones() -> None:
    configuration = Configuration.from_mapping({"shop": {"days": 3}}, "a test")
    assert configuration.get("shop.audit", 7) == 7
    with pytest.raises(KeyError) as raised:
        configuration["shop"]["audit"]
    assert raised.value.__notes__ == [
        "[shop] of a test has days; use get() for optional keys"
    ]
    with pytest.raises(KeyError) as raised:
        Configuration.from_mapping({}, "a test")["shop"]
    assert "a test has nothing" in raised.value.__notes__[0]


def test_what_is_no_name_is_missing() -> None:
    number: t.Any = 3
    assert number not in Configuration.from_mapping({"shop": {}})


def test_a_configuration_shows_where_it_is_from() -> None:
    configuration = Configuration.from_mapping({"shop": {}}, "shop.toml")
    assert repr(configuration) == "<Configuration shop.toml>"
    assert repr(configuration["shop"]) == "<Configuration shop.toml [shop]>"


def test_a_mapping_is_copied() -> None:
    mapping = {"shop": {"days": 3}}
    configuration = Configuration.from_mapping(mapping)
    mapping["shop"]["days"] = 4
    assert configuration["shop.days"] == 3


@pytest.mark.parametrize(
    "mapping",
    [
        {"shop": {"audit": {"days": 3}}, "shop.audit": {"days": 4}},
        {"shop": 3, "shop.audit": {"days": 4}},
        {"shop.audit": {"days": 4}, "shop": 3},
    ],
)
def test_what_is_given_twice_is_refused(mapping: dict[str, t.Any]) -> None:
    with pytest.raises(ConfigurationError, match="given twice"):
        Configuration.from_mapping(mapping)


@pytest.mark.parametrize(
    ("mapping", "place"),
    [({"shop": {3: 4}}, "a mapping, shop"), ({3: {}}, "a mapping")],
)
def test_a_name_that_is_no_string_is_refused(
    mapping: dict[t.Any, t.Any], place: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_mapping(mapping)
    assert str(raised.value) == f"{place}: a name must be a string, got 3"
    assert raised.value.line is None


def test_a_file_is_read_by_its_suffix(write: Write) -> None:
    toml = write("a.toml", "[shop]\ndays = 3\n")
    ini = write("a.INI", "[shop]\ndays = 3\n")
    assert Configuration.from_file(toml)["shop.days"] == 3
    assert Configuration.from_file(str(ini))["shop.days"] == "3"
    with pytest.raises(ConfigurationError, match=r"must end in \.toml or \.ini"):
        Configuration.from_file("shop.yaml")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[shop]\ndays = 3\n")
    assert Configuration.from_file(path)["shop.days"] == 3


@pytest.mark.parametrize("name", ["a.toml", "a.ini"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file") as raised:
        Configuration.from_file(tmp_path / name)
    assert raised.value.source == str(tmp_path / name)
    assert isinstance(raised.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("name", ["a.toml", "a.ini"])
def test_a_file_that_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"[shop]\na = 'caf\xe9'\n")
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 15"):
        Configuration.from_file(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[shop]\ndays 3\n", r"a\.toml, line 2: not TOML: .*line 2"),
        ("a.ini", "[shop]\ndays 3\n", r"line 2: not an INI file: expected NAME"),
        ("a.ini", "\ndays = 3\n", r"line 2: not an INI file: expected a section"),
        ("a.ini", "[shop]\n[shop]\n", r"a\.ini, line 2: .*\[shop\] is given twice"),
        ("a.ini", "[a]\na = 1\na = 2\n", r"a\.ini, line 3: .*'a' is given twice"),
    ],
)
def test_a_file_of_another_form_is_refused(
    name: str, text: str, message: str, write: Write
) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        Configuration.from_file(write(name, text))
    assert f"line {raised.value.line}: " in str(raised.value)


def test_each_line_of_an_ini_file_that_is_none_is_reported_and_not_shown(
    write: Write,
) -> None:
    path = write("a.ini", "[shop]\npassword sesame\nx = 1\nsesame\n")
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_file(path)
    assert [one.line for one in raised.value.errors] == [2, 4]
    assert "sesame" not in str(raised.value)


def test_an_ini_file_has_no_section_of_defaults(write: Write) -> None:
    path = write("a.ini", "[DEFAULT]\nhere = %(x)s\n[signalpost.receivers]\n")
    configuration = Configuration.from_ini(path)
    assert configuration["DEFAULT.here"] == "%(x)s"
    assert type(configuration["DEFAULT.here"]) is str
    assert configuration["signalpost.receivers"] == {}
