"""The application that a layer wraps: its call, and the sender of its signals."""

from __future__ import annotations

import inspect
import sys
import typing as t
from collections.abc import Collection
from collections.abc import Iterable
from reprlib import repr as short_repr
from types import CodeType
from types import FrameType
from types import FunctionType

from ..errors import ApplicationError
from .finding import layers_in
from .finding import sender_behind
from .kinds import has_method
from .kinds import methods_of

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["ApplicationObject", "application_and_sender", "is_running"]

_CALLED_KEY: t.Final = "signalpost.called"


class ApplicationObject:
    """Call an object that has a ``wsgi_app`` as the server would.

    The layer may be around the object. Then the object is called, as it may do more
    than its ``wsgi_app``. Or the layer is in the object's ``wsgi_app``. Then the object
    would call the layer again, so its earlier ``wsgi_app`` is called.

    :param app: The object.
    :param inner: Its ``wsgi_app``, so far.
    :param layer: The layer that calls.
    """

    __slots__ = ("_app", "_found", "_layer_id", "inner")

    inner: WSGIApplication
    """The object's ``wsgi_app`` at the time when the layer was made."""

    def __init__(self, app: t.Any, inner: WSGIApplication, layer: object) -> None:
        self._app = app
        # Weakly, to avoid a cycle; only the layer calls this, so it exists.
        self._layer_id = id(layer)
        self.inner = inner
        # The object's latest wsgi_app, and whether the layer is in it. It cannot be in
        # what is older than the layer.
        self._found: tuple[object, bool] = (inner, False)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application (:pep:`3333`)."""
        app = self._app
        try:
            wsgi_app = app.wsgi_app
        except Exception:  # noqa: BLE001  # the object's own trouble: it has none
            wsgi_app = None
        if id(wsgi_app) == self._layer_id:
            return self.inner(environ, start_response)
        seen, is_inside = self._found
        if wsgi_app is not seen and not _are_one_method(wsgi_app, seen):
            return self._call_after_change(wsgi_app, environ, start_response)
        called = self.inner if is_inside else app
        return t.cast("Iterable[bytes]", called(environ, start_response))

    def is_second_call(self, environ: WSGIEnvironment) -> bool:
        """Return whether this is called by the object that it has just called."""
        return environ.get(_CALLED_KEY) is self

    def _call_after_change(
        self, wsgi_app: object, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Find out where the layer is, once another ``wsgi_app`` is set.

        If the layer is in it, the object calls the layer: its ``__call__`` is running.
        Where that is not seen, as in another thread, the object is called; it will call
        the layer once more, with what was put into the environment.
        """
        before = self._found
        is_second = self.is_second_call(environ)
        environ.pop(_CALLED_KEY, None)
        if is_second or is_running(self._app, _codes_of_call(type(self._app))):
            # Or the application has called itself, within a view or with a copy of this
            # environment. Then the next call is as any other.
            layers = layers_in(self._app, wsgi_app)
            if any(id(one) == self._layer_id for one in layers):
                self._found = (wsgi_app, True)
            return self.inner(environ, start_response)
        environ[_CALLED_KEY] = self
        try:
            body = self._app(environ, start_response)
        finally:
            environ.pop(_CALLED_KEY, None)
        if self._found is before:
            self._found = (wsgi_app, False)
        return t.cast("Iterable[bytes]", body)


def _are_one_method(one: t.Any, other: t.Any) -> bool:
    """Return whether two are the same method, which is made whenever it is read.

    Or are wrappers of it, such as wrapt's, which have its attributes.
    """
    try:
        return (
            type(one) is type(other)
            and one.__func__ is other.__func__
            and one.__self__ is other.__self__
        )
    except Exception:  # noqa: BLE001  # they are not methods
        return False


def is_running(one: object, codes: Collection[CodeType]) -> bool:
    """Return whether a method of an object is running, in this thread.

    :param codes: The code of the method, and of those that it overrides.
    """
    frame: FrameType | None = sys._getframe(1)  # there is no other way
    while frame is not None:
        if frame.f_code in codes and _has_local(frame, one):
            return True
        frame = frame.f_back
    return False


def _codes_of_call(kind: type) -> set[CodeType]:
    functions = methods_of(kind, "__call__")
    return {one.__code__ for one in functions if type(one) is FunctionType}


def _has_local(frame: FrameType, app: object) -> bool:
    """Return whether a call has an object as an argument, or first of ``*args``."""
    return any(
        value is app or (type(value) is tuple and value[:1] and value[0] is app)
        for value in frame.f_locals.values()
    )


def application_and_sender(
    app: t.Any, layer: object
) -> tuple[WSGIApplication, object, bool]:
    """Return what a layer calls, and the application object that it belongs to.

    And whether that is known to be an application: a function may be around one.

    :raises ApplicationError: If ``app`` cannot be called as a WSGI application.
    """
    wsgi_app = _wsgi_app_of(app)
    _check(app, wsgi_app)
    found = sender_behind(app)
    sender = app if found is None else found
    if not callable(wsgi_app):
        return app, sender, found is not None and has_method(type(found), "wsgi_app")
    # A middleware may have a wsgi_app, too: the one that it is around.
    return (
        ApplicationObject(app, wsgi_app, layer) if callable(app) else wsgi_app,
        sender,
        True,
    )


def _check(app: t.Any, wsgi_app: object) -> None:
    """Raise an error unless an object can be called as a WSGI application."""
    if issubclass(type(app), type) and wsgi_app is not None:
        raise ApplicationError(
            f"app must be an application, got the class {app.__qualname__}; pass an"
            " instance of it",
            app,
        )
    if callable(wsgi_app):
        return
    if not callable(app):
        raise ApplicationError(
            "app must be a WSGI application, called with environ and"
            f" start_response, got {short_repr(app)}; pass the application object",
            app,
        )
    if _is_async(app):
        raise ApplicationError(
            f"app must be a WSGI application, got {short_repr(app)}, which is async"
            " as ASGI applications are; wrap the WSGI application inside it",
            app,
        )
    if type(app) is FunctionType and not _takes_a_request(app):
        raise ApplicationError(
            "app must be a WSGI application, called with environ and start_response,"
            f" got the function {app.__qualname__}, which does not take two arguments;"
            " if it creates the application, call it, and pass its result",
            app,
        )


def _takes_a_request(function: FunctionType) -> bool:
    """Return whether a function can be called with two arguments."""
    try:
        inspect.signature(function, follow_wrapped=False).bind(None, None)
    except TypeError:
        return False
    return True


def _wsgi_app_of(app: t.Any) -> object:
    try:
        return getattr(app, "wsgi_app", None)
    except Exception:  # noqa: BLE001  # the object's own trouble: it has none
        return None


def _is_async(app: t.Any) -> bool:
    try:
        return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
            getattr(type(app), "__call__", None)  # noqa: B004  # the function itself
        )
    except Exception:  # noqa: BLE001  # an object that raises there is no coroutine
        return False
