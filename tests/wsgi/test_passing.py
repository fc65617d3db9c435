"""An application finds the attributes of its middleware in its ``wsgi_app``."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.config import enabled_for
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.live import LivePage
from signalpost.testing import capture
from tests.wsgi.serving import hello

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

TOKEN = "an-anchor-and-a-lantern"


class Proxied:
    """A middleware that keeps parts of the request, for the views."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.prefix: str = environ.get("HTTP_X_PREFIX", "/")
        return self.app(environ, start_response)

    @property
    def is_proxied(self) -> bool:
        return self.prefix != "/"


class NamedAsFlask(Proxied):
    """The same, with the application in an attribute that Flask's objects have."""

    def __init__(self, app: WSGIApplication) -> None:
        super().__init__(app)
        self.wsgi_app = app


def new_shop(middleware: Callable[[WSGIApplication], WSGIApplication]) -> flask.Flask:
    app = flask.Flask("shop")
    app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[assignment,method-assign]

    @app.get("/")
    def home() -> str:
        layer: t.Any = flask.current_app.wsgi_app
        return f"{layer.prefix} {layer.is_proxied}"

    return app


def with_extension(app: flask.Flask, folder: Path) -> None:
    Signalpost(app)


@pytest.fixture(autouse=True)
def nothing_stays_enabled() -> Iterator[None]:
    """Disable the receivers that a test has enabled by name."""
    yield
    for app in _configured:
        enabled_for(app).disable_all()
    _configured.clear()


_configured: list[flask.Flask] = []


def with_paths(app: flask.Flask, folder: Path) -> None:
    _configured.append(app)
    app.config["SIGNALPOST_RECEIVERS"] = {
        "live": {"path": "/_signalpost", "token": TOKEN, "folder": str(folder)},
        "prometheus": {"path": "/metrics"},
    }
    Signalpost(app)


def with_layer(app: t.Any, folder: Path) -> None:
    app.wsgi_app = SignalMiddleware(app)


def with_inner_layer(app: t.Any, folder: Path) -> None:
    app.wsgi_app = SignalMiddleware(app.wsgi_app)


def with_page(app: t.Any, folder: Path) -> None:
    Signalpost(app)
    app.wsgi_app = LivePage(app.wsgi_app, folder=folder, token=TOKEN)


SET_UPS = [with_extension, with_paths, with_layer, with_inner_layer, with_page]


@pytest.mark.parametrize("set_up", SET_UPS)
@pytest.mark.parametrize("middleware", [Proxied, NamedAsFlask])
def test_a_view_reads_its_middleware_as_without_us(
    set_up: Callable[[flask.Flask, Path], None],
    middleware: type[Proxied],
    tmp_path: Path,
) -> None:
    app = new_shop(middleware)
    set_up(app, tmp_path)
    client = app.test_client()
    with capture(exchange_closed) as sent:
        response = client.get("/", headers={"X-Prefix": "/shop"}, buffered=True)
    assert response.text == "/shop True"
    assert [one["exchange"].status for one in sent] == [200]


@pytest.mark.parametrize("set_up", SET_UPS)
def test_an_attribute_of_no_middleware_is_missing_as_without_us(
    set_up: Callable[[flask.Flask, Path], None], tmp_path: Path
) -> None:
    app = new_shop(Proxied)
    set_up(app, tmp_path)
    with pytest.raises(AttributeError, match=r"'Proxied' object has no attribute 'x'"):
        app.wsgi_app.x  # type: ignore[attr-defined]  # noqa: B018


def test_an_attribute_of_the_application_is_still_explained() -> None:
    app = new_shop(Proxied)
    layer: t.Any = SignalMiddleware(app)
    with pytest.raises(AttributeError, match="its application has: keep that object"):
        layer.config  # noqa: B018


def test_attributes_of_a_function_are_found() -> None:
    def counting(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        return hello(environ, start_response)

    counting.calls = 3  # type: ignore[attr-defined]
    app = new_shop(lambda app: counting)
    Signalpost(app)
    assert app.wsgi_app.calls == 3  # type: ignore[attr-defined]


def test_names_of_protocols_and_of_applications_are_not_passed() -> None:
    app = new_shop(NamedAsFlask)
    Signalpost(app)
    assert not hasattr(app.wsgi_app, "wsgi_app")
    assert not hasattr(app.wsgi_app, "__wrapped__")
