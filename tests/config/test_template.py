from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Generator
from pathlib import Path

import pytest

from signalpost._ids import ID_HEADERS
from signalpost.config import available_receivers
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import checked_file
from signalpost.config import template
from signalpost.config._available import summary_of
from signalpost.lifecycle import catalogue

from .loading import Write
from .test_published import publish

is_setting = re.compile(r"#[^ \n]").match


@pytest.fixture
def others(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[None]:
    """Let another distribution publish receivers, some with odd names."""
    monkeypatch.syspath_prepend(tmp_path)
    module = '''
        class Stock:
            """Count what is in `stock`; see :class:`~shop.Shelf`."""
            signals = {"exchange-closed": "__call__"}
            def __init__(self, *, text='say "\\\\\\x7f"', sizes=(1, 2.5),
                         table={"a b": 1}, api_key="open-sesame",
                         many=tuple(range(50)), odd=object(),
                         limit=float("inf")): ...
            def __call__(self, sender): ...
        class Plain:
            def __call__(self, sender): ...
        class Needing(Stock):
            def __init__(self, days): ...
        def count(sender): ...
    '''
    write("stocked_shop.py", module)
    publish(
        *(write, "othershop"),
        **{  # type: ignore[arg-type]  # the first argument is given already
            "stock": "stocked_shop:Stock",
            "stock.counts v2": "stocked_shop:Stock",
            "plain": "stocked_shop:Plain",
            "needing": "stocked_shop:Needing",
            "count": "stocked_shop:count",
            "torn": "no_such_module:x",
        },
    )
    yield
    sys.modules.pop("stocked_shop", None)


def mistakes_of(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    return [*map(str, checked_file(path).mistakes)]


@pytest.mark.usefixtures("others")
def test_the_template_is_right_as_it_is_and_enables_a_few(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(template(), encoding="utf-8")
    checked = checked_file(path)
    assert checked.mistakes == ()
    assert set(checked.receivers) == {"failures", "latency"}
    assert checked.unseen == ()


@pytest.mark.usefixtures("others")
def test_each_line_may_be_uncommented_by_itself(tmp_path: Path) -> None:
    lines = template().splitlines()
    settings = [number for number, line in enumerate(lines) if is_setting(line)]
    assert len(settings) > 30
    path = tmp_path / "shop.toml"
    for number in settings:
        line = lines[number][1:]
        text = "\n".join([*lines[:number], line, *lines[number + 1 :]])
        assert mistakes_of(path, text) == [], line


@pytest.mark.usefixtures("others")
def test_all_lines_may_be_uncommented_together(tmp_path: Path) -> None:
    lines = [line[1:] if is_setting(line) else line for line in template().splitlines()]
    path = tmp_path / "shop.toml"
    assert mistakes_of(path, "\n".join(lines)) == []
    assert {*BUILTIN_RECEIVERS} < {*checked_file(path).receivers}


@pytest.mark.usefixtures("others")
def test_an_uncommented_line_changes_nothing_but_what_is_enabled() -> None:
    lines = [line[1:] for line in template().splitlines() if is_setting(line)]
    found = tomllib.loads("\n".join(lines[1:]))
    stock = found["stock"]
    assert stock["text"] == 'say "\\\x7f"'
    assert stock["sizes"] == [1, 2.5]
    assert stock["table"] == {"a b": 1}
    assert stock["limit"] == float("inf")
    assert found["stock.counts v2"] == stock
    # What a file cannot hold, or must not show, is named alone.
    assert set(stock) == {"text", "sizes", "table", "limit"}
    assert "sesame" not in template()
    assert "\n# Further options: api_key, many, odd\n" in template()


@pytest.mark.usefixtures("others")
def test_what_takes_an_option_in_any_case_has_no_line_to_uncomment() -> None:
    text = template()
    assert "# Its options must be given: plain = {signal = …}\n" in text
    assert "# Its options must be given: needing = {days = …}\n" in text
    assert "# Its options must be given: count = {signal = …}\n" in text
    assert "# torn: no_such_module:x\n" in text
    assert not re.search("^#(plain|needing|count|torn)", text, re.MULTILINE)


def test_every_ready_receiver_has_its_summary() -> None:
    text = template()
    for name in BUILTIN_RECEIVERS:
        assert re.search(rf"^# {name}: [A-Z].*", text, re.MULTILINE)
    assert all(len(line) <= 100 and line.isprintable() for line in text.splitlines())


class Without:
    """Does what importlib does where a package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, wanted: str, *_: object) -> None:
        if wanted.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module {wanted}", name=self._package)


@pytest.mark.parametrize(
    ("package", "names", "extra"),
    [
        ("sqlalchemy", ["sqlalchemy"], "sqlalchemy"),
        ("prometheus_client", ["prometheus"], "prometheus"),
        ("opentelemetry", ["opentelemetry"], "opentelemetry"),
    ],
)
def test_what_is_not_installed_has_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, names: list[str], extra: str
) -> None:
    for module in [*sys.modules]:
        if f".integrations.{extra}" in module or module.startswith(package):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
    text = template()
    for name in names:
        assert not re.search(rf"^#{name}\b", text, re.MULTILINE)
        needs = f"# It needs {package}: run pip install 'signalpost[{extra}]'\n"
        assert needs in text


def test_the_headers_of_ids_are_there_with_their_default() -> None:
    names = ", ".join(f'"{name}"' for name in ID_HEADERS)
    assert f"\n#id-headers = [{names}]\n" in template()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Keep what :attr:`.Exchange.state` holds.", "Keep what Exchange.state holds."),
        ("See :class:`~shop.stock.Shelf`.", "See Shelf."),
        ("See :class:`shop.Shelf`_ or `~Shelf`.", "See shop.Shelf or Shelf."),
        ("The :attr:`id <signalpost.exchange.Exchange.id>` of one.", "The id of one."),
        ("See `the docs <https://shop.test/>`__.", "See the docs."),
        ("Write ``<b>`` or ``:x:`` or ``.y``.", "Write <b> or :x: or .y."),
        ("Half of `nothing.", "Half of `nothing."),
    ],
)
def test_a_summary_has_no_markup(line: str, expected: str) -> None:
    kind = type("Audit", (), {"__doc__": f"{line}\n\nMore."})
    assert summary_of(kind) == expected


def test_no_summary_of_ours_has_markup() -> None:
    shown = [one.summary for one in available_receivers()]
    shown += map(summary_of, catalogue.values())
    assert not re.findall(r"`|:\w+:|~|\W\.\w", " ".join(shown))
