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

    The id is the result of the user's ``get_id()``, and is stored as ``"user"``. An
    anonymous user has no id. If the application has not loaded the user during the
    request, there is no id either: the reader does not load a user. With a
    ``request_loader``, ``get_id()`` is called once more, because the user may differ
    from the session's user.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {"request-finished": "__call__"}
    """The method for each signal."""

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Keep the user of an exchange whose response is ready."""
        # Where Flask-Login keeps it. To read current_user would load it.
        if not flask.has_request_context() or "_login_user" not in flask.g:
            return
        user = flask.g._login_user  # noqa: SLF001  # see the docstring
        found = None
        if not getattr(user, "is_anonymous", False) and not _has_request_loader():
            # get_id() may read a row that a commit has expired, which would execute a
            # statement.
            found = flask.session.get("_user_id")
        if found is None:
            found = user.get_id()
        if found is not None:
            exchange.state["user"] = found


def _has_request_loader() -> bool:
    manager = getattr(flask.current_app, "login_manager", None)
    return (
        isinstance(manager, flask_login.LoginManager)
        and manager._request_callback is not None  # noqa: SLF001  # it has no other name
    )
