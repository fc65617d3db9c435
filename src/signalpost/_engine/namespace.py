"""Signals by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .signal import NamedSignal


class Namespace(dict[str, NamedSignal]):
    """Signals by name: a dict whose :meth:`signal` makes what is not there yet.

    >>> shop = Namespace()
    >>> order_placed = shop.signal("order-placed", payload=("order",))
    >>> shop.signal("order-placed") is order_placed
    True

    .. versionadded:: 0.1
    """

    def signal(
        self,
        name: str,
        doc: str | None = None,
        *,
        payload: Iterable[str] | None = None,
    ) -> NamedSignal:
        """Return the signal of this name; make it if there is none.

        Whoever asks first makes it, so a receiver's module may name a signal before
        the module that sends it has been imported. ``doc`` and ``payload`` may be
        given by whichever call knows them.

        :param name: The name.
        :param doc: The signal's documentation.
        :param payload: The names that every send carries; see
            :class:`~signalpost.Signal`.
        :raises PayloadError: If the signal declares other names already, or a
            connected receiver asks for something else.
        """
        found = self.get(name)
        if found is None:
            # setdefault is one step: of two threads both get what the first put in.
            found = self.setdefault(name, NamedSignal(name))
        if payload is not None:
            found._declare(payload)
        if doc and "__doc__" not in found.__dict__:
            found.__doc__ = doc
        return found


class _SignalOfNamespace(Protocol):
    def __call__(
        self,
        name: str,
        doc: str | None = None,
        *,
        payload: Iterable[str] | None = None,
    ) -> NamedSignal: ...


default_namespace: Namespace = Namespace()
"""The namespace that :func:`signal` uses. For an application's own signals; a
library makes a :class:`Namespace` of its own."""

signal: _SignalOfNamespace = default_namespace.signal
"""Return the signal of a name in :data:`default_namespace`; make it if there is
none. See :meth:`Namespace.signal`."""
