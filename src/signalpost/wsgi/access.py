"""Check a client: the token that it sends, and a function of the application.

The live page and the metrics each add their own: a cookie and a limit of tries, or the
client's network and a token in a file.
"""

from __future__ import annotations

import hmac
import logging
import typing as t
from collections.abc import Callable
from hashlib import sha256
from reprlib import repr as short_repr

from .._engine.unseen import checked

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = [
    "Allows",
    "bearer_token",
    "checked_allows",
    "is_allowed",
    "is_same",
    "is_token",
]

Allows: t.TypeAlias = Callable[[dict[str, t.Any]], bool]
"""Takes the WSGI environment, and returns whether the client may read."""


def is_token(token: object) -> bool:
    """Return whether a value can be sent as a token: printable ASCII without spaces."""
    return (
        isinstance(token, str)
        and token != ""
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


def checked_allows(allows: object) -> Allows | None:
    """Return the option ``allows``.

    :raises TypeError: If it cannot be called.
    """
    if allows is not None and not callable(allows):
        raise TypeError(
            f"allows must be callable, got {short_repr(allows)}; pass a function that"
            " takes the WSGI environment and returns whether it may read"
        )
    return allows


def is_allowed(
    allows: Allows | None, environ: WSGIEnvironment, log: logging.Logger, failed: str
) -> bool:
    """Return whether the function allows a client; ``True`` without a function.

    :param allows: The function. Its error is logged, and allows nothing.
    :param log: Where to.
    :param failed: The message, if the function fails.
    """
    try:
        return allows is None or allows(environ) is True
    except Exception:  # noqa: BLE001  # an error must not open anything
        checked(log, logging.ERROR).exception(failed)
        return False
