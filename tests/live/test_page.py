from __future__ import annotations

import contextlib
import gzip
import io
import json
import typing as t
from collections.abc import Iterable
from pathlib import Path
from wsgiref.validate import validator

import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.live import live_folder
from signalpost.live import LivePage
from signalpost.live import LiveRecorder
from tests.live.shop import execute
from tests.live.shop import recorded
from tests.live.shop import shop
from tests.live.shop import TOKEN
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

BEARER = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
PATHS = ("/", "/data.json", "/live.js", "/login", "/nothing", "")


class Answer:
    """The response that a server got from an application."""

    def __init__(self, app: WSGIApplication, path: str, **environ: t.Any) -> None:
        server = Server()
        environ.setdefault("QUERY_STRING", "")
        self.body = server.serve(app, PATH_INFO=path, **environ)
        self.status = int(server.status[:3])
        self.headers = dict(server.headers)
        self.text = self.body.decode("utf-8", "replace")

    @property
    def data(self) -> t.Any:
        return json.loads(self.body)


def page(folder: Path, **options: t.Any) -> LivePage:
    options.setdefault("token", TOKEN)
    return LivePage(shop, folder=folder, **options)


def ask(app: WSGIApplication, rest: str = "/", **environ: t.Any) -> Answer:
    return Answer(app, f"/_signalpost{rest}", **environ)


def log_in(
    app: WSGIApplication, token: str = TOKEN, rest: str = "/login", **environ: t.Any
) -> Answer:
    body = f"token={token}".encode()
    return ask(
        app,
        rest,
        REQUEST_METHOD="POST",
        CONTENT_LENGTH=str(len(body)),
        CONTENT_TYPE="application/x-www-form-urlencoded",
        **{"wsgi.input": io.BytesIO(body)},
        **environ,
    )


def test_the_application_answers_all_other_paths(folder: Path) -> None:
    app = page(folder)
    for path in ("/", "/_signalpos", "/_signalpostal", "/a/_signalpost/"):
        assert Answer(app, path).body == b"ok"


def test_the_page_is_valid_wsgi(folder: Path) -> None:
    app = validator(page(folder))
    for rest in PATHS:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            ask(app, rest, REQUEST_METHOD=method, SCRIPT_NAME="")


def test_the_page_without_its_slash_leads_to_it(folder: Path) -> None:
    answer = ask(page(folder), "", SCRIPT_NAME="/mount")
    assert answer.status == 308
    assert answer.headers["Location"] == "/mount/_signalpost/"
    answer = ask(page(folder), "", SCRIPT_NAME="//evil.example")
    assert answer.headers["Location"] == "/evil.example/_signalpost/"
    answer = ask(page(folder), "", SCRIPT_NAME="/a\r\nb; c\u0100")
    assert answer.headers["Location"] == "/a%0D%0Ab%3B%20c%3F/_signalpost/"


@pytest.mark.parametrize("rest", ["/", "/data.json"])
def test_nothing_is_shown_without_the_token(folder: Path, rest: str) -> None:
    with recorded(folder) as app:
        Server().serve(app, PATH_INFO="/items/mug")
    answer = ask(page(folder), rest)
    assert answer.status == 401
    assert "mug" not in answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_opens_the_page_and_its_data(folder: Path) -> None:
    app = page(folder)
    with recorded(folder) as layer:
        Server().serve(layer, PATH_INFO="/items/mug")
        answer = ask(app, "/data.json", **BEARER)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.data["exchanges"][0]["path"] == "/items/mug"
    assert answer.data["seconds"]["from"]
    assert ask(app, "/", **BEARER).headers["Content-Type"].startswith("text/html")


def test_a_login_gives_a_cookie_that_each_process_takes(folder: Path) -> None:
    answer = log_in(page(folder))
    assert (answer.status, answer.headers["Location"]) == (303, "/_signalpost/")
    cookie = answer.headers["Set-Cookie"]
    assert {one.strip() for one in cookie.split(";")[1:]} == {
        "Path=/_signalpost/",
        "Max-Age=43200",
        "HttpOnly",
        "SameSite=Strict",
    }
    assert TOKEN not in cookie
    value = cookie.partition(";")[0]
    another = page(folder)
    assert ask(another, "/data.json", HTTP_COOKIE=f"a=b; {value}; c=d").status == 200
    assert ask(another, "/data.json", HTTP_COOKIE=f"a=}}{{; {value}").status == 200
    other_token = page(folder, token=TOKEN + "x")
    assert ask(other_token, "/data.json", HTTP_COOKIE=value).status == 401


def test_a_cookie_is_secure_where_the_page_is(folder: Path) -> None:
    answer = log_in(page(folder), **{"wsgi.url_scheme": "https"})
    assert answer.headers["Set-Cookie"].endswith("; Secure")


def test_a_script_logs_in_without_a_redirect(folder: Path) -> None:
    answer = log_in(page(folder), HTTP_ACCEPT="application/json")
    assert (answer.status, answer.body) == (204, b"")
    assert "Set-Cookie" in answer.headers
    answer = log_in(page(folder), "wrong", HTTP_ACCEPT="application/json")
    assert (answer.status, answer.data) == (401, {"error": "The token is wrong."})


@pytest.mark.parametrize(
    "value",
    ["", ".", "9999999999.", "9999999999.0", "x.y", "99999999999999999999.\u00e9"],
)
def test_a_forged_cookie_is_refused(folder: Path, value: str) -> None:
    cookie = f"signalpost_live={value}"
    assert ask(page(folder), "/data.json", HTTP_COOKIE=cookie).status == 401


def test_an_old_cookie_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    app = page(folder)
    value = log_in(app).headers["Set-Cookie"].partition(";")[0]
    later = time.time() + 43_201
    monkeypatch.setattr("signalpost.live._access.time.time", lambda: later)
    assert ask(app, "/data.json", HTTP_COOKIE=value).status == 401


def test_a_wrong_token_is_reported_on_the_page(folder: Path) -> None:
    answer = log_in(page(folder), "<script>")
    assert answer.status == 401
    assert 'role="alert">The token is wrong.</p>' in answer.text
    assert "<script>alert" not in answer.text


def test_ten_wrong_tokens_lock_the_page_for_a_minute(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(folder)
    cookie = log_in(app).headers["Set-Cookie"].partition(";")[0]
    wrong = {"HTTP_AUTHORIZATION": "Bearer wrong"}
    assert [ask(app, "/data.json", **wrong).status for _ in range(10)] == [401] * 9 + [
        429
    ]
    answer = log_in(app)
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert ask(app, "/data.json", **BEARER).status == 429
    # A logged-in client sees it nevertheless.
    assert ask(app, "/data.json", HTTP_COOKIE=cookie).status == 200
    import time

    later = time.monotonic() + 61
    monkeypatch.setattr("signalpost.live._access.time.monotonic", lambda: later)
    assert log_in(app).status == 303


@pytest.mark.parametrize(
    "form",
    [
        {"CONTENT_LENGTH": "x"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "99999999"},
        {"CONTENT_LENGTH": ""},
        {"wsgi.input": io.BytesIO(b"&" * 40), "CONTENT_LENGTH": "40"},
        {"wsgi.input": io.BytesIO(b"\xff=\xff"), "CONTENT_LENGTH": "3"},
        {"wsgi.input": io.BytesIO(b"token"), "CONTENT_LENGTH": "5"},
    ],
    ids=range(7),
)
def test_what_is_no_form_is_a_wrong_token(folder: Path, form: dict[str, t.Any]) -> None:
    assert ask(page(folder), "/login", REQUEST_METHOD="POST", **form).status == 401


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "bearer  ", "\u00ff", ""])
def test_other_authorizations_are_refused(folder: Path, header: str) -> None:
    answer = ask(page(folder), "/data.json", HTTP_AUTHORIZATION=header)
    assert answer.status == 401


def test_a_cookie_opens_the_page_behind_a_proxy_that_asks_for_a_password(
    folder: Path,
) -> None:
    app = page(folder)
    cookie = log_in(app).headers["Set-Cookie"].partition(";")[0]
    asked = {"HTTP_COOKIE": cookie, "HTTP_AUTHORIZATION": "Basic YTpi"}
    assert ask(app, **asked).status == 200
    assert ask(app, **(asked | {"HTTP_AUTHORIZATION": "Bearer wrong"})).status == 401


def test_a_function_decides_who_sees_it(folder: Path) -> None:
    def allows(environ: dict[str, t.Any]) -> bool:
        return bool(environ["REMOTE_USER"] == "ann")

    app = page(folder, token=None, allows=allows)
    assert ask(app, REMOTE_USER="ann").status == 200
    for rest in ("/", "/data.json", "/live.js", "/login"):
        method = "POST" if rest == "/login" else "GET"
        assert ask(app, rest, REMOTE_USER="bob", REQUEST_METHOD=method).status == 403
    # It fails, and no client may read by mistake.
    assert ask(app).status == 403
    assert log_in(app, REMOTE_USER="ann").status == 404


def test_a_function_and_a_token_must_agree(folder: Path) -> None:
    app = page(folder, allows=lambda environ: "REMOTE_USER" in environ)
    assert ask(app, **BEARER).status == 403
    assert ask(app, REMOTE_USER="ann").status == 401
    assert ask(app, REMOTE_USER="ann", **BEARER).status == 200


def test_only_true_lets_in(folder: Path) -> None:
    answer: t.Any = "no"
    assert ask(page(folder, token=None, allows=lambda environ: answer)).status == 403


@pytest.mark.parametrize(
    "options",
    [
        {"token": None},
        {"token": ""},
        {"token": "short"},
        {"token": "with a space in it, and long"},
        {"token": "\u00e9" * 20},
        {"token": 7},
        {"allows": 7},
        {"token": None, "token_env": "NOT_SET_ANYWHERE"},
        {"token": None, "token_env": ""},
        {"token": None, "token_file": "/no/such/file"},
        {"token": None, "token_file": 7},
        # Behind a proxy, each client has its address.
        {"token": None, "networks": ["127.0.0.0/8"]},
        {"networks": ["127.0.0.1/8"]},
        {"networks": "127.0.0.0/8"},
        {"path": "/a b"},
        {"path": "a"},
        {"path": "/"},
        {"path": 7},
    ],
)
def test_a_page_that_is_open_or_nowhere_is_refused(
    folder: Path, options: dict[str, t.Any]
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        LivePage(shop, folder=folder, **{"token": TOKEN, **options})
    assert TOKEN not in str(raised.value)


def test_the_token_comes_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_TOKEN", TOKEN)
    app = page(folder, token=None, token_env="LIVE_TOKEN")
    assert ask(app, **BEARER).status == 200


def test_a_new_token_in_its_file_is_valid_at_once_and_ends_all_logins(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    app = page(folder, token=None, token_file=path)
    cookie = {"HTTP_COOKIE": log_in(app).headers["Set-Cookie"].partition(";")[0]}
    assert ask(app, "/data.json", **cookie).status == 200
    path.write_text(f"another-{TOKEN}")
    assert ask(app, "/data.json", **cookie).status == 401
    assert ask(app, "/data.json", **BEARER).status == 401
    assert log_in(app, f"another-{TOKEN}").status == 303
    path.write_text("short")
    for asked in (BEARER, cookie):
        answer = ask(app, "/data.json", **asked)
        assert answer.status == 503
        assert answer.data == {"error": "The file of the token cannot be used."}
    assert "cannot be used.</p>" in log_in(app).text
    assert "so no client may read the live page" in caplog.text
    assert TOKEN not in caplog.text


def test_a_client_must_be_in_a_network_and_have_the_token(folder: Path) -> None:
    app = page(folder, networks=["10.0.0.0/8"])
    for rest in ("/", "/data.json", "/live.js"):
        assert ask(app, rest, REMOTE_ADDR="11.0.0.1", **BEARER).status == 403
    assert log_in(app, REMOTE_ADDR="11.0.0.1").status == 403
    assert ask(app, REMOTE_ADDR="10.0.0.1").status == 401
    assert ask(app, REMOTE_ADDR="10.0.0.1", **BEARER).status == 200


@pytest.mark.parametrize("rest", PATHS)
def test_each_answer_lets_a_browser_do_little(folder: Path, rest: str) -> None:
    for environ in ({}, BEARER):
        headers = ask(page(folder), rest, **environ).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        is_static = rest == "/live.js"
        assert headers["Cache-Control"] == ("no-cache" if is_static else "no-store")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "<b>"])
def test_nothing_but_reading_is_allowed(folder: Path, method: str) -> None:
    for rest in ("/", "/data.json", "/live.js", ""):
        answer = ask(page(folder), rest, REQUEST_METHOD=method, **BEARER)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    answer = ask(page(folder), "/login", REQUEST_METHOD="GET", **BEARER)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "rest",
    ["/nothing", "/../live.js", "/LICENSE", "/index.html", "/live.js/", "//", "/\x00"],
)
def test_other_paths_are_not_there(folder: Path, rest: str) -> None:
    answer = ask(page(folder), rest, **BEARER)
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")


def test_head_has_the_headers_of_get(folder: Path) -> None:
    app = page(folder)
    for rest in ("/", "/live.js"):
        get = ask(app, rest, **BEARER)
        head = ask(app, rest, REQUEST_METHOD="HEAD", **BEARER)
        assert (head.status, head.body, head.headers) == (200, b"", get.headers)


def test_a_file_is_sent_once_and_compressed(folder: Path) -> None:
    app = page(folder)
    first = ask(app, "/live.js")
    again = ask(app, "/live.js", HTTP_IF_NONE_MATCH=f'"x", W/{first.headers["ETag"]}')
    assert (again.status, again.body) == (304, b"")
    compressed = ask(app, "/data.json", HTTP_ACCEPT_ENCODING="br, gzip", **BEARER)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(compressed.body))["exchanges"] == []
    plain = ask(app, "/data.json", HTTP_ACCEPT_ENCODING="gzip;q=0", **BEARER)
    assert "Content-Encoding" not in plain.headers


def test_details_are_found_by_their_keys(folder: Path) -> None:
    app = page(folder)
    with recorded(folder) as layer:
        for path in ("/sql/2", "/boom"):
            with contextlib.suppress(LookupError):
                Server().serve(layer, PATH_INFO=path)
    data = ask(app, "/data.json", **BEARER).data
    boom, sql = data["exchanges"]

    def found(query: str) -> Answer:
        return ask(app, "/data.json", QUERY_STRING=query, **BEARER)

    detail = found(f"exchange={sql['key']}").data["exchange"]
    assert [one["kind"] for one in detail["events"]].count("sql") == 2
    (row,) = data["failures"]["rows"]
    failure = found(f"failure={row['fingerprint']}").data["failure"]
    assert failure["traceback"][-1].endswith("LookupError: the secret is 42")
    assert failure["times"] == 1
    rows = found("find=1&status=&route=%2Fsql%2F%3Ctimes%3E").data
    assert [one["key"] for one in rows["exchanges"]] == [sql["key"]]
    assert (rows["left_out"], rows["searched"]) == (0, 2)
    assert found(f"since={data['cursor']}").data["is_delta"]
    assert boom["is_failed"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("exchange=1-1-1", 404),
        ("exchange=../../etc/passwd-1", 404),
        ("exchange=%00", 404),
        ("failure=x", 404),
        ("&" * 10_000, 400),
        ("since=" + "9" * 50_000, 200),
        ("%ff=%ff", 400),
    ],
)
def test_what_is_not_there_is_an_answer(folder: Path, query: str, status: int) -> None:
    with recorded(folder) as layer:
        Server().serve(layer)
    answer = ask(page(folder), "/data.json", QUERY_STRING=query, **BEARER)
    assert answer.status == status
    assert isinstance(answer.data, dict)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("find=1&slow_seconds=fast", "slow_seconds must be a number"),
        ("find=1&slow_seconds=nan", "slow_seconds must be a number, as 0.5, got 'nan'"),
        ("find=1&slow_seconds=-1", "slow_seconds must be a number, as 0.5, got '-1'"),
        ("find=1&status=5x", "status must be as 404 or 4xx, got '5x'"),
        ("find=1&outcome=good", "outcome must be one of complete, aborted, error,"),
        ("find=1&kind=jobs", "kind must be one of requests, work, got 'jobs'"),
        ("status=5xx", "status belongs to a search; add find=1"),
        ("find=1&rout=/", "the fields are since, exchange, failure, find, route,"),
    ],
)
def test_a_query_without_a_meaning_is_refused(
    folder: Path, query: str, message: str
) -> None:
    answer = ask(page(folder), "/data.json", QUERY_STRING=query, **BEARER)
    assert answer.status == 400
    assert answer.data["error"].startswith(message)


def test_a_problem_is_logged_when_it_is_new(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = page(folder)
    folder.mkdir()
    for mode, statuses in ((0o755, [503, 503]), (0o700, [200]), (0o755, [503, 503])):
        folder.chmod(mode)
        asked = [ask(app, "/data.json", **BEARER).status for _ in statuses]
        assert asked == statuses
    assert len(caplog.messages) == 2
    assert "must be closed to other users" in caplog.messages[0]


def test_a_folder_that_others_can_enter_is_reported(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    answer = ask(page(folder), "/data.json", **BEARER)
    assert answer.status == 503
    assert "must be closed to other users" in answer.data["error"]


def test_lists_of_its_own_process_are_fresh(folder: Path) -> None:
    app = page(folder)
    with recorded(folder):
        for number in range(1, 4):
            execute("SELECT 1")
            data = ask(app, "/data.json", **BEARER).data
            assert data["statements"]["rows"][0]["times"] == number


def test_the_page_around_a_layer_is_not_recorded(folder: Path) -> None:
    with recorded(folder) as layer:
        app = LivePage(layer, folder=folder, token=TOKEN)
        ask(app, "/data.json", **BEARER)
        Answer(app, "/items/mug")
        data = ask(app, "/data.json", **BEARER).data
    assert data["total"]["requests_since_start"] == 1


def test_the_page_finds_the_folder_of_its_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shop:
        instance_path = str(tmp_path)

        def __init__(self) -> None:
            self.wsgi_app: t.Any = self.serve

        def serve(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return shop(environ, start_response)

        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            body: Iterable[bytes] = self.wsgi_app(environ, start_response)
            return body

    app = Shop()
    app.wsgi_app = SignalMiddleware(app)
    recorder = LiveRecorder()
    recorder.connect(app)
    app.wsgi_app = LivePage(app.wsgi_app, token=TOKEN)
    Answer(app, "/items/mug")
    data = ask(app, "/data.json", **BEARER).data
    recorder.disconnect()
    assert data["folder"] == str(live_folder(app)) == str(tmp_path / "signalpost-live")
    assert data["total"]["requests_since_start"] == 1


def test_a_page_of_its_own_answers_at_the_root(folder: Path) -> None:
    app = LivePage(None, path="/", folder=folder, token=TOKEN)
    assert Answer(app, "/", **BEARER).status == 200
    assert Answer(app, "/data.json", **BEARER).status == 200
    assert Answer(app, "", **BEARER).status == 200
    assert Answer(app, "/nothing", **BEARER).status == 404
    assert Answer(LivePage(None, folder=folder, token=TOKEN), "/").status == 404


def test_only_the_hosts_that_are_named_are_answered(folder: Path) -> None:
    app = LivePage(
        None, path="/", folder=folder, token=TOKEN, only_hosts=["127.0.0.1:8000"]
    )
    assert Answer(app, "/", HTTP_HOST="127.0.0.1:8000", **BEARER).status == 200
    for host in ("evil.example", "127.0.0.1", "127.0.0.1:8001", "127.0.0.1:8000.evil"):
        assert Answer(app, "/", HTTP_HOST=host, **BEARER).status == 421
    assert Answer(app, "/live.js", **BEARER).status == 421
