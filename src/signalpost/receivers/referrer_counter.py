"""Count referrers, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short_repr
from threading import RLock
from typing import ClassVar
from typing import TYPE_CHECKING

from .._options import checked_strings
from .._options import checked_whole_number
from ..exchange import Exchange
from .lines import logfmt_value
from .lines import LONGEST_FIELD
from .paths import checked_paths

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["ReferrerCount", "ReferrerCounter", "ReferrerTotals"]

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_is_origin = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+/?").fullmatch


@dataclass(frozen=True, slots=True)
class ReferrerCount:
    """A row of the top list.

    .. versionadded:: 0.1
    """

    referrer: str
    """Origin and path, as ``"https://search.example/results"``. It is a client's text,
    cut to 512 characters: escape it before you write it to a log line or a page."""
    count: int
    """The number of requests from there, or somewhat more."""
    at_most_too_high: int
    """The number of requests by which ``count`` may be too high; ``0`` if exact."""


@dataclass(frozen=True, slots=True)
class ReferrerTotals:
    """Numbers of requests by their kind of referrer.

    ``requests`` is the sum of the others.

    .. versionadded:: 0.1
    """

    requests: int
    """All counted requests."""
    none: int
    """Requests without a referrer."""
    own: int
    """Requests from a page of the application's own origin."""
    listed: int
    """Requests that certainly came from a referrer in the list."""
    other: int
    """Requests from elsewhere: from a referrer that the list had no room for; or from
    one in the list, before it stayed there."""


class ReferrerCounter:
    """Keep a top list of referrers; connect it to ``request-started``.

    ::

        counter = ReferrerCounter(paths=("/",))
        request_started.connect(counter)
        ...
        for row in counter.top(10):
            print(row.count, row.referrer)

    A referrer is origin and path; user names, passwords, queries and fragments may
    contain secrets and are dropped. Scheme and host are written in lower case and a
    default port is left out, so that one page is one row. Requests without a referrer
    are counted separately, and so are those from the application's own origin: the
    scheme of the request and its ``Host``. Behind a proxy that ends TLS, these are
    right only if the application uses Werkzeug's ``ProxyFix`` or a similar middleware;
    otherwise name the origins.

    *Guarantees*: after ``n`` requests from elsewhere, the list has every referrer of
    more than ``n / max_referrers`` of them. No count is too low. No count is too high
    by more than ``n / max_referrers``, and each row has its largest error. As long as
    there are no more than ``max_referrers`` referrers, all counts are exact. This is
    the Space-Saving algorithm (Metwally, Agrawal, El Abbadi: Efficient Computation of
    Frequent and Top-k Elements in Data Streams, 2005).

    Memory is bounded: ``max_referrers`` rows of 512 characters each. Any thread may
    call it.

    :param paths: The paths to count, below the application's mount point, for
        instance ``("/",)`` for the homepage. ``None`` for all.
    :param max_referrers: How many rows are kept.
    :param own_origins: Further origins that are the application's own, as
        ``("https://shop.example",)``.
    :raises TypeError: If an option has the wrong type; also for one string of paths
        or origins.
    :raises ValueError: If ``max_referrers`` is less than 1, a path does not begin with
        a slash, or one of ``own_origins`` is not an origin.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {"request-started": "__call__"}
    """Methods by the names of the signals that they receive."""

    def __init__(
        self,
        *,
        paths: Collection[str] | None = None,
        max_referrers: int = 1000,
        own_origins: Collection[str] = (),
    ) -> None:
        self._paths = checked_paths(paths)
        origins = checked_strings(
            "own_origins", own_origins, "origins", '["https://shop.example"]'
        )
        checked_whole_number(
            "max_referrers", max_referrers, "write a number of rows, as 1000"
        )
        for origin in origins:
            if not _is_origin(origin):
                raise ValueError(
                    f"own_origins must be origins, got {short_repr(origin)}; write"
                    " scheme and host, as 'https://shop.example'"
                )
        self._own_origins = frozenset(_origin_and_path(one)[0] for one in origins)
        self._top = _SpaceSaving(max_referrers)
        self._none = 0
        self._own = 0
        # Reentrant: a function called by a Unix signal may read the list.
        self._lock = RLock()

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Count the referrer of a request, if its path is to be counted."""
        if self._paths is not None and exchange.path not in self._paths:
            return
        referrer = exchange.referrer
        if referrer is None:
            with self._lock:
                self._none += 1
            return
        origin, path = _origin_and_path(referrer)
        is_own = origin in self._own_origins or origin == _own_origin(exchange.environ)
        with self._lock:
            if is_own:
                self._own += 1
            else:
                self._top.add((origin + path)[:LONGEST_FIELD])

    def top(self, n: int = 10) -> list[ReferrerCount]:
        """Return the ``n`` referrers that most requests came from.

        :param n: How many; fewer are returned if there are fewer.
        :returns: The highest count first; equal ones by the alphabet.
        :raises ValueError: If ``n`` is less than 1.
        """
        checked_whole_number("n", n, "write a number of rows")
        with self._lock:
            rows = self._top.rows()
        rows.sort(key=lambda row: (-row.count, row.referrer))
        return rows[:n]

    def totals(self) -> ReferrerTotals:
        """Return the numbers of counted requests, by kind."""
        with self._lock:
            rows = self._top.rows()
            none = self._none
            own = self._own
        elsewhere = sum(row.count for row in rows)
        other = sum(row.at_most_too_high for row in rows)
        return ReferrerTotals(
            none + own + elsewhere, none, own, elsewhere - other, other
        )

    def __str__(self) -> str:
        """Return a table of the first ten, a line each, and the totals."""
        totals = self.totals()
        lines = [f"{'requests':>10}  {'too high':>10}  referrer"]
        lines += (
            f"{row.count:>10}  {row.at_most_too_high:>10}"
            f"  {logfmt_value(row.referrer, 80)}"
            for row in self.top(10)
        )
        lines += (
            f"{totals.own:>10}  {'':>10}  <own>",
            f"{totals.none:>10}  {'':>10}  <none>",
            f"{totals.requests:>10}  {'':>10}  <all>",
        )
        return "\n".join(lines)


class _SpaceSaving:
    """Counts of the most frequent, where each step takes the same short time.

    A newcomer takes the place of one with the lowest count, and takes its count over:
    by so much its own may be too high.

    :param most: How many are counted at a time.
    """

    __slots__ = ("_by_count", "_counts", "_lowest", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        # {count: {text: by how much it may be too high}}, no inner dict empty.
        self._by_count: dict[int, dict[str, int]] = {}
        self._lowest = 0

    def add(self, text: str) -> None:
        count = self._counts.get(text)
        if count is not None:
            too_high = self._by_count[count].pop(text)
        elif len(self._counts) < self._most:
            count = too_high = 0
            self._lowest = 1
        else:
            count = too_high = self._lowest
            # The last, not the first: to find that takes longer with each removal.
            replaced, _ = self._by_count[count].popitem()
            del self._counts[replaced]
        self._counts[text] = count + 1
        self._by_count.setdefault(count + 1, {})[text] = too_high
        if count and not self._by_count[count]:
            del self._by_count[count]
            if count == self._lowest:
                self._lowest = count + 1

    def rows(self) -> list[ReferrerCount]:
        """Return what is counted, in no order."""
        return [
            ReferrerCount(text, count, too_high)
            for count, texts in self._by_count.items()
            for text, too_high in texts.items()
        ]


def _own_origin(environ: WSGIEnvironment) -> str:
    """Return the origin that a request was for (:pep:`3333`, "URL Reconstruction")."""
    host = environ.get("HTTP_HOST")
    if not host:
        host = f"{environ.get('SERVER_NAME')}:{environ.get('SERVER_PORT')}"
    return _origin_and_path(f"{environ.get('wsgi.url_scheme')}://{host}/")[0]


def _origin_and_path(referrer: str) -> tuple[str, str]:
    """Return the origin and the path of a URL in a normal form.

    As RFC 9110, 4.2.3, compares them. A text that is not a URL has an empty origin.
    """
    scheme, separator, rest = referrer.partition("://")
    if not separator:
        return "", referrer
    scheme = scheme.lower()
    host, _, path = rest.partition("/")
    host = host.lower()
    port = _DEFAULT_PORTS.get(scheme)
    if port is not None:
        host = host.removesuffix(port)
    return f"{scheme}://{host}", f"/{path}"
