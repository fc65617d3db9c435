"""Lines that logging shows nowhere: the reason, once, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from typing import NamedTuple

__all__ = [
    "Named",
    "Unseen",
    "Visibility",
    "checked",
    "disabled_loggers",
    "explained",
    "named_finders",
    "reason_unseen",
]

_OURS = "signalpost"
_WRITE = f'write format = "text" in the section [{_OURS}] of a configuration'
_MOST_NAMES = 10
"""The most names that a message lists."""


class Visibility:
    """Checks that logging shows a receiver's lines, and explains once why it does not.

    The check is made when a line is about to be written: only then is logging set up,
    as many an application does it after the receivers are connected.

    :param logger: The receiver's logger.
    :param level: The level of its ordinary lines.
    """

    __slots__ = ("level", "logger", "refused", "taken")

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self.logger = logger
        self.level = level
        # Levels that were checked, by whether the logger took them. Both are kept, as
        # a logger that took a level at first may be disabled later.
        self.taken: set[int] = set()
        self.refused: set[int] = set()

    def takes(self, level: int) -> bool:
        """Return whether the logger takes a line of a level.

        :param level: The line is due: it would be written if the logger took it.
        """
        if self.logger.isEnabledFor(level):
            return level in self.taken or self.check(level)
        return level not in self.refused and self.check(level)

    def check(self, level: int) -> bool:
        """Return whether the logger takes the level; explain if no line is shown."""
        is_taken = self.logger.isEnabledFor(level)
        (self.taken if is_taken else self.refused).add(level)
        _explain(self.logger, level)
        return is_taken


class Named(NamedTuple):
    """A receiver that was enabled by its name."""

    name: str
    """The name."""
    format_setting: str
    """The setting for a format of all lines, and its place; ``""`` if not known."""
    visibility: Visibility
    """The state of its lines."""


named_finders: Final[list[Callable[[], Iterable[Named]]]] = []
"""Return the receivers that are enabled by name; the configuration sets it."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why logging does not show the lines of a logger."""

    logger: logging.Logger
    """The logger."""
    level: int
    """The level of the lines."""
    cause: str
    """A text that all lines share which one change would show."""
    reason: str
    """The reason, as a part of a sentence."""
    remedy: str = ""
    """The remedy, as a part of a sentence; ``""`` for a disabled logger."""
    takes_format: bool = False
    """``True`` if a format in the configuration would mend it, too."""


def checked(logger: logging.Logger, level: int) -> logging.Logger:
    """Return a logger for a line of a level; explain first if nothing shows it."""
    _explain(logger, level)
    return logger


def reason_unseen(logger: logging.Logger, level: int) -> Unseen | None:
    """Return why logging does not show the lines of a logger.

    ``None`` also where that is a choice: a level below ``INFO``; a level that was set
    for this logger, or for one above it but the root logger; a
    :class:`logging.NullHandler` there; :func:`logging.disable`.

    :param logger: The logger.
    :param level: The level of the lines.
    """
    chain = [*_chain(logger)]
    if level < logging.INFO or _is_by_choice(logger, level, chain):
        return None
    if logger.disabled:
        return Unseen(logger, level, "disabled", "it is disabled")
    effective_level = logger.getEffectiveLevel()
    handlers = [handler for one in chain for handler in one.handlers]
    takers = handlers or [one for one in [logging.lastResort] if one is not None]
    is_taken = any(level >= one.level for one in takers)
    if effective_level <= level and is_taken:
        return None
    end = chain[-1]
    reasons = []
    remedies = []
    if not handlers:
        reasons.append(f"{_called(end)} has no handler")
        remedies.append(_new_handler(end, level))
    elif not is_taken:
        lowest = min(one.level for one in handlers)
        reasons.append(f"the handlers show no level below {_name_of(lowest)}")
        remedies.append(f"give a handler the level {_name_of(level)}")
    if effective_level > level:
        reasons.append(f"the root logger's level is {_name_of(effective_level)}")
        # logging.basicConfig() sets it, too, where there is no handler.
        if handlers or end is not logger.root:
            top = _OURS if _is_ours(logger) else logger.name
            remedies.append(_call(f"getLogger({top!r}).setLevel", level))
    takes_format = end.name == _OURS or (_is_ours(logger) and end is logger.root)
    return Unseen(
        logger,
        level,
        f"unseen at {end.name}, {takes_format}",
        " and ".join(reasons),
        " and ".join(remedies),
        takes_format,
    )


def disabled_loggers() -> list[logging.Logger]:
    """Return the loggers of this package that were disabled."""
    return [
        one
        for one in [*logging.root.manager.loggerDict.values()]
        if isinstance(one, logging.Logger) and one.disabled and _is_ours(one)
    ]


def explained(unseen: Unseen, named: Iterable[Named] = ()) -> str:
    """Return one line that explains why lines are not shown, with advice.

    :param unseen: The reason.
    :param named: The receivers by name that it is the reason for.
    """
    named = [*named]
    others = []
    if all(unseen.logger is not one.visibility.logger for one in named):
        others.append(f"the logger {unseen.logger.name}")
    if unseen.cause == "disabled":
        text = _disabled_text(unseen, named)
    else:
        formats = {one.format_setting for one in named if one.format_setting}
        remedy = unseen.remedy
        if unseen.takes_format:
            setting = " or ".join(sorted(formats))
            first, second = (
                (f"write {setting}", remedy) if setting else (remedy, _WRITE)
            )
            remedy = f"{first}, or {second}"
        text = (
            f"the lines of {_listed([*_names_of(named), *others])}"
            f" ({_name_of(unseen.level)}) are shown nowhere: {unseen.reason}; {remedy}"
        )
    # Names and paths come from others, so none may begin a line.
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def _disabled_text(unseen: Unseen, named: Iterable[Named]) -> str:
    loggers = {unseen.logger.name, *(one.visibility.logger.name for one in named)}
    loggers.update(one.name for one in disabled_loggers())
    names = _listed(sorted(loggers))
    is_one = len(loggers) == 1
    subject = f"the logger {names} is" if is_one else f"the loggers {names} are"
    return (
        f"{subject} disabled, so that no line of {'it' if is_one else 'them'} is shown:"
        " logging.config.fileConfig() and dictConfig() disable each logger"
        " that exists and is not in their configuration; give them"
        " disable_existing_loggers=False, or call them before signalpost is imported"
    )


_explained: Final[dict[str, object]] = {}


def _explain(logger: logging.Logger, level: int) -> None:
    """Write, once for each cause, why logging does not show a line."""
    # Without a standard error, as a daemon may be, nothing is explained; nor must it
    # fail by what others made of their handlers.
    with suppress(Exception):
        unseen = reason_unseen(logger, level)
        if unseen is None or (unseen.cause != "disabled" and _is_quiet(logger)):
            return
        # One step, so that no lock is held by a thread that a fork leaves behind.
        if _explained.setdefault(unseen.cause, unseen) is not unseen:
            return
        named = [one for finder in named_finders for one in finder()]
        text = explained(unseen, [one for one in named if _has_cause(one, unseen)])
        # Not by logging, which is what does not work, nor as a Python warning, which
        # many a test suite makes an error of.
        sys.stderr.write(f"{_OURS}: {text}\n")
        sys.stderr.flush()


def _has_cause(named: Named, unseen: Unseen) -> bool:
    other = reason_unseen(named.visibility.logger, named.visibility.level)
    return other is not None and other.cause == unseen.cause


def _is_by_choice(
    logger: logging.Logger, level: int, chain: Iterable[logging.Logger]
) -> bool:
    if logger.manager.disable >= level:
        return True
    one: logging.Logger | None = logger
    while one is not None and not one.level:
        one = one.parent
    if one is not None and one is not logger.root and one.level > level:
        return True
    return any(
        isinstance(handler, logging.NullHandler)
        for one in chain
        if one is not logger.root
        for handler in one.handlers
    )


def _is_quiet(logger: logging.Logger) -> bool:
    """Return whether the root logger has a handler that shows nothing on purpose.

    As while pytest runs: it shows the lines of a test that fails.
    """
    return any(isinstance(one, logging.NullHandler) for one in logger.root.handlers)


def _chain(logger: logging.Logger | None) -> Iterator[logging.Logger]:
    """Yield the loggers whose handlers get what a logger logs."""
    while logger is not None:
        yield logger
        logger = logger.parent if logger.propagate else None


def _is_ours(logger: logging.Logger) -> bool:
    return f"{logger.name}.".startswith(f"{_OURS}.")


def _called(logger: logging.Logger) -> str:
    return "logging" if logger is logger.root else f"the logger {logger.name}"


def _new_handler(logger: logging.Logger, level: int) -> str:
    if logger is logger.root:
        return _call("basicConfig", level, "level=")
    return (
        f"call logging.getLogger({logger.name!r}).addHandler(logging.StreamHandler())"
    )


def _call(method: str, level: int, keyword: str = "") -> str:
    name = _name_of(level)
    is_constant = getattr(logging, name, None) == level
    argument = f"logging.{name}" if is_constant else str(level)
    return f"call logging.{method}({keyword}{argument})"


def _name_of(level: int) -> str:
    return str(logging.getLevelName(level))


def _names_of(named: Iterable[Named]) -> list[str]:
    return sorted({one.name for one in named})


def _listed(names: list[str]) -> str:
    if len(names) > _MOST_NAMES:
        names = [*names[:_MOST_NAMES], f"{len(names) - _MOST_NAMES} more"]
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
