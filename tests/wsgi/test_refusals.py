from __future__ import annotations

import functools
import typing as t

import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ApplicationError
from signalpost.errors import SignalpostError
from tests.wsgi.serving import hello

if t.TYPE_CHECKING:
    pass


@pytest.mark.parametrize("wrong", [None, 3, "app", []])
def test_what_is_not_callable_is_refused(wrong: object) -> None:
    with pytest.raises(ApplicationError, match="must be a WSGI application") as raised:
        SignalMiddleware(wrong)
    assert raised.value.application is wrong
    assert isinstance(raised.value, (SignalpostError, TypeError))


def test_a_class_of_applications_is_refused() -> None:
    class App:
        def wsgi_app(self) -> None: ...

    with pytest.raises(ApplicationError, match="pass an instance"):
        SignalMiddleware(App)


def test_an_asgi_application_is_refused() -> None:
    async def asgi(scope: object, receive: object, send: object) -> None: ...

    class Asgi:
        async def __call__(self, scope: object, receive: object) -> None: ...

    for wrong in (asgi, Asgi()):
        with pytest.raises(ApplicationError, match="async"):
            SignalMiddleware(wrong)


def test_a_partial_is_an_application() -> None:
    app = functools.partial(hello)
    assert SignalMiddleware(app).sender is app
