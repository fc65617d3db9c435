"""An instrumented application's client gets, byte for byte, what it got without us."""

from __future__ import annotations

import hashlib
import time
import typing as t
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextlib import ExitStack

import pytest

from tests.servers.launch import missing
from tests.servers.launch import serving
from tests.servers.raw import answer_of
from tests.servers.raw import request_for
from tests.servers.raw import STILL_OPEN
from tests.servers.raw import without_noise
from tests.servers.torture import PATHS

Address = tuple[str, int]
Addresses = dict[str, Address]

PATIENCE_SECONDS = 30

SERVERS = (
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-gevent",
    "waitress",
    "werkzeug",
    "wsgiref",
    "cheroot",
    "gevent",
    "granian",
    "bjoern",
    "uwsgi",
)
# mod_wsgi is missing: where Apache cuts chunks differs from one answer to the next.
VARIANTS = {
    "bare": ("tests.servers.torture:torture", {}),
    "with_receivers": (
        "tests.servers.torture:wrapped",
        {"TORTURE_HAS_RECEIVERS": "yes"},
    ),
    "without_receivers": ("tests.servers.torture:wrapped", {}),
}
TEN = b"0123456789"
CHUNKED = b"4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\n\r\n"

REQUESTS = {f"GET {path}": request_for(f"/{path}") for path in PATHS}
REQUESTS |= {
    f"HEAD {path}": request_for(f"/{path}", method="HEAD")
    for path in (
        "204",
        "304",
        "body-generator",
        "body-list-empty",
        "body-list-of-one",
        "body-sized-one",
        "error-before-start",
        "file-with-length",
        "file-without-length",
        "length-right",
        "started-late",
        "written",
    )
}
REQUESTS |= {
    f"{method} body-closing": request_for("/body-closing", method=method)
    for method in ("OPTIONS", "DELETE", "INVENTED")
}
REQUESTS |= {
    f"POST {path} {kind}": request_for(
        f"/{path}", *headers, method="POST", data=data, close=is_last
    )
    + (b"" if is_last else request_for("/length-right"))
    for path in ("read-whole", "read-partly", "read-in-body", "body-list-of-one")
    for kind, headers, data, is_last in (
        ("sized", ("Content-Length: 10",), TEN, True),
        ("sized and followed", ("Content-Length: 10",), TEN, False),
        ("chunked", ("Transfer-Encoding: chunked",), CHUNKED, True),
        ("expecting", ("Content-Length: 10", "Expect: 100-continue"), TEN, True),
    )
}
REQUESTS |= {
    f"followed {path}": request_for(f"/{path}", close=False)
    + request_for("/length-right")
    for path in (
        "204",
        "304",
        "body-generator",
        "body-list-empty",
        "body-list-of-one",
        "body-sized-one",
        "body-tuple-empty",
        "file-with-length",
        "hop-close",
        "length-right",
        "written-alone",
    )
}
REQUESTS |= {
    "odd path": request_for("/environment/caf%C3%A9/%FF%00/%2F;p=1//x?q=%C3%A9&&"),
    "raw path": request_for("/environment/\xc3\xa9\xff"),
    "odd headers": request_for("/environment", "X-Twice: 1", "X-Twice: \xe9"),
    "range unused": request_for("/environment", "Range: bytes=1-3"),
    "range answered": request_for("/ranges", "Range: bytes=1-3"),
    "range of a file": request_for("/file-with-length", "Range: bytes=1-3"),
    "HTTP/1.0": b"GET /body-generator HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "no path of ours": request_for("/nothing-here"),
}
# Its text differs from variant to variant, as expected.
del REQUESTS["GET exchanges"]
# Whether a body that is read after the answer began is still asked for is a race
# within granian.
del REQUESTS["POST read-in-body expecting"]

LEFT_OUT = {
    ("bjoern", "GET reach"): "the server itself crashes when asked for an attribute",
    ("uwsgi", "GET restarted-by-name"): "the server takes no names, and we do",
}


class Site(t.NamedTuple):
    """A server that runs once a variant, and what the bare one was seen to answer."""

    server: str
    addresses: Addresses
    seen: dict[str, bytes]

    def answer_to(self, what: str, variant: str) -> bytes:
        return without_noise(answer_of(self.addresses[variant], REQUESTS[what]))

    def bare_answer_to(self, what: str) -> bytes:
        if what not in self.seen:
            self.seen[what] = self.answer_to(what, "bare")
        return self.seen[what]


@contextmanager
def all_variants(server: str) -> Generator[Addresses]:
    """Run a server once a variant; they start together."""
    with ExitStack() as stack, ThreadPoolExecutor(len(VARIANTS)) as pool:
        servers = {
            variant: serving(server, app, **environment)
            for variant, (app, environment) in VARIANTS.items()
        }
        starts = {
            variant: pool.submit(stack.enter_context, context)
            for variant, context in servers.items()
        }
        yield {variant: start.result() for variant, start in starts.items()}


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest) -> Generator[Site]:
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    with all_variants(request.param) as addresses:
        yield Site(request.param, addresses, {})


def shown(answer: bytes) -> tuple[bytes, int, str]:
    """Return an answer so that two of them are compared, and shown, soon."""
    digest = hashlib.sha256(answer).hexdigest()
    return answer[:2000], len(answer), digest


@pytest.mark.parametrize("variant", ["with_receivers", "without_receivers"])
@pytest.mark.parametrize("what", REQUESTS)
def test_the_client_gets_the_same_bytes(site: Site, what: str, variant: str) -> None:
    if (site.server, what) in LEFT_OUT:
        pytest.skip(LEFT_OUT[site.server, what])
    ours = site.answer_to(what, variant)
    assert shown(ours) == shown(site.bare_answer_to(what))


def test_the_receivers_received_all_and_broke_nothing(site: Site) -> None:
    said: dict[str, t.Any] = {}
    for variant, address in site.addresses.items():
        answer_of(address, request_for("/length-right"))
        count, failures = counts_of(address)
        # A client has its answer before the server has closed it.
        end = time.monotonic() + PATIENCE_SECONDS
        while variant == "with_receivers" and not count and time.monotonic() < end:
            count, failures = counts_of(address)
        said[variant] = count > 0, failures
    assert said == {
        "bare": (False, 0),
        "with_receivers": (True, 0),
        "without_receivers": (False, 0),
    }


def counts_of(address: Address) -> tuple[int, int]:
    """Return how many exchanges have closed, and the failures of receivers."""
    answer = answer_of(address, request_for("/exchanges"))
    count, failures = answer.rpartition(b"\r\n\r\n")[2].split()
    return int(count), int(failures)


def test_a_request_is_answered_and_the_connection_closed(site: Site) -> None:
    answer = site.answer_to("GET length-right", "bare")
    assert answer.endswith(b"hello")
    assert STILL_OPEN not in answer
