"""Applications and receivers that the tests of configuration enable."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Collection
from collections.abc import Mapping

from signalpost.exchange import Exchange


class Shop:
    """An application, as far as a sender must be one."""


shops: list[Shop] = []


def new_shop() -> Shop:
    """Return an application that lives until the test ends."""
    shops.append(Shop())
    return shops[-1]


class Audit:
    """A receiver of a user, with an option of each kind."""

    signals: t.ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-closed": "closed",
    }

    def __init__(
        self,
        *,
        days: int = 30,
        share: float | None = None,
        is_loud: bool = False,
        title: str = "audit",
        name: str | None = None,
        paths: Collection[str] = (),
        sizes: frozenset[int] = frozenset(),
        weights: Mapping[str, float] | None = None,
        form: t.Literal["long", "short"] = "long",
        logger: logging.Logger | None = None,
        sink: logging.Logger | str | None = None,
        untold: t.Any = None,
    ) -> None:
        if days < 1:
            raise ValueError(f"days must be at least 1, got {days}")
        self.given = {key: value for key, value in locals().items() if key != "self"}
        self.received: list[str] = []

    def opened(self, sender: object, *, exchange: Exchange, **_: t.Any) -> None:
        self.received.append(f"opened {exchange.path}")

    def closed(self, sender: object, *, exchange: Exchange, **_: t.Any) -> None:
        self.received.append(f"closed {exchange.path}")


class Plain:
    """A class without signals, and without annotations."""

    def __init__(self, days=30, title="plain", other=None):  # type: ignore[no-untyped-def]
        self.given = (days, title, other)
        self.calls = 0

    def __call__(self, sender: object, **_: t.Any) -> None:
        self.calls += 1


class Unknown:
    """A class whose annotations cannot be read at run time."""

    def __init__(self, days: Nowhere = 30) -> None:  # type: ignore[name-defined]  # noqa: F821
        self.days = days

    def __call__(self, sender: object, **_: t.Any) -> None: ...


class Free:
    """A class that takes any option."""

    signals: t.ClassVar[Mapping[str, str]] = {"exchange-closed": "__call__"}

    def __init__(self, **options: t.Any) -> None:
        self.options = options

    def __call__(self, sender: object, **_: t.Any) -> None: ...


class Optionless(Free):
    """A class that takes no option."""

    def __init__(self) -> None:
        super().__init__()


class ConnectsItself:
    """A class that connects itself."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def connect(self, sender: object) -> None:
        self.said.append(f"connect {id(sender)}")

    def disconnect(self) -> None:
        self.said.append("disconnect")


class Stubborn(ConnectsItself):
    """A class that neither connects nor disconnects as it should."""

    def __init__(self, *, connects: bool = True) -> None:
        super().__init__()
        self.connects = connects

    def connect(self) -> None:  # type: ignore[override]  # as it may be written
        if not self.connects:
            raise OSError("no such folder")

    def disconnect(self) -> None:
        raise OSError("the folder is gone")


class Misled:
    """A class that receives a signal, and a keyword that none sends."""

    signals: t.ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-closed": "closed",
    }

    def opened(self, sender: object, **_: t.Any) -> None: ...

    def closed(self, sender: object, *, basket: object) -> None: ...


class Misspelt(Misled):
    """A class that names a signal that is none."""

    signals: t.ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-close": "opened",
    }


received_by_record: list[object] = []


def record(sender: object, **_: t.Any) -> None:
    received_by_record.append(sender)


record_nothing = Free()
three = 3


class Listing:
    """A class that lists signals, but no methods."""

    signals: t.ClassVar = ("exchange-closed",)

    def __call__(self, sender: object, **_: t.Any) -> None:
        pass
