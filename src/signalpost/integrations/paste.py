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
    The TOML or INI file to load for the application; it may be the same file as the
    stack. A relative path is relative to the file of the stack. Without this option, no
    receiver is enabled.
``strict``
    ``yes`` raises a receiver's exception in the application, for tests; ``no`` is the
    default.

With ``SIGNALPOST_DISABLED=1`` in the environment nothing is read, and the application
is not changed.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

from ..config import Configuration
from ..config import is_disabled
from ..config._finding import is_receiver
from ..config._location import Mistakes
from ..config._location import nearest
from ..config._raw_values import TRUTHS
from ..config._shown import quoted
from ..config._shown import shown_value
from ..errors import ConfigurationError
from ..receivers.lines import single_line
from ..wsgi.middleware import SignalMiddleware

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["filter_app_factory", "filter_factory"]


def filter_factory(
    global_conf: Mapping[str, str] | None, **local_conf: str
) -> Callable[[WSGIApplication], WSGIApplication]:
    """Return a function that wraps applications; for ``paste.filter_factory``.

    :param global_conf: Paste Deploy's defaults; of these, ``here`` and ``__file__``.
    :param local_conf: ``config`` and ``strict``.
    :raises ConfigurationError: About each option that is unknown or does not fit, and
        each mistake of the file.

    .. versionadded:: 0.1
    """
    if is_disabled():
        return lambda app: app
    known = global_conf or {}
    mistakes = Mistakes(
        _wrong_options(known.get("__file__", "Paste Deploy"), local_conf)
    )
    strict = TRUTHS.get(local_conf.get("strict", "no").lower())
    configuration = None
    if "config" in local_conf:
        path = os.path.join(known.get("here", ""), local_conf["config"])
        with mistakes.noted():
            configuration = Configuration.from_file(path)
    mistakes.raise_any()

    def wrap(app: WSGIApplication) -> SignalMiddleware:
        middleware = SignalMiddleware(app, strict=bool(strict))
        if configuration is not None:
            configuration.load(middleware)
        return middleware

    return wrap


def _wrong_options(
    source: str, options: Mapping[str, str]
) -> Iterator[ConfigurationError]:
    location = single_line(source)
    for name in options:
        if name not in _OPTIONS:
            advice = (
                "it is a receiver; write it in the section [signalpost.receivers] of"
                " the file that the option config names"
                if is_receiver(name)
                else f"its options are {', '.join(_OPTIONS)}{nearest(name, _OPTIONS)}"
            )
            yield ConfigurationError(
                f"{location}: unknown option {quoted(name)} of egg:signalpost;"
                f" {advice}",
                source,
                key=name,
            )
    strict = options.get("strict", "no")
    if strict.lower() not in TRUTHS:
        yield ConfigurationError(
            f"{location}: strict must be yes or no, got {shown_value(strict)}",
            source,
            key="strict",
        )


_OPTIONS = ("config", "strict")


def filter_app_factory(
    app: WSGIApplication, global_conf: Mapping[str, str] | None, **local_conf: str
) -> WSGIApplication:
    """Return an application in the middleware; for ``paste.filter_app_factory``.

    :param app: The application; the configuration is loaded for it.
    :param global_conf: As for :func:`filter_factory`.
    :param local_conf: As for :func:`filter_factory`.
    :raises ConfigurationError: As for :func:`filter_factory`.

    .. versionadded:: 0.1
    """
    return filter_factory(global_conf, **local_conf)(app)
