"""Checks of the options of the recorder and of the page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from math import isfinite
from reprlib import repr as short_repr
from typing import Any

from ..errors import ConfigurationError

__all__ = ["bool_of", "path_of", "routes_of", "seconds_of", "token_of"]

_MOST_ROUTES = 1000
_is_path = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,200}", re.ASCII).fullmatch

Allows = Callable[[dict[str, Any]], bool]


def bool_of(name: str, value: object) -> bool:
    """Return an option that is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {short_repr(value)}")
    return value


def seconds_of(value: object) -> float:
    """Return the duration from which on a request is slow."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"slow_seconds must be a number of seconds, got {short_repr(value)}; write"
            " 0.5"
        )
    if not (isfinite(value) and value >= 0):
        raise ValueError(
            f"slow_seconds must be a number of seconds from 0 up, got {value!r}; write"
            " 0.5"
        )
    return float(value)


def routes_of(value: object) -> int:
    """Return the number of routes that have rows of their own."""
    if type(value) is not int:
        raise TypeError(
            f"max_routes must be an int, got {short_repr(value)}; write a number of"
            " routes, as 100"
        )
    if not 1 <= value <= _MOST_ROUTES:
        raise ValueError(
            f"max_routes must be from 1 to {_MOST_ROUTES}, got {value!r}; each takes"
            " 4 kB of the file of a worker"
        )
    return value


def path_of(path: object) -> str:
    """Return the path of the page, without a slash at its end."""
    if not isinstance(path, str) or not _is_path(path):
        raise ConfigurationError(
            "path must begin with / and have no variables and no query, as"
            f' "/_signalpost", got {short_repr(path)}',
            key="path",
        )
    return path.rstrip("/")


def token_of(token: object, token_env: object, allows: object) -> str | None:
    """Return the token of the page; ``None`` if only ``allows`` opens it.

    :raises ConfigurationError: If nothing protects the page, or a value does not fit.
    """
    if token is not None and token_env is not None:
        raise ConfigurationError(
            "token and token_env were both given; leave one out", key="token_env"
        )
    if token_env is not None:
        if not isinstance(token_env, str) or not token_env:
            raise ConfigurationError(
                "token_env must be the name of an environment variable, got"
                f' {short_repr(token_env)}; write "LIVE_TOKEN"',
                key="token_env",
            )
        token = os.environ.get(token_env)
        if not token:
            raise ConfigurationError(
                f"token_env names the environment variable {token_env}, which is not"
                ' set; set it, as to what python -c "import secrets;'
                ' print(secrets.token_urlsafe())" prints',
                key="token_env",
            )
    if allows is not None and not callable(allows):
        raise ConfigurationError(
            f"allows must be callable, got {short_repr(allows)}; pass a function that"
            " takes the WSGI environment and returns whether it may read",
            key="allows",
        )
    if token is None and allows is None:
        raise ConfigurationError(
            "the live page must have a token or allows, got neither, and shows nothing"
            " to everyone; give it token_env, the name of an environment variable",
            key="token",
        )
    if token is not None and not _is_token(token):
        # The message leaves the value out, as it is a secret.
        raise ConfigurationError(
            "token must be a string of 16 to 200 printable ASCII characters without"
            " spaces, got another; make one by secrets.token_urlsafe()",
            key="token",
        )
    return token if isinstance(token, str) else None


def _is_token(token: object) -> bool:
    return (
        isinstance(token, str)
        and 16 <= len(token) <= 200
        and token.isascii()
        and token.isprintable()
        and " " not in token
    )
