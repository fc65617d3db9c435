"""The login to the page: a token, the cookie of it, and the tries of wrong ones."""

from __future__ import annotations

import hmac
import logging
import threading
import time
import typing as t
from collections import deque
from hashlib import sha256
from http.cookies import CookieError
from http.cookies import SimpleCookie

from ..errors import ConfigurationError
from ..wsgi.access import Access
from ..wsgi.access import bearer_token
from ..wsgi.access import is_same

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["PageAccess", "Tries"]

_log = logging.getLogger("signalpost.live")

_LENGTHS: t.Final = range(16, 201)
_COOKIE: t.Final = "signalpost_live"
_COOKIE_SECONDS: t.Final = 43_200
_LONGEST_COOKIES: t.Final = 16_384
_MOST_TRIES: t.Final = 10
_TRIES_SECONDS: t.Final = 60.0


class Tries:
    """A count of wrong tokens, of all clients of this process together.

    It ignores the client's address: behind a proxy, all clients have the same one.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MOST_TRIES)
        self._lock = threading.Lock()

    def seconds_to_wait(self) -> int:
        """Return the seconds until the next token is checked; 0 for now."""
        with self._lock:
            if len(self._times) < _MOST_TRIES:
                return 0
            left = self._times[0] + _TRIES_SECONDS - time.monotonic()
            return max(0, int(left) + 1) if left > 0 else 0

    def add(self) -> None:
        """Count a wrong token."""
        with self._lock:
            self._times.append(time.monotonic())


class PageAccess(Access):
    """The check of a client of the page, with a cookie that has the place of the token.

    :param options: The options of :class:`~signalpost.wsgi.access.Access`.
    :raises ConfigurationError: If the page would be open to everyone, too.
    """

    def __init__(self, **options: t.Any) -> None:
        super().__init__("the live page", _log, lengths=_LENGTHS, **options)
        # A network is not enough: behind a proxy, all clients have its address.
        if not self.has_token and self._allows is None:
            raise ConfigurationError(
                "the live page must have a token or allows, got neither; give it"
                " token_env, the name of an environment variable",
                key="token",
            )
        self.tries = Tries()

    def is_logged_in(self, environ: WSGIEnvironment) -> bool:
        """Return whether a client has the token in its headers, or the cookie.

        :raises TokenError: If the file of the token has none now.
        """
        if not self.has_token:
            return True
        token = bearer_token(environ)
        # A proxy in front may have the Authorization header for itself, as "Basic …".
        return self._has_cookie(environ) if token is None else self.takes(token)

    def takes(self, token: str) -> bool:
        """Return whether a token is right, and count it if not.

        After too many wrong tokens, no token is checked for a while.

        :raises TokenError: If the file of the token has none now.
        """
        if self.tries.seconds_to_wait():
            return False
        if is_same(token, self.token()):
            return True
        self.tries.add()
        return False

    def cookie(self, path: str, *, is_secure: bool) -> tuple[str, str]:
        """Return the header that logs a client in."""
        until = str(int(time.time()) + _COOKIE_SECONDS)
        value = (
            f"{_COOKIE}={until}.{self._signed(until)}; Path={path};"
            f" Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Strict"
        )
        return "Set-Cookie", f"{value}; Secure" if is_secure else value

    def _has_cookie(self, environ: WSGIEnvironment) -> bool:
        text = environ.get("HTTP_COOKIE")
        if not isinstance(text, str) or len(text) > _LONGEST_COOKIES:
            return False
        cookies: SimpleCookie = SimpleCookie()
        # Python may refuse another cookie of the host, and would stop parsing there.
        for part in text.split(";"):
            if part.strip().startswith(f"{_COOKIE}="):
                try:
                    cookies.load(part.strip())
                except CookieError:
                    return False
        if _COOKIE not in cookies:
            return False
        until, _, signature = cookies[_COOKIE].value.partition(".")
        given = signature.encode("utf-8", "backslashreplace")
        if not hmac.compare_digest(given, self._signed(until).encode()):
            return False
        return until.isdecimal() and time.time() < int(until)

    def _signed(self, text: str) -> str:
        # All processes of an application make the same key, so that each accepts the
        # cookies of the others.
        key = sha256(f"signalpost live page\0{self.token()}".encode()).digest()
        data = text.encode("utf-8", "backslashreplace")
        return hmac.new(key, data, sha256).hexdigest()
