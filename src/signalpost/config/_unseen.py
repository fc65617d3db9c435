"""The lines of enabled receivers that logging shows nowhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from collections.abc import Iterator

from .._engine.unseen import disabled_loggers
from .._engine.unseen import explained
from .._engine.unseen import Named
from .._engine.unseen import named_finders
from .._engine.unseen import reason_unseen
from .._engine.unseen import Unseen
from .._engine.unseen import Visibility
from ._enabled import all_enabled
from ._enabled import Enabled
from ._enabled import EnabledReceiver

__all__ = ["unseen_lines"]


def unseen_lines(enabled: Enabled) -> list[str]:
    """Return which log lines the current set-up of logging does not show.

    They are lines of the receivers that are enabled for an application, and all lines
    of this package's loggers that were disabled.

    :param enabled: The receivers that are enabled for an application.
    :returns: A sentence for each cause, with the code to write; no item if every line
        is shown, or was hidden on purpose.

    .. versionadded:: 0.1
    """
    causes: dict[str, tuple[Unseen, list[Named]]] = {}
    # The lowest level first: a set-up that shows it shows the others, too.
    for one in sorted(_named([enabled]), key=lambda one: one.visibility.level):
        unseen = reason_unseen(one.visibility.logger, one.visibility.level)
        if unseen is not None:
            causes.setdefault(unseen.cause, (unseen, []))[1].append(one)
    # The loggers without a receiver report errors, whatever is enabled.
    for logger in disabled_loggers():
        unseen = reason_unseen(logger, logging.ERROR)
        if unseen is not None:
            causes.setdefault(unseen.cause, (unseen, []))
    return [explained(unseen, named) for unseen, named in causes.values()]


def _all_named() -> list[Named]:
    return [*_named(all_enabled())]


named_finders.append(_all_named)


def _named(each: Iterable[Enabled]) -> Iterator[Named]:
    for enabled in each:
        for name in enabled:
            one = enabled.get(name)  # another thread may disable it
            if one is None:
                continue
            visibility = getattr(one.receiver, "_visibility", None)
            if isinstance(visibility, Visibility):
                yield Named(one.name, _format_setting(one), visibility)


def _format_setting(receiver: EnabledReceiver) -> str:
    """Return the setting that shows the lines of a receiver, for its configuration."""
    source, separator, _ = receiver.source.rpartition(", [signalpost.receivers] ")
    if not separator:
        return ""
    if source.startswith("app.config["):
        return 'app.config["SIGNALPOST_FORMAT"] = "text" before Signalpost(app)'
    file = re.sub(r", line \d+$", "", source)
    form = "text" if file.lower().endswith(".ini") else '"text"'
    return f"format = {form} in the section [signalpost] of {file}"
