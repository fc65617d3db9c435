"""Responses and records that are strange: each closes like any other."""

from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from signalpost.wsgi.body import BODY_FACTORIES
from tests.integrations.serving_socket import served_by_waitress
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

Chunks = Iterable[t.Any]


class HarmError(Exception):
    pass


def harm(*arguments: object) -> t.Any:
    raise HarmError


class Harmful:
    """An object that raises whatever is done with it."""

    __str__ = __repr__ = __len__ = __bool__ = __eq__ = harm
    __hash__ = __lt__ = __ge__ = __radd__ = __rsub__ = harm
    __iter__ = None

    @property  # type: ignore[misc]
    def __class__(self) -> t.Any:
        raise HarmError


class HarmfulText(str):
    """A string whose every method raises."""

    __str__ = lower = isascii = isdigit = __eq__ = __hash__ = harm


class HarmfulList(list[t.Any]):
    __iter__ = __getitem__ = harm


def answering(
    body: Chunks, headers: t.Any = TEXT, status: t.Any = "200 OK"
) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Chunks:
        start_response(status, headers)
        return body

    return app


def closed_by(app: WSGIApplication, **environ: t.Any) -> tuple[list[t.Any], Exchange]:
    """Serve a request by a layer, and return the chunks and the closed exchange."""
    layer = SignalMiddleware(app)
    calls: list[str] = []

    def leave_a_function(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(calls.append, "called")

    with (
        capture(*EXCHANGE_SIGNALS) as sent,
        exchange_opened.connected_to(leave_a_function),
    ):
        body = t.cast("t.Any", layer(environ_of(**environ), Server().start_response))
        chunks = list(body)
        if hasattr(body, "close"):
            body.close()
    assert names(sent).count("exchange-closed") == 1
    assert names(sent)[-1] == "exchange-closed"
    assert calls == ["called"]
    assert layer.receiver_failures == 0
    exchange = exchange_of(sent)
    assert not exchange.is_open
    return chunks, exchange


# Python refuses to convert them: int() raises.
@pytest.mark.parametrize("digits", ["9" * 5000, "0" * 5000 + "5", "9" * 19])
@pytest.mark.parametrize("reads", [True, False])
def test_a_content_length_of_thousands_of_digits_closes(
    digits: str, reads: bool
) -> None:
    app = answering(iter([b"hello"]), [("Content-Length", digits)])
    with capture(*EXCHANGE_SIGNALS) as sent:
        body = t.cast("t.Any", Server().call(SignalMiddleware(app)))
        if reads:
            next(iter(body))
        body.close()
    is_whole = reads and int(digits[-18:]) == 5
    assert names(sent).count("exchange-closed") == 1
    assert exchange_of(sent).outcome == ("complete" if is_whole else "aborted")


@pytest.mark.parametrize(
    ("digits", "body_bytes"),
    [("9" * 5000, 0), ("0" * 5000 + "4", 4), ("9" * 18, int("9" * 18)), ("4", 4)],
)
def test_a_file_with_any_content_length_is_sent(digits: str, body_bytes: int) -> None:
    class Wrapped:
        def __init__(self, file: t.Any) -> None:
            self.close = file.close

        def __iter__(self) -> Iterator[bytes]:
            yield b"data"

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", digits)])
        return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](Closable([])))

    chunks, exchange = closed_by(app, **{"wsgi.file_wrapper": Wrapped})
    assert chunks == [b"data"]
    assert (exchange.outcome, exchange.body_bytes) == ("complete", body_bytes)


# Each is made in its test: pytest looks at what a test is given.
HARMFUL_HEADERS: dict[str, Callable[[], object]] = {
    "value": lambda: [("Content-Length", Harmful())],
    "name": lambda: [(Harmful(), "5"), ("Content-Length", "5")],
    "value's text": lambda: [("Content-Length", HarmfulText("5"))],
    "name's text": lambda: [(HarmfulText("Content-Length"), "5")],
    "header": lambda: [Harmful(), ("Content-Length", "5")],
    "list": lambda: HarmfulList([("Content-Length", "5")]),
    "pair": lambda: [HarmfulList(["Content-Length", "5"])],
    "all": Harmful,
    "none": lambda: None,
}


@pytest.mark.parametrize("make", HARMFUL_HEADERS.values(), ids=HARMFUL_HEADERS)
@pytest.mark.parametrize("reads", [True, False])
def test_headers_that_raise_when_they_are_read_change_nothing(
    make: Callable[[], object], reads: bool
) -> None:
    seen: list[object] = []
    headers = make()
    layer = SignalMiddleware(answering(iter([b"hello"]), headers))

    def start_response(
        status: str, headers: t.Any, exc_info: t.Any = None
    ) -> Callable[[bytes], object]:
        seen.append(headers)
        return len

    with capture(*EXCHANGE_SIGNALS) as sent:
        body = t.cast("t.Any", layer(environ_of(), start_response))
        if reads:
            assert list(body) == [b"hello"]
        body.close()
    assert seen[0] is headers
    assert names(sent)[-2:] == ["request-finished", "exchange-closed"]
    assert isinstance(sent[2]["response"].headers.items(), list)
    assert exchange_of(sent).status == 200
    assert exchange_of(sent).outcome == ("complete" if reads else "aborted")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (Harmful, None),
        (lambda: HarmfulText("200 OK"), None),
        (lambda: b"200 OK", None),
        (lambda: 200, 200),
    ],
)
def test_a_status_that_raises_when_it_is_read_is_no_status(
    make: Callable[[], object], code: int | None
) -> None:
    chunks, exchange = closed_by(answering([b"hello"], status=make()))
    assert chunks == [b"hello"]
    assert exchange.status == code


class HarmfulStatus:
    def __str__(self) -> str:
        return HarmfulText("200 OK")


def test_a_status_whose_text_is_strange_is_read_as_plain_text() -> None:
    _, exchange = closed_by(answering([b"hello"], status=HarmfulStatus()))
    assert exchange.status == 200


class Sized:
    """A body with a length, which is no list."""

    def __init__(self, chunks: list[t.Any]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[t.Any]:
        return iter(self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)


class HarmfulChunk(bytes):
    __len__ = __bool__ = harm


each_body = pytest.mark.parametrize("kind", [list, iter, Sized], ids=str)


ODD_CHUNKS: dict[str, Callable[[], object]] = {
    "None": lambda: None,
    "0": lambda: 0,
    "7": lambda: 7,
    "object": Harmful,
    "bytes": lambda: HarmfulChunk(b"odd"),
}


@each_body
@pytest.mark.parametrize("make", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
def test_a_chunk_without_a_length_is_passed_on_and_not_counted(
    kind: Callable[[list[t.Any]], Chunks], make: Callable[[], object]
) -> None:
    odd = make()
    given = [odd, b"one", odd, b"two", odd]
    chunks, exchange = closed_by(answering(kind(given)))
    assert [id(chunk) for chunk in chunks] == [id(chunk) for chunk in given]
    assert (exchange.outcome, exchange.body_bytes) == ("complete", 6)
    assert exchange.seconds_to_first_byte is not None


@each_body
def test_a_body_of_odd_chunks_only_has_no_first_byte(
    kind: Callable[[list[t.Any]], Chunks],
) -> None:
    _, exchange = closed_by(answering(kind([None, 0, b"", HarmfulChunk(b"odd")])))
    assert (exchange.outcome, exchange.body_bytes) == ("complete", 0)
    assert exchange.seconds_to_first_byte is None


def test_a_list_of_odd_chunks_that_is_never_closed_is_counted() -> None:
    app = SignalMiddleware(answering([None, b"one", 0, HarmfulChunk(b"odd")]))
    with capture(exchange_closed) as sent:
        body = Server().call(app)
        del body
        gc.collect()
    assert (exchange_of(sent).outcome, exchange_of(sent).body_bytes) == ("complete", 3)


def test_a_written_chunk_without_a_length_is_passed_on() -> None:
    class Noting(Server):
        def _write(self, data: object) -> None:
            written.append(data)

    written: list[object] = []
    odd = HarmfulChunk(b"odd")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(odd)
        write(b"one")
        return [b"two"]

    with capture(exchange_closed) as sent:
        body = t.cast("t.Any", Noting().call(SignalMiddleware(app)))
        assert list(body) == [b"two"]
        body.close()
    assert written == [odd, b"one"]
    assert exchange_of(sent).body_bytes == 6


class HostileError(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> t.Any:
        raise HarmError

    __str__ = __repr__ = __eq__ = __bool__ = harm
    __hash__ = None  # type: ignore[assignment]


class HostileStop(StopIteration):
    @property  # type: ignore[misc]
    def __class__(self) -> t.Any:
        raise HarmError


def raised_by(serve: Callable[[], object]) -> Exception | None:
    """Return what is raised, without asking it anything, as pytest.raises() does."""
    try:
        serve()
    except Exception as error:  # noqa: BLE001  # the test looks at which
        return error
    return None


@pytest.mark.parametrize("where", ["call", "iteration", "close"])
def test_an_exception_whose_class_raises_is_recorded_and_raised(where: str) -> None:
    error = HostileError()

    class Body(Closable):
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            if where == "iteration":
                raise error

    body = Body([], error if where == "close" else None)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        if where == "call":
            raise error
        return body

    with capture(got_request_exception, exchange_closed) as sent:
        assert raised_by(lambda: Server().serve(SignalMiddleware(app))) is error
    assert names(sent) == ["got-request-exception", "exchange-closed"]
    assert sent[0]["exception"] is error
    assert sent[0]["where"] == where
    assert exchange_of(sent).outcome == "error"
    assert body.closed == (where != "call")


def test_a_stop_iteration_is_known_without_asking_it() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise HostileStop

    with capture(exchange_closed) as sent, pytest.raises(StopIteration):
        Server().call(SignalMiddleware(app))
    assert exchange_of(sent).outcome == "hijacked"


def test_a_receiver_whose_exception_has_no_class_is_isolated() -> None:
    def fail(sender: object) -> None:
        raise HostileError

    layer = SignalMiddleware(answering([b"one"]))
    with request_started.connected_to(fail), capture(exchange_closed) as sent:
        assert Server().serve(layer) == b"one"
    assert exchange_of(sent).outcome == "complete"
    assert layer.receiver_failures == 1


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, other: object) -> bool:
        raise HarmError


class Alike(type):
    """A metaclass whose classes have equal hashes and are equal."""

    def __hash__(cls) -> int:
        return 1

    def __eq__(cls, other: object) -> bool:
        return isinstance(other, Alike)


class Answering(type):
    """A metaclass with an answer to every name, and with its own methods."""

    def __getattr__(cls, name: str) -> t.Any:
        return harm

    __iter__ = __getitem__ = __len__ = harm


class Raising(type):
    def __getattribute__(cls, name: str) -> t.Any:
        raise HarmError


def made_by(meta: type[type], *bases: type, **members: t.Any) -> t.Any:
    return meta("Made", bases, members)


each_meta = pytest.mark.parametrize("meta", [Unhashable, Alike, Answering, Raising])


@each_meta
def test_a_body_of_a_class_with_an_odd_metaclass_is_passed_on(meta: type[type]) -> None:
    iterable = made_by(meta, __iter__=lambda self: iter([b"one", b"two"]))()
    sized = made_by(
        meta, __iter__=lambda self: iter([b"one"]), __len__=lambda self: 1
    )()
    listed = made_by(meta, list)([b"one", b"two"])
    old = made_by(meta, __getitem__=lambda self, place: [b"one", b"two"][place])()
    for _ in range(2):
        for body, count in ((iterable, 2), (sized, 1), (listed, 2), (old, 2)):
            chunks, exchange = closed_by(answering(body))
            assert len(chunks) == count
            assert (exchange.outcome, exchange.body_bytes) == ("complete", 3 * count)


@each_meta
def test_a_length_is_the_bodys_own(meta: type[type]) -> None:
    unsized = made_by(meta, __iter__=lambda self: iter([b"one"]))()
    sized = made_by(
        meta, __iter__=lambda self: iter([b"one"]), __len__=lambda self: 1
    )()
    with capture(exchange_closed):
        for body, has_length in ((unsized, False), (sized, True)):
            returned = Server().call(SignalMiddleware(answering(body)))
            assert hasattr(type(returned), "__len__") == has_length


@each_meta
def test_what_cannot_be_iterated_reaches_the_server_as_it_is(meta: type[type]) -> None:
    for members in ({}, {"__iter__": None, "__getitem__": None}, {"__bool__": harm}):
        body = made_by(meta, **members)()
        with capture(exchange_closed) as sent:
            assert Server().call(SignalMiddleware(answering(body))) is body
        assert exchange_of(sent).outcome == "error"


def test_a_body_without_a_class_reaches_the_server_as_it_is() -> None:
    body = t.cast("Chunks", Harmful())
    with capture(exchange_closed) as sent:
        assert Server().call(SignalMiddleware(answering(body))) is body
        Server().call(SignalMiddleware(lambda environ, start_response: body))
    assert [one["exchange"].outcome for one in sent] == ["error", "error"]


def test_a_list_that_makes_its_chunks_makes_them_for_the_server() -> None:
    made: list[int] = []

    class Lazy(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            for chunk in list.__iter__(self):
                made.append(1)
                yield chunk.upper()

    with capture(exchange_closed) as sent:
        body = t.cast("t.Any", Server().call(SignalMiddleware(answering(Lazy([b"a"])))))
        assert made == []
        assert issubclass(type(body), list)
        assert body == [b"a"]
        assert list(iter(body)) == [b"A"]
        body.close()
    assert (exchange_of(sent).outcome, exchange_of(sent).body_bytes) == ("complete", 1)


def test_a_class_made_in_a_request_is_freed_with_it() -> None:
    made: list[weakref.ref[type]] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Chunks:
        class Body:
            # What a class made in a view keeps of its request.
            request = environ

            def __iter__(self) -> Iterator[bytes]:
                return iter([b"one"])

        made.append(weakref.ref(Body))
        start_response("200 OK", TEXT)
        return Body()

    layer = SignalMiddleware(app)
    with capture(exchange_closed) as sent:
        for _ in range(100):
            Server().serve(layer)
    gc.collect()
    assert [one["exchange"].outcome for one in sent] == ["complete"] * 100
    assert [one for one in made if one() is not None] == []
    assert len(BODY_FACTORIES) < 64


def test_many_classes_that_live_on_leave_a_bounded_table() -> None:
    kinds = [
        type(f"Body{number}", (Closable,), {"number": number}) for number in range(1000)
    ]
    for kind in kinds:
        chunks, exchange = closed_by(answering(kind([b"one"])))
        assert (chunks, exchange.outcome) == ([b"one"], "complete")
    assert len(BODY_FACTORIES) <= 64


@pytest.fixture
def only_when_asked() -> Iterator[None]:
    """Let garbage be collected by the test alone: all that it makes stays young."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("only_when_asked")
def test_a_class_in_the_place_of_a_freed_one_is_taken_for_itself() -> None:
    places = set[int]()
    bodies: Iterator[Chunks] = iter(())
    layer = SignalMiddleware(lambda environ, start_response: next(bodies))
    for number in range(200):
        members: dict[str, t.Any] = {"__iter__": lambda self: iter([b"one"])}
        if number % 2:
            members["__len__"] = lambda self: 1
        kind = type("Made", (), members)
        places.add(id(kind))
        bodies = iter([kind()])
        del members, kind
        with capture(exchange_closed):
            returned = Server().call(layer)
            assert hasattr(type(returned), "__len__") == bool(number % 2)
            del returned
        bodies = iter(())
        gc.collect(0)
    assert len(places) < 100


FIELDS = (
    "body_bytes",
    "body_bytes_exact",
    "duration_seconds",
    "exception",
    "method",
    "outcome",
    "outer",
    "path",
    "route",
    "script_name",
    "seconds_to_first_byte",
    "seconds_to_headers",
    "sender",
    "start",
    "started_at",
    "status",
)
each_field = pytest.mark.parametrize("field", FIELDS)
each_value = pytest.mark.parametrize(
    "make", [lambda: None, str, list, Harmful], ids=["None", "str", "list", "object"]
)


def setting(field: str, value: object) -> Callable[..., None]:
    def set_field(sender: object, exchange: Exchange) -> None:
        setattr(exchange, field, value)

    return set_field


@each_value
@each_field
@pytest.mark.parametrize("kind", [list, iter, Sized], ids=str)
def test_no_field_that_a_receiver_sets_loses_the_close(
    kind: Callable[[list[bytes]], Chunks], field: str, make: Callable[[], object]
) -> None:
    receiver = setting(field, make())
    for signal in (exchange_opened, request_started, request_finished):
        for reads in (True, False):
            server = Server()
            calls: list[int] = []
            closed: list[object] = []

            def leave(
                sender: object, exchange: Exchange, calls: list[int] = calls
            ) -> None:
                exchange.call_on_close(calls.append, 1)

            def note(
                sender: object, exchange: Exchange, closed: list[object] = closed
            ) -> None:
                closed.append(exchange)

            layer = SignalMiddleware(answer_with(kind([b"one", b"two"])))
            with (
                exchange_opened.connected_to(leave),
                signal.connected_to(receiver),
                exchange_closed.connected_to(note),
            ):
                body = t.cast("t.Any", server.call(layer))
                assert (b"".join(body) == b"onetwo") if reads else True
                body.close()
            assert (server.status, server.headers) == ("200 OK", TEXT)
            assert (len(closed), calls) == (1, [1])
            assert layer.receiver_failures == 0


@each_field
def test_no_field_that_a_receiver_sets_changes_a_file(field: str) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](File()))

    class File(Closable):
        def __init__(self) -> None:
            super().__init__([b"data"])

    class Wrapped:
        def __init__(self, file: t.Any) -> None:
            self.close = file.close

        def __iter__(self) -> Iterator[bytes]:
            yield b"data"

    layer = SignalMiddleware(app)
    with (
        exchange_opened.connected_to(setting(field, Harmful())),
        capture(exchange_closed) as sent,
    ):
        body: t.Any = Server().call(layer, **{"wsgi.file_wrapper": Wrapped})
        assert type(body) is Wrapped
        assert list(body) == [b"data"]
        body.close()
    assert len(sent) == 1


@each_field
def test_no_field_that_a_receiver_sets_hides_an_error(field: str) -> None:
    error = LookupError("no")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    with (
        exchange_opened.connected_to(setting(field, Harmful())),
        capture(exchange_closed) as sent,
        pytest.raises(LookupError) as raised,
    ):
        Server().call(SignalMiddleware(app))
    assert raised.value is error
    assert len(sent) == 1


def test_a_function_without_a_name_that_fails_on_close_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Function(Harmful):
        def __call__(self) -> None:
            raise HarmError

        def __getattribute__(self, name: str) -> t.Any:
            raise HarmError

    calls: list[int] = []

    def leave(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(calls.append, 1)
        exchange.call_on_close(Function())

    with exchange_opened.connected_to(leave), caplog.at_level(logging.ERROR):
        assert Server().serve(SignalMiddleware(answering([b"one"]))) == b"one"
    assert calls == [1]
    assert "Function object failed on close" in caplog.text


def test_waitress_serves_an_odd_response_as_without_us() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return t.cast(
            "Iterable[bytes]",
            made_by(Unhashable, __iter__=lambda self: iter([b"one", b"two"]))(),
        )

    bodies: list[bytes] = []
    receiver = setting("body_bytes", None)
    with capture(exchange_closed, sender=app), exchange_opened.connected_to(receiver):
        for served in (app, SignalMiddleware(app)):
            with served_by_waitress(served) as client:
                bodies.append(client.get("/"))
    assert bodies == [b"onetwo"] * 2
