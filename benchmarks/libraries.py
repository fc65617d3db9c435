"""How each library connects and sends, written as its users write it.

The senders and receivers of the benchmarks, which do nothing, are here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from importlib import import_module
from itertools import count
from types import CodeType
from typing import Any
from typing import TypeAlias

from signalpost import Signal

from .report import installed
from .timing import async_batch_of
from .timing import Batch
from .timing import batch_of
from .timing import Setting

Receiver: TypeAlias = Callable[..., Any]
Names: TypeAlias = dict[str, Any]
"""The variables of a library's statements, by name."""


class Sender:
    """A sender; some benchmarks create many."""


class Keeper:
    """An object with a method that is connected."""

    def receive(self, sender: object, **payload: object) -> None:
        """Do nothing, so that only the delivery is timed."""


def new_receiver() -> Receiver:
    """Return a new receiver, different from all others."""

    def receive(sender: object, **payload: object) -> None:
        pass

    return receive


def new_exact_receiver() -> Receiver:
    """Return a new receiver for libraries that check its parameters."""

    def receive(sender: object, first: int, second: int, third: int) -> None:
        pass

    return receive


def code_of(receiver: Receiver) -> CodeType:
    """Return the code of a receiver, by which its calls are counted."""
    code: CodeType = receiver.__code__
    return code


@dataclass(frozen=True, slots=True)
class Library:
    """A way to use a library."""

    name: str
    """The heading of its column."""
    new: Callable[[Names], Names]
    """Return the variables of the statements for a new signal, including ``signal``.

    The argument is ``None``, or the variables of a first signal if this is a second
    signal of the same kind."""
    connect: str = "signal.connect(receiver)"
    disconnect: str = "signal.disconnect(receiver)"
    connect_to_sender: str | None = "signal.connect(receiver, sender)"
    """``None`` if the library has no senders: each sender then gets its own signal."""
    send: str = "signal.send(sender)"
    send_keywords: str = "signal.send(sender, first=1, second=2, third=3)"
    send_async: str | None = None
    is_exact: bool = False
    """``True`` if the parameters of a receiver must match the payload."""


class Channel:
    """A signal of a library, or its equivalent."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._names = library.new({})
        self._by_sender: dict[int, Names] = {}

    @property
    def signal(self) -> Any:
        """The signal."""
        return self._names["signal"]

    def connect(self, receiver: Receiver, sender: object = None) -> None:
        """Connect a receiver to one sender, or to any for ``None``."""
        names, statement = self._names, self.library.connect
        if sender is not None:
            to_sender = self.library.connect_to_sender
            if to_sender is None:
                names = self._by_sender[id(sender)] = self.library.new(names)
            else:
                names, statement = {**names, "sender": sender}, to_sender
        batch_of(statement, **names, receiver=receiver)(1)

    def disconnect(self, receiver: Receiver) -> None:
        """Disconnect a receiver that was connected to any sender."""
        batch_of(self.library.disconnect, **self._names, receiver=receiver)(1)

    def connecting(self, receiver: Receiver) -> Batch:
        """Return a batch that connects a receiver to any sender and disconnects it."""
        statements = f"{self.library.connect}\n{self.library.disconnect}"
        return batch_of(statements, **self._names, receiver=receiver)

    def sending(self, sender: object) -> Batch:
        """Return a batch that sends without a payload."""
        return batch_of(self.library.send, **self._names_of(sender))

    def sending_keywords(self, sender: object) -> Batch:
        """Return a batch that sends a payload of three values."""
        return batch_of(self.library.send_keywords, **self._names_of(sender))

    def sending_async(self, sender: object) -> tuple[Batch, Setting]:
        """Return a batch that awaits the receivers, and the context of its loop."""
        return async_batch_of(
            f"await {self.library.send_async}", **self._names_of(sender)
        )

    def _names_of(self, sender: object) -> Names:
        return {**self._by_sender.get(id(sender), self._names), "sender": sender}


def _blinker(_: Names) -> Names:
    return {"signal": import_module("blinker").Signal()}


def _django(_: Names) -> Names:
    return {"signal": import_module("django.dispatch").Signal()}


def _cached_django(_: Names) -> Names:
    return {"signal": import_module("django.dispatch").Signal(use_caching=True)}


def _psygnal(_: Names) -> Names:
    return {"signal": import_module("psygnal").SignalInstance((object,) * 4)}


def _pydispatcher(_: Names) -> Names:
    module = import_module("pydispatch.dispatcher")
    names = ("connect", "disconnect", "send")
    return {**{name: getattr(module, name) for name in names}, "signal": object()}


def _pypubsub(_: Names) -> Names:
    pub = import_module("pubsub.pub")
    return {
        "subscribe": pub.subscribe,
        "unsubscribe": pub.unsubscribe,
        "send": pub.sendMessage,
        "signal": f"topic{next(_numbers)}",
    }


def _pyee(first: Names) -> Names:
    emitter = first.get("emitter") or import_module("pyee").EventEmitter()
    return {"emitter": emitter, "signal": f"name{next(_numbers)}"}


_numbers = count()

OURS = Library(
    "signalpost", lambda _: {"signal": Signal()}, send_async="signal.send_async(sender)"
)
BLINKER = Library("blinker", _blinker, send_async="signal.send_async(sender)")
DJANGO = Library("Django", _django, send_async="signal.asend(sender)")
CACHED_DJANGO = replace(DJANGO, name="Django cached", new=_cached_django)
_PSYGNAL = Library(
    "psygnal ~",
    _psygnal,
    connect_to_sender=None,
    send="signal.emit(sender)",
    send_keywords="signal.emit(sender, 1, 2, 3)",
    is_exact=True,
)
_FAST_PSYGNAL = replace(
    _PSYGNAL,
    name="psygnal fast ~",
    send="signal.emit_fast(sender)",
    send_keywords="signal.emit_fast(sender, 1, 2, 3)",
)
_PYDISPATCHER = Library(
    "PyDispatcher",
    _pydispatcher,
    connect="connect(receiver, signal)",
    disconnect="disconnect(receiver, signal)",
    connect_to_sender="connect(receiver, signal, sender)",
    send="send(signal, sender)",
    send_keywords="send(signal, sender, first=1, second=2, third=3)",
)
_PYPUBSUB = Library(
    "Pypubsub ~",
    _pypubsub,
    connect="subscribe(receiver, signal)",
    disconnect="unsubscribe(receiver, signal)",
    connect_to_sender=None,
    send="send(signal, sender=sender)",
    send_keywords="send(signal, sender=sender, first=1, second=2, third=3)",
    is_exact=True,
)
_PYEE = Library(
    "pyee ~",
    _pyee,
    connect="emitter.on(signal, receiver)",
    disconnect="emitter.remove_listener(signal, receiver)",
    connect_to_sender=None,
    send="emitter.emit(signal, sender)",
    send_keywords="emitter.emit(signal, sender, first=1, second=2, third=3)",
)

_PEERS = (
    ("blinker", (BLINKER,)),
    ("django", (DJANGO, CACHED_DJANGO)),
    ("psygnal", (_PSYGNAL, _FAST_PSYGNAL)),
    ("PyDispatcher", (_PYDISPATCHER,)),
    ("Pypubsub", (_PYPUBSUB,)),
    ("pyee", (_PYEE,)),
)


def libraries() -> tuple[list[Library], list[str]]:
    """Return the installed libraries, and a line for each that is missing."""

    def imported(found: Sequence[Library]) -> Callable[[], Sequence[Library]]:
        def use() -> Sequence[Library]:
            found[0].new({})
            return found

        return use

    found, missing = installed(*((name, imported(ways)) for name, ways in _PEERS))
    return [OURS, *found], missing
