"""How each library connects and sends, spelt as its users spell it.

Every batch has its own loop with the library's own call in it: an adapter between
the two would cost as much as some of the sends.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from itertools import repeat
from typing import Any
from typing import ClassVar
from typing import Protocol

from signalpost import Signal

from .receivers import Receiver
from .timing import Batch

AsyncBatch = tuple[Batch, Callable[[], AbstractContextManager[object]]]
"""A batch, and the event loop that must be there around it."""


class Channel(Protocol):
    """One signal of some library, or what stands for it there."""

    takes_exact_receivers: ClassVar[bool] = False
    """Whether a receiver must list the payload that it takes."""

    def connect(self, receiver: Receiver, sender: object = None) -> None:
        """Connect a receiver to one sender, or to any for ``None``."""

    def sending(self, sender: object) -> Batch:
        """Return a batch that sends without a payload."""

    def sending_keywords(self, sender: object) -> Batch:
        """Return a batch that sends a payload of three."""

    def connecting(self, receiver: Receiver) -> Batch:
        """Return a batch that connects a receiver to any sender, and disconnects."""

    def disconnect(self, receiver: Receiver) -> None:
        """Disconnect a receiver that was connected to any sender."""


@dataclass(frozen=True, slots=True)
class Library:
    """A library, or one of several ways to use it."""

    name: str
    """The heading of its column."""
    new_channel: Callable[[], Channel]
    """Returns a signal that nobody is connected to."""


class SignalChannel:
    """A signal of signalpost or of blinker, or of Django, which is called alike."""

    takes_exact_receivers: ClassVar[bool] = False

    def __init__(self, signal: Any) -> None:
        self.signal = signal

    def connect(self, receiver: Receiver, sender: object = None) -> None:
        if sender is None:
            self.signal.connect(receiver)
        else:
            self.signal.connect(receiver, sender)

    def disconnect(self, receiver: Receiver) -> None:
        self.signal.disconnect(receiver)

    def sending(self, sender: object) -> Batch:
        signal = self.signal

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.send(sender)

        return batch

    def sending_keywords(self, sender: object) -> Batch:
        signal = self.signal

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.send(sender, first=1, second=2, third=3)

        return batch

    def connecting(self, receiver: Receiver) -> Batch:
        signal = self.signal

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.connect(receiver)
                signal.disconnect(receiver)

        return batch

    def sending_async(self, sender: object) -> AsyncBatch:
        """Return a batch that awaits the receivers, and what runs it."""
        signal = self.signal

        async def send(jobs: int) -> None:
            for _ in repeat(None, jobs):
                await signal.send_async(sender)

        return in_event_loop(send)


class DjangoChannel(SignalChannel):
    """A signal of Django."""

    def sending_async(self, sender: object) -> AsyncBatch:
        signal = self.signal

        async def send(jobs: int) -> None:
            for _ in repeat(None, jobs):
                await signal.asend(sender)

        return in_event_loop(send)


class SeparateChannels:
    """What stands in where senders are not told apart: a channel for each of them."""

    takes_exact_receivers: ClassVar[bool] = False

    def __init__(self) -> None:
        self._shared = self.new()
        self._by_sender: dict[int, Any] = {}

    def new(self) -> Any:
        """Return a signal, or a name that nothing else has."""
        raise NotImplementedError

    def attach(self, channel: Any, receiver: Receiver) -> None:
        """Connect a receiver to what :meth:`new` returned."""
        raise NotImplementedError

    def connect(self, receiver: Receiver, sender: object = None) -> None:
        if sender is None:
            channel = self._shared
        else:
            channel = self._by_sender[id(sender)] = self.new()
        self.attach(channel, receiver)

    def channel_of(self, sender: object) -> Any:
        """Return what a sender sends to."""
        return self._by_sender.get(id(sender), self._shared)


class PsygnalChannel(SeparateChannels):
    """A signal of psygnal, which passes a payload by position."""

    takes_exact_receivers: ClassVar[bool] = True

    def new(self) -> Any:
        return importlib.import_module("psygnal").SignalInstance((object,) * 4)

    def attach(self, channel: Any, receiver: Receiver) -> None:
        channel.connect(receiver)

    def disconnect(self, receiver: Receiver) -> None:
        self._shared.disconnect(receiver)

    def sending(self, sender: object) -> Batch:
        signal = self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.emit(sender)

        return batch

    def sending_keywords(self, sender: object) -> Batch:
        signal = self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.emit(sender, 1, 2, 3)

        return batch

    def connecting(self, receiver: Receiver) -> Batch:
        signal = self._shared

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.connect(receiver)
                signal.disconnect(receiver)

        return batch


class FastPsygnalChannel(PsygnalChannel):
    """The same, sent without looking after anything but the calls."""

    def sending(self, sender: object) -> Batch:
        signal = self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.emit_fast(sender)

        return batch

    def sending_keywords(self, sender: object) -> Batch:
        signal = self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                signal.emit_fast(sender, 1, 2, 3)

        return batch


class PyDispatcherChannel:
    """A signal of PyDispatcher, which is any object."""

    takes_exact_receivers: ClassVar[bool] = False

    def __init__(self) -> None:
        self._dispatcher = importlib.import_module("pydispatch.dispatcher")
        self._signal = object()

    def connect(self, receiver: Receiver, sender: object = None) -> None:
        if sender is None:
            self._dispatcher.connect(receiver, self._signal)
        else:
            self._dispatcher.connect(receiver, self._signal, sender)

    def disconnect(self, receiver: Receiver) -> None:
        self._dispatcher.disconnect(receiver, self._signal)

    def sending(self, sender: object) -> Batch:
        send, signal = self._dispatcher.send, self._signal

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                send(signal, sender)

        return batch

    def sending_keywords(self, sender: object) -> Batch:
        send, signal = self._dispatcher.send, self._signal

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                send(signal, sender, first=1, second=2, third=3)

        return batch

    def connecting(self, receiver: Receiver) -> Batch:
        connect, disconnect = self._dispatcher.connect, self._dispatcher.disconnect
        signal = self._signal

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                connect(receiver, signal)
                disconnect(receiver, signal)

        return batch


class PypubsubChannel(SeparateChannels):
    """A topic of Pypubsub, which learns its payload from the first receiver."""

    takes_exact_receivers: ClassVar[bool] = True

    _numbers = count()

    def __init__(self) -> None:
        self._pub = importlib.import_module("pubsub.pub")
        super().__init__()

    def new(self) -> str:
        return f"topic{next(self._numbers)}"

    def attach(self, channel: str, receiver: Receiver) -> None:
        self._pub.subscribe(receiver, channel)

    def disconnect(self, receiver: Receiver) -> None:
        self._pub.unsubscribe(receiver, self._shared)

    def sending(self, sender: object) -> Batch:
        send, topic = self._pub.sendMessage, self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                send(topic, sender=sender)

        return batch

    def sending_keywords(self, sender: object) -> Batch:
        send, topic = self._pub.sendMessage, self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                send(topic, sender=sender, first=1, second=2, third=3)

        return batch

    def connecting(self, receiver: Receiver) -> Batch:
        connect, disconnect = self._pub.subscribe, self._pub.unsubscribe
        topic = self._shared

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                connect(receiver, topic)
                disconnect(receiver, topic)

        return batch


class PyeeChannel(SeparateChannels):
    """What pyee tells by name from the others of one object; it returns nothing."""

    _numbers = count()

    def __init__(self) -> None:
        self._all = importlib.import_module("pyee").EventEmitter()
        super().__init__()

    def new(self) -> str:
        return f"name{next(self._numbers)}"

    def attach(self, channel: str, receiver: Receiver) -> None:
        self._all.on(channel, receiver)

    def disconnect(self, receiver: Receiver) -> None:
        self._all.remove_listener(self._shared, receiver)

    def sending(self, sender: object) -> Batch:
        all_names, name = self._all, self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                all_names.emit(name, sender)

        return batch

    def sending_keywords(self, sender: object) -> Batch:
        all_names, name = self._all, self.channel_of(sender)

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                all_names.emit(name, sender, first=1, second=2, third=3)

        return batch

    def connecting(self, receiver: Receiver) -> Batch:
        all_names, name = self._all, self._shared

        def batch(jobs: int) -> None:
            for _ in repeat(None, jobs):
                all_names.on(name, receiver)
                all_names.remove_listener(name, receiver)

        return batch


def in_event_loop(send: Callable[[int], Any]) -> AsyncBatch:
    """Return a batch that runs an async function, and the event loop for it."""
    runners: list[asyncio.Runner] = []

    @contextmanager
    def setting() -> Generator[None]:
        with asyncio.Runner() as runner:
            runner.get_loop()
            runners.append(runner)
            try:
                yield
            finally:
                runners.pop()

    def batch(jobs: int) -> None:
        runners[-1].run(send(jobs))

    return batch, setting


def _blinker() -> SignalChannel:
    return SignalChannel(importlib.import_module("blinker").Signal())


def _django() -> DjangoChannel:
    return DjangoChannel(importlib.import_module("django.dispatch").Signal())


def _django_cached() -> DjangoChannel:
    signals = importlib.import_module("django.dispatch")
    return DjangoChannel(signals.Signal(use_caching=True))


OURS = Library("signalpost", lambda: SignalChannel(Signal()))
BLINKER = Library("blinker", _blinker)
DJANGO = Library("Django", _django)
CACHED_DJANGO = Library("Django cached", _django_cached)

_PEERS = (
    ("blinker", (BLINKER,)),
    ("django", (DJANGO, CACHED_DJANGO)),
    (
        "psygnal",
        (
            Library("psygnal ~", PsygnalChannel),
            Library("psygnal fast ~", FastPsygnalChannel),
        ),
    ),
    ("PyDispatcher", (Library("PyDispatcher", PyDispatcherChannel),)),
    ("Pypubsub", (Library("Pypubsub ~", PypubsubChannel),)),
    ("pyee", (Library("pyee ~", PyeeChannel),)),
)


def installed() -> tuple[Sequence[Library], list[str]]:
    """Return the libraries that are here, and a line for each that is missing."""
    found, missing = [OURS], []
    for name, libraries in _PEERS:
        try:
            libraries[0].new_channel()
        except ImportError:
            missing.append(f"{name} is left out: it is not installed")
        else:
            found += libraries
    return found, missing
