"""Where, around an application, a layer has to stand."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Mapping

from ...wsgi.middleware import SignalMiddleware
from ._layer import Layer

__all__ = ["Place"]


class Place:
    """An application, and what its layer goes into.

    It holds the application weakly, if that can be.

    :param application: The application, a proxy of it, or its middleware.
    :param key: The layer's.
    :raises ApplicationError: If it is no WSGI application.
    """

    def __init__(self, application: t.Any, key: object) -> None:
        # As Flask's current_app has it.
        application = getattr(application, "_get_current_object", lambda: application)()
        # It knows what can be an application, and who sends for it.
        sender = SignalMiddleware(application).sender
        self._sender = _weakly(sender)
        self._key = key
        self._holder: Callable[[], t.Any] = lambda: None
        self._name = ""
        holder = _innermost(application, sender)
        if holder is not None:
            self._holder, self._name = _weakly(holder), "app"
        elif callable(getattr(sender, "wsgi_app", None)):
            self._holder, self._name = _weakly(sender), "wsgi_app"

    @property
    def sender(self) -> t.Any:
        """Who sends; ``None`` once it is gone."""
        return self._sender()

    def is_among(self, places: Mapping[int, Place]) -> bool:
        """Whether there is one for the same application."""
        found = places.get(id(self.sender))
        return found is not None and found.sender is self.sender

    def enter(self) -> None:
        """Put the layer in, unless one is there."""
        holder = self._holder()
        if holder is None:
            return
        inner = app = getattr(holder, self._name)
        while isinstance(inner, Layer):
            if inner.key is self._key:
                return
            inner = inner.app
        setattr(holder, self._name, Layer(app, self._key))

    def leave(self) -> None:
        """Take the layer out; or leave it there, if another is around it.

        It does nothing for exchanges that have no record.
        """
        holder = self._holder()
        layer = getattr(holder, self._name, None)
        if isinstance(layer, Layer) and layer.key is self._key:
            setattr(holder, self._name, layer.app)


def _innermost(application: t.Any, sender: t.Any) -> SignalMiddleware | None:
    """Return the innermost of an application's middlewares of ours, if there is any."""
    extensions = getattr(sender, "extensions", None)
    state = extensions.get("signalpost") if isinstance(extensions, dict) else None
    found = None
    for outermost in (
        application,
        getattr(sender, "wsgi_app", None),
        # Another middleware around ours may not say what it is around.
        getattr(state, "middleware", None),
    ):
        one = outermost
        seen: set[int] = set()
        while one is not None and id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, SignalMiddleware) and one.sender is sender:
                found = one
            one = getattr(one, "app", None) or getattr(one, "wsgi_app", None)
        if found is not None:
            break
    return found


def _weakly(one: t.Any) -> Callable[[], t.Any]:
    try:
        return weakref.ref(one)
    except TypeError:  # then the signals hold it, too
        return lambda: one
