"""The records of OpenTelemetry's own instrumentations of the same requests.

Run as a module, it prints the records of each: in a separate process, as they read
which conventions to follow once in a process.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from types import MappingProxyType

import flask
import pytest
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import ReadableSpan

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from tests.integrations.telemetry import about
from tests.integrations.telemetry import current_id
from tests.integrations.telemetry import identity
from tests.integrations.telemetry import Telemetry
from tests.integrations.telemetry import TRACEPARENT
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "tracing.rst"
BODY_SECONDS = 0.1
NONE = "–"

Facts = dict[str, str]
Serve = Callable[[t.Any], object]


class Request(t.NamedTuple):
    """One request, and how it is served."""

    page: str = "items"
    environ: t.Mapping[str, t.Any] = MappingProxyType({})
    chunks: int | None = None
    """After how many chunks the client leaves; ``None`` if it stays."""
    needs_flask: bool = True


REQUESTS = {
    "plain": Request(),
    "no route": Request("wp-admin"),
    "status 500": Request("status"),
    "exception": Request("fail"),
    "worker's timeout": Request("leave"),
    "stream": Request("stream"),
    "stream that fails": Request("stream-and-fail"),
    "client leaves": Request("stream", chunks=1),
    "client leaves at once": Request("stream", chunks=0),
    "unknown method": Request(environ={"REQUEST_METHOD": "BREW"}),
    "remote parent": Request(environ={"HTTP_TRACEPARENT": TRACEPARENT}),
    "query string": Request(
        environ={"QUERY_STRING": "token=secret", "RAW_URI": "/items/3?token=secret"}
    ),
    "refused before": Request(environ={"HTTP_X_REFUSE": "yes"}),
    "mounted": Request(environ={"SCRIPT_NAME": "/shop"}),
    "late start": Request(needs_flask=False),
}


class Timing:
    """The current spans while a body is produced, and the duration of each part."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.began = self.returned = self.ended = time.perf_counter()

    def step(self) -> None:
        self.ids.append(current_id())
        self.ended = time.perf_counter()

    def call(self, app: WSGIApplication, environ: WSGIEnvironment) -> t.Any:
        self.began = time.perf_counter()
        try:
            return app(environ, Server().start_response)
        finally:
            self.returned = self.ended = time.perf_counter()

    def told(self, seconds: float) -> str:
        """Return whether a duration includes the body, and not only the call."""
        middle = self.returned + (self.ended - self.returned) / 2 - self.began
        is_long = len(self.ids) > 1 and seconds > middle
        return "with the body" if is_long else "without a body"


def flask_application(seen: Timing) -> flask.Flask:
    app = flask.Flask(__name__)

    def item(number: int) -> str:
        return "item"

    def status(number: int) -> tuple[str, int]:
        return "sorry", 500

    def fail(number: int) -> t.Any:
        raise LookupError("no such thing")

    def leave(number: int) -> t.Any:
        raise SystemExit

    def stream(number: int) -> flask.Response:
        return flask.Response(chunks())

    def stream_and_fail(number: int) -> flask.Response:
        return flask.Response(chunks(LookupError("no such thing")))

    def chunks(error: Exception | None = None) -> Iterator[bytes]:
        for _ in range(2):
            time.sleep(BODY_SECONDS / 2)
            seen.step()
            yield b"x"
        if error is not None:
            raise error

    def refuse() -> t.Any:
        return ("refused", 403) if "X-Refuse" in flask.request.headers else None

    app.before_request(refuse)
    app.add_url_rule("/items/<int:number>", view_func=item)
    for view in (status, fail, leave, stream, stream_and_fail):
        page = view.__name__.replace("_", "-")
        app.add_url_rule(f"/{page}/<int:number>", view_func=view)
    return app


def late_application(seen: Timing) -> WSGIApplication:
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        seen.step()
        start_response("200 OK", TEXT)
        yield b"late"

    return application


def watched_by_us(app: t.Any, telemetry: Telemetry) -> WSGIApplication:
    if not isinstance(app, flask.Flask):
        app = SignalMiddleware(app)
    else:
        Signalpost(app)
    telemetry.connected(app)
    return t.cast("WSGIApplication", app)


def watched_by_flasks(app: t.Any, telemetry: Telemetry) -> WSGIApplication:
    package = importlib.import_module("opentelemetry.instrumentation.flask")
    package.FlaskInstrumentor().instrument_app(
        app,
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
    )
    return t.cast("WSGIApplication", app)


def watched_by_wsgis(app: t.Any, telemetry: Telemetry) -> WSGIApplication:
    package = importlib.import_module("opentelemetry.instrumentation.wsgi")
    return t.cast(
        "WSGIApplication",
        package.OpenTelemetryMiddleware(
            app,
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
        ),
    )


WATCHERS = (watched_by_us, watched_by_flasks, watched_by_wsgis)


def facts_of(
    request: Request, watch: Callable[[t.Any, Telemetry], WSGIApplication]
) -> Facts:
    """Serve a request, and return all records of it."""
    telemetry = Telemetry()
    seen = Timing()
    app: t.Any
    if request.needs_flask:
        app = flask_application(seen)
    elif watch is watched_by_flasks:
        return {}
    else:
        app = late_application(seen)
    serve(watch(app, telemetry), request, seen)
    is_left = bool(get_current())
    facts = {"what is left current": "a span" if is_left else NONE}
    spans = telemetry.spans
    facts["spans begun and ended"] = f"{telemetry.begun} and {len(spans)}"
    if spans:
        facts |= facts_of_span(spans[0], seen)
    facts |= facts_of_metrics(telemetry, seen)
    return {key: _generalised(value, request) for key, value in facts.items()}


def _generalised(value: str, request: Request) -> str:
    """Write the same for each page."""
    value = value.replace(f"/{request.page}/<int:number>", " route")
    value = value.replace(f"/{request.page}/3", " path").replace("/shop", " mount")
    return " ".join(value.split())


def serve(app: WSGIApplication, request: Request, seen: Timing) -> None:
    environ = environ_of(f"/{request.page}/3")
    environ |= request.environ
    environ |= {"REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "50000"}
    environ |= {"HTTP_USER_AGENT": "tests", "HTTP_HOST": "shop.example:8080"}
    environ |= {"SERVER_PROTOCOL": "HTTP/1.1", "SERVER_PORT": "8080"}
    try:
        body = seen.call(app, environ)
    except SystemExit:
        return
    try:
        chunks = iter(body)
        for number in range(9):
            if number == request.chunks:
                break
            next(chunks)
    except (LookupError, StopIteration):
        pass
    finally:
        body.close()
        gc.collect()


def facts_of_span(span: ReadableSpan, seen: Timing) -> Facts:
    attributes = {key: str(value) for key, value in about(span).items()}
    is_current = all(one == identity(span) for one in seen.ids)
    return {
        **attributes,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "parent": NONE if span.parent is None else "the client's",
        "status": span.status.status_code.name.lower(),
        "exceptions recorded": str(len(span.events)),
        "duration": seen.told(((span.end_time or 0) - (span.start_time or 0)) / 1e9),
        **({"current in the body": "yes" if is_current else "no"} if seen.ids else {}),
    }


def facts_of_metrics(telemetry: Telemetry, seen: Timing) -> Facts:
    """Return the values of the metrics, which are about one request."""
    name = "http.server.request.duration"
    points = telemetry.points(name)
    active = [value for _, value in telemetry.points("http.server.active_requests")]
    facts = {
        "metric: requests": str(sum(count for _, count in points)),
        "metric: still active": str(sum(active)),
    }
    for labels, _ in points:
        facts |= {f"metric: {key}": str(value) for key, value in labels.items()}
    if points:
        facts["metric: duration"] = seen.told(telemetry.total(name))
    return facts


def all_facts() -> dict[str, list[Facts]]:
    return {
        name: [copy_context().run(facts_of, request, watch) for watch in WATCHERS]
        for name, request in REQUESTS.items()
    }


Row = tuple[str, str, str, str, str]


def differences(found: dict[str, list[Facts]]) -> set[Row]:
    """Return the differences; of other requests, if not as of a plain one."""
    rows: set[Row] = set()
    plain = found["plain"]
    for name, facts in found.items():
        for key in {key for one in facts for key in one}:
            told = [one.get(key, NONE) for one in facts]
            usual = [one.get(key, NONE) for one in plain]
            # An instrumentation without the span, or the metric, has nothing else.
            telling = [number for number, one in enumerate(facts) if is_told(key, one)]
            is_usual = all(told[number] == usual[number] for number in telling)
            is_one = len({told[number] for number in telling}) < 2
            if not is_one and (name == "plain" or not is_usual):
                ours, flasks, wsgis = told
                rows.add((name, key, ours, flasks, wsgis))
    return rows


def is_told(key: str, facts: Facts) -> bool:
    """Return whether an instrumentation records the subject of a fact at all."""
    if key == "spans begun and ended" or key == "what is left current":
        return bool(facts)
    if key == "metric: requests":
        return bool(facts)
    if key.startswith("metric: "):
        return facts.get("metric: requests", "0") != "0"
    return "name" in facts


@pytest.fixture(scope="module")
def found() -> dict[str, list[Facts]]:
    for name in ("flask", "wsgi"):
        if importlib.util.find_spec(f"opentelemetry.instrumentation.{name}") is None:
            pytest.skip(f"opentelemetry-instrumentation-{name} is not installed")
    printed = subprocess.run(
        [sys.executable, "-m", "tests.integrations.test_opentelemetry_compared"],
        cwd=ROOT,
        env={**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http"},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    facts: dict[str, list[Facts]] = json.loads(printed.stdout)
    return facts


def test_each_difference_is_in_the_docs_with_its_reason(
    found: dict[str, list[Facts]],
) -> None:
    told = documented()
    assert set(told) == differences(found)
    assert all(told.values())


def documented() -> dict[Row, str]:
    """Return the rows of the page's table, and the reason that each gives."""
    text = PAGE.read_text(encoding="utf-8").partition("Differences from OpenTelemetry")[
        2
    ]
    text = text.partition(":header-rows: 1")[2]
    rows: dict[Row, str] = {}
    for row in re.split(r"^   \* - ", text, flags=re.MULTILINE)[2:]:
        cells = re.split(r"^     - ", row.partition("\n\n")[0], flags=re.MULTILINE)
        request, fact, ours, flasks, wsgis, why = (
            " ".join(cell.replace("``", "").split()) for cell in cells
        )
        rows[request, fact, ours, flasks, wsgis] = why
    return rows


if __name__ == "__main__":
    sys.stdout.write(json.dumps(all_facts()))
