from __future__ import annotations

import gc
import json
import typing as t
import weakref
from pathlib import Path

import flask
import pytest

from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.live import live_folder
from signalpost.live import LivePage
from signalpost.live import read_live
from signalpost.live.reading import Reader

TOKEN = "a-token-that-is-long-enough"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def new_app(
    tmp_path: Path, receivers: dict[str, t.Any] | None = None, **config: t.Any
) -> flask.Flask:
    app = flask.Flask("shop", instance_path=str(tmp_path))
    app.secret_key = "of the tests"
    app.config["SIGNALPOST_RECEIVERS"] = receivers or {"live": True}
    app.config.update(config)

    @app.get("/items/<name>")
    def item(name: str) -> str:
        flask.flash("hello")
        return flask.render_template_string("{{ name }}", name=name)

    @app.get("/boom")
    def boom() -> str:
        raise LookupError("no such thing")

    @app.get("/stream")
    def stream() -> t.Any:
        return flask.Response((str(one) for one in range(3)), mimetype="text/plain")

    return app


def disable(app: flask.Flask) -> None:
    app.extensions["signalpost"].enabled.disable_all()


def get(app: flask.Flask, path: str, **options: t.Any) -> t.Any:
    return app.test_client().get(path, buffered=True, **options)


def test_a_configuration_records(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    Signalpost(app)
    get(app, "/items/mug")
    get(app, "/boom")
    disable(app)
    snapshot = read_live(live_folder(app))
    assert snapshot.folder == str(tmp_path / "signalpost-live")
    assert {row.route: row.failed for row in snapshot.routes} == {
        "/items/<name>": 0,
        "/boom": 1,
    }
    assert get(app, "/_signalpost/").status_code == 404


def test_the_waterfall_has_signals_and_templates(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    Signalpost(app)
    get(app, "/items/mug")
    disable(app)
    reader = Reader(live_folder(app))
    row = reader.exchange(reader.snapshot().exchanges[0].key)
    assert row is not None
    assert [(one.kind, one.name) for one in row.events] == [
        ("signal", "request-started"),
        ("signal", "message-flashed"),
        ("template", "<template>"),
        ("signal", "request-finished"),
    ]
    flashed, template = row.events[1:3]
    assert str(flashed.place).split(":")[0] == __file__
    assert template.seconds is not None
    assert [one.at_seconds for one in row.events] == sorted(
        one.at_seconds for one in row.events
    )


def test_a_stream_in_flight_has_its_status(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    Signalpost(app)
    response = app.test_client().get("/stream")
    (row,) = read_live(live_folder(app)).in_flight
    assert (row.path, row.status) == ("/stream", 200)
    response.close()
    disable(app)


def test_a_path_serves_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_TOKEN", TOKEN)
    live = {"path": "/_signalpost", "token_env": "LIVE_TOKEN"}
    app = new_app(tmp_path, {"live": live, "recorder": True})
    Signalpost(app)
    get(app, "/items/mug")
    assert get(app, "/_signalpost/data.json").status_code == 401
    for _ in range(2):
        data = get(app, "/_signalpost/data.json", headers=HEADERS).json
        assert data["total"]["requests_since_start"] == 1
    assert get(app, "/_signalpost").location == "/_signalpost/"
    # The page has a route for other receivers, and is none of the unmatched.
    recorder = app.extensions["signalpost"].enabled["recorder"].receiver
    assert {row.route for row in recorder.snapshot().routes} == {
        "/items/<name>",
        "/_signalpost/",
    }
    disable(app)
    assert get(app, "/_signalpost/").status_code == 404
    assert get(app, "/items/mug").status_code == 200


def test_a_route_that_is_added_later_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app(tmp_path, {"live": {"path": "/live", "token": TOKEN}})
    Signalpost(app)
    app.add_url_rule("/live/<name>", "own", lambda name: name)
    for _ in range(2):
        assert get(app, "/live/login.html").data == b"login.html"
        assert get(app, "/live/", headers=HEADERS).status_code == 404
    (message,) = caplog.messages
    assert message.startswith(
        "the live page cannot be served, as the application has got a route /live/"
    )
    disable(app)


def test_a_file_and_networks_protect_the_page(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "shop.ini").write_text(f"""
[signalpost.receivers.live]
path = /live
token_file = {tmp_path / "token"}
networks = 10.0.0.0/8 127.0.0.0/8
""")
    app = flask.Flask("shop", instance_path=str(tmp_path))
    app.config["SIGNALPOST_CONFIG"] = tmp_path / "shop.ini"
    Signalpost(app)
    assert get(app, "/live/").status_code == 401
    assert get(app, "/live/", headers=HEADERS).status_code == 200
    far = {"REMOTE_ADDR": "11.0.0.1"}
    assert get(app, "/live/", headers=HEADERS, environ_base=far).status_code == 403
    disable(app)


@pytest.mark.parametrize(
    "options",
    [
        {"path": "/_signalpost"},
        {"path": "/_signalpost", "token_env": "NOT_SET_ANYWHERE"},
        {"path": "/_signalpost", "token": "short"},
        {"path": "/items", "token": TOKEN},
        {"path": "_signalpost", "token": TOKEN},
        {"waterfal": False},
    ],
)
def test_a_wrong_configuration_is_an_error(
    tmp_path: Path, options: dict[str, t.Any]
) -> None:
    app = new_app(tmp_path, {"live": options})
    with pytest.raises(ConfigurationError) as raised:
        Signalpost(app)
    assert "live" in str(raised.value)
    assert str(options.get("token", TOKEN)) not in str(raised.value)
    assert get(app, "/items/mug").status_code == 200
    assert not (tmp_path / "signalpost-live").exists()


@pytest.mark.parametrize("live", [True, {"path": "/_signalpost", "token": TOKEN}])
def test_an_application_is_freed_with_its_recorder(tmp_path: Path, live: t.Any) -> None:
    app = new_app(tmp_path, {"live": live})
    Signalpost(app)
    get(app, "/stream")
    folder = live_folder(app)
    gc.collect()
    reference = weakref.ref(app)
    gc.disable()
    try:
        del app
        assert reference() is None
    finally:
        gc.enable()
    assert [row.state for row in read_live(folder).workers] == ["ended"]


def test_a_statement_of_another_application_is_left_out(tmp_path: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://")
    first, second = (
        new_app(tmp_path / name, {"live": True, "sqlalchemy": True})
        for name in ("first", "second")
    )
    for app in (first, second):
        Signalpost(app)

        @app.get("/sql")
        def sql() -> str:
            with engine.connect() as connection:
                return str(connection.execute(sqlalchemy.text("SELECT 1")).scalar())

    get(first, "/sql")
    disable(first)
    disable(second)
    engine.dispose()
    counts = [read_live(live_folder(app)).statements for app in (first, second)]
    assert [one and [row.times for row in one.rows] for one in counts] == [[1], []]


def test_a_page_outside_of_the_layer_is_not_recorded(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    Signalpost(app)
    app.wsgi_app = LivePage(app.wsgi_app, token=TOKEN)  # type: ignore[method-assign]
    get(app, "/items/mug")
    data = json.loads(get(app, "/_signalpost/data.json", headers=HEADERS).data)
    assert [row["path"] for row in data["exchanges"]] == ["/items/mug"]
    assert data["folder"] == str(live_folder(app))
    disable(app)
