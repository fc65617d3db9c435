from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import os
import socket
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from socketserver import TCPServer

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.wsgi import serving
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import sandwiched
from tests.wsgi.serving import Server

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client import CollectorRegistry

from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import counting
from tests.integrations.test_prometheus import figure
from tests.integrations.test_prometheus import IN_FLIGHT
from tests.integrations.test_prometheus import record
from tests.integrations.test_prometheus import REQUESTS

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scraped(
    metrics: PrometheusMetrics, method: str = "GET", **environ: t.Any
) -> Server:
    server = Server()
    server.serve(metrics.metrics_app, method=method, **environ)
    return server


def header(server: Server, name: str) -> str | None:
    return dict(server.headers).get(name)


def test_the_text_is_what_prometheus_reads() -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    server = scraped(metrics)
    assert server.status == "200 OK"
    assert header(server, "Content-Type") == (
        "text/plain; version=0.0.4; charset=utf-8"
    )
    assert b"# TYPE http_server_requests_total counter\n" in server.written
    assert header(server, "Content-Length") == str(len(server.written))


def test_openmetrics_is_given_where_asked_for() -> None:
    server = scraped(PrometheusMetrics(), HTTP_ACCEPT=OPENMETRICS)
    assert (header(server, "Content-Type") or "").startswith(OPENMETRICS)
    assert server.written.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    "accept",
    [
        *("", "*/*", ";;", ",,version", "text/plain;version=1.."),
        *("application/openmetrics-text;version=x", "text/plain; version = 1"),
        "application/openmetrics-text;version=1;version=1\r\nX: y",
    ],
)
def test_what_is_asked_for_badly_is_given_plainly(accept: str) -> None:
    server = scraped(PrometheusMetrics(), HTTP_ACCEPT=accept)
    assert server.status == "200 OK"
    assert b"# TYPE http_server_requests_in_flight gauge\n" in server.written


def test_a_scrape_is_compressed_where_asked_for() -> None:
    server = scraped(PrometheusMetrics(), HTTP_ACCEPT_ENCODING="gzip")
    assert header(server, "Content-Encoding") == "gzip"
    assert b"http_server" in gzip.decompress(server.written)
    assert header(server, "Content-Length") == str(len(server.written))


@pytest.mark.parametrize("encoding", ["gzip", "", "br"])
def test_a_response_names_for_caches_what_it_depends_on(encoding: str) -> None:
    server = scraped(PrometheusMetrics(), HTTP_ACCEPT_ENCODING=encoding)
    assert header(server, "Vary") == "Accept, Accept-Encoding"


class Broken:
    def collect(self) -> t.NoReturn:
        raise LookupError("no metrics")


def test_a_collector_that_raises_fails_the_scrape_and_not_its_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    registry.register(Broken())
    server = scraped(PrometheusMetrics(registry=registry))
    assert server.status == "503 Service Unavailable"
    assert "no metrics" in caplog.text


def test_some_metrics_are_given_where_asked_for() -> None:
    server = scraped(PrometheusMetrics(), QUERY_STRING=f"name[]={IN_FLIGHT}")
    assert server.written.splitlines()[-1] == f"{IN_FLIGHT} 0.0".encode()
    assert b"requests_total" not in server.written


def test_the_head_is_that_of_the_whole() -> None:
    metrics = PrometheusMetrics()
    head, whole = scraped(metrics, "HEAD"), scraped(metrics)
    assert (head.status, head.headers) == (whole.status, whole.headers)
    assert head.written == b""


def test_another_method_is_refused() -> None:
    server = scraped(PrometheusMetrics(), "POST")
    assert server.status == "405 Method Not Allowed"
    assert header(server, "Allow") == "GET, HEAD"


def test_the_application_is_one_of_wsgi() -> None:
    metrics = PrometheusMetrics()
    Server().serve(sandwiched(metrics.metrics_app), QUERY_STRING="", SCRIPT_NAME="")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer s3cret", "200 OK"),
        ("bearer  s3cret ", "200 OK"),
        ("Bearer s3cre", "401 Unauthorized"),
        ("Bearer S3CRET", "401 Unauthorized"),
        ("Basic s3cret", "401 Unauthorized"),
        ("s3cret", "401 Unauthorized"),
        ("Bearer \xe9\ud800", "401 Unauthorized"),
        ("", "401 Unauthorized"),
    ],
)
def test_a_token_is_asked_for(given: str, status: str) -> None:
    metrics = PrometheusMetrics(token="s3cret")
    server = scraped(metrics, HTTP_AUTHORIZATION=given)
    assert server.status == status
    is_refused = status != "200 OK"
    assert (header(server, "WWW-Authenticate") == "Bearer") is is_refused
    assert (b"http_server" not in server.written) is is_refused


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    metrics = PrometheusMetrics(token_file=str(tmp_path / "token"))
    assert scraped(metrics).status == "401 Unauthorized"
    authorization = {"HTTP_AUTHORIZATION": "Bearer s3cret"}
    assert scraped(metrics, **authorization).status == "200 OK"


def test_a_token_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SCRAPE", "s3cret")
    metrics = PrometheusMetrics(token_env="SHOP_SCRAPE")
    monkeypatch.delenv("SHOP_SCRAPE")
    assert scraped(metrics).status == "401 Unauthorized"
    authorization = {"HTTP_AUTHORIZATION": "Bearer s3cret"}
    assert scraped(metrics, **authorization).status == "200 OK"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_place_of_a_token_file_blocks_no_scrape(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    metrics = PrometheusMetrics(token_file=path)
    path.unlink()
    os.mkfifo(path)
    assert scraped(metrics).status == "503 Service Unavailable"


def test_a_token_file_is_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    path.write_text("f1rst0\n")
    metrics = PrometheusMetrics(token_file=str(path))

    def status(token: str) -> str:
        return scraped(metrics, HTTP_AUTHORIZATION=f"Bearer {token}").status

    assert status("f1rst0") == "200 OK"
    # Of the same size, in the same moment, in the same place.
    path.write_text("s3cond\n")
    assert status("f1rst0") == "401 Unauthorized"
    assert status("s3cond") == "200 OK"
    path.write_text("")
    assert status("") == "503 Service Unavailable"
    path.unlink()
    for _ in range(3):
        assert status("s3cond") == "503 Service Unavailable"
    assert caplog.text.count("no client may read") == 2
    assert "s3cond" not in caplog.text
    path.write_text("third")
    assert status("third") == "200 OK"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", "200 OK"),
        ("::ffff:10.1.2.3", "200 OK"),
        ("fd00::7", "200 OK"),
        ("11.1.2.3", "403 Forbidden"),
        ("::1", "403 Forbidden"),
        ("", "403 Forbidden"),
        ("somewhere", "403 Forbidden"),
    ],
)
def test_who_is_elsewhere_is_refused(address: str, status: str) -> None:
    metrics = PrometheusMetrics(networks=["10.0.0.0/8", "fd00::/8"])
    assert scraped(metrics, REMOTE_ADDR=address).status == status


def test_no_network_is_none() -> None:
    metrics = PrometheusMetrics(networks=[])
    assert scraped(metrics, REMOTE_ADDR="127.0.0.1").status == "403 Forbidden"


@pytest.mark.parametrize(
    ("allows", "status"),
    [
        (lambda environ: environ["PATH_INFO"] == "/", "200 OK"),
        (lambda environ: False, "403 Forbidden"),
        # As a coroutine is, which is true of any.
        (lambda environ: object(), "403 Forbidden"),
        (lambda environ: environ["no such key"], "403 Forbidden"),
    ],
)
def test_a_function_decides_and_none_may_read_by_its_mistake(
    allows: Callable[[dict[str, t.Any]], bool], status: str
) -> None:
    assert scraped(PrometheusMetrics(allows=allows)).status == status


def test_all_that_is_asked_for_must_agree() -> None:
    metrics = PrometheusMetrics(
        token="a", networks=["10.0.0.0/8"], allows=lambda environ: False
    )
    near = {"REMOTE_ADDR": "10.0.0.1"}
    assert scraped(metrics, HTTP_AUTHORIZATION="Bearer a").status == "403 Forbidden"
    assert scraped(metrics, **near).status == "401 Unauthorized"
    both = near | {"HTTP_AUTHORIZATION": "Bearer a"}
    assert scraped(metrics, **both).status == "403 Forbidden"


@pytest.mark.parametrize("with_scrapes", [True, False])
def test_a_scrape_by_a_view_counts_or_does_not(with_scrapes: bool) -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    with counting(app, with_scrapes=with_scrapes) as metrics:
        app.add_url_rule("/metrics", view_func=metrics.metrics_view)
        client = app.test_client()
        texts = [client.get("/metrics", buffered=True).text for _ in range(3)]
        client.get("/none", buffered=True)
    flights = [f"\n{IN_FLIGHT} {float(with_scrapes)}\n" in text for text in texts]
    assert flights == [True] * 3
    assert figure(metrics, REQUESTS) == (4 if with_scrapes else 1)
    assert figure(metrics, IN_FLIGHT) == 0


def test_a_view_answers_as_it_is_asked_to() -> None:
    app = flask.Flask("shop")
    metrics = PrometheusMetrics(token="s3cret")
    app.add_url_rule("/metrics", view_func=metrics.metrics_view)
    client = app.test_client()
    headers = {"Authorization": "Bearer s3cret", "Accept": OPENMETRICS}
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=headers).text.endswith("# EOF\n")
    assert client.post("/metrics", headers=headers).status_code == 405


def get(port: int, path: str = "/metrics") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        # Nothing else shows that another thread has come so far.
        time.sleep(0.01)


def test_metrics_have_a_port_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    with counting(hello) as metrics, metrics.serve() as server:
        Server().serve(SignalMiddleware(hello))
        status, text = get(server.port)
        assert get(server.port, "/other")[0] == 200
    assert status == 200
    assert b"http_server_requests_total{" in text
    # It is no request of the application.
    assert figure(metrics, REQUESTS) == 1
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        get(server.port)
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_reported() -> None:
    metrics = PrometheusMetrics()
    with metrics.serve() as server, pytest.raises(OSError, match="in use"):
        metrics.serve(server.port)


@pytest.mark.skipif(
    not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no ports"
)
def test_two_servers_can_share_a_port() -> None:
    metrics = PrometheusMetrics()
    with metrics.serve(reuse_port=True) as server:
        with metrics.serve(server.port, reuse_port=True):
            assert get(server.port)[0] == 200
        assert get(server.port)[0] == 200
        with pytest.raises(OSError, match="in use"):
            metrics.serve(server.port)
    with pytest.raises(ConfigurationError, match="reuse_port must be True or False"):
        metrics.serve(reuse_port="yes")  # type: ignore[arg-type]  # what it refuses


def test_a_system_that_shares_no_ports_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(OSError, match="cannot share a port"):
        PrometheusMetrics().serve(reuse_port=True)


def test_it_listens_at_the_given_address() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 on this machine")
    with PrometheusMetrics().serve(host="::1") as server:
        socket.create_connection(("::1", server.port), 10).close()


def test_more_clients_than_it_takes_are_sent_away() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(PrometheusMetrics().serve())
        idle = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=10)
            )
            for _ in range(8)
        ]
        until(lambda: len(server._server._clients) == 8)
        threads = {*threading.enumerate()}
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
            # One of an earlier test may have ended meanwhile.
            assert {*threading.enumerate()} <= threads
        for client in idle:
            client.close()
        until(lambda: not server._server._clients)
        assert get(server.port)[0] == 200


def test_moments_without_a_free_thread_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> t.NoReturn:
        raise RuntimeError("can't start new thread")

    with PrometheusMetrics().serve() as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(20):
                with (
                    socket.create_connection(("127.0.0.1", server.port), 10) as one,
                    contextlib.suppress(ConnectionResetError),
                ):
                    assert one.recv(1) == b""
        assert get(server.port)[0] == 200


def test_moments_without_descriptors_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_paused = threading.Event()
    accept = TCPServer.get_request

    def accept_later(server: TCPServer) -> t.Any:
        if has_paused.is_set():
            return accept(server)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(TCPServer, "get_request", accept_later)
    monkeypatch.setattr(time, "sleep", lambda seconds: has_paused.set())
    with PrometheusMetrics().serve() as server:
        assert get(server.port)[0] == 200


def test_a_client_that_takes_too_long_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "_MOST_SECONDS", 0.1)
    with (
        PrometheusMetrics().serve() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as one,
        # It may be sent away before it has sent anything.
        contextlib.suppress(ConnectionError),
    ):
        one.sendall(b"GET /metrics HT")
        assert one.recv(1) == b""


def test_a_client_that_breaks_off_is_no_trouble(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with PrometheusMetrics().serve() as server:
        for text in (
            b"",
            b"GET",
            b"\0" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"a" * 99_999,
        ):
            with (
                socket.create_connection(("127.0.0.1", server.port), 10) as one,
                contextlib.suppress(OSError),
            ):
                one.sendall(text)
        until(lambda: not server._server._clients)
        assert get(server.port)[0] == 200
    assert capfd.readouterr().err == ""


def test_a_child_does_not_hold_the_port() -> None:
    with PrometheusMetrics().serve() as server:
        serving._close_all()
        assert server._server.socket.fileno() == -1


def test_what_serves_answers_for_files_too(tmp_path: Path) -> None:
    metrics = PrometheusMetrics(directory=str(tmp_path))
    record(metrics)
    with metrics.serve() as server:
        assert b"http_server_requests_total{" in get(server.port)[1]
    assert len(os.listdir(tmp_path)) == 3


def mounted(metrics: PrometheusMetrics) -> t.Any:
    def app(environ: t.Any, start_response: t.Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return metrics.metrics_app(environ, start_response)
        return hello(environ, start_response)

    return SignalMiddleware(app)


def test_a_mounted_application_is_within_the_exchange() -> None:
    metrics = PrometheusMetrics(with_scrapes=False)
    app = mounted(metrics)
    metrics.connect(app)
    Server().serve(app, path="/metrics")
    Server().serve(app)
    metrics.disconnect(app)
    assert figure(metrics, REQUESTS) == 1
    assert "wsgi.input" in environ_of()
