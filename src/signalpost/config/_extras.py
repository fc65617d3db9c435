"""Packages that built-in receivers need, and that are not installed."""

from __future__ import annotations

import typing as t
import warnings
from collections.abc import Mapping
from importlib.util import find_spec

from ..errors import ConfigurationWarning
from ._location import Location

__all__ = ["hint_for", "install_for", "missing_engines", "warn_without_engines"]

_EXTRAS: t.Final[Mapping[str, str]] = {
    "flask_login": "flask-login",
    "kombu": "amqp",
    "opentelemetry": "opentelemetry",
    "prometheus_client": "prometheus",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
}
"""The extra that brings a package."""

_INSTALL: t.Final = "pip install 'signalpost[{}]'"

_OF_STATEMENTS = frozenset(("sql", "sql-repeats", "sql-totals"))


def install_for(error: BaseException) -> tuple[str, str] | None:
    """Return which package a failed import needs, and the command that installs it.

    :returns: ``None`` for an error of another kind.
    """
    if not isinstance(error, ImportError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    extra = _EXTRAS.get(package)
    if extra is None:
        return None
    is_absent = isinstance(error, ModuleNotFoundError) and error.name == package
    return package, _INSTALL.format(extra) + ("" if is_absent else " --upgrade")


def hint_for(error: Exception) -> str | None:
    """Return advice on the package that a failed import needs; ``None`` for others."""
    found = install_for(error)
    if found is None:
        return None
    package, install = found
    if not install.endswith(" --upgrade"):
        return f"it needs the package {package}, which is not installed; run {install}"
    # An older release, or another part of the package, as that of an exporter.
    return f"it needs another release of {package} ({error}); run {install}"


def missing_engines(name: str) -> tuple[str, str] | tuple[None, None]:
    """Return the package whose engines a receiver needs, and its install command.

    :returns: ``None`` twice if it is installed, or the receiver needs none.
    """
    if name in _OF_STATEMENTS and not _is_installed("sqlalchemy"):
        return "sqlalchemy", _INSTALL.format("sqlalchemy")
    return None, None


def warn_without_engines(name: str, location: Location) -> None:
    """Warn of a receiver of statements where no engine can send any.

    Another package may send ``sql-executed``, so it is not an error.
    """
    _, install = missing_engines(name)
    if install is not None:
        warnings.warn(
            f"{location}: SQLAlchemy, whose engines send sql-executed, is not"
            f" installed; run {install} and enable sqlalchemy, too",
            ConfigurationWarning,
            stacklevel=2,
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # blocked, or half imported
        return False
