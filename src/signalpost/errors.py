"""Every exception and warning that signalpost raises.

Each derives from :exc:`SignalpostError` and from the built-in exception that the
mistake would have raised anyway, so ``except TypeError`` keeps working. The
objects that a message names are kept as attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ApplicationError",
    "ApplicationGoneError",
    "AsyncReceiverError",
    "ConfigurationError",
    "ConfigurationWarning",
    "EventError",
    "ExchangeClosedError",
    "ExchangeNotRecordedError",
    "ExtensionError",
    "NotInstrumentedError",
    "NotSendableError",
    "OutboxError",
    "PayloadError",
    "ProxySenderWarning",
    "ReceiverError",
    "RelayError",
    "SenderWarning",
    "SignalError",
    "SignalpostError",
    "TooManyStatementsError",
    "WeakReceiverWarning",
]


class SignalpostError(Exception):
    """The base of every exception that signalpost raises itself."""


class ReceiverError(SignalpostError, TypeError):
    """An object cannot be connected as a receiver.

    :param message: The message: what was expected, what came, what to do.
    :param receiver: The object that was given.
    """

    receiver: object
    """The object that was given to ``connect``."""

    def __init__(self, message: str, receiver: object = None) -> None:
        super().__init__(message)
        self.receiver = receiver


class SignalError(SignalpostError):
    """A signal cannot do what it was called for. The base of two others.

    :param message: The message: what was expected, what came, what to do.
    :param signal: The signal.
    :param receiver: The receiver that it is about, if it is about one.
    """

    signal: object
    """The signal."""
    receiver: object
    """The receiver that it is about, or ``None``."""

    def __init__(
        self, message: str, signal: object = None, receiver: object = None
    ) -> None:
        super().__init__(message)
        self.signal = signal
        self.receiver = receiver


class PayloadError(SignalError, TypeError):
    """A payload, or a receiver, does not agree with what its signal declares."""


class AsyncReceiverError(SignalError, RuntimeError):
    """An async receiver is connected, and ``send`` was given no way to run it."""


class ApplicationError(SignalpostError, TypeError):
    """An object cannot be wrapped as a WSGI application.

    :param message: The message: what was expected, what came, what to do.
    :param application: The object that was given.
    """

    application: object
    """The object that was given."""

    def __init__(self, message: str, application: object = None) -> None:
        super().__init__(message)
        self.application = application


class ApplicationGoneError(SignalpostError, ReferenceError):
    """A middleware was called whose application has been freed."""


class ExtensionError(SignalpostError, RuntimeError):
    """The Flask extension cannot be set up on an application.

    :param message: The message: what was expected, what came, what to do.
    :param application: The application that was given.
    """

    application: object
    """The application that was given."""

    def __init__(self, message: str, application: object = None) -> None:
        super().__init__(message)
        self.application = application


class ConfigurationError(SignalpostError, ValueError):
    """A configuration cannot be read, or names something that does not exist.

    One error is about all mistakes of a configuration. Its first line is their number,
    and each has a line below; ``errors`` has each by itself, with its file, line and
    key. Further attributes are those of the first.

    :param message: The place, what was expected, what came, what to do.
    :param source: The file, or what else the configuration was read from.
    :param section: The section in it, as ``"signalpost.receivers"``.
    :param key: The key in the section.
    :param line: The line of the file, counted from 1.
    """

    source: str
    """The file, or what else the configuration was read from."""
    section: str
    """The section; ``""`` if the error is about none."""
    key: str
    """The key; ``""`` if the error is about none."""
    line: int | None
    """The line of the file; ``None`` if it is not known."""

    def __init__(
        self,
        message: str,
        source: str = "",
        section: str = "",
        key: str = "",
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.source = source
        self.section = section
        self.key = key
        self.line = line
        self._errors: tuple[ConfigurationError, ...] = ()

    @property
    def errors(self) -> tuple[ConfigurationError, ...]:
        """Each mistake by itself; the error itself if it is about one."""
        return self._errors or (self,)

    @classmethod
    def together(cls, errors: Sequence[ConfigurationError]) -> ConfigurationError:
        """Return one error about several, by file and line.

        The same mistake counts once. Of many, :data:`MOST_MISTAKES_SHOWN` are in the
        message.

        :param errors: At least one.
        """
        each = {str(one): one for error in errors for one in error.errors}
        if len(each) == 1:
            return next(iter(each.values()))
        sources = list(dict.fromkeys(one.source for one in each.values()))
        rank = {source: number for number, source in enumerate(sources)}
        found = sorted(each.values(), key=lambda one: (rank[one.source], one.line or 0))
        lines = [f"{len(found)} mistakes in the configuration:"]
        lines += [f"  {_with_notes(one)}" for one in found[:MOST_MISTAKES_SHOWN]]
        if len(found) > MOST_MISTAKES_SHOWN:
            lines.append(f"  and {len(found) - MOST_MISTAKES_SHOWN} more")
        first = found[0]
        whole = cls(
            "\n".join(lines), first.source, first.section, first.key, first.line
        )
        whole._errors = tuple(found)
        return whole


MOST_MISTAKES_SHOWN = 50
"""The most mistakes that the message of one error lists."""


def _with_notes(error: ConfigurationError) -> str:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{error}{notes}"


class ExchangeClosedError(SignalpostError, RuntimeError):
    """A value was read that an exchange drops when it closes."""


class ExchangeNotRecordedError(SignalpostError, RuntimeError):
    """A method needs an exchange that a middleware records, and so closes.

    The middleware was not called for this request.
    """


class TooManyStatementsError(SignalpostError, AssertionError):
    """A block of a test has executed more SQL statements than it may.

    :param message: The number expected and executed, and the statements.
    :param statements: The executed statements.
    :param limit: How many statements the block may execute.
    """

    statements: Sequence[object]
    """The executed statements, one :class:`~signalpost.testing.Statement` each."""
    limit: int
    """The most statements that the block may execute."""

    def __init__(
        self, message: str, statements: Sequence[object] = (), limit: int = 0
    ) -> None:
        super().__init__(message)
        self.statements = statements
        self.limit = limit


class NotInstrumentedError(SignalpostError, RuntimeError):
    """SQL statements were to be counted, and no engine is instrumented."""


class OutboxError(SignalpostError, RuntimeError):
    """An event cannot be written into an outbox, or not be read from it.

    Usually, no transaction is open when a signal is sent.
    """


class RelayError(SignalpostError, ConnectionError):
    """A broker cannot be reached, or has not taken an event, or has refused.

    .. versionadded:: 0.1
    """


class NotSendableError(SignalpostError, TypeError):
    """A value of a payload cannot be sent to other processes.

    :param message: The message: which value it is, and what to send instead.
    :param field: Where it is, as ``"payload.order"``.

    .. versionadded:: 0.1
    """

    field: str
    """Where it is, as ``"payload.order"``."""

    def __init__(self, message: str, field: str = "payload") -> None:
        super().__init__(message)
        self.field = field


class EventError(SignalpostError, ValueError):
    """A message of a broker is not an event, or one that cannot be received here.

    .. versionadded:: 0.1
    """


class ConfigurationWarning(UserWarning):
    """A configuration works, but a part of it has no effect, or an unexpected one."""


class WeakReceiverWarning(UserWarning):
    """A receiver was connected weakly and nothing else holds it.

    It dies as ``connect`` returns and is never called.
    """


class ProxySenderWarning(UserWarning):
    """A receiver was connected to a proxy that has no object now.

    Senders are matched by identity, so sends of the object do not reach the receiver.
    """


class SenderWarning(UserWarning):
    """A receiver was connected to a sender that does not send the signal.

    It is never called, unless that changes.
    """
