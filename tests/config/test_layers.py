from __future__ import annotations

import typing as t

import pytest

from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from tests.config.loading import Write
from tests.config.receivers import new_shop


def layered(write: Write, *texts: str) -> Configuration:
    """Return files laid over each other, the first one lowest."""
    files = [
        Configuration.from_file(write(f"{number}.toml", text))
        for number, text in enumerate(texts)
    ]
    whole = files[0]
    for upper in files[1:]:
        whole = whole.merged(upper)
    return whole


def mistakes_of(configuration: Configuration) -> list[tuple[str, int | None, str]]:
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(new_shop())
    return [
        (one.source.rpartition("/")[2], one.line, one.key)
        for one in raised.value.errors
    ]


def receivers(*lines: str) -> str:
    return "\n".join(("[signalpost.receivers]", *lines, ""))


def test_each_of_three_layers_is_named_for_its_own(write: Write) -> None:
    enabled = layered(
        write,
        receivers("latency = true", "recorder = true", "referrers = true"),
        receivers("# none", "recorder = {max_routes = 3}", "failures = true"),
        receivers("", "", "referrers = {paths = ['/']}", "latency = false"),
    ).load(new_shop())
    places = {
        name: one.source.rpartition("/")[2].partition(", [")[0]
        for name, one in enabled.items()
    }
    assert places == {
        "recorder": "1.toml, line 3",
        "referrers": "2.toml, line 4",
        "failures": "1.toml, line 4",
    }


def test_three_layers_in_any_nesting_are_the_same(write: Write) -> None:
    lowest, middle, upper = (
        Configuration.from_file(write(f"{name}.toml", receivers(f"{name} = true")))
        for name in ("latency", "recorder", "failures")
    )
    enabled = lowest.merged(middle.merged(upper)).load(new_shop())
    for name, one in enabled.items():
        assert f"/{name}.toml, line 2, " in one.source


def test_mistakes_of_three_layers_name_the_right_file_each(write: Write) -> None:
    whole = layered(
        write,
        "[signalpst]\n" + receivers("latncy = true"),
        "\n" + receivers("recoder = true"),
        "\n\n[signalpost]\nformat = 'jason'\n" + receivers("failure = false"),
    )
    assert mistakes_of(whole) == [
        ("0.toml", 1, "signalpst"),
        ("0.toml", 3, "latncy"),
        ("1.toml", 3, "recoder"),
        ("2.toml", 4, "format"),
        ("2.toml", 6, "failure"),
    ]


@pytest.mark.parametrize(
    ("lower", "key"),
    [
        ("signalpost = 3\n", "signalpost"),
        ("[signalpost]\nreceivers = ['latency']\n", "receivers"),
        ("[signalpost]\nformatt = 'json'\n", "formatt"),
        ("receivers = {latency = true}\n", "receivers"),
    ],
)
def test_what_is_laid_over_hides_no_mistake(lower: str, key: str, write: Write) -> None:
    upper = "[signalpost]\nformat = 'json'\n" + receivers("latency = false")
    found = mistakes_of(layered(write, lower, upper))
    assert [(source, one) for source, _, one in found] == [("0.toml", key)]


def test_a_receiver_of_two_layers_is_that_of_the_upper(write: Write) -> None:
    whole = layered(
        write,
        receivers("latency = {slow_seconds = 1, exclude = ['/a']}"),
        receivers("", "latency = {slow_seconds = 2}"),
    )
    latency = whole.load(new_shop())["latency"]
    assert latency.options == {"slow_seconds": 2}
    assert "1.toml, line 3" in latency.source


def test_a_wrong_option_of_two_layers_is_that_of_the_upper(write: Write) -> None:
    whole = layered(
        write, receivers("latency = true"), receivers("latency = {slow = 2}")
    )
    assert mistakes_of(whole) == [("1.toml", 2, "latency")]


def test_sections_of_others_are_laid_over_key_by_key(write: Write) -> None:
    whole = layered(write, "[shop]\na = 1\nb = 1\n", "[shop]\nb = 2\n")
    assert dict(whole["shop"]) == {"a": 1, "b": 2}


def test_a_section_is_loaded_with_places_in_the_whole_file(write: Write) -> None:
    path = write("a.toml", "[tool.signalpost.receivers]\nlatncy = true\n")
    section: t.Any = Configuration.from_file(path)["tool"]
    with pytest.raises(ConfigurationError) as raised:
        section.load(new_shop())
    assert (raised.value.line, raised.value.section) == (2, "tool.signalpost.receivers")
