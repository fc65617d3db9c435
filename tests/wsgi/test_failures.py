from __future__ import annotations

import contextlib
import contextvars
import gc
import logging
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import EXCHANGE_KEY
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

each_signal = pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda x: x.name)
# Without the one that is sent only when something else fails.
each_sure_signal = pytest.mark.parametrize(
    "signal",
    [one for one in EXCHANGE_SIGNALS if one is not got_request_exception],
    ids=lambda one: one.name,
)


class HarmError(Exception):
    pass


def harmful(sender: object, **extra: t.Any) -> None:
    raise HarmError


def failing_body(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    raise LookupError


def serve(app: WSGIApplication, times: int) -> None:
    for _ in range(times):
        Server().serve(app)


class Records:
    """The records of failures, without the memory of all the tracebacks."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def all(self) -> list[logging.LogRecord]:
        return [r for r in self._caplog.records if r.name == "signalpost.signals"]

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.all()]

    def kinds(self) -> list[str]:
        return [
            record.exc_info[0].__name__
            for record in self.all()
            if record.exc_info is not None and record.exc_info[0] is not None
        ]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Records:
    return Records(caplog)


def test_a_failure_is_logged_each_time_that_there_are_ten_times_as_many(
    records: Records,
) -> None:
    middleware = SignalMiddleware(hello)
    logged_at: list[int] = []
    with exchange_opened.connected_to(harmful):
        for number in range(1, 1102):
            before = len(records.all())
            Server().serve(middleware)
            if len(records.all()) > before:
                logged_at.append(number)
    assert logged_at == [1, 10, 100, 1000]
    assert middleware.receiver_failures == 1101
    assert records.kinds() == ["HarmError"] * 4
    for text in records.texts():
        assert "exchange-opened" in text
        assert "harmful" in text
    counted = zip(records.texts()[1:], ("10th", "100th", "1000th"), strict=True)
    assert all(count in text for text, count in counted)
    traces = [record.exc_info[2] for record in records.all() if record.exc_info]
    assert None not in traces


def test_two_kinds_of_exceptions_are_distinguished(records: Records) -> None:
    errors = iter([LookupError(), HarmError(), LookupError(), HarmError()] * 5)

    def various(sender: object) -> None:
        raise next(errors)

    with exchange_opened.connected_to(various):
        serve(SignalMiddleware(hello), 20)
    assert records.kinds() == ["LookupError", "HarmError"] * 2


def test_two_receivers_do_not_share_their_counts(records: Records) -> None:
    def other(sender: object) -> None:
        raise HarmError

    middleware = SignalMiddleware(hello)
    with exchange_opened.connected_to(harmful), exchange_opened.connected_to(other):
        serve(middleware, 6)
    assert middleware.receiver_failures == 12
    assert len(records.all()) == 2


def test_the_same_receiver_of_two_signals_is_counted_for_each(
    records: Records,
) -> None:
    with (
        exchange_opened.connected_to(harmful),
        exchange_closed.connected_to(harmful),
    ):
        serve(SignalMiddleware(hello), 6)
    assert [text.split("'")[1] for text in records.texts()] == [
        "exchange-opened",
        "exchange-closed",
    ]


def test_a_receiver_that_is_connected_again_is_counted_again(records: Records) -> None:
    middleware = SignalMiddleware(hello)
    for _ in range(2):
        with exchange_opened.connected_to(harmful):
            serve(middleware, 5)
    assert len(records.all()) == 2
    assert middleware.receiver_failures == 10


def test_two_middlewares_count_for_themselves(records: Records) -> None:
    one, other = SignalMiddleware(hello), SignalMiddleware(hello)
    with exchange_opened.connected_to(harmful):
        serve(one, 3)
        serve(other, 4)
    assert (one.receiver_failures, other.receiver_failures) == (3, 4)


def made_up(number: int) -> type[Exception]:
    return type(f"Made{number}Error", (Exception,), {})


def test_made_up_kinds_of_exceptions_neither_flood_the_log_nor_stay(
    records: Records,
) -> None:
    kinds: list[weakref.ref[type[Exception]]] = []

    def inventive(sender: object) -> None:
        kind = made_up(len(kinds))
        kinds.append(weakref.ref(kind))
        raise kind

    middleware = SignalMiddleware(hello)
    with exchange_opened.connected_to(inventive):
        serve(middleware, 1000)
        logged = len(records.all())
        gc.collect()
        alive = [kind for kind in kinds if kind() is not None]
    assert middleware.receiver_failures == 1000
    assert logged <= 20
    # A handler that keeps records keeps the exception.
    assert len(alive) <= logged


def test_a_known_kind_is_distinguished_after_many_others(records: Records) -> None:
    errors = iter([HarmError() for _ in range(9)] + [made_up(n)() for n in range(40)])

    def inventive(sender: object) -> None:
        raise next(errors, HarmError())

    middleware = SignalMiddleware(hello)
    with exchange_opened.connected_to(inventive):
        serve(middleware, 49)
        before = len(records.all())
        serve(middleware, 1)
    assert [text[-30:] for text in records.texts()[before:]] == [
        "for the 10th time with HarmError"[-30:]
    ]


def test_counts_of_a_receiver_connected_twice_outlast_others(
    records: Records,
) -> None:
    middleware = SignalMiddleware(hello)
    with (
        exchange_opened.connected_to(harmful),
        exchange_opened.connected_to(harmful, middleware.sender),
    ):
        for _ in range(9):
            with capture(exchange_opened):
                serve(middleware, 1)
    assert middleware.receiver_failures == 9
    assert len(records.all()) == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@each_sure_signal
def test_what_is_no_exception_goes_through_from_any_receiver(
    signal: t.Any, error: type[BaseException]
) -> None:
    def leave(sender: object, **extra: t.Any) -> None:
        raise error

    environ = environ_of()
    middleware = SignalMiddleware(hello)
    with (
        capture(exchange_closed) as sent,
        signal.connected_to(leave),
        pytest.raises(error),
    ):
        close_served(middleware, environ)
    assert len(sent) == 1
    assert not exchange_of(sent).is_open
    assert EXCHANGE_KEY not in environ
    assert middleware.receiver_failures == 0


def close_served(app: WSGIApplication, environ: WSGIEnvironment) -> None:
    """Serve a request of which the test keeps the environment."""
    # In a separate context: what an exit leaves there is another test's matter.
    contextvars.Context().run(_close_served, app, environ)


def _close_served(app: WSGIApplication, environ: WSGIEnvironment) -> None:
    body = app(environ, Server().start_response)
    try:
        b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def failing_call(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    raise LookupError


def failing_close(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return Closable([b"one"], LookupError())


each_place = pytest.mark.parametrize("app", [failing_call, failing_body, failing_close])


@each_place
@pytest.mark.parametrize("strict", [True, False])
def test_an_exit_in_got_request_exception_still_closes(
    app: WSGIApplication, strict: bool
) -> None:
    def leave(sender: object, **extra: t.Any) -> None:
        raise SystemExit

    environ = environ_of()
    with (
        capture(exchange_closed) as sent,
        got_request_exception.connected_to(leave),
        pytest.raises(SystemExit),
    ):
        close_served(SignalMiddleware(app, strict=strict), environ)
    assert len(sent) == 1
    assert not exchange_of(sent).is_open
    assert EXCHANGE_KEY not in environ


@each_place
def test_strict_lets_a_failure_in_got_request_exception_through(
    app: WSGIApplication,
) -> None:
    environ = environ_of()
    with (
        capture(exchange_closed) as sent,
        got_request_exception.connected_to(harmful),
        pytest.raises(HarmError),
    ):
        close_served(SignalMiddleware(app, strict=True), environ)
    assert len(sent) == 1
    assert not exchange_of(sent).is_open
    assert EXCHANGE_KEY not in environ


@each_sure_signal
@pytest.mark.parametrize("chunks", [[], [b"one"], (b"one",)], ids=repr)
def test_strict_lets_a_failure_through_and_closes_the_exchange(
    signal: t.Any, chunks: Iterable[bytes]
) -> None:
    environ = environ_of()
    with (
        capture(exchange_closed) as sent,
        signal.connected_to(harmful),
        pytest.raises(HarmError),
    ):
        close_served(SignalMiddleware(answer_with(chunks), strict=True), environ)
    assert len(sent) == 1
    assert not exchange_of(sent).is_open
    assert EXCHANGE_KEY not in environ


def test_strict_closes_the_applications_body_whatever_a_receiver_raises() -> None:
    body = Closable([b"one"])
    with exchange_closed.connected_to(harmful), pytest.raises(HarmError):
        close_served(SignalMiddleware(answer_with(body), strict=True), environ_of())
    assert body.closed == 1


def mutate(sender: object, **extra: t.Any) -> None:
    extra.clear()
    extra["exchange"] = extra["environ"] = None


def send_again(signal: t.Any) -> Callable[..., None]:
    depth = 0

    def again(sender: object, **extra: t.Any) -> None:
        nonlocal depth
        if depth < 3:
            depth += 1
            signal.send(sender, **extra)
            depth -= 1

    return again


def send_without_end(sender: object, **extra: t.Any) -> None:
    payload = {name: extra[name] for name in ("environ", "exchange")}
    request_started.send(sender, **payload)


def connect_others(signal: t.Any) -> Callable[..., None]:
    def other(sender: object, **extra: t.Any) -> None:
        for one in EXCHANGE_SIGNALS:
            one.disconnect(other)

    def busy(sender: object, **extra: t.Any) -> None:
        for one in EXCHANGE_SIGNALS:
            one.connect(other)
        signal.disconnect(busy)
        signal.connect(busy)

    return busy


TROUBLE: dict[str, Callable[[t.Any], Callable[..., None]]] = {
    "raises": lambda _: harmful,
    "mutates": lambda _: mutate,
    "connects": connect_others,
    "sends": send_again,
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize("fails", [False, True])
@each_signal
def test_no_receiver_changes_what_the_client_gets(
    signal: t.Any, fails: bool, trouble: Callable[[t.Any], Callable[..., None]]
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        if fails:
            raise LookupError

    class Once(Closable):
        def __iter__(self) -> Iterator[bytes]:
            return chunks()

    body = Once([])
    receiver = trouble(signal)
    server = Server()
    received: list[object] = []

    def receive(sender: object, exchange: object) -> None:
        received.append(exchange)

    middleware = SignalMiddleware(answer_with(body))
    with exchange_closed.connected_to(receive), signal.connected_to(receiver):
        returned = t.cast("t.Any", server.call(middleware))
        with contextlib.suppress(LookupError):
            for chunk in returned:
                server.written += chunk
        returned.close()
        returned.close()
    assert (server.status, server.headers, server.written) == ("200 OK", TEXT, b"one")
    assert body.closed == 1
    assert len(set(map(id, received))) == 1
    # Three times more are the receiver's own.
    is_sent_again = trouble is send_again and signal is exchange_closed
    assert len(received) == (4 if is_sent_again else 1)
    assert t.cast("t.Any", received[0]).outcome == ("error" if fails else "complete")


def test_a_receiver_that_sends_its_own_signal_without_end_fails_alone(
    records: Records,
) -> None:
    middleware = SignalMiddleware(hello)
    with (
        request_started.connected_to(send_without_end),
        capture(exchange_closed) as sent,
    ):
        assert Server().serve(middleware) == b"hello"
    assert names(sent) == ["exchange-closed"]
    assert middleware.receiver_failures == 1
    assert records.kinds() == ["RecursionError"]


def test_a_mutated_payload_is_whole_for_the_next_receiver() -> None:
    with exchange_opened.connected_to(mutate), capture(exchange_opened) as sent:
        Server().serve(SignalMiddleware(hello))
    assert set(sent[0].payload) == {"environ", "exchange"}
    assert None not in sent[0].payload.values()


def test_a_receiver_disconnected_by_another_is_not_called() -> None:
    called: list[str] = []

    def second(sender: object) -> None:
        called.append("second")

    def first(sender: object) -> None:
        called.append("first")
        exchange_opened.disconnect(second)

    with exchange_opened.connected_to(first), exchange_opened.connected_to(second):
        serve(SignalMiddleware(hello), 2)
    assert called == ["first", "first"]


def test_a_failure_whose_text_cannot_be_made_is_only_a_failure(
    records: Records,
) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise HarmError

        __repr__ = __str__

    def speechless(sender: object) -> None:
        raise MuteError

    middleware = SignalMiddleware(hello)
    with exchange_opened.connected_to(speechless):
        assert Server().serve(middleware) == b"hello"
    assert records.kinds() == ["MuteError"]
