"""The check of the options that protect the page."""

from __future__ import annotations

import os
from reprlib import repr as short_repr

from ..errors import ConfigurationError
from ..wsgi.access import checked_allows
from ..wsgi.access import is_token

__all__ = ["token_of"]


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
    try:
        checked_allows(allows)
    except TypeError as error:
        raise ConfigurationError(str(error), key="allows") from error
    if token is None and allows is None:
        raise ConfigurationError(
            "the live page must have a token or allows, got neither; give it"
            " token_env, the name of an environment variable",
            key="token",
        )
    if token is not None and not (
        isinstance(token, str) and 16 <= len(token) <= 200 and is_token(token)
    ):
        # The message leaves the value out, as it is a secret.
        raise ConfigurationError(
            "token must be a string of 16 to 200 printable ASCII characters without"
            " spaces, got another value; create one with secrets.token_urlsafe()",
            key="token",
        )
    return token if isinstance(token, str) else None
