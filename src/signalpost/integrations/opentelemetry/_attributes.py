"""Return the attributes of requests and statements, by the semantic conventions.

A client may send what it likes, so what it sends is cut, kept to text that can be
encoded, and kept out of the attributes of metrics unless it is one of a known few.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote
from urllib.parse import quote_plus
from urllib.parse import unquote_plus

from ...exchange import Exchange
from ._texts import environ_text
from ._texts import integer_of
from ._texts import LONGEST
from ._texts import text_of

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = [
    "SCHEMA",
    "Attributes",
    "Bounded",
    "engine_attributes",
    "error_type_of",
    "exchange_error_type",
    "metric_attributes",
    "number_of",
    "request_attributes",
    "span_name",
    "span_name_before",
    "version_of",
]

Attributes: t.TypeAlias = dict[str, str | int | bool | float]

SCHEMA: t.Final = "https://opentelemetry.io/schemas/1.33.0"
"""The version of the conventions that define the names."""

_LONGEST_METHOD = 32
_LONGEST_HOST = 300

# RFC 3986, 3.3, allows these in a path, besides letters and digits.
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"

_SCHEMES = frozenset(("http", "https", "ws", "wss"))

_VERSIONS = {
    "HTTP/1.0": "1.0",
    "HTTP/1.1": "1.1",
    "HTTP/2": "2",
    "HTTP/2.0": "2",
    "HTTP/3": "3",
    "HTTP/3.0": "3",
}

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,64}\]|[A-Za-z0-9._-]{1,255})(?::([0-9]{1,5}))?")

# By SQLAlchemy's names of databases; those that are called the same are left out.
_SYSTEMS = {
    "db2": "ibm.db2",
    "firebird": "firebirdsql",
    "hana": "sap.hana",
    "informix": "ibm.informix",
    "mssql": "microsoft.sql_server",
    "netezza": "ibm.netezza",
    "oracle": "oracle.db",
    "redshift": "aws.redshift",
    "spanner+spanner": "gcp.spanner",
    "teradatasql": "teradata",
}


def request_attributes(
    environ: WSGIEnvironment, exchange: Exchange, query_keys: frozenset[str] | None
) -> Attributes:
    """Return the attributes that a request has at its start."""
    read = environ.get
    scheme = _scheme_of(read("wsgi.url_scheme"))
    found: Attributes = {
        "http.request.method": text_of(exchange.method, _LONGEST_METHOD),
        "url.scheme": scheme,
        "url.path": _path_of(f"{exchange.script_name}{exchange.path}"),
    }
    if exchange.method == "_OTHER":
        method = environ_text(read("REQUEST_METHOD"), _LONGEST_METHOD)
        found["http.request.method_original"] = method
    address, port = _server_of(read("HTTP_HOST"), scheme)
    if not address:
        address = environ_text(read("SERVER_NAME"))
        port = number_of(read("SERVER_PORT"))
    if address:
        found["server.address"] = address
        if port is not None:
            found["server.port"] = port
    if client := environ_text(read("REMOTE_ADDR")):
        found["client.address"] = client
    if version := version_of(read("SERVER_PROTOCOL")):
        found["network.protocol.version"] = version
    if agent := environ_text(read("HTTP_USER_AGENT")):
        found["user_agent.original"] = agent
    if query_keys is not None and (query := read("QUERY_STRING")):
        found["url.query"] = _query_of(query, query_keys)
    return found


def metric_attributes(environ: WSGIEnvironment, exchange: Exchange) -> Attributes:
    """Return the attributes of an active request, for metrics."""
    return {
        "http.request.method": text_of(exchange.method, _LONGEST_METHOD),
        "url.scheme": _scheme_of(environ.get("wsgi.url_scheme")),
    }


def span_name(exchange: Exchange) -> str:
    """Return the name of a server span: method and route, nothing of the client's."""
    method = span_name_before(exchange)
    route = exchange.route
    return method if route is None else f"{method} {text_of(route)}".rstrip()


def span_name_before(exchange: Exchange) -> str:
    """Return its name while no route is known."""
    method = exchange.method
    return "HTTP" if method == "_OTHER" else text_of(method, _LONGEST_METHOD)


def _query_of(query: object, shown: frozenset[str]) -> str:
    """Return a query string that shows only the values of a few keys."""
    found = []
    length = 0
    for pair in environ_text(query, 4 * LONGEST).split("&"):
        key, equals, value = pair.partition("=")
        key = unquote_plus(key)
        if equals:
            value = quote_plus(unquote_plus(value)) if key in shown else "REDACTED"
        found.append(f"{quote_plus(key)}{equals}{value}")
        length += len(found[-1])
        if length > LONGEST:
            break
    return "&".join(found)[:LONGEST]


def error_type_of(error: BaseException) -> str:
    """Return the name of an exception's class, with its module."""
    kind = type(error)
    try:
        module, name = text_of(kind.__module__), text_of(kind.__qualname__)
    except Exception:  # noqa: BLE001  # whatever an application's class does
        return "_OTHER"
    return name if module == "builtins" else text_of(f"{module}.{name}")


def exchange_error_type(exchange: Exchange) -> str | None:
    """Return the error of the application; ``None`` if it made none.

    A client that left, or sent something wrong, is not an error of the application.
    """
    if exchange.exception is not None:
        return error_type_of(exchange.exception)
    status = integer_of(exchange.status)
    if status is not None and status >= 500:
        return str(status)
    return "_OTHER" if exchange.outcome == "error" else None


def engine_attributes(engine: t.Any) -> Attributes:
    """Return the attributes of a database, from an engine of SQLAlchemy."""
    name = getattr(getattr(engine, "dialect", None), "name", None)
    if not isinstance(name, str) or not name:
        return {"db.system.name": "other_sql"}
    found: Attributes = {"db.system.name": text_of(_SYSTEMS.get(name, name))}
    url = getattr(engine, "url", None)
    database = getattr(url, "database", None)
    # SQLite's is a path of this machine, or nothing that is called so.
    if isinstance(database, str) and database and name != "sqlite":
        found["db.namespace"] = text_of(database)
    if isinstance(host := getattr(url, "host", None), str) and host:
        found["server.address"] = text_of(host)
        if (port := integer_of(getattr(url, "port", None))) is not None:
            found["server.port"] = port
    return found


def number_of(text: object) -> int | None:
    """Return a port, or another number that a server has as text."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit():
        return None
    return int(text) if len(text) <= 15 else None


def version_of(protocol: object) -> str | None:
    """Return the version of HTTP, if it is one of those that there are."""
    return _VERSIONS.get(protocol) if isinstance(protocol, str) else None


class Bounded:
    """Values that may become attributes of metrics, up to a limit.

    :param most: How many.
    """

    __slots__ = ("_most", "_seen")

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __contains__(self, value: str) -> bool:
        if value in self._seen:
            return True
        # Two threads may add one each at the end, which does no harm.
        if len(self._seen) >= self._most:
            return False
        self._seen.add(value)
        return True


def _path_of(path: str) -> str:
    """Return a path as in a URL: ASCII without control characters."""
    return quote(text_of(path), _PATH_CHARACTERS, errors="replace")


def _scheme_of(scheme: object) -> str:
    return scheme if isinstance(scheme, str) and scheme in _SCHEMES else "_OTHER"


def _server_of(host: object, scheme: str) -> tuple[str, int | None]:
    """Return the name and the port in a request's Host (RFC 9110, 7.2)."""
    # Longer than any name and port: it would only be kept in the cache.
    if type(host) is not str or len(host) > _LONGEST_HOST:
        return "", None
    return _parsed(host, scheme)


# An application has few names, and each request needs one.
@lru_cache(maxsize=256)
def _parsed(host: str, scheme: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(host)
    if found is None:
        return "", None
    name, port = found.groups()
    if port is None:
        return name.strip("[]"), _DEFAULT_PORTS.get(scheme)
    return name.strip("[]"), number_of(port)


_DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443, "ws": 80, "wss": 443}
