from __future__ import annotations

import gc
import sys
import typing as t
from collections.abc import Iterable
from pathlib import Path

import pytest
from webtest import TestApp

from signalpost import SignalMiddleware
from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange
from signalpost.integrations.paste import filter_app_factory
from signalpost.integrations.paste import filter_factory

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

received: list[str] = []


def record(sender: object, *, exchange: Exchange) -> None:
    received.append(exchange.path)


def new_app(
    global_conf: dict[str, str] | None = None, **local_conf: str
) -> WSGIApplication:
    """Make an application, as ``paste.app_factory`` does."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"stock"]

    return app


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stock_here", sys.modules[__name__])
    received.clear()


FILTER = """\
[pipeline:main]
pipeline = signalpost stock

[filter:signalpost]
use = egg:signalpost
config = %(here)s/stack.ini

[app:stock]
paste.app_factory = stock_here:new_app

[signalpost.receivers]
stock_here:record = signal = exchange-closed
"""

FILTER_APP = """\
[filter-app:main]
use = egg:signalpost
next = stock
config = stack.ini
strict = yes

[app:stock]
paste.app_factory = stock_here:new_app

[signalpost.receivers]
stock_here:record = signal = exchange-closed
"""

APP_FACTORY = """\
[app:main]
paste.app_factory = stock_here:new_app
filter-with = signalpost

[filter:signalpost]
paste.filter_app_factory = signalpost.integrations.paste:filter_app_factory
config = %(here)s/stack.ini

[signalpost.receivers]
stock_here:record = signal = exchange-closed
"""


@pytest.mark.parametrize("stack", [FILTER, FILTER_APP, APP_FACTORY])
def test_a_stack_is_instrumented_with_no_code(stack: str, tmp_path: Path) -> None:
    loadwsgi = pytest.importorskip("paste.deploy.loadwsgi")
    (tmp_path / "stack.ini").write_text(stack)
    app = loadwsgi.loadapp(f"config:{tmp_path}/stack.ini")
    gc.collect()
    assert TestApp(app).get("/shelf").text == "stock"
    assert received == ["/shelf"]
    assert isinstance(app, SignalMiddleware)
    assert app.strict is (stack is FILTER_APP)


def test_a_toml_file_beside_the_stack_is_found(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text("[signalpost.receivers]\nlatency = true\n")
    app = filter_factory({"here": str(tmp_path)}, config="shop.toml")(new_app())
    assert list(enabled_for(app)) == ["latency"]


def test_one_filter_serves_several_applications(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("[signalpost.receivers]\nlatency = true\n")
    wrap = filter_factory(None, config=str(path))
    apps = [wrap(new_app()) for _ in range(2)]
    assert [list(enabled_for(app)) for app in apps] == [["latency"]] * 2


def test_without_a_file_nothing_is_enabled() -> None:
    app = filter_app_factory(new_app(), None)
    assert len(enabled_for(app)) == 0
    assert isinstance(app, SignalMiddleware)
    assert app.strict is False


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"conf": "shop.toml"}, "conf", "unknown option 'conf' of egg:signalpost"),
        (
            {"latency": "yes"},
            "latency",
            "it is a receiver; write it in the section",
        ),
        ({"strict": "perhaps"}, "strict", "strict must be yes or no, got 'perhaps'"),
    ],
)
def test_a_wrong_option_is_named_with_its_file(
    options: dict[str, str], key: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        filter_factory({"__file__": "stack.ini"}, **options)
    assert (raised.value.source, raised.value.key) == ("stack.ini", key)


@pytest.mark.parametrize("options", [{"conf": "x"}, {"strict": "perhaps"}])
def test_the_name_of_a_stack_is_escaped_in_a_message(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        filter_factory({"__file__": "stack\n\x1b[31m.ini"}, **options)
    assert str(raised.value).startswith("stack\\n\\x1b[31m.ini: ")


def test_a_missing_file_is_reported_before_any_request(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        filter_factory({"here": str(tmp_path)}, config="shop.toml")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        filter_factory(
            {"__file__": "stack.ini", "here": str(tmp_path)},
            **{"conf\x1b": "x", "strict": "perhaps", "config": "no.toml"},
        )
    assert [one.key for one in raised.value.errors] == ["conf\x1b", "strict", ""]
    assert "; did you mean 'config'?" in str(raised.value)
    assert str(raised.value).replace("\n", "").isprintable()


def test_the_environment_can_leave_an_application_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNALPOST_DISABLED", "1")
    app = new_app()
    assert filter_factory(None, config="no.toml", conf="x")(app) is app
    assert filter_app_factory(app, None, config="no.toml") is app
