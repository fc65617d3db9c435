"""Shows a module that reads its section of the configuration and enables itself."""

from __future__ import annotations

import logging
from collections.abc import Collection
from collections.abc import Mapping
from typing import ClassVar

from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.exchange import Exchange
from signalpost.lifecycle import post_config_load
from signalpost.receivers.lines import logfmt_value

logger = logging.getLogger("example_app.audit")


@post_config_load.connect
def enable_audit(configuration: Configuration, *, application: object) -> None:
    """Enable the audit for an application whose configuration has ``[shop.audit]``."""
    section = configuration.get("shop.audit")
    if section is not None:
        enabled_for(application).enable("example_app.audit:AuditLogger", **section)


class AuditLogger:
    """Log the client's address, the route and the status of chosen requests.

    :param routes: The routes to log, such as ``("/cart/add",)``.
    :raises TypeError: If ``routes`` is one string.
    """

    signals: ClassVar[Mapping[str, str]] = {"exchange-closed": "__call__"}

    def __init__(self, *, routes: Collection[str] = ()) -> None:
        if isinstance(routes, str):
            raise TypeError(
                f"routes must be a list, got {routes!r}; write [{routes!r}]"
            )
        self._routes = frozenset(routes)

    def __call__(
        self,
        _app: object,
        *,
        environ: Mapping[str, object],
        exchange: Exchange,
        **_extra: object,
    ) -> None:
        """Log an exchange if its route is in ``routes``."""
        if exchange.route in self._routes:
            visitor = logfmt_value(str(environ.get("REMOTE_ADDR", "-")))
            page = f"{exchange.method} {exchange.route}"
            logger.info("%s %s %s", visitor, page, exchange.status)
