"""The live page as a WSGI layer, and as a separate application."""

from __future__ import annotations

import json
import logging
import os
import typing as t
import zlib
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from urllib.parse import parse_qsl
from urllib.parse import quote

from .._engine.unseen import checked
from .._options import checked_path
from .._options import checked_strings
from .._options import configured
from ..receivers.lines import single_line
from ..wsgi.access import TokenError
from ..wsgi.finding import sender_of
from ..wsgi.passing import AttributePasser
from ..wsgi.routes import record_route
from ._access import PageAccess
from ._exchanges import FILTERS
from ._folder import live_folder
from ._static import login_page
from ._static import main_page
from ._static import static_file
from ._static import StaticFile
from ._writer import flush
from .reading import Reader
from .snapshot import json_default

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["LivePage"]

_log = logging.getLogger("signalpost.live")

_FIELDS: t.Final = ("since", "exchange", "failure", "find")
_LONGEST_FORM = 4096
_LONGEST_QUERY = 16_384
_COMPRESSED_FROM = 1024

_Headers = list[tuple[str, str]]

# No script or style is inline, so the policy needs no exception.
_POLICY: t.Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)

_HEADERS: t.Final[_Headers] = [
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]

_HTML: t.Final = "text/html; charset=utf-8"
_JSON: t.Final = "application/json"
_TEXT: t.Final = "text/plain; charset=utf-8"

_UNAVAILABLE: t.Final = "503 Service Unavailable"
_PROBLEM: t.Final = "<!--problem-->"
_WRONG: t.Final = "The token is wrong."
_NO_FILE: t.Final = "The file of the token cannot be used."
_TOO_OFTEN: t.Final = "There were too many wrong tokens. Try again in a minute."


class LivePage(AttributePasser):
    """Serve the live page of an application, at one of its paths.

    ::

        app.wsgi_app = LivePage(app.wsgi_app, token=os.environ["LIVE_TOKEN"])

    It shows the records of :class:`~signalpost.live.LiveRecorder` in all processes of
    this machine; any of them can serve it. Put it around all other middlewares, so that
    its own requests are not recorded. ``flask signalpost live`` serves it in a
    separate process, which works even while all workers hang. Any WSGI server does the
    same with ``LivePage(None, folder=…, path="/", token=…)``.

    The page is never open to everyone. With a token, it shows a form for the token, and
    sets a cookie that is valid for twelve hours (``HttpOnly``, ``SameSite=Strict``). A
    script sends ``Authorization: Bearer`` and the token. After ten wrong tokens a
    minute, counted over all clients of a process, no further token is checked. The page
    only reads: it changes nothing in the application.

    :param app: The WSGI application that the page is around; ``None`` for none.
    :param path: The path of the page, below the mount point of the application.
    :param token: The token that opens the page: 16 to 200 characters, as of
        :func:`secrets.token_urlsafe`.
    :param token_env: The environment variable that has the token.
    :param token_file: A file that has the token. It is read at each request, so that a
        new token is valid at once and ends all logins.
    :param networks: The allowed networks of clients, as ``["10.0.0.0/8"]``, by
        ``REMOTE_ADDR``, which may be the address of a proxy. They are no replacement
        for a token or ``allows``.
    :param allows: A function that takes the WSGI environment and returns whether the
        client may see the page. A client must pass all checks that are set.
    :param folder: The folder of the recorder; ``None`` for the
        :func:`~signalpost.live.live_folder` of ``app``, which must then be an
        application, or lead to one that a layer of signalpost's is around.
    :param only_hosts: The values of ``Host`` that are answered, or ``None`` for all.
        It protects a page on a loopback address: another site's page could reach it by
        a host name of that site (DNS rebinding).
    :raises ConfigurationError: If the page would be open to everyone, or an option does
        not fit.
    :raises OSError: If this system has no locks of files.

    .. versionadded:: 0.1
    """

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        app: WSGIApplication | None,
        *,
        path: str = "/_signalpost",
        token: str | None = None,
        token_env: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        networks: Collection[str] | None = None,
        allows: Callable[[dict[str, t.Any]], bool] | None = None,
        folder: str | os.PathLike[str] | None = None,
        only_hosts: Collection[str] | None = None,
    ) -> None:
        self.app = app
        self._pass_attributes_of(app)
        path = checked_path(path, "/_signalpost", may_be_root=app is None)
        self._path = path.rstrip("/")
        self._access = PageAccess(
            token=token,
            token_env=token_env,
            token_file=token_file,
            networks=networks,
            allows=allows,
        )
        if folder is None:
            folder = live_folder(None if app is None else sender_of(app))
        self._reader = Reader(folder)
        self._problem = ""
        self._hosts = (
            None
            if only_hosts is None
            else frozenset(
                configured(
                    checked_strings,
                    "only_hosts",
                    only_hosts,
                    "hosts",
                    '["localhost:8000"]',
                )
            )
        )

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Return the response of the page or of the application (:pep:`3333`)."""
        path = environ.get("PATH_INFO") or "/"
        if path == self._path or path.startswith(f"{self._path}/"):
            # Without a route, it would be counted as a path that matches nothing.
            record_route(environ, f"{self._path}/")
            name = path[len(self._path) :]
            try:
                answer = self._answered(environ, name)
            except TokenError:
                answer = _problem(name.lstrip("/"), _UNAVAILABLE, _NO_FILE)
            return answer.sent(environ, start_response)
        if self.app is None:
            return _Answer("404 Not Found").sent(environ, start_response)
        return self.app(environ, start_response)

    def _answered(self, environ: WSGIEnvironment, rest: str) -> _Answer:
        """Return the response to a request for the page.

        :param rest: The part of the path after the path of the page.
        """
        name = rest.removeprefix("/")
        refusal = self._refusal(environ, name)
        if refusal is not None:
            return refusal
        if rest == "":
            location = ("Location", self._root(environ))
            return _Answer("308 Permanent Redirect", [location])
        file = static_file(name)
        if file is not None:
            return _static(file, environ)
        if name == "login":
            return self._login(environ)
        return self._page(environ, name)

    def _page(self, environ: WSGIEnvironment, name: str) -> _Answer:
        """Return the page, or its data."""
        if not self._access.is_logged_in(environ):
            return self._not_logged_in(name)
        if name == "data.json":
            return self._data(environ)
        return _Answer.of(main_page())

    def _refusal(self, environ: WSGIEnvironment, name: str) -> _Answer | None:
        """Return the refusal that does not depend on the token, or ``None``."""
        if self._hosts is not None and environ.get("HTTP_HOST") not in self._hosts:
            return _Answer("421 Misdirected Request")
        if name not in ("", "data.json", "login") and static_file(name) is None:
            return _Answer("404 Not Found")
        allowed = ("POST",) if name == "login" else ("GET", "HEAD")
        if environ.get("REQUEST_METHOD") not in allowed:
            headers = [("Allow", ", ".join(allowed))]
            return _Answer("405 Method Not Allowed", headers)
        if not (self._access.is_near(environ) and self._access.allows(environ)):
            return _problem(name, "403 Forbidden", "You may not see this page.")
        return None

    def _root(self, environ: WSGIEnvironment) -> str:
        """Return the path of the page from the root of the host, with a slash."""
        script_name = str(environ.get("SCRIPT_NAME") or "")
        path = f"{script_name}{self._path}/".encode("latin-1", "replace")
        # With two slashes at its beginning, it would be the address of another host.
        return "/" + quote(path).lstrip("/")

    def _not_logged_in(self, name: str) -> _Answer:
        seconds = self._access.tries.seconds_to_wait()
        if seconds:
            return _problem(
                name,
                "429 Too Many Requests",
                _TOO_OFTEN,
                [("Retry-After", str(seconds))],
            )
        headers = [("WWW-Authenticate", "Bearer")]
        return _problem(name, "401 Unauthorized", "", headers)

    def _login(self, environ: WSGIEnvironment) -> _Answer:
        is_json = _JSON in str(environ.get("HTTP_ACCEPT", ""))
        name = "data.json" if is_json else ""
        if not self._access.has_token:
            return _Answer("404 Not Found")
        if self._access.tries.seconds_to_wait():
            return self._not_logged_in(name)
        token = _form_of(environ).get("token", "")
        if not self._access.takes(token.strip()):
            return _problem(name, "401 Unauthorized", _WRONG)
        root = self._root(environ)
        is_secure = environ.get("wsgi.url_scheme") == "https"
        headers = [self._access.cookie(root, is_secure=is_secure)]
        if is_json:
            return _Answer("204 No Content", headers)
        return _Answer("303 See Other", [*headers, ("Location", root)])

    def _data(self, environ: WSGIEnvironment) -> _Answer:
        query = str(environ.get("QUERY_STRING", ""))[:_LONGEST_QUERY]
        try:
            fields = parse_qsl(query, max_num_fields=20, errors="replace")
            data = self._found(dict(fields))
        except ValueError as error:
            return _json("400 Bad Request", {"error": single_line(str(error))[:200]})
        except OSError as error:
            return self._unreadable(error)
        self._problem = ""
        if data is None:
            problem = "It is no longer recorded; newer records have taken its place."
            return _json("404 Not Found", {"error": problem})
        return _json("200 OK", data)

    def _unreadable(self, error: OSError) -> _Answer:
        problem = single_line(str(error))
        # A page may be open for days, and ask every few seconds.
        if problem != self._problem:
            self._problem = problem
            checked(_log, logging.WARNING).warning(
                "the live page cannot be read: %s", problem
            )
        text = single_line(error.strerror or str(error))
        return _json(_UNAVAILABLE, {"error": text})

    def _found(self, asked: Mapping[str, str]) -> t.Any:
        """Return the data of a query; ``None`` if there is none.

        :raises ValueError: If it has a field or a value without a meaning.
        """
        _check_fields(asked)
        reader = self._reader
        # Other processes write their lists with a request, about once a second.
        flush()
        if "exchange" in asked:
            exchange = reader.exchange(asked["exchange"])
            return None if exchange is None else {"exchange": exchange}
        if "failure" in asked:
            failure = reader.failure(asked["failure"])
            if failure is None:
                return None
            row, traceback = failure
            return {"failure": {**row._asdict(), "traceback": traceback}}
        if "find" in asked:
            return reader.find(asked)
        return reader.snapshot(asked.get("since", ""))


class _Answer:
    """A response of the page.

    :param status: The status line.
    :param headers: Additional headers.
    :param body: The body; without it, the status line.
    :param content_type: Its type.
    """

    cache: str = "no-store"
    """The value of ``Cache-Control``."""
    compressed: bytes | None = None
    """The body compressed by gzip; ``None`` if it is not stored."""

    def __init__(
        self,
        status: str,
        headers: _Headers | None = None,
        *,
        body: str | bytes | None = None,
        content_type: str = _TEXT,
    ) -> None:
        self._status = status
        self._headers = [*(headers or ()), *_HEADERS]
        self._body = f"{status}\n" if body is None else body
        self._content_type = content_type

    @classmethod
    def of(cls, file: StaticFile, headers: _Headers | None = None) -> _Answer:
        """Return the response that has a file."""
        kind = file.content_type
        answer = cls("200 OK", headers, body=file.data, content_type=kind)
        answer.compressed = file.compressed
        return answer

    def sent(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Start the response, and return its body."""
        headers = [*self._headers, ("Cache-Control", self.cache)]
        if self._status.startswith(("204", "304")):
            start_response(self._status, headers)
            return []
        body = self._body
        data = body.encode("utf-8", "replace") if isinstance(body, str) else body
        headers += [("Content-Type", self._content_type), ("Vary", "Accept-Encoding")]
        if len(data) >= _COMPRESSED_FROM and _takes_gzip(environ):
            data = _gzipped(data) if self.compressed is None else self.compressed
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(data))))
        start_response(self._status, headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [data]


def _static(file: StaticFile, environ: WSGIEnvironment) -> _Answer:
    headers = [("ETag", file.etag)]
    known = str(environ.get("HTTP_IF_NONE_MATCH", ""))
    # RFC 9110, 13.1.2: a weak comparison, as servers weaken the tag when they compress.
    if file.etag in (one.strip().removeprefix("W/") for one in known.split(",")):
        answer = _Answer("304 Not Modified", headers)
    else:
        answer = _Answer.of(file, headers)
    answer.cache = "no-cache"
    return answer


def _problem(
    name: str, status: str, problem: str, headers: _Headers | None = None
) -> _Answer:
    """Return a refusal in the form that the client reads: data, login form or text."""
    if name == "data.json":
        return _json(status, {"error": problem or "Log in."}, headers)
    if status.startswith("403"):
        return _Answer(status, headers)
    shown = f'<p class="problem" role="alert">{problem}</p>' if problem else ""
    body = login_page().replace(_PROBLEM, shown)
    return _Answer(status, headers, body=body, content_type=_HTML)


def _json(status: str, data: t.Any, headers: _Headers | None = None) -> _Answer:
    # A snapshot has no circles, and to look for one takes a tenth of the time.
    text = json.dumps(
        data, default=json_default, separators=(",", ":"), check_circular=False
    )
    return _Answer(status, headers, body=text, content_type=_JSON)


def _check_fields(asked: Mapping[str, str]) -> None:
    for name in asked:
        if name in FILTERS and "find" not in asked:
            raise ValueError(f"{name} belongs to a search; add find=1")
        if name not in (*_FIELDS, *FILTERS):
            fields = ", ".join((*_FIELDS, *FILTERS))
            raise ValueError(f"the fields are {fields}; got {name!r}")


def _takes_gzip(environ: WSGIEnvironment) -> bool:
    for one in str(environ.get("HTTP_ACCEPT_ENCODING", "")).split(","):
        coding, _, weight = one.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00")
    return False


def _gzipped(data: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _form_of(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the fields of a form; none if it is too long."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return {}
    if not 0 < length <= _LONGEST_FORM:
        return {}
    data = environ["wsgi.input"].read(length).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(data, max_num_fields=10))
    except ValueError:
        return {}
