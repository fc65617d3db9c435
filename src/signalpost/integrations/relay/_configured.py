"""A relay from a configuration."""

from __future__ import annotations

import os
import threading
import typing as t
from collections.abc import Collection

from ..._engine.signal import NamedSignal
from ..._options import checked_strings
from ..._options import configured
from ...errors import ConfigurationError
from ._finding import found
from ._relay import Relay
from ._relay import Way

__all__ = ["URL_VARIABLE", "ConfiguredRelay"]

URL_VARIABLE: t.Final = "SIGNALPOST_RELAY_URL"
"""The environment variable with the URL of the broker, where none is given."""

_Key: t.TypeAlias = tuple[str, str, Way, int, str, str | None, str | None]


class ConfiguredRelay:
    """Forward signals to receivers in other processes, from a configuration.

    ::

        [signalpost.relay]
        url = "redis://broker/0"
        source = "shop"
        forward = ["shop.events:order_placed"]

    It is a :class:`Relay`; if several applications of a process configure the same one,
    they share it, and each event is sent once.

    :param source: As for :class:`Relay`, and so are the others.
    :param forward: The paths of signals; at least one.
    :param url: The URL of the broker; by default that of the environment variable
        ``SIGNALPOST_RELAY_URL``.
    :param sends: When to send: ``"thread"``, ``"now"`` or ``"outbox"``, which has no
        URL.
    :param outbox: For ``sends="outbox"``, the path of the
        :class:`~signalpost.integrations.relay.outbox.OutboxTable`, as
        ``"shop.models:outbox"``.
    :param session_of: For ``sends="outbox"``, the path of a function that returns the
        current session, as ``"shop.models:session"``; by default the session is
        Flask-SQLAlchemy's.

    .. versionadded:: 0.1
    """

    _open: t.ClassVar[dict[_Key, tuple[Relay, list[object]]]] = {}
    _lock: t.ClassVar = threading.Lock()

    def __init__(  # noqa: PLR0913  # options, by keyword
        self,
        *,
        source: str,
        forward: Collection[str],
        url: str | None = None,
        sends: Way = "thread",
        max_waiting: int = 10_000,
        prefix: str = "signalpost",
        outbox: str | None = None,
        session_of: str | None = None,
    ) -> None:
        _check_sends(sends, outbox, session_of)
        # The variable is the dispatcher's where there is an outbox.
        address = url or ("" if outbox else os.environ.get(URL_VARIABLE, ""))
        if not address and not outbox:
            raise ConfigurationError(
                f"url is missing; write it, or set {URL_VARIABLE} in the environment"
            )
        example = '["shop.events:order_placed"]'
        self._forward = configured(
            checked_strings, "forward", forward, "paths of signals", example
        )
        if not self._forward:
            raise ConfigurationError(
                f"forward must have a path of a signal, got none; write {example}",
                key="forward",
            )
        self._key: _Key = (
            *(address, source, sends, max_waiting, prefix),
            *(outbox, session_of),
        )

    def connect(self) -> None:
        """Forward the signals.

        :raises ConfigurationError: If one is not there, or cannot be relayed.
        """
        signals = [_signal_at(path) for path in self._forward]
        with self._lock:
            if self._key not in self._open:
                self._open[self._key] = _relay_of(self._key), []
            relay, users = self._open[self._key]
            users.append(self)
            relay.forward(*signals)

    def disconnect(self) -> None:
        """Stop forwarding, unless another application forwards them, too."""
        with self._lock:
            relay, users = self._open.get(self._key, (None, []))
            if self in users:
                users.remove(self)
            if relay is None or users:
                return
            del self._open[self._key]
        relay.close(0.0)


def _check_sends(sends: object, outbox: object, session_of: object) -> None:
    if sends == "outbox":
        if not isinstance(outbox, str):
            raise ConfigurationError(
                'sends = "outbox" needs the path of the table: write outbox ='
                ' "shop.models:outbox", which is an OutboxTable(metadata) there;'
                f" got {outbox!r}",
                key="sends" if outbox is None else "outbox",
            )
    else:
        for key, given in (("outbox", outbox), ("session_of", session_of)):
            if given is not None:
                raise ConfigurationError(
                    f'{key} is for sends = "outbox" only; write that, too, or leave'
                    f" {key} out",
                    key=key,
                )


def _relay_of(key: _Key) -> Relay:
    url, source, sends, max_waiting, prefix, outbox, session_of = key
    if outbox is None:
        return Relay(
            url, source=source, sends=sends, max_waiting=max_waiting, prefix=prefix
        )
    return Relay(
        url or None,
        source=source,
        sends=sends,
        outbox=_object_at(outbox, "outbox"),
        session_of=_object_at(session_of, "session_of") if session_of else None,
    )


def _object_at(path: str, key: str) -> t.Any:
    try:
        return found(path, object)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(str(error), key=key) from error


def _signal_at(path: str) -> NamedSignal:
    try:
        return found(path, NamedSignal)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(str(error), key="forward") from error
