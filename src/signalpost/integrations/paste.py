"""Paste Deploy: the middleware in an INI-configured stack, with no code.

::

    [filter:signalpost]
    use = egg:signalpost
    config = %(here)s/signalpost.toml

    [filter-app:main]
    use = egg:signalpost
    next = shop
    config = %(here)s/signalpost.toml

Options of both:

``config``
    The TOML or INI file to load for the application; it may be the very file that holds
    the stack. A relative path starts where that file is. Without it, nothing is
    enabled, and only what connects itself hears.
``strict``
    ``yes`` lets a receiver's exception through, for tests; ``no`` is the default.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from ..config import Configuration
from ..config._text import TRUTHS
from ..errors import ConfigurationError
from ..wsgi.middleware import SignalMiddleware

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["filter_app_factory", "filter_factory"]


def filter_factory(
    global_conf: Mapping[str, str] | None, **local_conf: str
) -> Callable[[WSGIApplication], SignalMiddleware]:
    """Return what wraps applications in the middleware; ``paste.filter_factory``.

    :param global_conf: Paste Deploy's defaults; of these, ``here`` and ``__file__``.
    :param local_conf: ``config`` and ``strict``.
    :raises ConfigurationError: If there is another option, or one does not fit, or
        the file cannot be read.

    .. versionadded:: 0.1
    """
    known = global_conf or {}
    source = known.get("__file__", "Paste Deploy")
    for name in local_conf:
        if name not in ("config", "strict"):
            raise ConfigurationError(
                f"{source}: unknown option {name!r} of egg:signalpost; its options are"
                " config, strict",
                source,
                key=name,
            )
    strict = TRUTHS.get(local_conf.get("strict", "no").lower())
    if strict is None:
        raise ConfigurationError(
            f"{source}: strict must be yes or no, got {local_conf['strict']!r}",
            source,
            key="strict",
        )
    configuration = None
    if "config" in local_conf:
        path = os.path.join(known.get("here", ""), local_conf["config"])
        configuration = Configuration.from_file(path)

    def wrap(app: WSGIApplication) -> SignalMiddleware:
        middleware = SignalMiddleware(app, strict=strict)
        if configuration is not None:
            configuration.load(middleware)
        return middleware

    return wrap


def filter_app_factory(
    app: WSGIApplication, global_conf: Mapping[str, str] | None, **local_conf: str
) -> SignalMiddleware:
    """Return an application in the middleware; ``paste.filter_app_factory``.

    :param app: The application; the configuration is loaded for it.
    :param global_conf: As for :func:`filter_factory`.
    :param local_conf: As for :func:`filter_factory`.
    :raises ConfigurationError: As by :func:`filter_factory`.

    .. versionadded:: 0.1
    """
    return filter_factory(global_conf, **local_conf)(app)
