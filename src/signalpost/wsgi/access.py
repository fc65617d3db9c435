"""Decide which clients may read what an application serves about itself."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import typing as t
from collections.abc import Callable
from collections.abc import Collection
from hashlib import sha256
from reprlib import repr as short_repr

from .._engine.unseen import checked
from .._options import checked_strings
from .._options import configured
from ..errors import ConfigurationError

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Access", "Allows", "TokenError", "bearer_token", "is_same"]

Allows: t.TypeAlias = Callable[[dict[str, t.Any]], bool]
"""Takes the WSGI environment, and returns whether the client may read."""

_MOST_CHARACTERS = 10_000


class TokenError(Exception):
    """The file of a token has none now."""


class Access:
    """The conditions for a client that reads; each given one must hold.

    At most one of the three options of a token can be given.

    :param what: The name of the data, for messages, as ``"the metrics"``.
    :param log: Where failures are logged.
    :param lengths: The lengths that a token may have.
    :param token: The token that the client must send.
    :param token_env: The environment variable that has the token, read now.
    :param token_file: A file that has the token, read each time.
    :param networks: The networks of permitted clients, by ``REMOTE_ADDR``.
    :param allows: A function that decides by the WSGI environment.
    :raises ConfigurationError: If an option does not fit, or the file has no token.
    """

    has_token: bool
    """``True`` if the client must send a token."""

    def __init__(  # noqa: PLR0913  # an option each, by name only
        self,
        what: str,
        log: logging.Logger,
        *,
        lengths: range = range(1, _MOST_CHARACTERS),
        token: object = None,
        token_env: object = None,
        token_file: object = None,
        networks: object = None,
        allows: object = None,
    ) -> None:
        self._what = what
        self._log = log
        self._lengths = lengths
        self._problem = ""
        if allows is not None and not callable(allows):
            raise ConfigurationError(
                f"allows must be callable, got {short_repr(allows)}; pass a function"
                " that takes the WSGI environment and returns whether it may read",
                key="allows",
            )
        self._allows = allows
        self._networks = None if networks is None else _networks_of(networks)
        options = {"token": token, "token_env": token_env, "token_file": token_file}
        given = [name for name, value in options.items() if value is not None]
        if len(given) > 1:
            raise ConfigurationError(
                f"{given[0]} and {given[1]} were both given; leave one out",
                key=given[1],
            )
        self.has_token = bool(given)
        self._file = None if token_file is None else _path_of(token_file)
        self._token = _value_of(token_env) if token_env is not None else token
        if self.has_token:
            try:
                self._read()
            except OSError as error:
                problem = error.strerror or str(error)
                raise ConfigurationError(
                    "token_file must be a file that can be read, got"
                    f" {short_repr(token_file)} ({problem}); write the token into it"
                    " before the application starts",
                    key=given[0],
                ) from error
            except ValueError as error:
                raise ConfigurationError(str(error), key=given[0]) from error

    def is_near(self, environ: WSGIEnvironment) -> bool:
        """Return whether a client is in one of the networks; ``True`` without them."""
        if self._networks is None:
            return True
        try:
            address = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        except ValueError:  # as on a Unix socket
            return False
        # The address that an IPv6 socket has for a client of IPv4.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)

    def allows(self, environ: WSGIEnvironment) -> bool:
        """Return whether the function allows a client; ``True`` without a function."""
        try:
            return self._allows is None or self._allows(environ) is True
        except Exception:  # noqa: BLE001  # an error must not open anything
            failed = "the access check of %s failed, so the client is refused"
            checked(self._log, logging.ERROR).exception(failed, self._what)
            return False

    def token(self) -> str:
        """Return the token, from the file as it is now.

        :raises TokenError: If the file has none now; this is logged, once for each
            reason.
        """
        try:
            token = self._read()
        except (OSError, ValueError) as error:
            problem = str(error)
            # A client may ask every few seconds.
            if problem != self._problem:
                self._problem = problem
                checked(self._log, logging.ERROR).error(
                    "the token file cannot be used, so no client may read %s: %r",
                    self._what,
                    problem,
                )
            raise TokenError from error
        self._problem = ""
        return token

    def _read(self) -> str:
        token: object = self._token
        if self._file is not None:
            # A named pipe must not block a request.
            flags = getattr(os, "O_NONBLOCK", 0)
            with open(
                self._file, "rb", opener=lambda path, mode: os.open(path, mode | flags)
            ) as file:
                token = (
                    (file.read(_MOST_CHARACTERS) or b"")
                    .decode("utf-8", "replace")
                    .strip()
                )
        if not self._is_token(token):
            # Without the value, as it is a secret.
            raise ValueError(
                f"token must be a string of {self._lengths[0]} to {self._lengths[-1]}"
                " printable ASCII characters without spaces, got another value; create"
                " one with secrets.token_urlsafe()"
            )
        return token

    def _is_token(self, token: object) -> t.TypeGuard[str]:
        return (
            isinstance(token, str)
            and len(token) in self._lengths
            and token.isascii()
            and token.isprintable()
            and " " not in token
        )


def bearer_token(environ: WSGIEnvironment) -> str | None:
    """Return the token of the ``Authorization`` header (:rfc:`6750`), or ``None``."""
    given = environ.get("HTTP_AUTHORIZATION")
    if not isinstance(given, str):
        return None
    scheme, _, token = given.partition(" ")
    # RFC 9110, 11.1: the scheme in any case.
    return token.strip() if scheme.lower() == "bearer" else None


def is_same(given: str, expected: str) -> bool:
    """Return whether a client has sent the right token; its time reveals nothing."""
    # Digests are compared: the time to compare texts depends on their length.
    return hmac.compare_digest(_digest(given), _digest(expected))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "backslashreplace")).digest()


def _networks_of(
    networks: object,
) -> Collection[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    example = '["10.0.0.0/8"]'
    found = configured(checked_strings, "networks", networks, "networks", example)
    try:
        return [ipaddress.ip_network(one) for one in found]
    except ValueError as error:
        raise ConfigurationError(
            f"each of the networks must be a network, got {short_repr(networks)}"
            f" ({error}); write {example}",
            key="networks",
        ) from error


def _path_of(token_file: object) -> str | os.PathLike[str]:
    # A number would be the descriptor of an open file, which would be closed.
    if not isinstance(token_file, (str, os.PathLike)):
        raise ConfigurationError(
            f"token_file must be the path of a file, got {short_repr(token_file)}",
            key="token_file",
        )
    return token_file


def _value_of(token_env: object) -> str:
    if not isinstance(token_env, str) or not token_env:
        raise ConfigurationError(
            "token_env must be the name of an environment variable, got"
            f' {short_repr(token_env)}; write "SHOP_TOKEN"',
            key="token_env",
        )
    token = os.environ.get(token_env)
    if not token:
        raise ConfigurationError(
            f"token_env names the environment variable {token_env}, which is not set;"
            ' set it, as to what python -c "import secrets;'
            ' print(secrets.token_urlsafe())" prints',
            key="token_env",
        )
    return token
