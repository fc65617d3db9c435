"""A configuration file, checked without its application."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import typing as t
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace

from ..errors import ConfigurationError
from ..errors import ConfigurationWarning
from ..receivers.lines import single_line
from ._configuration import Configuration
from ._unseen import unseen_lines

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["CheckedFile", "checked_file", "noted_warnings", "with_causes"]

_OWN_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """The receivers that a configuration file enables, and its mistakes.

    .. versionadded:: 0.1
    """

    receivers: tuple[str, ...]
    """The names of the receivers that it enables; none if there are mistakes."""
    mistakes: tuple[ConfigurationError, ...]
    """Its mistakes."""
    unseen: tuple[str, ...]
    """The reasons why logging would not show lines of its receivers: see
    :func:`unseen_lines`."""
    warnings: tuple[str, ...]
    """Warnings: surprising settings that are not mistakes."""


class _Unserved:
    """The application that a configuration is checked for; it is never served."""

    # Some receivers take only an application of this kind, as Flask's.
    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Satisfy the interface of an application; it is never called."""
        raise NotImplementedError


def checked_file(path: str | os.PathLike[str]) -> CheckedFile:
    """Check a configuration file without an application.

    Modules that it names are imported, and receivers made, as when an application
    starts; afterwards they are disabled again. Modules are looked for in the working
    directory, too, which is put into :data:`sys.path`.

    :param path: The file.
    :returns: The result; mistakes of the file are in it and are not raised.

    .. versionadded:: 0.1
    """
    # As Flask does, so that modules in the same folder can be imported.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with noted_warnings() as found:
        checked = _checked(path)
    return replace(checked, warnings=tuple(found))


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """Collect the warnings about configurations that a ``with`` block gives.

    They are in the list when the block has ended; other warnings are given as usual.
    """
    found: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConfigurationWarning)
            yield found
    finally:
        for one in caught:
            if issubclass(one.category, ConfigurationWarning):
                found.append(single_line(str(one.message)))
            else:
                warnings.warn_explicit(
                    one.message, one.category, one.filename, one.lineno
                )


def _checked(path: str | os.PathLike[str]) -> CheckedFile:
    unserved = _Unserved()
    try:
        enabled = Configuration.from_file(path).load(unserved)
    except ConfigurationError as error:
        return CheckedFile((), with_causes(error.errors), (), ())
    # Of a module that reads its section.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        source = os.fsdecode(path)
        reason = single_line(f"{type(error).__name__}: {error}{_location_of(error)}")
        mistake = ConfigurationError(
            f"{single_line(source)}: a receiver of post-config-load failed: {reason}",
            source,
        )
        return CheckedFile((), (mistake,), (), ())
    names, unseen = tuple(enabled), tuple(unseen_lines(enabled))
    enabled.disable_all()
    return CheckedFile(names, (), unseen, ())


def with_causes(
    mistakes: Iterable[ConfigurationError],
) -> tuple[ConfigurationError, ...]:
    """Return mistakes whose messages name the line of code that failed, if known."""
    found = []
    for one in mistakes:
        for error in one.errors:
            cause = error.__cause__
            location = "" if cause is None else single_line(_location_of(cause))
            # Once, however often it is shown.
            if not str(error).endswith(location):
                error.args = (f"{error}{location}",)
            found.append(error)
    return tuple(found)


def _location_of(error: BaseException) -> str:
    """Return the innermost line outside of this package that an error came from."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_importing = frame.filename.startswith(("<frozen", str(importlib.__file__)))
        if not is_importing and not frame.filename.startswith(_OWN_FOLDER):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""
