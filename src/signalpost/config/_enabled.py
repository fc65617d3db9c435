"""The receivers that are enabled for an application."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from .._engine.identity import ANY
from .._engine.identity import reference_to
from .._engine.signal import Signal
from ..errors import ConfigurationError
from ..lifecycle import SENT_BY_OTHERS
from ..wsgi.finding import sender_of
from ._finding import found_at
from ._finding import look_again_for
from ._finding import receiver_from
from ._finding import signal_of
from ._location import LineOfCode
from ._location import Location
from ._output import formatter_of
from ._output import output
from ._raw_values import plain
from ._shown import scrubbed
from ._shown import shown_options
from ._tables import SECTION

__all__ = ["Enabled", "EnabledReceiver", "all_enabled", "enabled_for"]


@dataclass(frozen=True, slots=True)
class EnabledReceiver:
    """One receiver that was enabled by its name.

    .. versionadded:: 0.1
    """

    name: str
    """The name that it was enabled by."""
    receiver: Any
    """The object."""
    path: str
    """Its import path, or that of its class, as ``"shop.audit:record"``."""
    options: Mapping[str, Any] = field(repr=False)
    """The options that were given; :attr:`shown_options` are without secrets."""
    source: str
    """Its location: ``"shop.toml, line 7, [signalpost.receivers] latency"``."""
    signals: tuple[str, ...]
    """The names of the signals that it receives, or the paths of your own; empty if it
    has methods ``connect`` and ``disconnect``."""
    origin: str = ""
    """The beginning of :attr:`source`: the file, as ``"shop.toml"``, or another source;
    for :meth:`Enabled.enable`, the file of the calling code."""
    line: int | None = None
    """The line of the file, if it was one."""

    @property
    def shown_options(self) -> Mapping[str, Any]:
        """The options with ``…`` in place of possible secrets.

        The names of options and the form of their values decide this. The host of a URL
        is shown, and the type of an object.

        .. versionadded:: 0.1
        """
        return shown_options(self.options)


class Enabled(Mapping[str, EnabledReceiver]):
    """The receivers that are enabled for one application, by name.

    Returned by :meth:`Configuration.load` and :func:`enabled_for`. It holds the
    receivers, and exists as long as the application. So a receiver that refers to its
    sender keeps the application alive. Any thread may enable and disable.

    .. versionadded:: 0.1
    """

    def __init__(self, application: Any) -> None:
        self._application = reference_to(application)
        self._lock = threading.RLock()
        self._enabled: dict[str, tuple[EnabledReceiver, _Subscription]] = {}
        self._format: str | None = None

    def __getitem__(self, name: str) -> EnabledReceiver:
        return self._enabled[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._enabled])

    def __len__(self) -> int:
        return len(self._enabled)

    def __repr__(self) -> str:
        return f"<Enabled {', '.join(self) or 'nothing'}>"

    @property
    def format(self) -> str | None:
        """The configured format, or ``None``."""
        return self._format

    def enable(self, name: str, /, **options: Any) -> EnabledReceiver:
        """Enable a receiver.

        If it is already enabled with the same options, nothing changes.

        :param name: As in a configuration.
        :param options: As in a configuration.
        :raises ConfigurationError: If no receiver has that name, an option does not
            fit, or it is enabled with other options.

        .. versionadded:: 0.1
        """
        look_again_for([name])
        caller = sys._getframe(1)  # noqa: SLF001  # for the place, and no other way to it
        lines = LineOfCode(caller.f_lineno)
        location = Location(caller.f_code.co_filename, "", name, lines)
        return self.enable_at(name, options, location)

    def disable(self, name: str) -> bool:
        """Disconnect a receiver and release it.

        :returns: ``True`` if it was enabled.

        .. versionadded:: 0.1
        """
        with self._lock:
            found = self._enabled.pop(name, None)
            if found is not None:
                found[1].disconnect(self._application())
        return found is not None

    def disable_all(self) -> None:
        """Disable every receiver, the last one first, and the format.

        .. versionadded:: 0.1
        """
        with self._lock:
            self._disable_each([*self._enabled])
            if self._format is not None:
                self.write_as(None, Location("", SECTION, "format"))

    def owner_of(self, receiver: object) -> EnabledReceiver | None:
        """Return the enabled receiver that a connected callable belongs to.

        :param receiver: The callable that a signal calls, as in
            :attr:`Signal.connections <signalpost.Signal.connections>`.

        .. versionadded:: 0.1
        """
        for one, connected in [*self._enabled.values()]:
            if connected.has(receiver):
                return one
        return None

    def own_signals(self) -> dict[str, Signal]:
        """Return the signals of your own that any enabled receiver receives, by path.

        .. versionadded:: 0.1
        """
        return {
            name: signal
            for _, connected in [*self._enabled.values()]
            for name, signal in connected.own_signals()
        }

    def enable_at(
        self, name: str, options: Mapping[str, Any], location: Location
    ) -> EnabledReceiver:
        """Enable the receiver that a configuration names at a location.

        For :meth:`Configuration.load`.
        """
        with self._lock:
            found = self._enabled.get(name)
            if found is not None and found[0].options == options:
                return found[0]
            if found is not None:
                raise location.error(
                    f"it is enabled already, with other options, by {found[0].source};"
                    " disable that first, or leave one of them out"
                )
            path, target = found_at(name, location)
            receiver, signals = receiver_from(target, options, location)
            connected = _Subscription(receiver, signals)
            connected.connect(self._application(), location, options)
            given = {option: plain(value) for option, value in options.items()}
            enabled = EnabledReceiver(
                name,
                receiver,
                path,
                given,
                str(location),
                tuple(signals),
                location.source,
                location.line_of(),
            )
            self._enabled[name] = enabled, connected
        return enabled

    def write_as(self, form: Any, location: Location) -> None:
        """Set the format; ``None`` for none. For :meth:`Configuration.load`."""
        formatter = None if form is None else formatter_of(form, location)
        with self._lock:
            self._format = None if formatter is None else str(form)
            output.write_as(formatter, id(self))

    @contextmanager
    def restored_on_error(self) -> Generator[None]:
        """Restore the enabled receivers if the ``with`` block fails.

        For :meth:`Configuration.load`.
        """
        with self._lock:
            before, form = set(self._enabled), self._format
            try:
                yield
            except BaseException:
                if form != self._format:
                    self.write_as(form, Location("", SECTION, "format"))
                self._disable_each([one for one in self if one not in before])
                raise

    def _disable_each(self, names: Iterable[str]) -> None:
        """Disable receivers, the last one first, whichever of them fail at it."""
        with ExitStack() as stack:
            for name in names:
                stack.callback(self.disable, name)


_by_id: dict[int, Enabled] = {}
_by_id_lock = threading.Lock()


def enabled_for(application: object) -> Enabled:
    """Return the enabled receivers of an application; the same object each time.

    :param application: As for :meth:`Configuration.load`.

    .. versionadded:: 0.1
    """
    sender = sender_of(application)
    key = id(sender)
    with _by_id_lock:
        found = _by_id.get(key)
        if found is None:
            found = _by_id[key] = Enabled(sender)
            # An object without weak references is kept, so that its id is not reused.
            with suppress(TypeError):
                weakref.finalize(sender, _forget, key).atexit = False
    return found


def all_enabled() -> list[Enabled]:
    """Return the enabled receivers of each application of the process."""
    return [*_by_id.values()]


def _forget(key: int) -> None:
    # Not under the lock: an application may be collected while it is held.
    _by_id.pop(key).disable_all()


class _Subscription:
    """A receiver with the signals that it receives.

    :param receiver: The object.
    :param signals: Methods by the names of signals; empty for one that connects itself.
    """

    def __init__(self, receiver: Any, signals: Mapping[str, str]) -> None:
        self._receiver = receiver
        self._signals = signals
        self._connections: list[tuple[Signal, Any, bool]] = []
        self._has_connected_itself = False

    def connect(
        self, application: Any, location: Location, options: Mapping[str, Any]
    ) -> None:
        """Connect it, or nothing of it.

        :raises ConfigurationError: If a signal does not take it.
        """
        try:
            if not self._signals:
                _call_about(self._receiver.connect, application)
                self._has_connected_itself = True
            for name, method in self._signals.items():
                signal = signal_of(name, location)
                # A callable has no wrapper, so that users can disconnect it.
                is_itself = method == "__call__"
                receiver = self._receiver if is_itself else self._bound(method)
                # The senders of a user's own signal are not known.
                is_sent_by_others = ":" in name or signal in SENT_BY_OTHERS
                if is_sent_by_others and "exchange" in (signal.payload or ()):
                    receiver = _for_exchanges_of(application, receiver)
                sender = ANY if is_sent_by_others else application
                signal.connect(receiver, sender, weak=False)
                self._connections.append((signal, receiver, is_sent_by_others))
        except ConfigurationError as error:
            self.disconnect(application)
            # That of a receiver's own has no place yet.
            if error.source:
                raise
            raise location.error(scrubbed(str(error), options), error.key) from error
        except Exception as error:
            self.disconnect(application)
            reason = scrubbed(f"it cannot be connected: {error}", options)
            raise location.error(reason) from error

    def disconnect(self, application: Any) -> None:
        """Disconnect it.

        :param application: ``None`` once it is gone, and its connections with it.
        """
        if self._has_connected_itself:
            _call_about(self._receiver.disconnect, application)
        while self._connections:
            signal, receiver, is_sent_by_others = self._connections.pop()
            if is_sent_by_others:
                signal.disconnect(receiver, ANY)
            elif application is not None:
                signal.disconnect(receiver, application)

    def own_signals(self) -> Iterator[tuple[str, Signal]]:
        """Yield the signals that are not in the catalogue, with their paths."""
        for name, (signal, _, _) in zip(self._signals, self._connections, strict=False):
            if ":" in name:
                yield name, signal

    def has(self, receiver: object) -> bool:
        """Return whether it is the receiver, or was connected for it."""
        owner = getattr(receiver, "__self__", receiver)
        # It may have connected methods of objects that it keeps.
        parts = getattr(self._receiver, "__dict__", {})
        return (
            owner is self._receiver
            or any(one is owner for one in [*parts.values()])
            or any(one is receiver for _, one, _ in [*self._connections])
        )

    def _bound(self, method: str) -> Any:
        return getattr(self._receiver, method)


def _for_exchanges_of(application: Any, receiver: Any) -> Any:
    """Return a receiver that ignores the exchanges of other applications.

    The sender does not distinguish the applications of a process.
    """
    signature = inspect.signature(receiver)
    takes_exchange = "exchange" in signature.parameters or any(
        one.kind is inspect.Parameter.VAR_KEYWORD
        for one in signature.parameters.values()
    )
    application_of = reference_to(application)

    # It gets the names that the receiver takes, and the exchange in any case.
    @functools.wraps(receiver)
    def receive(sender: object, exchange: Any, **payload: Any) -> Any:
        if exchange is not None and exchange.sender is not application_of():
            return None
        if takes_exchange:
            payload["exchange"] = exchange
        return receiver(sender, **payload)

    if not hasattr(receiver, "__qualname__"):
        receive.__qualname__ = type(receiver).__qualname__
    return receive


def _call_about(method: Callable[..., Any], application: Any) -> None:
    """Call a receiver's own connect or disconnect, which may take a sender."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    parameters = inspect.signature(method).parameters.values()
    if any(one.kind in kinds for one in parameters):
        method(application)
    else:
        method()
