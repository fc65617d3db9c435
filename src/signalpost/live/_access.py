"""The access checks of the page: a token, its cookie, and a function."""

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

from ..wsgi.access import Allows
from ..wsgi.access import bearer_token
from ..wsgi.access import is_allowed
from ..wsgi.access import is_same

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Access", "Tries"]

_log = logging.getLogger("signalpost.live")

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


class Access:
    """The check of a client: the token and the function must both allow it.

    :param token: The token that the client must send, or ``None`` for no token.
    :param allows: The function that takes the WSGI environment and returns ``True``
        for a client that may see the page, or ``None`` for no function.
    """

    def __init__(self, token: str | None, allows: Allows | None) -> None:
        self.tries = Tries()
        self.has_token = token is not None
        self._allows = allows
        self._token = token or ""
        # All processes of an application make the same key, so that each accepts the
        # cookies of the others.
        key = f"signalpost live page\0{self._token}"
        self._key = sha256(key.encode()).digest()

    def allows(self, environ: WSGIEnvironment) -> bool:
        """Return whether the function allows a client; ``True`` without a function."""
        failed = "the access check of the live page failed, so it is not shown"
        return is_allowed(self._allows, environ, _log, failed)

    def is_logged_in(self, environ: WSGIEnvironment) -> bool:
        """Return whether a client has the token in its headers, or the cookie."""
        if not self.has_token:
            return True
        token = bearer_token(environ)
        # A proxy in front may have the Authorization header for itself, as "Basic …".
        return self._has_cookie(environ) if token is None else self.takes(token)

    def takes(self, token: str) -> bool:
        """Return whether a token is right, and count it if not.

        After too many wrong tokens, no token is checked for a while.
        """
        if self.tries.seconds_to_wait():
            return False
        if is_same(token, self._token):
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
        data = text.encode("utf-8", "backslashreplace")
        return hmac.new(self._key, data, sha256).hexdigest()
