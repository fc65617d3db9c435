"""What a mapping or a file says, by section, and how it is loaded."""

from __future__ import annotations

import configparser
import os
import tomllib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import Any

from .._ids import set_id_headers
from ..errors import ConfigurationError
from ..lifecycle import post_config_load
from ..wsgi.middleware import sender_of
from ._enabled import Enabled
from ._enabled import enabled_for
from ._finding import imported
from ._ids import id_headers_in
from ._place import listed
from ._place import nearest
from ._place import Place
from ._tables import by_section
from ._tables import IniParser
from ._tables import lines_of
from ._tables import options_in
from ._tables import OURS
from ._tables import overlaid
from ._tables import reached
from ._tables import RECEIVERS
from ._tables import text_of
from ._text import plain
from ._text import Text

__all__ = ["Configuration"]


class Configuration(Mapping[str, Any]):
    """What a mapping, a TOML file or an INI file says, by section.

    >>> configuration = Configuration.from_mapping({"shop": {"audit": {"days": 30}}})
    >>> configuration["shop.audit"]["days"]
    30

    A section is a configuration of its own. A dotted name reaches through tables, and
    a section whose name is dotted is the same as tables in each other. The keys of a
    section are those that stand in it; the values of an INI file are strings.

    Made by one of :meth:`from_mapping`, :meth:`from_toml`, :meth:`from_ini` and
    :meth:`from_file`.

    .. versionadded:: 0.1
    """

    source: str
    """What it was read from, for messages: a path, as a rule."""
    section: str
    """The section's name; ``""`` for the whole."""

    def __init__(
        self,
        table: Mapping[str, Any],
        source: str,
        section: str = "",
        lines: tuple[str, ...] = (),
        upper: Configuration | None = None,
    ) -> None:
        self.source = source
        self.section = section
        self._table = table
        self._lines = lines
        # What was laid over it, which knows where its own values are from.
        self._upper = upper

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], source: str = "a mapping"
    ) -> Configuration:
        """Read a mapping of sections.

        :param mapping: As ``{"signalpost": {"receivers": {"latency": True}}}``, or
            with dotted names: ``{"signalpost.receivers": {"latency": True}}``.
            Copied.
        :param source: What to call it in messages.
        :raises ConfigurationError: If a name is no string, or given twice.
        """
        return cls(by_section(mapping, source), source)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read a TOML file.

        :param path: The file; UTF-8.
        :raises ConfigurationError: If it cannot be read, or is not TOML.
        """
        source, text = text_of(path)
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{source}: not TOML: {error}", source) from error
        return cls(by_section(tables, source), source, lines=lines_of(text))

    @classmethod
    def from_ini(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read an INI file.

        Names and values are divided by ``=``, as ``:`` is part of names. An option of
        a receiver stands on a line of its own, below its name or in its own section::

            [signalpost]
            auto-import = shop.audit shop.stock

            [signalpost.receivers]
            failures = yes
            referrers = paths = /
            shop.audit:record =
                signal = exchange-closed

            [signalpost.receivers.latency]
            slow_seconds = 0.5
            exclude =
                /static/.*
                /health

        As the values are strings, options are converted to what the receiver's
        annotations say, or its defaults: numbers, yes and no, several words or lines,
        lines of ``NAME = VALUE``. There is no interpolation, and no section is the
        default of others.

        :param path: The file; UTF-8.
        :raises ConfigurationError: If it cannot be read, or is no INI file.
        """
        source, text = text_of(path)
        parser = IniParser(
            delimiters=("=",), default_section="", interpolation=None, strict=True
        )
        try:
            parser.read_string(text, source)
        except configparser.Error as error:
            reason = " ".join(str(error).split())
            raise ConfigurationError(
                f"{source}: no INI file: {reason}", source
            ) from error
        sections = {
            name: {key: Text(value) for key, value in parser.items(name)}
            for name in parser.sections()
        }
        return cls(by_section(sections, source), source, lines=lines_of(text))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read a file whose name ends in ``.toml`` or ``.ini``.

        :param path: The file; UTF-8.
        :raises ConfigurationError: If the name ends otherwise, or as by
            :meth:`from_toml` and :meth:`from_ini`.
        """
        source = os.fspath(path)
        suffix = os.path.splitext(source)[1].lower()
        if suffix == ".toml":
            return cls.from_toml(path)
        if suffix == ".ini":
            return cls.from_ini(path)
        raise ConfigurationError(
            f"{source}: the name of a configuration must end in .toml or .ini, so that"
            " its form is known",
            source,
        )

    def __getitem__(self, name: str) -> Any:
        try:
            value = reached(self._table, name)
        except KeyError as error:
            section = f"[{self.section}] of " if self.section else ""
            error.add_note(
                f"{section}{self.source} has {listed(self._table) or 'nothing'}; use"
                " get() for what may be missing"
            )
            raise
        if isinstance(value, Mapping):
            section = f"{self.section}.{name}" if self.section else name
            return Configuration(value, self.source, section, self._lines, self._upper)
        return plain(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        section = f" [{self.section}]" if self.section else ""
        return f"<Configuration {self.source}{section}>"

    def overlaid(self, upper: Configuration) -> Configuration:
        """Return this configuration with another laid over it.

        :param upper: Its values win: whole receivers, whole keys of other sections.
            Messages name its source for them.
        """
        table = overlaid(self._table, upper._table, depth=2)
        if self._upper is not None:
            upper = self._upper.overlaid(upper)
        return Configuration(table, self.source, self.section, self._lines, upper)

    def load(self, application: object) -> Enabled:
        """Import what it names, enable its receivers, and say so.

        In this order: the modules of ``auto-import`` are imported; the receivers of
        ``[signalpost.receivers]`` are enabled for the application; the format is set;
        :data:`~signalpost.lifecycle.post_config_load` is sent, so that the modules
        can read sections of their own; the headers of ``id-headers`` are read from then
        on. If any of it fails, what was enabled is disabled again.

        They hear the application as long as it lives, or until they are disabled. To
        load another configuration for the same application adds to the first.

        :param application: The sender to hear: a :class:`flask.Flask`, a WSGI
            application, or the :class:`~signalpost.SignalMiddleware` around it.
        :returns: What is enabled for the application.
        :raises ConfigurationError: If the configuration asks for what there is not,
            with source, section, key and line.
        :raises Exception: What a receiver of ``post-config-load`` raises.
        """
        ours = self._checked()
        enabled = enabled_for(application)
        with enabled.restored_on_error():
            for module in self._modules(ours.get("auto-import", ())):
                imported(module, self.place_of(OURS, "auto-import"), module)
            for name, value in ours.get("receivers", {}).items():
                place = self.place_of(RECEIVERS, name)
                options = options_in(value, place)
                if options is not None:
                    enabled.enable_at(name, options, place)
            if "format" in ours:
                enabled.write_as(ours["format"], self.place_of(OURS, "format"))
            headers = None
            if "id-headers" in ours:
                place = self.place_of(OURS, "id-headers")
                headers = id_headers_in(ours["id-headers"], place)
            post_config_load.send(self, application=sender_of(application))
            if headers is not None:
                set_id_headers(sender_of(application), headers)
        return enabled

    def _checked(self) -> Mapping[str, Any]:
        """Return the section ``[signalpost]``, whose keys are known."""
        ours = self._table.get(OURS, {})
        if not isinstance(ours, Mapping):
            raise self.place_of("", OURS).error(
                f"expected a table, got {short_repr(ours)}"
            )
        known = ("auto-import", "format", "id-headers", "receivers")
        for key in ours:
            if key not in known:
                raise self.place_of(OURS, key).error(
                    f"unknown key; known are {listed(known)}{nearest(key, known)}"
                )
        receivers = ours.get("receivers", {})
        if not isinstance(receivers, Mapping):
            raise self.place_of(OURS, "receivers").error(
                f"expected a table of receivers, got {short_repr(receivers)}; write"
                " each with true or with its options"
            )
        return ours

    def _modules(self, value: Any) -> Iterable[str]:
        if isinstance(value, Text):
            return value.split()
        if isinstance(value, (list, tuple)) and all(
            isinstance(one, str) for one in value
        ):
            return value
        raise self.place_of(OURS, "auto-import").error(
            f"expected a list of modules, as ['shop.audit'], got {short_repr(value)}"
        )

    def place_of(self, section: str, key: str) -> Place:
        """Return where a key stands: here, or in what was laid over it.

        For :meth:`load`.
        """
        upper = self._upper
        if upper is not None and upper.has_key(section, key):
            return upper.place_of(section, key)
        return Place(self.source, section, key, self._lines)

    def has_key(self, section: str, key: str) -> bool:
        """Tell whether a section has a key. For :meth:`load`."""
        if self._upper is not None and self._upper.has_key(section, key):
            return True
        table = self.get(section) if section else self
        return isinstance(table, Mapping) and key in table
