from __future__ import annotations

import typing as t

import pytest
from webtest import TestApp

from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from tests.integrations.serving import visit
from tests.integrations.shop import Course
from tests.integrations.shop import COURSES
from tests.integrations.shop import new_shop
from tests.wsgi.serving import Server

WHERE = {
    "error": ["view"],
    "error-500-handled": ["view"],
    "error-propagated": ["view"],
    "system-exit": ["call"],
    "after-request-raises": ["view"],
    "open-session-raises": ["view"],
    "stream-fails": ["iteration"],
}


@pytest.mark.parametrize("name", COURSES)
def test_each_exception_is_sent_once_with_its_place(name: str) -> None:
    app = new_shop(COURSES[name].prepare)
    Signalpost(app)
    with capture(got_request_exception, sender=app) as sent:
        visit(app, COURSES[name])
    assert [one["where"] for one in sent] == WHERE.get(name, [])


def test_an_error_page_that_fails_is_an_exception_of_its_own() -> None:
    def fail_again(error: Exception) -> t.Any:
        raise OSError("no page")

    app = new_shop(lambda app: app.register_error_handler(500, fail_again))
    Signalpost(app)
    with capture(got_request_exception, sender=app) as sent:
        visit(app, Course("/fail", None, OSError))
    assert [(type(one["exception"]), one["where"]) for one in sent] == [
        (LookupError, "view"),
        (OSError, "call"),
    ]


def test_an_exception_object_that_is_raised_again_is_sent_again() -> None:
    error = LookupError("a constant")

    def constant() -> t.Any:
        raise error

    app = new_shop()
    app.add_url_rule("/constant", view_func=constant)
    Signalpost(app)
    with capture(got_request_exception, sender=app) as sent:
        for _ in range(2):
            TestApp(app).get("/constant", status=500)
    assert [one["exception"] for one in sent] == [error, error]


def test_a_teardown_function_that_fails_is_sent_from_the_call() -> None:
    app = new_shop()
    Signalpost(app)

    @app.teardown_request
    def tear_down(error: BaseException | None) -> None:
        raise OSError("no teardown")

    with (
        capture(got_request_exception, exchange_closed, sender=app) as sent,
        # Flask 3.2 raises a group of what its functions raise.
        pytest.raises((OSError, ExceptionGroup)),
    ):
        Server().serve(app, path="/hello")
    assert [one.signal for one in sent] == [got_request_exception, exchange_closed]
    assert sent[0]["where"] == "call"
