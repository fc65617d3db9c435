"""Decide which clients may read what an application serves about itself."""

from __future__ import annotations

import ipaddress
import logging
import os
import typing as t
from collections.abc import Collection
from reprlib import repr as short_repr

from ..._engine.unseen import checked
from ..._options import checked_strings
from ...wsgi.access import Allows
from ...wsgi.access import bearer_token
from ...wsgi.access import checked_allows
from ...wsgi.access import is_allowed
from ...wsgi.access import is_same
from ...wsgi.access import is_token
from ._log import log

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Access"]

_MOST_CHARACTERS = 10_000


class Access:
    """Access of clients: each given condition must hold.

    :param token: The token that the client must send, or ``None``.
    :param token_file: A file with the token, read each time, or ``None``.
    :param networks: The networks of permitted clients, or ``None``.
    :param allows: A further function that decides by the environment, or ``None``.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If a token or network is none, or both tokens are given.
    :raises TypeError: If ``allows`` cannot be called, or another value has the wrong
        type.
    """

    def __init__(
        self,
        token: str | None,
        token_file: str | os.PathLike[str] | None,
        networks: Collection[str] | None,
        allows: Allows | None,
    ) -> None:
        if token is not None and token_file is not None:
            raise ValueError("token and token_file were both given; leave one out")
        # A number would be the descriptor of an open file, which would be closed.
        if token_file is not None and not isinstance(token_file, (str, os.PathLike)):
            raise TypeError(
                f"token_file must be the path of a file, got {short_repr(token_file)}"
            )
        self._token = token
        self._token_file = token_file
        self._expected()
        self._networks = None
        if networks is not None:
            found = checked_strings("networks", networks, "networks", '["10.0.0.0/8"]')
            self._networks = [ipaddress.ip_network(one) for one in found]
        self._allows = checked_allows(allows)

    def refusal(self, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]]]:
        """Return the status and headers to refuse with; ``""`` if it may read."""
        if self._networks is not None and not self._is_near(environ):
            return "403 Forbidden", []
        try:
            expected = self._expected()
        except (OSError, ValueError) as error:
            checked(log, logging.ERROR).error(
                "the token file cannot be used, so no client may read the metrics: %r",
                str(error),
            )
            return "503 Service Unavailable", []
        if expected is not None:
            given = bearer_token(environ)
            if given is None or not is_same(given, expected):
                return "401 Unauthorized", [("WWW-Authenticate", "Bearer")]
        failed = "the access check of the metrics failed, so no metrics are returned"
        if is_allowed(self._allows, environ, log, failed):
            return "", []
        return "403 Forbidden", []

    def _expected(self) -> str | None:
        """Return what the client must send; from the file as it is now."""
        token = self._token
        if self._token_file is not None:
            with open(self._token_file, encoding="utf-8") as file:
                token = file.read(_MOST_CHARACTERS).strip()
        if token is None:
            return None
        if not is_token(token):
            # Without the value, as it is a secret.
            raise ValueError(
                "token must be a string of printable ASCII without spaces, got"
                " another value; create one with secrets.token_urlsafe()"
            )
        return token

    def _is_near(self, environ: WSGIEnvironment) -> bool:
        try:
            address = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        except ValueError:  # as on a Unix socket
            return False
        # The address that an IPv6 socket has for a client of IPv4.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks or ())
