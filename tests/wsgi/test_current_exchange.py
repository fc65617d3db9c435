from __future__ import annotations

import contextvars
import gc
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from signalpost import SignalMiddleware
from signalpost._current import context_exchange
from signalpost._current import producing
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from tests.wsgi.current import Moments
from tests.wsgi.current import path_now
from tests.wsgi.current import receive
from tests.wsgi.current import recorded_and_taken_back
from tests.wsgi.current import WAIT_SECONDS
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    with recorded_and_taken_back():
        yield


class Asking:
    """A body that asks at each of its steps, and is its own iterator."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._rest = iter((b"one", b"two"))

    def __iter__(self) -> Iterator[bytes]:
        self._moments.append(("iter", path_now()))
        return self

    def __next__(self) -> bytes:
        self._moments.append(("next", path_now()))
        return next(self._rest)

    def close(self) -> None:
        self._moments.append(("close", path_now()))


def streaming(moments: Moments | None = None, chunks: int = 3) -> SignalMiddleware:
    """Return an application whose body yields the current exchange with each chunk."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        try:
            for _ in range(chunks):
                yield str(path_now()).encode()
        finally:
            if moments is not None:
                moments.append(("end", path_now()))

    return SignalMiddleware(app)


def bare(call: Callable[[], Iterable[bytes]]) -> SignalMiddleware:
    """Return an application of which only the body matters."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return call()

    return SignalMiddleware(app)


def noting(seen: list[str | None]) -> SignalMiddleware:
    def view() -> Iterable[bytes]:
        seen.append(path_now())
        return [b"one"]

    return bare(view)


def call(app: WSGIApplication, path: str) -> t.Any:
    return app(environ_of(path), Server().start_response)


def in_thread(work: Callable[[], t.Any]) -> t.Any:
    """Return what ``work`` does, or raise what it raises, in a separate thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(WAIT_SECONDS)


def test_the_exchange_is_current_in_the_call_only() -> None:
    seen: list[Exchange | None] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        seen.append(current_exchange())
        assert current_exchange() is environ["signalpost.exchange"]
        return [b"one"]

    assert current_exchange() is None
    body = call(SignalMiddleware(app), "/a")
    assert current_exchange() is None
    body.close()
    assert current_exchange() is None
    assert seen[0] is not None
    assert not seen[0].is_open


def test_a_generator_sees_its_exchange_at_each_chunk_and_at_its_end() -> None:
    moments: Moments = []
    assert Server().serve(streaming(moments), path="/a") == b"/a/a/a"
    assert moments == [("end", "/a")]


def test_an_iterator_sees_its_exchange_at_each_step_and_in_its_close() -> None:
    moments: Moments = []
    Server().serve(bare(lambda: Asking(moments)), path="/a")
    assert moments == [("iter", "/a"), *[("next", "/a")] * 3, ("close", "/a")]


def test_a_body_closed_unread_sees_its_exchange() -> None:
    moments: Moments = []
    call(bare(lambda: Asking(moments)), "/a").close()
    assert moments == [("close", "/a")]


def test_a_body_with_a_length_sees_its_exchange() -> None:
    class Sized(Asking):
        def __len__(self) -> int:
            return 2

    moments: Moments = []
    Server().serve(bare(lambda: Sized(moments)), path="/a")
    assert moments == [("iter", "/a"), *[("next", "/a")] * 3, ("close", "/a")]


def test_no_exchange_is_current_between_two_chunks() -> None:
    body = call(streaming(), "/a")
    chunks = iter(body)
    seen = []
    for _ in range(3):
        next(chunks)
        seen.append(current_exchange())
    body.close()
    assert seen == [None] * 3


def test_what_writes_by_itself_sees_its_exchange() -> None:
    seen: list[str | None] = []

    class Writing(Server):
        def _write(self, data: bytes) -> None:
            seen.append(path_now())

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = t.cast("t.Any", start_response("200 OK", TEXT))
        write(b"one")
        yield b"two"
        write(b"three")

    Writing().serve(SignalMiddleware(app), path="/a")
    assert seen == ["/a", "/a"]


@pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda one: one.name)
def test_receivers_get_the_exchange_as_current(signal: t.Any) -> None:
    seen: list[bool] = []

    def ask(sender: object, exchange: Exchange) -> None:
        seen.append(current_exchange() is exchange)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        raise LookupError

    with signal.connected_to(ask), pytest.raises(LookupError):
        Server().serve(SignalMiddleware(app))
    assert seen == [True]


@pytest.mark.parametrize("error", [LookupError, SystemExit, StopIteration])
def test_receivers_see_the_exchange_whose_call_failed(
    error: type[BaseException],
) -> None:
    seen: list[bool] = []

    def ask(sender: object, exchange: Exchange) -> None:
        seen.append(current_exchange() is exchange)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    with exchange_closed.connected_to(ask), pytest.raises(error):
        call(SignalMiddleware(app), "/a")
    assert seen == [True]
    assert current_exchange() is None


@pytest.mark.parametrize("body", [[], b"", "", None], ids=repr)
def test_receivers_see_the_exchange_that_closes_with_the_call(body: t.Any) -> None:
    seen: list[bool] = []

    def ask(sender: object, exchange: Exchange) -> None:
        seen.append(current_exchange() is exchange)

    with exchange_closed.connected_to(ask):
        call(SignalMiddleware(answer_with(body)), "/a")
    assert seen == [True]


def test_receivers_see_the_exchange_that_was_lost_in_another() -> None:
    seen: list[str | None] = []

    def ask(sender: object) -> None:
        seen.append(path_now())

    inner = streaming()

    def view() -> Iterable[bytes]:
        call(inner, "/lost")
        gc.collect()
        return [b"one"]

    with exchange_closed.connected_to(ask, inner.sender):
        call(bare(view), "/outer").close()
    assert seen == ["/lost"]


class FailingClose(Asking):
    def close(self) -> None:
        super().close()
        raise LookupError


def test_what_is_called_on_close_sees_the_exchange() -> None:
    seen: list[str | None] = []

    def view() -> Iterable[bytes]:
        exchange = current_exchange()
        assert exchange is not None
        exchange.call_on_close(lambda: seen.append(path_now()))
        return [b"one"]

    call(bare(view), "/a").close()
    assert seen == ["/a"]


def test_nothing_stays_after_an_error_in_the_close() -> None:
    moments: Moments = []
    with pytest.raises(LookupError):
        call(bare(lambda: FailingClose(moments)), "/a").close()
    assert moments == [("close", "/a")]
    assert context_exchange.get() is None


def test_nothing_stays_after_an_error_in_the_body() -> None:
    def fail() -> Iterator[bytes]:
        yield b"one"
        raise LookupError

    body = call(bare(fail), "/a")
    with pytest.raises(LookupError):
        b"".join(body)
    assert producing == {}
    assert current_exchange() is None
    body.close()


def test_nothing_stays_after_the_end_of_a_body_that_is_still_open() -> None:
    body = call(streaming(), "/a")
    assert list(body) == [b"/a"] * 3
    assert producing == {}
    body.close()


def test_a_body_that_is_not_iterable_leaves_nothing() -> None:
    body = call(bare(lambda: t.cast("t.Any", BrokenIterable())), "/a")
    with pytest.raises(LookupError):
        list(body)
    assert producing == {}
    body.close()


class BrokenIterable:
    def __iter__(self) -> Iterator[bytes]:
        raise LookupError


def test_a_body_that_goes_on_after_its_close_has_no_exchange() -> None:
    body = call(streaming(), "/a")
    chunks = iter(body)
    first = next(chunks)
    body.close()
    rest = list(chunks)
    assert [first, *rest] == [b"/a"]
    moments: Moments = []
    body = call(bare(lambda: Asking(moments)), "/a")
    chunks = iter(body)
    next(chunks)
    body.close()
    next(chunks)
    chunks.close()
    assert moments[-1] == ("next", None)


def test_a_generator_closed_by_a_reader_leaves_nothing() -> None:
    body = call(streaming(), "/a")
    chunks = iter(body)
    next(chunks)
    chunks.close()
    assert producing == {}
    body.close()


def test_a_body_called_here_produced_there_and_closed_elsewhere_sees_one() -> None:
    moments: Moments = []
    body = call(bare(lambda: Asking(moments)), "/a")
    assert in_thread(lambda: b"".join(body)) == b"onetwo"
    in_thread(body.close)
    assert {path for _, path in moments} == {"/a"}
    assert context_exchange.get() is None
    assert in_thread(context_exchange.get) is None


def test_each_chunk_may_be_produced_in_another_thread() -> None:
    body = call(streaming(), "/a")
    chunks = iter(body)
    assert [in_thread(lambda: next(chunks)) for _ in range(3)] == [b"/a"] * 3
    in_thread(body.close)


def test_a_thread_with_a_copy_of_the_context_sees_the_exchange_until_its_close() -> (
    None
):
    has_closed = threading.Event()
    has_begun = threading.Event()
    seen: list[str | None] = []

    def work() -> None:
        seen.append(path_now())
        has_begun.set()
        assert has_closed.wait(WAIT_SECONDS)
        seen.append(path_now())

    threads: list[threading.Thread] = []

    def view() -> Iterable[bytes]:
        context = contextvars.copy_context()
        threads.append(threading.Thread(target=context.run, args=(work,)))
        threads[0].start()
        return [b"one"]

    body = call(bare(view), "/a")
    assert has_begun.wait(WAIT_SECONDS)
    body.close()
    has_closed.set()
    threads[0].join(WAIT_SECONDS)
    assert seen == ["/a", None]


def test_a_pool_sees_the_exchange_by_a_copy_of_the_context_only() -> None:
    seen: list[str | None] = []

    with ThreadPoolExecutor(1) as pool:

        def view() -> Iterable[bytes]:
            context = contextvars.copy_context()
            futures = [pool.submit(context.run, path_now), pool.submit(path_now)]
            seen.extend(one.result(WAIT_SECONDS) for one in futures)
            return [b"one"]

        Server().serve(bare(view), path="/a")
        seen.append(pool.submit(path_now).result(WAIT_SECONDS))
    assert seen == ["/a", None, None]


def test_a_thread_is_not_misled_by_bodies_that_others_produce() -> None:
    seen: list[str | None] = []

    def produce() -> Iterator[bytes]:
        seen.append(in_thread(path_now))
        yield b"one"

    Server().serve(bare(produce), path="/a")
    assert seen == [None]


@pytest.mark.parametrize("count", [2, 3])
def test_bodies_produced_in_turns_see_each_its_own(count: int) -> None:
    app = streaming()
    paths = [f"/{number}" for number in range(count)]
    bodies = [call(app, path) for path in paths]
    produced = list(zip(*bodies, strict=True))
    for body in bodies:
        body.close()
    assert produced == [tuple(path.encode() for path in paths)] * 3


def test_two_readings_of_one_body_see_the_same() -> None:
    moments: Moments = []
    body = call(bare(lambda: Asking(moments)), "/a")
    one, two = iter(body), iter(body)
    next(one)
    next(two)
    body.close()
    one.close()
    two.close()
    assert {path for _, path in moments} == {"/a"}


def test_a_request_inside_a_call_has_its_own() -> None:
    inner = streaming()
    seen: list[object] = []

    def view() -> Iterable[bytes]:
        seen.extend([path_now(), Server().serve(inner, path="/inner"), path_now()])
        return [b"one"]

    Server().serve(bare(view), path="/outer")
    assert seen == ["/outer", b"/inner/inner/inner", "/outer"]


def test_a_request_inside_a_body_has_its_own() -> None:
    inner = streaming()
    moments: Moments = []
    steps = bare(lambda: Asking(moments))

    def produce() -> Iterator[bytes]:
        for _ in range(2):
            yield str(path_now()).encode()
            yield Server().serve(inner, path="/inner")
            Server().serve(steps, path="/steps")
        yield str(path_now()).encode()

    served = Server().serve(bare(produce), path="/outer")
    assert served == b"/outer/inner/inner/inner" * 2 + b"/outer"
    assert {path for _, path in moments} == {"/steps"}


def test_a_request_inside_a_close_has_its_own() -> None:
    inner = streaming()
    seen: list[object] = []

    class Body(Asking):
        def close(self) -> None:
            seen.extend([path_now(), Server().serve(inner, path="/inner"), path_now()])

    call(bare(lambda: Body([])), "/outer").close()
    assert seen == ["/outer", b"/inner/inner/inner", "/outer"]


def test_a_body_read_in_the_call_of_another_request_sees_its_own() -> None:
    body = call(streaming(), "/lazy")
    seen: list[object] = []

    def view() -> Iterable[bytes]:
        seen.extend([b"".join(body), path_now()])
        body.close()
        seen.append(path_now())
        return [b"one"]

    Server().serve(bare(view), path="/reader")
    assert seen == [b"/lazy" * 3, "/reader", "/reader"]


def test_a_body_read_in_the_body_of_another_request_sees_its_own() -> None:
    lazy = call(streaming(), "/lazy")

    def produce() -> Iterator[bytes]:
        for chunk in lazy:
            yield chunk + str(path_now()).encode()
        lazy.close()
        yield str(path_now()).encode()

    served = Server().serve(bare(produce), path="/reader")
    assert served == b"/lazy/reader" * 3 + b"/reader"


def test_a_request_made_by_a_body_read_in_the_call_of_another_has_its_own() -> None:
    seen: list[str | None] = []
    inner = noting(seen)

    def produce() -> Iterator[bytes]:
        Server().serve(inner, path="/inner")
        seen.append(path_now())
        yield b"one"

    lazy = call(bare(produce), "/lazy")

    def view() -> Iterable[bytes]:
        seen.extend(path_now() for _ in lazy)
        lazy.close()
        return [b"one"]

    Server().serve(bare(view), path="/reader")
    assert seen == ["/inner", "/lazy", "/reader"]


def test_a_layer_without_receivers_changes_nothing_in_a_body() -> None:
    seen: list[str | None] = []
    without_receivers = noting(seen)

    def produce() -> Iterator[bytes]:
        Server().serve(without_receivers, path="/without_receivers")
        yield b"one"

    outer = bare(produce)
    exchange_opened.disconnect(receive)
    with exchange_opened.connected_to(receive, outer.sender):
        Server().serve(outer, path="/outer")
    assert seen == ["/outer"]


def test_a_body_closed_in_another_request_does_not_take_its_exchange_away() -> None:
    moments: Moments = []
    lazy = call(bare(lambda: Asking(moments)), "/lazy")

    def view() -> Iterable[bytes]:
        lazy.close()
        moments.append(("view", path_now()))
        return [b"one"]

    Server().serve(bare(view), path="/outer")
    assert moments == [("close", "/lazy"), ("view", "/outer")]


def test_a_receiver_of_a_close_within_a_body_sees_what_closes() -> None:
    seen: list[str | None] = []
    inner = streaming()

    def ask(sender: object) -> None:
        seen.append(path_now())

    def produce() -> Iterator[bytes]:
        Server().serve(inner, path="/inner")
        yield str(path_now()).encode()

    with exchange_closed.connected_to(ask, inner.sender):
        assert Server().serve(bare(produce), path="/outer") == b"/outer"
    assert seen == ["/inner"]


def test_mounted_applications_see_their_own() -> None:
    seen: list[str | None] = []

    def mounted_app(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        seen.append(script_name_now())
        yield b"one"
        seen.append(script_name_now())

    def script_name_now() -> str | None:
        exchange = current_exchange()
        return None if exchange is None else exchange.script_name

    mounted = SignalMiddleware(mounted_app)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        environ["SCRIPT_NAME"] = "/mount"
        body = mounted(environ, start_response)
        environ["SCRIPT_NAME"] = ""
        seen.append(script_name_now())
        yield from body
        t.cast("t.Any", body).close()
        seen.append(script_name_now())

    Server().serve(SignalMiddleware(app), path="/a")
    assert seen == ["", "/mount", "/mount", ""]


@pytest.mark.parametrize("chunks_read", [0, 1, 3])
def test_a_body_that_is_dropped_leaves_nothing(chunks_read: int) -> None:
    moments: Moments = []
    body = call(streaming(moments), "/a")
    chunks = iter(body)
    for _ in range(chunks_read):
        next(chunks)
    del chunks, body
    gc.collect()
    assert producing == {}
    assert current_exchange() is None


def test_a_body_dropped_in_a_cycle_within_another_request_changes_nothing() -> None:
    moments: Moments = []
    inner = streaming(moments)

    def view() -> Iterable[bytes]:
        body = call(inner, "/dropped")
        chunks = iter(body)
        next(chunks)
        cycle: list[object] = [body, chunks]
        cycle.append(cycle)
        del body, chunks, cycle
        gc.collect()
        moments.append(("view", path_now()))
        return [b"one"]

    Server().serve(bare(view), path="/outer")
    assert moments[-1] == ("view", "/outer")
    assert len(producing) == 0


def test_a_receiver_of_a_files_close_within_a_body_sees_what_closes() -> None:
    seen: list[str | None] = []

    def file_app(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](NoFile()))

    files = SignalMiddleware(file_app)

    def ask(sender: object) -> None:
        seen.append(path_now())

    def produce() -> Iterator[bytes]:
        server = Server()
        server.serve(files, path="/file", **{"wsgi.file_wrapper": WrappedFile})
        yield b"one"

    with exchange_closed.connected_to(ask, files.sender):
        Server().serve(bare(produce), path="/outer")
    assert seen == ["/file"]


class NoFile:
    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def read(self, size: int = -1) -> bytes:
        return b""

    def close(self) -> None:
        self.seen.append(path_now())


class WrappedFile:
    def __init__(self, file: t.Any) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"one",))

    def close(self) -> None:
        self.file.close()


def test_the_close_of_a_file_sees_its_exchange() -> None:
    file = NoFile()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](file))

    server = Server()
    server.serve(SignalMiddleware(app), path="/a", **{"wsgi.file_wrapper": WrappedFile})
    assert file.seen == ["/a"]


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_nothing_stays_when_a_receivers_exception_leaves_the_close(
    error: type[BaseException],
) -> None:
    def harmful(sender: object, **extra: t.Any) -> None:
        raise error

    def close_and_look() -> object:
        with exchange_closed.connected_to(harmful):
            body = call(SignalMiddleware(answer_with([b"one"]), strict=True), "/a")
            with pytest.raises(error):
                body.close()
        return context_exchange.get()

    # A separate context, because other tests follow.
    assert contextvars.Context().run(close_and_look) is None


def serve_in_turns(name: str, count: int, pause: Callable[[], object]) -> set[bytes]:
    """Produce many bodies in turns, and return what they saw of others."""
    app = streaming()
    paths = [f"/{name}/{number}" for number in range(count)]
    bodies = [call(app, path) for path in paths]
    strange: set[bytes] = set()
    for chunks in zip(*bodies, strict=True):
        pause()
        strange.update(
            chunk
            for chunk, path in zip(chunks, paths, strict=True)
            if chunk != path.encode()
        )
    for body in bodies:
        body.close()
    return strange


def test_no_thread_sees_what_another_produces() -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [
            pool.submit(serve_in_turns, str(number), 200, lambda: None)
            for number in range(8)
        ]
        strange = [one.result(WAIT_SECONDS) for one in futures]
        left = [pool.submit(context_exchange.get).result(WAIT_SECONDS)]
    assert strange == [set()] * 8
    assert left == [None]


def test_no_greenlet_sees_what_another_produces() -> None:
    gevent = pytest.importorskip("gevent", reason="gevent is not installed")
    pools = pytest.importorskip("gevent.pool")

    def in_greenlets() -> list[set[bytes]]:
        pool = pools.Pool(8)
        greenlets = [
            pool.spawn(serve_in_turns, str(number), 25, gevent.idle)
            for number in range(8)
        ]
        assert pool.join(WAIT_SECONDS)
        gevent.get_hub().destroy()
        return [one.value for one in greenlets]

    # The hub goes with the thread.
    assert in_thread(in_greenlets) == [set()] * 8


def test_a_greenlet_switched_to_in_a_body_sees_its_own() -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    greenlet = pytest.importorskip("greenlet")
    main = greenlet.getcurrent()
    other = greenlet.greenlet(lambda: main.switch(path_now()))
    copied = greenlet.greenlet(lambda run: main.switch(run(path_now)))
    seen: list[object] = []

    def produce() -> Iterator[bytes]:
        seen.append(other.switch())
        yield b"one"

    def view() -> Iterable[bytes]:
        seen.append(copied.switch(contextvars.copy_context().run))
        return produce()

    Server().serve(bare(view), path="/a")
    assert seen == ["/a", None]


Step = tuple[str, int, tuple[t.Any, ...]]


def steps_of(inside: st.SearchStrategy[tuple[Step, ...]]) -> st.SearchStrategy[t.Any]:
    kinds = st.sampled_from(("call", "next", "close", "drop"))
    step = st.tuples(kinds, st.integers(0, 5), inside)
    return st.lists(step, max_size=8).map(tuple)


class Interleaving:
    """Takes the steps of several requests, and asks at each whose it is."""

    def __init__(self) -> None:
        self.asked = 0
        self._number = 0
        self._bodies: list[Body] = []
        self._app = SignalMiddleware(self._answer)

    def take(self, steps: Iterable[Step], path: str | None) -> None:
        """Take steps in the middle of a request, or of none."""
        for kind, index, inside in steps:
            self._take(kind, index, inside)
            self._ask(path)

    def end(self) -> None:
        while self._bodies:
            self._bodies.pop().close()

    def ask_and_take(self, steps: Iterable[Step], path: str) -> None:
        self._ask(path)
        self.take(steps, path)

    def _take(self, kind: str, index: int, inside: tuple[Step, ...]) -> None:
        if kind == "call":
            self._number += 1
            path = f"/{self._number}"
            environ = environ_of(path, inside=inside)
            returned = self._app(environ, Server().start_response)
            self._bodies.append(Body(path, returned, environ["body"]))
            return
        idle = [one for one in self._bodies if not one.is_running]
        if not idle:
            return
        body = idle[index % len(idle)]
        if kind == "next":
            body.step(inside)
            return
        self._bodies.remove(body)
        if kind == "close":
            body.close(inside)

    def _answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        start_response("200 OK", TEXT)
        self.ask_and_take(environ["inside"], path)
        environ["body"] = Taking(self, path)
        return t.cast("Taking", environ["body"])

    def _ask(self, path: str | None) -> None:
        self.asked += 1
        assert path_now() == path


class Taking:
    """A body that does the given steps in its own steps."""

    def __init__(self, interleaving: Interleaving, path: str) -> None:
        self.inside: tuple[Step, ...] = ()
        self._interleaving = interleaving
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        while True:
            inside, self.inside = self.inside, ()
            self._interleaving.ask_and_take(inside, self._path)
            yield b"one"

    def close(self) -> None:
        inside, self.inside = self.inside, ()
        self._interleaving.ask_and_take(inside, self._path)


class Body:
    """The server's objects of one request."""

    def __init__(self, path: str, returned: t.Any, taking: Taking) -> None:
        self.is_running = False
        self._returned = returned
        self._chunks = iter(returned)
        self._taking = taking

    def step(self, inside: tuple[Step, ...]) -> None:
        self.is_running = True
        self._taking.inside = inside
        next(self._chunks)
        self.is_running = False

    def close(self, inside: tuple[Step, ...] = ()) -> None:
        self._taking.inside = inside
        self._returned.close()


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(
    st.recursive(st.just(()), steps_of, max_leaves=12).filter(bool),
    st.lists(
        st.tuples(
            st.sampled_from(("call", "next", "close", "drop")),
            st.integers(0, 5),
            st.just(()),
        ),
        max_size=12,
    ),
)
def test_whatever_the_order_each_step_sees_its_own(
    nested: tuple[Step, ...], flat: list[Step]
) -> None:
    interleaving = Interleaving()
    interleaving.take((("call", 0, ()), *nested, *flat), None)
    interleaving.end()
    assert interleaving.asked > 0
    assert context_exchange.get() is None
    assert not any(one._environ is not None for one in producing.values())
