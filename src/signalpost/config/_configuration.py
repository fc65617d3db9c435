"""The contents of a mapping or a file, by section, and how they are loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from .._ids import IdHeaders
from .._ids import set_id_headers
from .._methods import checked_methods
from .._methods import set_methods
from ..errors import ConfigurationError
from ..lifecycle import post_config_load
from ..receivers.lines import single_line
from ..wsgi.finding import sender_of
from ._enabled import Enabled
from ._enabled import enabled_for
from ._finding import imported
from ._finding import look_again_for
from ._finding import RELAY
from ._finding import require_known
from ._layer import Layer
from ._location import joined
from ._location import Lines
from ._location import Location
from ._location import Mistakes
from ._location import NO_LINES
from ._names import names_in
from ._raw_values import plain
from ._raw_values import RawValue
from ._shown import shown_value
from ._tables import by_section
from ._tables import ini_tables
from ._tables import lookup
from ._tables import merged
from ._tables import options_in
from ._tables import RECEIVERS
from ._tables import SECTION
from ._tables import text_of
from ._tables import toml_tables

__all__ = ["Configuration"]

Checked = TypeVar("Checked")


class Configuration(Mapping[str, Any]):
    """The contents of a mapping, a TOML file or an INI file, by section.

    >>> configuration = Configuration.from_mapping({"shop": {"audit": {"days": 30}}})
    >>> configuration["shop.audit"]["days"]
    30

    A section is a configuration, too. A dotted name reads nested tables, and a section
    with a dotted name is the same as nested tables. The values of an INI file are
    strings.

    Create it with :meth:`from_mapping`, :meth:`from_toml`, :meth:`from_ini` or
    :meth:`from_file`.

    .. versionadded:: 0.1
    """

    source: str
    """The source that messages name: usually a path."""
    section: str
    """The section's name; ``""`` for the whole."""

    def __init__(
        self,
        table: Mapping[str, Any],
        source: str,
        section: str = "",
        layers: tuple[Layer, ...] = (),
    ) -> None:
        self.source = source
        self.section = section
        self._table = table
        # The files and mappings it was merged from, each with its lines and mistakes.
        self._layers = layers

    @classmethod
    def _from_tables(
        cls, tables: Mapping[str, Any], source: str, lines: Lines = NO_LINES
    ) -> Configuration:
        table = by_section(tables, source, lines)
        return cls(table, source, layers=(Layer(source, table, lines),))

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], source: str = "a mapping"
    ) -> Configuration:
        """Read a mapping of sections.

        :param mapping: As ``{"signalpost": {"receivers": {"latency": True}}}``, or
            with dotted names: ``{"signalpost.receivers": {"latency": True}}``.
            Copied.
        :param source: The name of the mapping in messages.
        :raises ConfigurationError: If a name is not a string, or given twice.
        """
        return cls._from_tables(mapping, source)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read a TOML file.

        :param path: The file; UTF-8.
        :raises ConfigurationError: If it cannot be read, or is not TOML.
        """
        source, text = text_of(path)
        return cls._from_tables(toml_tables(text, source), source, Lines(text))

    @classmethod
    def from_ini(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read an INI file.

        ``=`` separates names from values, because ``:`` is part of names. Each option
        of a receiver has its own line, below the receiver's name or in the receiver's
        section::

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
                /static/**
                /health

        The values are strings, so options are converted by the receiver's annotations
        or defaults: numbers, yes and no, several words or lines, lines of ``NAME =
        VALUE``. There is no interpolation, and no section has defaults for others.

        :param path: The file; UTF-8.
        :raises ConfigurationError: If it cannot be read, or is not an INI file.
        """
        source, text = text_of(path)
        return cls._from_tables(ini_tables(text, source), source, Lines(text))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read a file whose name ends in ``.toml`` or ``.ini``.

        :param path: The file; UTF-8.
        :raises ConfigurationError: If the name ends in something else, or as for
            :meth:`from_toml` and :meth:`from_ini`.
        """
        source = os.fsdecode(path)
        suffix = os.path.splitext(source)[1].lower()
        if suffix == ".toml":
            return cls.from_toml(source)
        if suffix == ".ini":
            return cls.from_ini(source)
        raise ConfigurationError(
            f"{single_line(source)}: the name of a configuration must end in .toml or"
            " .ini, so that its form is known",
            source,
        )

    def __getitem__(self, name: str) -> Any:
        try:
            value = lookup(self._table, name)
        except KeyError as error:
            section = f"[{self.section}] of " if self.section else ""
            error.add_note(
                f"{section}{self.source} has {joined(self._table) or 'nothing'}; use"
                " get() for optional keys"
            )
            raise
        if isinstance(value, Mapping):
            section = f"{self.section}.{name}" if self.section else name
            return Configuration(value, self.source, section, self._layers)
        return plain(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        section = f" [{self.section}]" if self.section else ""
        return f"<Configuration {self.source}{section}>"

    def merged(self, upper: Configuration) -> Configuration:
        """Return this configuration merged with another one.

        :param upper: Its values have precedence: whole receivers, and whole keys of
            other sections. Messages name its source for them.
        """
        table = merged(self._table, upper._table, depth=2)
        layers = self._layers + upper._layers
        return Configuration(table, self.source, self.section, layers)

    def reporting(self, errors: Iterable[ConfigurationError]) -> Configuration:
        """Return this configuration with mistakes that were found already.

        :meth:`load` reports them with those that it finds. For integrations.
        """
        layer = Layer(self.source, {}, mistakes=tuple(errors))
        layers = (layer, *self._layers)
        return Configuration(self._table, self.source, self.section, layers)

    def load(self, application: object) -> Enabled:
        """Import the named modules, enable the receivers, and send a signal.

        In this order: the modules of ``auto-import`` are imported; the receivers of
        ``[signalpost.receivers]`` are enabled for the application, and the relay of
        ``[signalpost.relay]``; the format is set;
        :data:`~signalpost.lifecycle.post_config_load` is sent, so that the modules
        can read their own sections; ``id-headers`` and ``methods`` apply from then on.
        If any of these steps fails, the enabled receivers are disabled again.

        The receivers get the application's signals as long as the application lives,
        or until they are disabled. If another configuration is loaded for the same
        application, its receivers are added to those of the first.

        :param application: The sender: a :class:`flask.Flask`, a WSGI application, or
            the :class:`~signalpost.SignalMiddleware` around it.
        :returns: The receivers that are enabled for the application.
        :raises ConfigurationError: If the configuration names something that does not
            exist, or has a part that would be ignored. It reports all mistakes: see
            :attr:`ConfigurationError.errors
            <signalpost.errors.ConfigurationError.errors>`.
        :raises Exception: An exception of a receiver of ``post-config-load``.
        """
        enabled = enabled_for(application)
        with enabled.restored_on_error():
            self._enable_in(enabled).raise_any()
            post_config_load.send(self, application=sender_of(application))
            headers = self._names("id-headers", IdHeaders, Mistakes())
            if headers is not None:
                set_id_headers(sender_of(application), headers)
            methods = self._names("methods", checked_methods, Mistakes())
            if methods is not None:
                set_methods(sender_of(application), methods)
        return enabled

    def load_right(
        self, application: object
    ) -> tuple[Enabled, tuple[ConfigurationError, ...]]:
        """Enable what is right, and return it with the mistakes.

        For commands that show both. ``post-config-load`` is sent if all is right.
        """
        enabled = enabled_for(application)
        mistakes = self._enable_in(enabled)
        if not mistakes:
            with enabled.restored_on_error():
                post_config_load.send(self, application=sender_of(application))
        return enabled, tuple(mistakes)

    def _enable_in(self, enabled: Enabled) -> Mistakes:
        """Enable what is right, and return what is wrong."""
        mistakes = Mistakes()
        for layer in self._layers:
            for error in layer.mistakes_in(self.section):
                mistakes.add(error)
        ours = _table_in(self._table, SECTION)
        for module in self._modules(ours.get("auto-import", ()), mistakes):
            with mistakes.noted():
                imported(module, self.location_of(SECTION, "auto-import"), module)
        receivers = _table_in(ours, "receivers")
        look_again_for(receivers)
        for name, value in receivers.items():
            location = self.location_of(RECEIVERS, name)
            with mistakes.noted():
                options = options_in(value, location)
                if options is None:
                    require_known(name, location)
                else:
                    enabled.enable_at(name, options, location)
        if "relay" in ours:
            with mistakes.noted():
                location = self.location_of(SECTION, "relay")
                options = options_in(ours["relay"], location)
                if options is not None:
                    enabled.enable_at(RELAY, options, location)
        if "format" in ours:
            with mistakes.noted():
                enabled.write_as(ours["format"], self.location_of(SECTION, "format"))
        self._names("id-headers", IdHeaders, mistakes)
        self._names("methods", checked_methods, mistakes)
        return mistakes

    def _names(
        self, key: str, checked: Callable[[Any], Checked], mistakes: Mistakes
    ) -> Checked | None:
        """Return the checked names of a key; ``None`` if it is not set or wrong."""
        ours = _table_in(self._table, SECTION)
        if key in ours:
            with mistakes.noted():
                return names_in(ours[key], self.location_of(SECTION, key), checked)
        return None

    def _modules(self, value: Any, mistakes: Mistakes) -> Iterable[str]:
        if isinstance(value, RawValue):
            return value.split()
        if isinstance(value, (list, tuple)) and all(
            isinstance(one, str) for one in value
        ):
            return value
        mistakes.add(
            self.location_of(SECTION, "auto-import").error(
                "expected a list of modules, as ['shop.audit'], got"
                f" {shown_value(value)}"
            )
        )
        return ()

    def location_of(self, section: str, key: str) -> Location:
        """Return where a key is: in the uppermost layer that has it.

        For :meth:`load`.
        """
        if self.section:
            section = f"{self.section}.{section}"
        for layer in reversed(self._layers):
            if layer.has_key(section, key):
                return layer.location_of(section, key)
        return Location(self.source, section, key)


def _table_in(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table; an empty one for other values, which are reported elsewhere."""
    found = table.get(name)
    return found if isinstance(found, Mapping) else {}
