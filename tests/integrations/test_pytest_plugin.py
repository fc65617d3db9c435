"""The pytest plugin, in runs of pytest's own that a test starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from collections.abc import Generator
from importlib.metadata import entry_points
from typing import Any
from typing import TypeAlias

import pytest

import signalpost.integrations.flask
import signalpost.integrations.flask_testing
import signalpost.integrations.pytest_plugin._limits
import signalpost.integrations.pytest_plugin._restoring
import signalpost.integrations.pytest_plugin._slowest
import signalpost.integrations.sqlalchemy  # noqa: F401  # a run drops what it imports
from signalpost.integrations import pytest_plugin
from signalpost.integrations.pytest_plugin._slowest import Largest
from signalpost.integrations.pytest_plugin._slowest import Slowest
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import sql_executed
from signalpost.testing import restored

pytest_plugins = ["pytester"]

PLUGIN = "signalpost.integrations.pytest_plugin"
IS_INSTALLED = any(one.value == PLUGIN for one in entry_points(group="pytest11"))

# Warnings are errors in each run, as they are in many a project.
# Some tests of a run are about the one before, so no plugin may change their order.
OPTIONS = ("-W", "error", "-p", "no:randomly", "-p", "no:random_order")

# Where signalpost was installed without it, it is given to each run.
PLUGINS = () if IS_INSTALLED else (pytest_plugin,)

Run: TypeAlias = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def nothing_is_instrumented() -> Generator[None]:
    followers = sql_executed.receiver_connected
    # Another test may have left an instrumentation of every engine.
    with restored(followers):
        followers.disconnect_all()
        yield


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    signals = (exchange_closed, got_request_exception, sql_executed)
    before = [one.connections for one in signals]
    yield
    assert [one.connections for one in signals] == before


CONFTEST = """
    import flask
    import pytest
    import sqlalchemy as sa
    from signalpost.integrations.flask import Signalpost
    from signalpost.integrations.flask_testing import ClosingClient
    from signalpost.integrations.sqlalchemy import instrument

    @pytest.fixture
    def engine():
        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        yield engine
        engine.dispose()

    @pytest.fixture
    def instrumented(engine):
        with instrument(engine):
            yield engine

    @pytest.fixture
    def client(engine):
        app = flask.Flask("shop")
        app.test_client_class = ClosingClient
        Signalpost(app)

        def price_of(connection, number):
            connection.execute(sa.text("SELECT :number"), {"number": number})

        @app.get("/mugs/<int:count>")
        def mugs(count):
            with engine.connect() as connection:
                for number in range(count):
                    price_of(connection, number)
            return "mugs"

        @app.get("/broken")
        def broken():
            raise LookupError("no mugs")

        return app.test_client()
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Return a function that runs pytest on a test module."""

    def run_module(source: str, *options: str) -> pytest.RunResult:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess(*OPTIONS, *options, plugins=PLUGINS)

    return run_module


@pytest.fixture
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that does so in a process with no other plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run_module(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-W", "error", "-p", PLUGIN, *options)

    return run_module


# Fixtures


def test_captured_signals_are_those_until_the_end_of_the_test(run: Run) -> None:
    result = run(
        """
        from signalpost import Namespace
        placed, paid = map(Namespace().signal, ("placed", "paid"))

        def test_sends(capture_signals):
            placed.send("shop", order=1)
            both, one = capture_signals(placed, paid), capture_signals(paid)
            placed.send("shop", order=2)
            paid.send("bank", order=2)
            assert [(sent.signal, sent["order"]) for sent in both] == [
                (placed, 2), (paid, 2)
            ]
            assert [sent.sender for sent in one] == ["bank"]

        def test_sender(capture_signals):
            sent = capture_signals(paid, sender="bank")
            paid.send("shop")
            assert sent == []

        def test_nothing_is_left():
            assert not placed.receivers and not paid.receivers
        """
    )
    result.assert_outcomes(passed=3)


def test_what_is_no_signal_is_refused(run: Run) -> None:
    result = run("def test_it(capture_signals): capture_signals('placed')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*TypeError: capture() takes signals, got 'placed'*")


def test_finished_exchanges_are_those_of_the_test(run: Run) -> None:
    result = run(
        """
        def test_one(client, finished_exchanges):
            client.get("/mugs/0")
            assert [one.route for one in finished_exchanges] == ["/mugs/<int:count>"]

        def test_other(client, finished_exchanges):
            assert finished_exchanges == []
            client.get("/mugs/0"), client.get("/cups")
            assert [one.status for one in finished_exchanges] == [200, 404]
        """
    )
    result.assert_outcomes(passed=2)


def test_failures_are_those_of_the_test(run: Run) -> None:
    result = run(
        """
        def test_one(client, request_failures):
            client.get("/broken")
            (failure,) = request_failures
            assert isinstance(failure.exception, LookupError)
            assert failure.where == "view"
            assert failure.exchange.route == "/broken"

        def test_other(client, request_failures):
            client.get("/mugs/0"), client.get("/cups")
            assert request_failures == []
        """
    )
    result.assert_outcomes(passed=2)


def test_fixture_of_the_same_name_in_a_project_wins(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.fixture
        def finished_exchanges():
            return "mine"

        @pytest.fixture
        def max_statements():
            return "mine"

        @pytest.mark.max_statements(0)
        def test_it(finished_exchanges, max_statements, instrumented):
            assert finished_exchanges == max_statements == "mine"
        """
    )
    result.assert_outcomes(passed=1)


# Statements


def test_fixture_limits_the_statements_of_a_block(run: Run) -> None:
    result = run(
        """
        def test_few(client, instrumented, max_statements):
            client.get("/mugs/5")
            with max_statements(3) as statements:
                client.get("/mugs/3")
            assert len(statements) == 3
            client.get("/mugs/5")

        def test_many(client, instrumented, max_statements):
            with max_statements(3):
                client.get("/mugs/4")
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*TooManyStatementsError: expected at most 3 statements, got 4",
            "E * repeated:",
            "E * 4 times: SELECT ?",
            "E * at *conftest.py:*:client.<locals>.price_of",
            "E * statements:",
            "E * 1. SELECT ?",
            "E * at *conftest.py:*:client.<locals>.price_of",
        ]
    )


def test_block_that_was_never_opened_is_an_error(run: Run) -> None:
    result = run("def test_it(max_statements): max_statements(3)")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*max_statements(3) was called*write: with max_*")


def test_fixture_decorates_functions(run: Run) -> None:
    result = run(
        """
        def test_it(client, instrumented, max_statements):
            get = max_statements(3)(client.get)
            assert get("/mugs/3").text == "mugs"
        """
    )
    result.assert_outcomes(passed=1)


def test_marker_limits_the_statements_of_a_test(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.fixture
        def filled(client, instrumented):
            client.get("/mugs/5")
            yield
            client.get("/mugs/5")

        @pytest.mark.max_statements(3)
        def test_few(client, filled):
            client.get("/mugs/3")

        @pytest.mark.max_statements(3)
        def test_many(client, filled):
            client.get("/mugs/4")

        def test_unmarked(client, filled):
            client.get("/mugs/9")
        """
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "expected at most 3 statements, got 4",
            "repeated:",
            "  4 times: SELECT ?",
            "    at *conftest.py:*:client.<locals>.price_of",
        ]
    )
    result.stdout.no_fnmatch_line("*During handling*")


def test_nearest_marker_wins(run: Run) -> None:
    result = run(
        """
        import pytest

        pytestmark = pytest.mark.max_statements(1)

        @pytest.mark.max_statements(2)
        class TestMugs:
            def test_of_class(self, client, instrumented):
                client.get("/mugs/2")

            @pytest.mark.max_statements(3)
            def test_own(self, client, instrumented):
                client.get("/mugs/3")

        def test_of_module(client, instrumented):
            client.get("/mugs/2")
        """
    )
    result.assert_outcomes(passed=2, failed=1)


def test_marker_may_be_added_while_tests_are_collected(
    pytester: pytest.Pytester,
) -> None:
    adding = """
    def pytest_collection_modifyitems(items):
        for item in items:
            item.add_marker(pytest.mark.max_statements(3))
    """
    pytester.makeconftest(CONFTEST + adding)
    pytester.makepyfile(
        """
        def test_many(client, instrumented):
            client.get("/mugs/4")

        def test_few(client, instrumented):
            client.get("/mugs/3")
        """
    )
    result = pytester.runpytest_inprocess(*OPTIONS, plugins=PLUGINS)
    result.assert_outcomes(passed=1, failed=1)


def test_marker_works_after_a_second_collection(pytester: pytest.Pytester) -> None:
    collecting = """
    def pytest_runtestloop(session):
        session.config.hook.pytest_collection_finish(session=session)
    """
    pytester.makeconftest(CONFTEST + collecting)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.max_statements(3)
        def test_many(client, instrumented):
            client.get("/mugs/4")
        """
    )
    pytester.runpytest_inprocess(*OPTIONS, plugins=PLUGINS).assert_outcomes(failed=1)


@pytest.mark.parametrize("body", ["raise LookupError", "pytest.skip('no mugs')"])
def test_outcome_of_the_test_comes_before_that_of_the_marker(
    run: Run, body: str
) -> None:
    result = run(
        f"""
        import pytest

        @pytest.mark.max_statements(0)
        def test_it(client, instrumented):
            client.get("/mugs/4")
            {body}
        """
    )
    result.stdout.no_fnmatch_line("*at most*")
    is_skipped = "skip" in body
    result.assert_outcomes(failed=not is_skipped, skipped=is_skipped)


def test_unittest_and_expected_failures_work_with_the_marker(run: Run) -> None:
    result = run(
        """
        import unittest
        import pytest
        import sqlalchemy as sa
        from signalpost.integrations.sqlalchemy import instrument

        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)

        class MugsTest(unittest.TestCase):
            def setUp(self):
                self.addCleanup(engine.dispose)
                self.enterContext(instrument(engine))

            @pytest.mark.max_statements(0)
            def test_none(self):
                pass

            @pytest.mark.max_statements(0)
            def test_one(self):
                with engine.connect() as connection:
                    connection.execute(sa.text("SELECT 1"))

        @pytest.mark.xfail
        @pytest.mark.max_statements(0)
        def test_expected(client, instrumented):
            client.get("/mugs/4")
        """
    )
    result.assert_outcomes(passed=1, failed=1, xfailed=1)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("max_statements", "*missing 1 required*max_statements(3)"),
        ("max_statements()", "*missing 1 required*max_statements(3)"),
        ("max_statements('3')", "*takes a number of statements, got '3'*"),
        ("max_statements(-1)", "*takes a number from 0 up, got -1*"),
        ("max_statements(1, 2)", "*takes 1 positional argument but 2*"),
        ("max_statements(limit=1)", "*unexpected keyword argument 'limit'*"),
    ],
)
def test_wrong_marker_fails_its_test_only(run: Run, marker: str, message: str) -> None:
    result = run(
        f"""
        import pytest

        @pytest.mark.{marker}
        def test_it(instrumented):
            pass

        def test_other():
            pass
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(message)


def test_limit_without_an_instrumented_engine_fails(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.mark.max_statements(0)
        def test_marker(client):
            client.get("/mugs/4")

        def test_fixture(client, max_statements):
            with max_statements(3):
                client.get("/mugs/4")

        @pytest.mark.max_statements(0)
        def test_instrumented(instrumented):
            pass
        """
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*no engine is instrumented*"] * 2)


# Connections


CONNECTING = """
    import pytest
    from signalpost import default_namespace
    from signalpost import signal
    from signalpost.lifecycle import exchange_closed

    placed = signal("signalpost-tests-placed")

    def receive(sender, **payload):
        pass

    @pytest.fixture(scope="module", autouse=True)
    def of_the_module():
        placed.connect(receive, "module")
        yield
        placed.disconnect(receive, "module")

    @pytest.fixture
    def connected():
        placed.connect(receive, "fixture")

    {mark}
    def test_connect(connected):
        placed.connect(receive, "test")
        exchange_closed.connect(receive)
        default_namespace.connect(receive)

    def test_senders():
        assert [one.sender for one in placed.connections] == {expected}
        assert receive not in [one.receiver for one in exchange_closed.connections]
        assert not default_namespace.disconnect(receive)
"""
MARK = '@pytest.mark.usefixtures("restored_connections")'


def test_no_connection_of_a_test_outlives_it_by_option(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nsignalpost_restore_connections = true\n")
    result = run(CONNECTING.format(mark="", expected=["module"]))
    result.assert_outcomes(passed=2)


def test_no_connection_of_a_test_outlives_it_by_fixture(run: Run) -> None:
    result = run(CONNECTING.format(mark=MARK, expected=["module"]))
    result.assert_outcomes(passed=2)


def test_connections_stay_where_nothing_is_asked_for(run: Run) -> None:
    with restored():
        result = run(CONNECTING.format(mark="", expected=["module"]))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("*Left contains 3 more items*")


# The slowest


def test_slowest_requests_and_statements_are_shown(run: Run) -> None:
    result = run(
        """
        def test_mugs(client, instrumented):
            for count in range(4):
                client.get(f"/mugs/{count}")
            client.get("/cups\\u202e")
        """,
        "--signalpost-slowest=2",
    )
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"=+ signalpost: slowest requests =+",
            r"\d+\.\d ms GET /\S+ (200|404)",
            r"    in test_slowest_\w+\.py::test_mugs",
            r"=+ signalpost: slowest statements =+",
            r"\d+\.\d ms SELECT \?",
            r"    at .*conftest\.py:\d+:client\.<locals>\.price_of",
            r"    in test_slowest_\w+\.py::test_mugs",
        ]
    )
    for kind in (" ms GET /", " ms SELECT "):
        shown = [one for one in result.outlines if kind in one]
        times = [float(one.split(" ms")[0]) for one in shown]
        assert len(times) == 2
        assert times == sorted(times, reverse=True)


def test_request_without_a_response_time_is_not_shown(run: Run) -> None:
    result = run(
        """
        def test_it(client, finished_exchanges):
            client.get("/mugs/0", headers={"Upgrade": "websocket"})
            assert len(finished_exchanges) == 1
        """,
        "--signalpost-slowest=2",
        "-rA",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("no request was recorded; wrap*")
    result.stdout.no_fnmatch_line("*TypeError*")


def test_report_shows_what_is_missing(run: Run) -> None:
    result = run("def test_it(): pass", "--signalpost-slowest=2")
    result.stdout.fnmatch_lines(
        ["no request was recorded; wrap*", "no statement was recorded; instrument*"]
    )


def test_nothing_is_shown_unless_asked_for(run: Run) -> None:
    result = run("def test_it(client): client.get('/mugs/0')")
    result.stdout.no_fnmatch_line("*slowest*")


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", ""])
def test_wrong_number_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    result = run("def test_it(): pass", f"--signalpost-slowest={number}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "expected a number from 1 up" in "".join(result.errlines)


def test_slowest_of_all_workers_are_shown(alone: Run) -> None:
    result = alone(
        """
        import pytest
        from wsgiref.util import setup_testing_defaults
        from signalpost import SignalMiddleware
        from signalpost.lifecycle import sql_executed

        def shop(environ, start_response):
            payload = dict.fromkeys(sql_executed.payload)
            payload.update(statement="SELECT mugs", duration_seconds=0.5)
            sql_executed.send("database", **payload)
            start_response("200 OK", [])
            return [b"mugs"]

        @pytest.mark.parametrize("count", range(6))
        def test_mugs(count):
            environ = {"PATH_INFO": f"/mugs/{count}"}
            setup_testing_defaults(environ)
            body = SignalMiddleware(shop)(environ, lambda *_: None)
            body.close()
        """,
        "-p",
        "xdist",
        "-n2",
        "--signalpost-slowest=100",
    )
    result.assert_outcomes(passed=6)
    text = str(result.stdout)
    assert text.count("500.0 ms SELECT mugs") == 6
    for count in range(6):
        assert text.count(f"ms GET /mugs/{count} 200") == 1
        assert text.count(f"::test_mugs[{count}]") == 2


def test_worker_that_crashed_is_left_out(pytestconfig: pytest.Config) -> None:
    class Config:
        def getoption(self, name: str) -> int:
            return 3

    class Node:
        pass

    slowest: Any = Slowest(Config())  # type: ignore[arg-type]  # all that is read
    slowest.pytest_testnodedown(Node())
    slowest.pytest_unconfigure()


@pytest.mark.parametrize("number", [1, 3, 10])
def test_largest_are_kept(number: int) -> None:
    def text_of(seconds: float) -> Callable[[], str]:
        def text() -> str:
            asked.append(seconds)
            return f"took {seconds}"

        return text

    asked: list[float] = []
    largest = Largest(number)
    for seconds in [5.0, 4.0, 3.0, 9.0, 1.0, 1.0]:
        largest.add(seconds, text_of(seconds))
    expected = sorted([5.0, 4.0, 3.0, 9.0, 1.0, 1.0], reverse=True)[:number]
    assert largest.entries() == [(one, f"took {one}") for one in expected]
    if number == 1:
        assert asked == [5.0, 9.0]


# Runs that do not use it


def test_unused_plugin_imports_nothing_and_adds_no_hook(
    alone: Run,
) -> None:
    alone(
        """
        import sys

        def test_it(pytestconfig):
            ours = [name for name in sys.modules if name.startswith("signalpost")]
            assert sorted(ours) == [
                "signalpost",
                "signalpost.integrations",
                "signalpost.integrations.pytest_plugin",
            ]
            manager = pytestconfig.pluginmanager
            names = {
                caller.name
                for name, plugin in manager.list_name_plugin()
                if plugin is not None and "signalpost" in name
                for caller in manager.get_hookcallers(plugin)
            }
            assert names == {
                "pytest_addoption", "pytest_configure", "pytest_collection_finish"
            }
        """
    ).assert_outcomes(passed=1)


@pytest.mark.skipif(not IS_INSTALLED, reason="the plugin is not installed")
def test_earlier_import_of_signalpost_is_no_warning(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("def test_it(finished_exchanges): pass")
    program = (
        "import sys, signalpost, signalpost.lifecycle, pytest;"
        " sys.exit(pytest.main(sys.argv[1:]))"
    )
    result = pytester.run(sys.executable, "-c", program, *OPTIONS)
    result.assert_outcomes(passed=1)
