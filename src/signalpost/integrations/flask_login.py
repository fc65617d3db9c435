"""Flask-Login: the user of a request, for log lines.

::

    request_finished.connect(UserReader(), app, weak=False)
    exchange_closed.connect(LatencyLogger(fields=["user"]), app, weak=False)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import flask
import flask_login

from ..exchange import Exchange

__all__ = ["UserReader"]


class UserReader:
    """Keep the id of the user of each request in its :attr:`.Exchange.state`.

    It is the id that the user's ``get_id()`` returns, and is kept as ``"user"``. There
    is none for an anonymous user, nor for a request in which the application has not
    asked for its user: no user is loaded for this.

    .. versionadded:: 0.1
    """

    hears: ClassVar[Mapping[str, str]] = {"request-finished": "__call__"}
    """Which method is called for which signal."""

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Keep the user of an exchange whose response is ready."""
        # Where Flask-Login keeps it. To read current_user would load it.
        if not flask.has_request_context() or "_login_user" not in flask.g:
            return
        found = flask_login.current_user.get_id()
        if found is not None:
            exchange.state["user"] = found
