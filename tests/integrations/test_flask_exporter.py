"""The names of prometheus-flask-exporter, compared with that package."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

import flask
import pytest
from flask.views import MethodView
from werkzeug.exceptions import InternalServerError
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

pytest.importorskip(
    "prometheus_flask_exporter", reason="prometheus-flask-exporter is not installed"
)

from prometheus_client import CollectorRegistry
from prometheus_flask_exporter import NO_PREFIX
from prometheus_flask_exporter import PrometheusMetrics as Original

from signalpost.integrations.flask import Signalpost
from signalpost.integrations.prometheus import FlaskExporterOptions
from signalpost.integrations.prometheus import OTHER
from tests.integrations.flask_exporter import Both
from tests.integrations.flask_exporter import Figures

GROUPS = ("path", "endpoint", "url_rule")
TOTAL = "flask_http_request_total"
DURATIONS = "flask_http_request_duration_seconds_count"
EXCEPTIONS = "flask_http_request_exceptions_total"


def new_both(options: FlaskExporterOptions | bool = True, **original: t.Any) -> Both:
    """Return a shop, with options of both."""

    def set_up(app: flask.Flask, registry: CollectorRegistry) -> Original:
        return Original(app, registry=registry, **original)

    both = Both(set_up, options)
    add_views(both.app)
    return both


def add_views(app: flask.Flask) -> None:
    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        return "x" * number

    @app.route("/baskets/", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    def baskets() -> tuple[str, int]:
        return "", 201

    @app.get("/fail")
    def fail() -> t.NoReturn:
        raise LookupError

    @app.get("/refuse/<int:status>")
    def refuse(status: int) -> t.NoReturn:
        flask.abort(status)

    @app.get("/handled")
    def handled() -> t.NoReturn:
        raise ArithmeticError

    @app.errorhandler(ArithmeticError)
    def take(error: ArithmeticError) -> tuple[str, int]:
        return "taken", 418

    @app.get("/away")
    def away() -> t.Any:
        return flask.redirect("/items/1")

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter([b"a", b"b"]))

    @app.get("/nothing")
    def nothing() -> t.Any:
        return None

    blueprint = flask.Blueprint("stock", __name__, url_prefix="/stock")

    @blueprint.get("/<name>")
    def count(name: str) -> str:
        return name

    app.register_blueprint(blueprint)


REQUESTS = [
    ("/items/3", "GET"),
    ("/items/3", "HEAD"),
    ("/items/4", "GET"),
    ("/items/4?page=2", "GET"),
    ("/items/3", "OPTIONS"),
    ("/items/3", "POST"),
    ("/items/none", "GET"),
    ("/absent", "GET"),
    ("/absent", "TRACE"),
    ("/café/%E2%82%AC", "GET"),
    ("/%FF", "GET"),
    ("/baskets", "GET"),
    ("/baskets/", "GET"),
    ("/baskets/", "POST"),
    ("/baskets/", "PUT"),
    ("/baskets/", "DELETE"),
    ("/baskets/", "PATCH"),
    ("/fail", "GET"),
    ("/fail", "HEAD"),
    ("/refuse/403", "GET"),
    ("/refuse/500", "GET"),
    ("/refuse/503", "GET"),
    ("/handled", "GET"),
    ("/away", "GET"),
    ("/stream", "GET"),
    ("/nothing", "GET"),
    ("/stock/mugs", "GET"),
    ("/static/absent.css", "GET"),
]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


@pytest.mark.parametrize("group_by", GROUPS)
def test_the_same_requests_give_the_same_figures(group_by: str) -> None:
    both = new_both({"group_by": group_by}, group_by=group_by)
    for path, method in REQUESTS:
        both.visit(path, method)
    expected, ours = both.figures()
    assert ours == expected
    assert len(expected) > 100


@pytest.mark.parametrize(("path", "method"), REQUESTS)
def test_each_request_gives_the_same_figures(path: str, method: str) -> None:
    both = new_both()
    for _ in range(2):
        both.visit(path, method)
    expected, ours = both.figures()
    assert ours == expected


@pytest.mark.parametrize("path", ["//absent", "///items/3", "", "absent"])
def test_an_odd_path_gives_the_same_figures(path: str) -> None:
    both = new_both()
    both.visit("/", environ_overrides={"PATH_INFO": path})
    expected, ours = both.figures()
    assert ours == expected
    assert ours


def add_method_view(app: flask.Flask) -> None:
    class Tool(MethodView):
        def get(self) -> str:
            return "read"

        def put(self) -> t.NoReturn:
            raise LookupError

    app.add_url_rule("/tool", view_func=Tool.as_view("tool"))


def add_nested_blueprints(app: flask.Flask) -> None:
    outer = flask.Blueprint("outer", __name__, url_prefix="/outer")
    inner = flask.Blueprint("inner", __name__, url_prefix="/inner")
    inner.add_url_rule("/<path:rest>", "rest", lambda rest: rest)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)


def add_async_view(app: flask.Flask) -> None:
    async def soon() -> str:
        return "now"

    app.add_url_rule("/soon", view_func=soon)


def add_error_page(app: flask.Flask) -> None:
    app.register_error_handler(404, lambda error: ("none", 200))


def add_loose_slash(app: flask.Flask) -> None:
    app.add_url_rule(
        "/a/<any(x, y):name>", "any", lambda name: name, strict_slashes=False
    )


def add_guard(app: flask.Flask) -> None:
    app.before_request(lambda: flask.abort(401))


def add_ready_answer(app: flask.Flask) -> None:
    app.add_url_rule("/gone", "gone", lambda: flask.abort(flask.Response("", 410)))


@pytest.mark.parametrize("group_by", GROUPS)
@pytest.mark.parametrize("config", [{}, {"TRAP_HTTP_EXCEPTIONS": True}])
@pytest.mark.parametrize(
    ("add", "requests"),
    [
        (add_method_view, [("/tool", "GET"), ("/tool", "PUT"), ("/tool", "POST")]),
        (add_nested_blueprints, [("/outer/inner/a/b", "GET"), ("/outer/", "GET")]),
        (add_async_view, [("/soon", "GET")]),
        (add_error_page, [("/absent", "GET")]),
        (add_loose_slash, [("/a/x", "GET"), ("/a/x/", "GET"), ("/a/z", "GET")]),
        (add_guard, [("/items/1", "GET"), ("/absent", "GET")]),
        (add_ready_answer, [("/gone", "GET")]),
    ],
)
def test_other_applications_give_the_same_figures(
    add: t.Any, requests: list[tuple[str, str]], config: dict[str, bool], group_by: str
) -> None:
    both = new_both({"group_by": group_by}, group_by=group_by)
    both.app.config.update(config)
    add(both.app)
    for path, method in requests:
        both.visit(path, method)
    expected, ours = both.figures()
    assert ours == expected
    assert counts(ours, TOTAL) == len(requests)


@pytest.mark.parametrize("group_by", GROUPS)
def test_an_exception_that_is_let_through_gives_the_same_figures(
    group_by: str,
) -> None:
    both = new_both({"group_by": group_by}, group_by=group_by)
    both.app.testing = True
    with pytest.raises(LookupError):
        both.visit("/fail")
    expected, ours = both.figures()
    assert ours == expected
    assert ours[EXCEPTIONS, (("method", "GET"), ("status", "500"))] == 1


def test_an_end_of_the_worker_gives_the_same_figures() -> None:
    both = new_both()

    @both.app.get("/exit")
    def leave() -> t.NoReturn:
        raise SystemExit

    with pytest.raises(SystemExit):
        both.visit("/exit")
    expected, ours = both.figures()
    assert ours == expected
    assert ours


@pytest.mark.parametrize("error", [InternalServerError, LookupError])
def test_an_error_handler_sets_the_same_status(error: type[Exception]) -> None:
    both = new_both()
    both.app.register_error_handler(error, lambda caught: ("sorry", 503))
    both.visit("/fail")
    expected, ours = both.figures()
    assert ours == expected
    assert ours[TOTAL, (("method", "GET"), ("status", "503"))] == 1


@pytest.mark.parametrize("moment", ["before_request", "after_request"])
def test_a_function_of_flask_that_fails_gives_the_same_figures(moment: str) -> None:
    both = new_both()

    def fail(*given: object) -> t.NoReturn:
        raise LookupError

    getattr(both.app, moment)(fail)
    both.visit("/items/1")
    expected, ours = both.figures()
    assert ours == expected
    assert ours


def test_a_later_function_that_answers_gives_the_same_figures() -> None:
    both = new_both()
    both.app.before_request(lambda: ("closed", 503))
    both.visit("/items/1")
    expected, ours = both.figures()
    assert ours == expected
    assert ours


@pytest.mark.parametrize("group_by", GROUPS)
def test_a_mounted_application_gives_the_same_figures(group_by: str) -> None:
    both = new_both({"group_by": group_by}, group_by=group_by)
    root = flask.Flask("root")
    client = Client(DispatcherMiddleware(root, {"/shop": both.app}))
    for path in ("/shop/items/3", "/shop/baskets", "/shop/absent"):
        client.get(path, buffered=True).close()
    expected, ours = both.figures()
    assert ours == expected
    assert ours


def test_a_client_that_leaves_gives_the_same_figures() -> None:
    both = new_both()
    response = both.app.test_client().get("/stream")
    next(iter(response.response))
    response.close()
    expected, ours = both.figures()
    assert ours == expected
    assert ours


@pytest.mark.parametrize(
    ("prefix", "original"), [("shop", "shop"), ("", NO_PREFIX), ("flask", None)]
)
def test_the_prefix_is_the_same(prefix: str, original: str | None) -> None:
    both = new_both({"prefix": prefix}, defaults_prefix=original)
    both.visit("/items/1")
    both.visit("/fail")
    expected, ours = both.figures()
    assert ours == expected
    start = f"{prefix}_" if prefix else ""
    assert (
        f"{start}http_request_total",
        (("method", "GET"), ("status", "200")),
    ) in ours


@pytest.mark.parametrize("buckets", [(1,), (0.5, 2, 30), (0.1, float("inf"))])
def test_the_buckets_are_the_same(buckets: tuple[float, ...]) -> None:
    both = new_both({"buckets": buckets}, buckets=buckets)
    both.visit("/items/1")
    expected, ours = both.figures()
    assert ours == expected


def test_the_information_of_the_exporter_has_our_version() -> None:
    both = new_both()
    samples = [
        sample
        for metric in both.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "flask_exporter_info"
    ]
    assert [([*one.labels], one.value) for one in samples] == [(["version"], 1.0)]


def test_labels_of_the_application_are_the_same() -> None:
    def set_up(app: flask.Flask, registry: CollectorRegistry) -> Original:
        labels = {
            "stage": "test",
            "tenant": lambda: flask.request.headers.get("X-Tenant", "none"),
        }
        return Original(app, registry=registry, default_labels=labels)

    both = Both(
        set_up,
        {"constant_labels": {"stage": "test"}},
        labels={"tenant": lambda one: one.environ.get("HTTP_X_TENANT", "none")},
    )
    add_views(both.app)
    for path in ("/items/1", "/fail", "/absent"):
        both.visit(path)
        both.visit(path, headers={"X-Tenant": "red"})
    expected, ours = both.figures()
    assert ours == expected
    assert {dict(labels)["tenant"] for _, labels in ours} == {"none", "red"}


def test_a_function_groups_durations_alike() -> None:
    def first_part(request: t.Any) -> str:
        return str(request.path.split("/")[1])

    both = new_both({"group_by": first_part}, group_by=first_part)
    for path, _ in REQUESTS[:8]:
        both.visit(path)
    expected, ours = both.figures()
    assert ours == expected
    assert ("first_part", "items") in {pair for _, labels in ours for pair in labels}


def test_a_view_is_left_out_alike() -> None:
    both = new_both({"exclude_endpoints": ["ping", "broken"]})
    original: t.Any = both.original

    def ping() -> str:
        return "pong"

    def broken() -> t.NoReturn:
        raise LookupError

    leave_out = original.do_not_track()
    both.app.add_url_rule("/ping", view_func=leave_out(ping))
    both.app.add_url_rule("/broken", view_func=leave_out(broken))
    for path in ("/ping", "/broken", "/items/1"):
        both.visit(path)
    expected, ours = both.figures()
    assert ours == expected
    assert counts(ours, TOTAL) == 1


@pytest.mark.parametrize(
    ("pattern", "original"),
    [
        ("/items/3", "^/items/3$"),
        ("/items/**", "/items/"),
        ("/stock/*", ["/stock/[^/]*$", "/never"]),
        ("/fail", "/fail$"),
        ("/absent", "/absent$"),
    ],
)
def test_excluded_paths_are_left_out_alike(pattern: str, original: t.Any) -> None:
    def set_up(app: flask.Flask, registry: CollectorRegistry) -> Original:
        return Original(app, registry=registry, excluded_paths=original)

    both = Both(set_up, options=True, exclude=[pattern])
    add_views(both.app)
    for path, method in REQUESTS:
        both.visit(path, method)
    expected, ours = both.figures()
    assert ours == expected
    assert 0 < counts(ours, TOTAL) < len(REQUESTS)


def test_scrapes_are_left_out_alike() -> None:
    both = new_both()
    both.visit("/metrics")
    both.visit("/figures")
    expected, ours = both.figures()
    assert counts(ours, TOTAL) == 1  # the original's scrape
    assert counts(expected, TOTAL) == 1  # and signalpost's


def counts(figures: Figures, name: str) -> float:
    return sum(value for (sample, _), value in figures.items() if sample == name)


# What differs, and why: docs/migrating/prometheus-flask-exporter.rst.


@pytest.mark.parametrize("method", ["BREW", "brew", "get"])
def test_an_unknown_method_has_a_label_of_its_own_in_the_original_alone(
    method: str,
) -> None:
    both = new_both()
    both.visit("/items/1", method)
    expected, ours = both.figures()
    assert {dict(labels)["method"] for _, labels in expected} == {method.upper()}
    assert {dict(labels)["method"] for _, labels in ours} == {"_OTHER"}


def test_a_stream_that_fails_is_an_exception_in_ours_alone() -> None:
    both = new_both()

    @both.app.get("/broken")
    def broken() -> flask.Response:
        def lines() -> Iterator[str]:
            yield "one\n"
            raise LookupError

        return flask.Response(lines())

    with pytest.raises(LookupError):
        both.visit("/broken")
    expected, ours = both.figures()
    assert counts(expected, TOTAL) == counts(ours, TOTAL) == 1
    assert (counts(expected, EXCEPTIONS), counts(ours, EXCEPTIONS)) == (0, 1)


def test_an_exception_of_a_teardown_function_is_counted_in_ours_alone() -> None:
    both = new_both()

    @both.app.teardown_request
    def fail(error: BaseException | None) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        both.visit("/items/1")
    expected, ours = both.figures()
    assert counts(expected, TOTAL) == counts(ours, TOTAL) == 1
    assert (counts(expected, EXCEPTIONS), counts(ours, EXCEPTIONS)) == (0, 1)


def test_an_exception_that_an_extension_answers_is_counted_in_ours_alone() -> None:
    flask_restx = pytest.importorskip("flask_restx")
    both = new_both()
    api = flask_restx.Api(both.app, doc=False)

    class Broken(flask_restx.Resource):  # type: ignore[misc, name-defined]  # no types
        def get(self) -> t.NoReturn:
            raise LookupError

    api.add_resource(Broken, "/broken")
    assert both.visit("/broken") == 500
    expected, ours = both.figures()
    assert counts(expected, TOTAL) == counts(ours, TOTAL) == 1
    assert (counts(expected, EXCEPTIONS), counts(ours, EXCEPTIONS)) == (0, 1)


def test_a_client_that_leaves_a_context_is_an_exception_in_the_original_alone() -> None:
    both = new_both()

    @both.app.get("/lines")
    def lines() -> flask.Response:
        body = flask.stream_with_context(iter(["one", "two"]))
        return flask.Response(body)

    response = both.app.test_client().get("/lines")
    next(iter(response.response))
    response.close()
    expected, ours = both.figures()
    assert counts(expected, TOTAL) == counts(ours, TOTAL) == 1
    assert (counts(expected, EXCEPTIONS), counts(ours, EXCEPTIONS)) == (1, 0)


def test_a_second_application_is_counted_in_ours_alone() -> None:
    both = new_both()
    second = flask.Flask("second")
    original: t.Any = both.original
    original.init_app(second)
    Signalpost(second)
    both.metrics.connect(second)
    second.test_client().get("/absent", buffered=True)
    expected, ours = both.figures()
    assert (counts(expected, TOTAL), counts(ours, TOTAL)) == (0, 1)


def test_an_error_around_flask_is_counted_in_ours_alone() -> None:
    both = new_both()
    inner = both.app.wsgi_app.app  # type: ignore[attr-defined]  # our middleware

    def broken(environ: t.Any, start_response: t.Any) -> t.Any:
        raise LookupError

    both.app.wsgi_app.app = broken  # type: ignore[attr-defined]
    with pytest.raises(LookupError):
        both.visit("/items/1")
    both.app.wsgi_app.app = inner  # type: ignore[attr-defined]
    expected, ours = both.figures()
    assert (counts(expected, TOTAL), counts(ours, TOTAL)) == (0, 1)


def test_an_answer_before_the_originals_function_is_timed_in_ours_alone() -> None:
    def set_up(app: flask.Flask, registry: CollectorRegistry) -> Original:
        app.before_request(lambda: ("closed", 503))
        return Original(app, registry=registry)

    both = Both(set_up, options=True)
    both.visit("/items/1")
    expected, ours = both.figures()
    assert counts(expected, TOTAL) == counts(ours, TOTAL) == 1
    assert (counts(expected, DURATIONS), counts(ours, DURATIONS)) == (0, 1)


def test_paths_that_no_route_matches_are_bounded_in_ours_alone() -> None:
    both = new_both()
    for number in range(150):
        both.visit(f"/absent/{number}")
    both.visit("/items/3")
    expected, ours = both.figures()
    assert counts(expected, DURATIONS) == counts(ours, DURATIONS) == 151
    paths = {dict(labels)["path"] for name, labels in ours if name == DURATIONS}
    assert len(paths) == 102
    assert {"/items/3", OTHER} < paths
