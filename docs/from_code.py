"""Parts of pages that are made from the code, so that they cannot fall behind it.

It needs docutils only, so that tests can use it without Sphinx.
"""

from __future__ import annotations

import inspect
import re
import tomllib
import typing as t
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config._available import _options_of
from signalpost.config._available import summary_of
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay._configured import ConfiguredRelay

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"breaking": "Breaking", "added": "Added", "changed": "Changed"}
KINDS |= {"fixed": "Fixed"}


class Row(t.NamedTuple):
    """A row of the table of options: reStructuredText."""

    name: str
    default: str
    meaning: str


GENERAL = [
    Row(
        "[signalpost]",
        "",
        "General settings. In Flask's configuration they are the keys of the next"
        " rows; in a file, the names in brackets.",
    ),
    Row(
        "SIGNALPOST_CONFIG",
        "none",
        "The path of a TOML or INI file, relative to the application's root path."
        " Flask only.",
    ),
    Row(
        "SIGNALPOST_RECEIVERS (receivers)",
        "none",
        "A table of receivers to enable, each with ``True``, ``False`` or its options."
        " In a file: the section ``[signalpost.receivers]``.",
    ),
    Row(
        "SIGNALPOST_FORMAT (format)",
        "none",
        'How lines are written to standard error: ``"text"``, ``"json"`` or'
        ' ``"logfmt"``. Without it, your logging configuration decides.',
    ),
    Row(
        "SIGNALPOST_ID_HEADERS (id-headers)",
        "four headers",
        "The request headers that may contain the id of a request, in order of"
        " precedence. An empty list turns this off.",
    ),
    Row(
        "SIGNALPOST_METHODS (methods)",
        "none",
        "Methods to record by name, besides those of RFC 9110 and ``PATCH``, as"
        ' ``["PROPFIND", "REPORT"]``. All others are ``_OTHER``.',
    ),
    Row(
        "SIGNALPOST_AUTO_IMPORT (auto-import)",
        "none",
        "Modules to import before the receivers are enabled, in order.",
    ),
    Row(
        "SIGNALPOST_RELAY_URL",
        "not set",
        "An environment variable: the URL of the relay's broker, if ``url`` has none.",
    ),
    Row(
        "SIGNALPOST_STRICT",
        "False",
        "Let exceptions of receivers reach the client. For tests. Flask only.",
    ),
    Row(
        "SIGNALPOST_DISABLED",
        "not set",
        "An environment variable. With ``1``, the Flask extension and the filter of"
        " Paste Deploy change nothing.",
    ),
    Row(
        "SIGNALPOST_RELAY (relay)",
        "none",
        "A table that forwards signals to other processes. In a file: the section"
        " ``[signalpost.relay]``. The next rows are its options.",
    ),
]


def rows() -> Iterator[Row]:
    """Yield the general settings, then each receiver and its options."""
    yield from GENERAL
    meanings = _parameters_of(Relay) | {
        "forward": _parameters_of(ConfiguredRelay)["forward"]
    }
    yield from _options_rows("relay", ConfiguredRelay, meanings)
    for name, path in sorted(BUILTIN_RECEIVERS.items()):
        module, _, attribute = path.partition(":")
        receiver = getattr(import_module(module), attribute)
        yield Row(name, "", _without_roles(summary_of(receiver)))
        yield from _options_rows(name, receiver, _parameters_of(receiver))


def _options_rows(name: str, made: t.Any, meanings: dict[str, str]) -> Iterator[Row]:
    for option in _options_of(made):
        default = "required" if option.is_required else f"{option.default!r}"
        yield Row(f"{name}.{option.name}", default, meanings[option.name])


def _parameters_of(made: object) -> dict[str, str]:
    docstring = inspect.getdoc(made) or ""
    found = re.findall(
        r"^:param (\w+):(.*(?:\n(?:[ ]+.*|(?=\n[ ])))*)", docstring, re.MULTILINE
    )
    return {name: " ".join(text.split()) for name, text in found}


def _without_roles(text: str) -> str:
    return text.replace("`", "")


def _table() -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "   :class: options", "")
    for name, default, meaning in (Row("Key", "Default", "Meaning"), *rows()):
        is_group = not default
        shown = name if name == "Key" else f"**{name}**" if is_group else f"``{name}``"
        yield f"   * - {shown}"
        shown = default if not default or default in WORDS else f"``{default}``"
        yield f"     - {shown}"
        yield f"     - {meaning}"


def extras() -> dict[str, list[str]]:
    """Return the requirements of each extra, by its name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)["project"]["optional-dependencies"]
    return t.cast("dict[str, list[str]]", found)


def _extras() -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "")
    yield from ("   * - Install", "     - Requires")
    for name, requirements in extras().items():
        yield f"   * - ``pip install 'signalpost[{name}]'``"
        yield f"     - {', '.join(f'``{one}``' for one in requirements)}"


WORDS = {"Default", "none", "four headers", "not set", "required"}


def fragments(kind: str) -> Iterator[str]:
    """Yield the texts of the fragments of a kind, sorted by name."""
    for path in sorted((ROOT / "changes").glob(f"*.{kind}.rst")):
        yield path.read_text(encoding="utf-8").strip()


def _unreleased() -> Iterator[str]:
    for kind, title in KINDS.items():
        texts = [*fragments(kind)]
        if texts:
            yield from ("", f".. rubric:: {title}", "")
        for text in texts:
            lines = text.splitlines()
            yield f"- {lines[0]}"
            yield from (f"  {line}" if line else "" for line in lines[1:])


class _Made(Directive):  # type: ignore[misc]  # docutils has no types
    has_content = False

    def run(self) -> list[nodes.Node]:
        parent = nodes.section()
        parent.document = self.state.document
        self.state.nested_parse(
            StringList([*self.lines()], source=__file__), self.content_offset, parent
        )
        children: list[nodes.Node] = parent.children
        return children

    def lines(self) -> Iterator[str]:
        raise NotImplementedError


class Options(_Made):
    """``.. options::``, the table of every option that a configuration may have."""

    def lines(self) -> Iterator[str]:
        return _table()


class Extras(_Made):
    """``.. extras::``, the table of the package's extras."""

    def lines(self) -> Iterator[str]:
        return _extras()


class Unreleased(_Made):
    """``.. unreleased::``, what is in ``changes/``, by kind."""

    def lines(self) -> Iterator[str]:
        return _unreleased()


def setup(app: t.Any) -> dict[str, bool]:
    """Add the directives, as Sphinx asks."""
    app.add_directive("extras", Extras)
    app.add_directive("options", Options)
    app.add_directive("unreleased", Unreleased)
    return {"parallel_read_safe": True}
