"""The page at a path of an application that is configured by name."""

from __future__ import annotations

import logging
import typing as t

from ..wsgi.mount import Mount

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["mounted_page"]

_log = logging.getLogger("signalpost.live")


def mounted_page(application: t.Any, path: str, page: WSGIApplication) -> Mount:
    """Put the page into an application, and return what removes it."""
    return Mount(
        application,
        path,
        page,
        what="the live page",
        log=_log,
        advice="put signalpost.live.LivePage around your WSGI application",
        with_below=True,
    )
