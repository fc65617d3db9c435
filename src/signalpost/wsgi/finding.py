"""The application that a middleware is around, and the layers in an application."""

from __future__ import annotations

import typing as t
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from inspect import getattr_static
from types import FunctionType
from types import GetSetDescriptorType
from types import MemberDescriptorType
from types import MethodType
from types import ModuleType

from .kinds import bases_of
from .kinds import has_method
from .kinds import members_of
from .kinds import name_of

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = [
    "Layer",
    "applications_in",
    "is_layer",
    "layers_in",
    "refers_to",
    "sender_behind",
    "sender_of",
    "unproxied",
]

# The names by which middlewares keep what they are around: Werkzeug's, WhiteNoise's,
# Paste's, Beaker's, Sentry's, OpenTelemetry's, Flask-SocketIO's, wrapt's.
_NAMES = (
    "app",
    "application",
    "wsgi_app",
    "_app",
    "_application",
    "_wsgi_app",
    "wsgi",
    "wrapped",
    "wrap_app",
    "__wrapped__",
)

# Of these classes it is known that they are middlewares, whatever they are around.
_MIDDLEWARES: Mapping[str, str] = {
    "engineio.middleware.WSGIApp": "wsgi_app",
    "opentelemetry.instrumentation.wsgi.OpenTelemetryMiddleware": "wsgi",
    "sentry_sdk.integrations.wsgi.SentryWsgiMiddleware": "app",
    "werkzeug.debug.DebuggedApplication": "app",
    "werkzeug.middleware.http_proxy.ProxyMiddleware": "app",
    "werkzeug.middleware.lint.LintMiddleware": "app",
    "werkzeug.middleware.profiler.ProfilerMiddleware": "_app",
    "werkzeug.middleware.proxy_fix.ProxyFix": "app",
    "werkzeug.middleware.shared_data.SharedDataMiddleware": "app",
    "whitenoise.base.WhiteNoise": "application",
}

_MOST_LAYERS = 200
_MOST_OBJECTS = 1_000

_LEAVES = (str, bytes, bytearray, int, float, complex, type(None), type, ModuleType)


class Layer:
    """The public part of a layer: the application that it wraps, and its sender."""

    app: WSGIApplication
    """The application that is called."""
    sender: object
    """The sender of the signals."""
    is_sender_known: bool
    """``True`` if the sender is an application that was named or found; ``False`` if it
    is only the callable that the layer was given."""
    find_request: Callable[[t.Any], object] | None
    """Finds the framework's request of an exchange whose environment has none."""
    strict: bool
    """``True`` if a receiver's exception is let through."""
    inner: t.Any = None
    """The layer within this one that is made for the sender's framework, once found."""
    other_layer_id = 0
    """The ``id`` of the latest layer around this one that another application has."""


def is_layer(application: object) -> t.TypeGuard[Layer]:
    """Return whether an object is a layer, without reading its attributes."""
    return any(base is Layer for base in bases_of(type(application)))


def unproxied(application: t.Any) -> t.Any:
    """Return the object behind a proxy such as Flask's ``current_app``.

    A proxy is known by its type: the object itself may have an answer to every name.
    """
    if has_method(type(application), "_get_current_object"):
        return application._get_current_object()  # Werkzeug documents it
    return application


def sender_behind(given: t.Any) -> object:
    """Return the application that a middleware is around.

    Middlewares are looked through by the attributes that they keep it in, bound methods
    by their object. None of their code is called.

    :param given: What a layer is given to call.
    :returns: ``None`` if no application is found, as behind a function.
    """
    found = _found(given, {})
    return _innermost(given) if found is None else found


def sender_of(application: t.Any) -> t.Any:
    """Return the application behind a middleware or a proxy."""
    application = unproxied(application)
    found = sender_behind(application)
    return application if found is None else found


def _found(given: t.Any, seen: dict[int, object]) -> object:
    """Return the object with a ``wsgi_app`` that something leads to.

    :param seen: The objects that were checked before, by id.
    """
    given = unproxied(given)
    kind = type(given)
    if issubclass(kind, _LEAVES) or id(given) in seen or len(seen) > _MOST_LAYERS:
        return None
    seen[id(given)] = given
    if is_layer(given):
        return given.sender
    if kind is MethodType:
        is_inside = _name_of(given) == "wsgi_app"
        return given.__self__ if is_inside else _found(given.__self__, seen)
    if has_method(kind, "wsgi_app"):
        return t.cast("object", given)
    for name in _NAMES:
        inner = _kept(given, name)
        found = _found(inner, seen)
        if found is not None:
            is_one = type(inner) is MethodType or not _mounts_others(given, found)
            return found if is_one else None
    return None


def _name_of(method: MethodType) -> object:
    try:
        return method.__name__
    except Exception:  # noqa: BLE001  # of a callable that is not a function
        return None


def _mounts_others(given: object, found: object) -> bool:
    """Return whether a dispatcher has other applications, but not this one."""
    mounts = _kept(given, "mounts")
    if not isinstance(mounts, dict):
        return False
    others = (_found(one, {}) for one in mounts.values())
    return any(other is not None and other is not found for other in others)


def _innermost(given: t.Any) -> object:
    """Return the application inside well-known middlewares."""
    inner = given
    seen: dict[int, object] = {}
    while (name := _attribute_of(type(inner))) is not None and id(inner) not in seen:
        seen[id(inner)] = inner
        inner = unproxied(_kept(inner, name))
    if inner is given or not callable(inner):
        return None
    if type(inner) is MethodType and callable(_kept(inner.__self__, "wsgi_app")):
        return inner.__self__
    return t.cast("object", inner)


def _attribute_of(kind: type) -> str | None:
    for base in bases_of(kind):
        name = _MIDDLEWARES.get(name_of(base))
        if name is not None:
            return name
    return None


def _kept(given: object, name: str) -> t.Any:
    """Return an attribute without running any code of its object."""
    try:
        kept = getattr_static(given, name, None)
        # Not hashed and not compared, as a metaclass may refuse both.
        if type(kept) is MemberDescriptorType or type(kept) is GetSetDescriptorType:
            return kept.__get__(given, type(given))
    except Exception:  # noqa: BLE001  # an object may refuse even that
        return None
    # Otherwise it belongs to the class, as a property does.
    return kept if _is_of_instance(given, name, kept) else None


def _is_of_instance(given: object, name: str, kept: object) -> bool:
    try:
        return object.__getattribute__(given, "__dict__").get(name) is kept
    except Exception:  # noqa: BLE001  # it has no __dict__, or an odd one
        return False


def layers_in(application: t.Any, wsgi_app: object) -> list[Layer]:
    """Return the layers that are called for an application, the outermost first.

    Closures and defaults of functions are looked into as well: this is a search and no
    proof, as a function may call what is found nowhere in it.

    :param application: The application, which is not looked into itself.
    :param wsgi_app: Its ``wsgi_app``, or what else is around it.
    """
    return [one for one in _objects_within(wsgi_app, application) if is_layer(one)]


def applications_in(start: object) -> list[object]:
    """Return the objects with a ``wsgi_app`` that something calls, if they are seen."""
    within = _objects_within(start, None)
    return [one for one in within if has_method(type(one), "wsgi_app")]


def refers_to(start: object, application: object) -> bool:
    """Return whether what something calls, as far as it can be seen, has an object."""
    return any(one is application for one in _objects_within(start, None))


def _objects_within(start: object, beyond: object) -> Iterator[object]:
    """Yield the objects that an object may call, the nearest first."""
    waiting = deque([start])
    seen: dict[int, object] = {}
    while waiting and len(seen) < _MOST_OBJECTS:
        one = waiting.popleft()
        if one is beyond or id(one) in seen or issubclass(type(one), _LEAVES):
            continue
        seen[id(one)] = one
        yield one
        # The objects in an application are its views.
        if one is start or not has_method(type(one), "wsgi_app"):
            waiting.extend(_references_of(one))


def _references_of(one: t.Any) -> Iterable[object]:
    kind = type(one)
    if kind is MethodType:
        return (one.__self__,)
    if kind is FunctionType:
        return _references_of_function(one)
    if issubclass(kind, partial):
        return (one.func, *one.args, *one.keywords.values())
    if kind is dict:
        return list(one.values())
    if kind is list or kind is tuple:
        return list(one)
    # Last, because wrapt's proxies return the attributes of the wrapped object.
    members = [_kept(one, name) for name in (*_NAMES, *_slots_of(kind))]
    with suppress(Exception):  # it has no __dict__, or an odd one
        members.extend(object.__getattribute__(one, "__dict__").values())
    return members


def _references_of_function(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not set yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    known = function.__globals__
    yield from (known[name] for name in function.__code__.co_names if name in known)


def _slots_of(kind: type) -> Iterator[str]:
    for base in bases_of(kind):
        for name, member in members_of(base).items():
            if type(member) is MemberDescriptorType:
                yield name
