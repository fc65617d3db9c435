"""Where the span is current, and that it is so nowhere else."""

from __future__ import annotations

import io
import threading
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from contextvars import copy_context
from wsgiref.util import FileWrapper

import flask
import pytest
from opentelemetry.trace import get_current_span
from opentelemetry.trace import INVALID_SPAN

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from tests.integrations.telemetry import current_id
from tests.integrations.telemetry import identity
from tests.integrations.telemetry import nothing_left
from tests.integrations.telemetry import parent
from tests.integrations.telemetry import Telemetry
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed_by_list
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

WAIT_SECONDS = 30


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    found = Telemetry()
    with nothing_left(found):
        yield found


def layered(app: WSGIApplication, telemetry: Telemetry) -> SignalMiddleware:
    # Each is a separate sender, freed with its test.
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    middleware = SignalMiddleware(application)
    telemetry.connected(middleware)
    return middleware


class Looking:
    """A body that notes the current span at each moment of its life."""

    def __init__(self, length: int = 2) -> None:
        self.seen: list[int] = []
        self._left = length

    def __iter__(self) -> Iterator[bytes]:
        self.seen.append(current_id())
        return self

    def __next__(self) -> bytes:
        self.seen.append(current_id())
        if not self._left:
            raise StopIteration
        self._left -= 1
        return b"x"

    def close(self) -> None:
        self.seen.append(current_id())


class SizedLooking(Looking):
    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("kind", [Looking, SizedLooking])
def test_span_is_current_in_each_step_of_a_body_and_never_between(
    telemetry: Telemetry, kind: type[Looking]
) -> None:
    body = kind()
    app = layered(answer_with(t.cast("t.Any", body)), telemetry)
    returned: t.Any = Server().call(app)
    for _ in returned:
        assert get_current_span() is INVALID_SPAN
    assert get_current_span() is INVALID_SPAN
    returned.close()
    assert set(body.seen) == {identity(telemetry.span())}
    assert len(body.seen) == 5


def test_length_of_a_body_is_still_reported(telemetry: Telemetry) -> None:
    app = layered(answer_with(t.cast("t.Any", SizedLooking())), telemetry)
    returned: t.Any = Server().call(app)
    assert len(returned) == 1
    returned.close()


def test_span_is_current_for_receivers_of_the_close(telemetry: Telemetry) -> None:
    seen = []

    def look(sender: object) -> None:
        seen.append(current_id())

    app = layered(streamed_by_list, telemetry)
    with exchange_closed.connected_to(look, app.sender):
        Server().serve(app)
    assert seen == [identity(telemetry.span())]


def test_span_is_current_while_what_was_acquired_is_released(
    telemetry: Telemetry,
) -> None:
    seen = []

    def acquire(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        exchange = environ["signalpost.exchange"]
        exchange.call_on_close(lambda: seen.append(current_id()))
        return streamed_by_list(environ, start_response)

    Server().serve(layered(acquire, telemetry))
    assert seen == [identity(telemetry.span())]


def test_span_of_a_generators_own_stays_its_own_over_its_steps(
    telemetry: Telemetry,
) -> None:
    seen = []

    def body() -> Iterator[bytes]:
        with telemetry.tracer.start_as_current_span("own"):
            for _ in range(3):
                seen.append(current_id())
                yield b"x"
        seen.append(current_id())
        yield b"x"

    app = layered(answer_with(body()), telemetry)
    returned: t.Any = Server().call(app)
    for _ in returned:
        assert get_current_span() is INVALID_SPAN
    returned.close()
    own, whole = identity(telemetry.span("own")), identity(telemetry.span("GET"))
    assert seen == [own, own, own, whole]
    assert parent(telemetry.span("own")) == whole


def test_client_that_leaves_within_a_span_of_the_body_leaves_nothing(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> Iterator[bytes]:
        with telemetry.tracer.start_as_current_span("own"):
            yield b"one"
            yield b"two"

    app = layered(answer_with(body()), telemetry)
    returned: t.Any = Server().call(app)
    chunks = iter(returned)
    next(chunks)
    chunks.close()
    returned.close()
    assert {one.name for one in telemetry.spans} == {"own", "GET"}
    assert get_current_span() is INVALID_SPAN
    assert caplog.records == []


def test_body_that_is_closed_unread_leaves_nothing(telemetry: Telemetry) -> None:
    body = Looking()
    app = layered(answer_with(t.cast("t.Any", body)), telemetry)
    returned: t.Any = Server().call(app)
    returned.close()
    returned.close()
    assert body.seen == [identity(telemetry.span())]


def test_close_that_fails_leaves_nothing(telemetry: Telemetry) -> None:
    class Failing(Looking):
        def close(self) -> None:
            raise LookupError

    app = layered(answer_with(t.cast("t.Any", Failing())), telemetry)
    returned: t.Any = Server().call(app)
    with pytest.raises(LookupError):
        returned.close()
    assert len(telemetry.span().events) == 1


def test_bodies_that_are_produced_in_turns_do_not_mix(telemetry: Telemetry) -> None:
    bodies = [Looking(3), Looking(5)]
    left = [*bodies]

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)
        return left.pop(0)

    app = layered(answer, telemetry)
    returned: list[t.Any] = [Server().call(app) for _ in bodies]
    steps = [iter(one) for one in returned]
    while steps:
        for one in [*steps]:
            if next(one, None) is None:
                steps.remove(one)
    for body in returned:
        body.close()
    seen = [set(body.seen) for body in bodies]
    assert seen == [{identity(one)} for one in telemetry.spans]
    assert seen[0] != seen[1]


def test_body_may_be_produced_and_closed_in_other_threads(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    body = Looking()
    app = layered(answer_with(t.cast("t.Any", body)), telemetry)
    returned: t.Any = Server().call(app)
    for step in (lambda: list(returned), returned.close):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join(WAIT_SECONDS)
    assert set(body.seen) == {identity(telemetry.span())}
    assert caplog.records == []


def test_body_may_be_closed_in_another_context(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    app = layered(answer_with(t.cast("t.Any", Looking())), telemetry)
    returned: t.Any = copy_context().run(Server().call, app)
    copy_context().run(list, returned)
    copy_context().run(returned.close)
    assert telemetry.span().end_time is not None
    assert caplog.records == []


def test_greenlets_do_not_see_each_others_spans(telemetry: Telemetry) -> None:
    gevent = pytest.importorskip("gevent", reason="gevent is not installed")
    pools = pytest.importorskip("gevent.pool")
    wrong: list[str] = []

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)
        mine = current_id()
        for _ in range(3):
            gevent.idle()
            if current_id() != mine:
                wrong.append("call")

        def body() -> Iterator[bytes]:
            for _ in range(3):
                gevent.idle()
                if current_id() != mine:
                    wrong.append("body")
                yield b"x"

        return body()

    app = layered(answer, telemetry)
    pool = pools.Pool()
    for _ in range(20):
        pool.spawn(Server().serve, app)
    try:
        assert pool.join(WAIT_SECONDS)
    finally:
        gevent.get_hub().destroy()
    assert wrong == []
    assert len(telemetry.spans) == 20


def test_thread_with_a_copied_context_has_the_span(telemetry: Telemetry) -> None:
    seen = []

    def ask(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        context = copy_context()
        thread = threading.Thread(
            target=context.run, args=(lambda: seen.append(current_id()),)
        )
        thread.start()
        thread.join(WAIT_SECONDS)
        return streamed_by_list(environ, start_response)

    Server().serve(layered(ask, telemetry))
    assert seen == [identity(telemetry.span())]


def test_generator_with_flasks_context_has_the_span(telemetry: Telemetry) -> None:
    seen = []
    app = flask.Flask(__name__)

    @app.get("/")
    def view() -> flask.Response:
        def body() -> Iterator[str]:
            for _ in range(2):
                seen.append(current_id())
                yield flask.request.path

        return flask.Response(flask.stream_with_context(body()))

    Signalpost(app)
    telemetry.connected(app)
    assert Server().serve(app) == b"//"
    assert set(seen) == {identity(telemetry.span())}


@pytest.mark.parametrize(
    "body", [[], [b"one"], (b"one",), b"one", "one"], ids=lambda one: repr(one)
)
def test_body_that_servers_look_at_is_left_as_it_is(
    telemetry: Telemetry, body: t.Any
) -> None:
    seen = []
    app = layered(answer_with(body), telemetry)
    layer = app.app

    def look(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        seen.append(layer(environ, start_response))
        return seen[0]

    app.app = look
    returned: t.Any = Server().call(app)
    if hasattr(returned, "close"):
        returned.close()
    assert seen[0] is body


def test_file_is_sent_by_the_server_itself(telemetry: Telemetry) -> None:
    def send(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))

    app = layered(send, telemetry)
    returned: t.Any = Server().call(app, **{"wsgi.file_wrapper": FileWrapper})
    assert type(returned) is FileWrapper
    returned.close()
    assert telemetry.span().end_time is not None


def test_mistaken_body_is_left_to_the_server(telemetry: Telemetry) -> None:
    app = layered(answer_with(t.cast("t.Any", 7)), telemetry)
    assert t.cast("t.Any", Server().call(app)) == 7
    assert telemetry.span().end_time is not None


def test_application_that_writes_is_recorded(telemetry: Telemetry) -> None:
    def write(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)(b"written")
        return iter(())

    assert Server().serve(layered(write, telemetry)) == b"written"
    assert telemetry.span().end_time is not None
