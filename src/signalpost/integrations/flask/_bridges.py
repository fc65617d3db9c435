"""Flask's signals, forwarded to ours as long as ours have receivers."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass

import flask

from ... import lifecycle
from ..._engine.interest import has_any_receivers
from ..._engine.interest import has_own_receivers
from ..._engine.interest import Interest
from ..._engine.signal import NamedSignal

__all__ = ["Bridged", "Bridges", "Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A signal of Flask, and signalpost's signal for the same moment."""

    flask_signal: t.Any
    """Flask's signal."""
    ours: NamedSignal
    """Our signal."""
    payload_of: Callable[[flask.Flask, dict[str, t.Any]], dict[str, t.Any] | None]
    """Makes the payload of our signal out of the application and Flask's payload; or
    ``None``, if our signal was sent already."""
    also_for: tuple[NamedSignal, ...] = ()
    """Other signals of this package that need Flask's signals."""


class Layer(t.Protocol):
    """The object that sends our signals for an application."""

    def forward(
        self, signal: NamedSignal, app: flask.Flask, payload: dict[str, t.Any]
    ) -> None:
        """Send one at a moment of Flask's."""


class Bridged:
    """An application whose signals are forwarded until this object is freed.

    :param app: The application; it is not kept alive.
    :param layer: The object that sends its signals.
    """

    __slots__ = ("__weakref__", "app", "bridges", "layer")

    app: weakref.ref[flask.Flask]
    """Returns the application; ``None`` once it is gone."""
    bridges: dict[Bridge, int]
    """The bridges that are connected to this application in particular, each with the
    first of its periods in which this is so."""
    layer: Layer
    """The object that sends its signals."""

    def __init__(self, app: flask.Flask, layer: Layer) -> None:
        self.app = weakref.ref(app)
        self.bridges = {}
        self.layer = layer


class Bridges:
    """Forwards Flask's signals for every application that is set up.

    Each moment is connected to Flask's signal once for every sender, while ours has
    such receivers, and to each application with its own receivers. So the cost of
    connecting a receiver does not grow with the number of applications.

    :param moments: The moments to forward.
    """

    def __init__(self, moments: Iterable[Moment]) -> None:
        self._by_id: dict[int, _BridgedReference] = {}
        self._bridges = [Bridge(moment, self) for moment in moments]
        needed = {one: None for bridge in self._bridges for one in bridge.needed_by}
        self._interest = Interest(needed, self._changed)
        self.settle = self._interest.settle

    def add(self, app: flask.Flask, layer: Layer) -> Bridged:
        """Forward the signals of an application until the result is freed."""
        bridged = Bridged(app, layer)
        self._interest.run_now(self._add, bridged, app)
        self.settle()
        return bridged

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def bridged(self, app: object) -> Bridged | None:
        """Return the object for an application that was added, or ``None``."""
        reference = self._by_id.get(id(app))
        if reference is None:
            return None
        found = reference()
        # A freed object may have had the same id.
        return found if found is not None and found.app() is app else None

    def _add(self, bridged: Bridged, app: flask.Flask) -> None:
        by_id = self._by_id

        # It may be called at any line, so it neither waits nor uses globals.
        def forget(reference: _BridgedReference) -> None:
            if by_id.get(reference.key) is reference:
                by_id.pop(reference.key, None)

        reference = _BridgedReference(bridged, forget)
        reference.key = id(app)
        by_id[reference.key] = reference
        for bridge in self._bridges:
            bridge.update_for_any()  # it may be the first application
            bridge.update_for(bridged, app)

    def _changed(self, senders: Iterable[object]) -> None:
        for bridge in self._bridges:
            bridge.update_for_any()
        for sender in senders:
            bridged = self.bridged(sender)
            if bridged is not None:
                for bridge in self._bridges:
                    bridge.update_for(bridged, t.cast("flask.Flask", sender))


_NO_SENDER = object()
"""A sender that sends nothing."""


class _BridgedReference(weakref.ref[Bridged]):
    """A weak reference, with the id of the application."""

    __slots__ = ("key",)

    key: int


class Bridge:
    """Forwards one signal of Flask.

    Two receivers are connected to it: one to every sender, the other to applications.
    One receiver is not enough: if it is disconnected from every sender, blinker
    disconnects it from every application, too. If an application has both, only its
    own receiver forwards.

    A send that has begun calls the receivers that were connected at its begin. So each
    time in which the first receiver is connected is a period: in it no other
    application gets its own receiver; these are connected at its end.

    :param moment: The moment to forward.
    :param bridges: The applications.
    """

    def __init__(self, moment: Moment, bridges: Bridges) -> None:
        self._moment = moment
        self._bridges = bridges
        self._is_for_any = False
        self._period = 0
        self._late: weakref.WeakSet[Bridged] = weakref.WeakSet()
        self._wanted_by = (moment.ours, *moment.also_for)
        # A signal with the exchange in its payload needs the result of the exchange.
        self._wanted_by_others = lifecycle.SIGNALS_WITHIN if moment.also_for else ()
        self.needed_by = (*self._wanted_by, *self._wanted_by_others)
        """The signals of this package that need it."""

    def update_for_any(self) -> None:
        """Connect to every sender's signal, or disconnect, as ours have receivers."""
        flask_signal = self._moment.flask_signal
        if self._bridges and has_any_receivers(self._wanted_by, self._wanted_by_others):
            self._period += not self._is_for_any
            self._is_for_any = True
            # Once more does no harm: tests may clear Flask's signals.
            flask_signal.connect(self.forward_any)
        elif self._is_for_any:
            late = [(one, app) for one in self._late if (app := one.app()) is not None]
            for _, app in late:
                if self._is_wanted_by(app):
                    flask_signal.connect(self.forward_own, app)
            flask_signal.disconnect(self.forward_any)
            if late:
                # A send that has begun calls only what is connected to any sender.
                flask_signal.connect(self.forward_any, _NO_SENDER)
            self._is_for_any = False
            self._late.clear()
            for bridged, app in late:
                self.update_for(bridged, app)

    def update_for(self, bridged: Bridged, app: flask.Flask) -> None:
        """Connect to an application's signal, or disconnect."""
        is_wanted = self._is_wanted_by(app)
        if self._is_for_any:
            self._late.discard(bridged)
            if is_wanted is not (self in bridged.bridges):
                self._late.add(bridged)
        elif is_wanted:
            bridged.bridges.setdefault(self, self._period + 1)
            self._moment.flask_signal.connect(self.forward_own, app)
        elif self in bridged.bridges:
            self._moment.flask_signal.disconnect(self.forward_own, app)
            del bridged.bridges[self]

    def forward_any(self, app: flask.Flask, /, **sent: t.Any) -> None:
        """Forward the signal of any application that is set up."""
        bridged = self._bridges.bridged(app)
        if bridged is None:
            # A copy of this module, imported once more, may have sent it.
            self._bridges.settle()
            return
        if bridged.bridges:
            since = bridged.bridges.get(self)
            if since is not None and since <= self._period:
                return
        self._forward(bridged, app, sent)

    def forward_own(self, app: flask.Flask, /, **sent: t.Any) -> None:
        """Forward the signal of an application that has its own receivers."""
        bridged = self._bridges.bridged(app)
        if bridged is not None:
            self._forward(bridged, app, sent)

    def _forward(
        self, bridged: Bridged, app: flask.Flask, sent: dict[str, t.Any]
    ) -> None:
        payload = self._moment.payload_of(app, sent)
        if payload is not None:
            bridged.layer.forward(self._moment.ours, app, payload)
        # Nothing is called when the last receiver is freed.
        self._bridges.settle()

    def _is_wanted_by(self, app: flask.Flask) -> bool:
        return has_own_receivers(self._wanted_by, app)
