"""Layers around layers: which one records a call, and which ones only pass it on."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from .._current import producing
from ..exchange import Exchange
from .application import Around
from .finding import Layer
from .finding import layers_in
from .finding import leads_to

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["is_within", "passed_on", "set_sender_within"]


def is_within(layer: Layer, outer: Exchange, environ: WSGIEnvironment) -> bool:
    """Return whether a call of a layer is part of the call that an exchange is of.

    If not, the application has called itself, as for a redirect inside of it, or is
    mounted in another.

    :param outer: The exchange in the environment that the layer gets.
    """
    starter = outer.starter
    recorder = layer if starter is None else starter.recorder
    if outer.open_sender is not layer.sender and not _is_around(recorder, layer, outer):
        return False
    if recorder is layer or layer in outer.entered:
        return type(layer.app) is Around and layer.app.is_second_call(environ)
    # While a body is produced, the call that it is the answer to is over.
    return outer.start_status is None or outer not in producing.values()


def _is_around(recorder: Layer, layer: Layer, outer: Exchange) -> bool:
    """Return whether a layer is around another in the application's ``wsgi_app``.

    Its sender was not known, as it is around a function; it is now.
    """
    if recorder.is_sender_known or id(recorder) == layer.other_layer_id:
        return False
    wsgi_app = getattr(layer.sender, "wsgi_app", None)
    if not any(one is recorder for one in layers_in(layer.sender, wsgi_app)):
        layer.other_layer_id = id(recorder)
        return False
    recorder.sender = outer.sender = outer.open_sender = layer.sender
    recorder.is_sender_known = True
    return True


def set_sender_within(layer: Layer) -> None:
    """Set the sender of the layers between a layer and its application.

    Otherwise one that is around a function makes a second record of each request.
    """
    for one in layers_in(layer.sender, layer.app):
        _keep_inner(layer, one)
        if not one.is_sender_known and leads_to(one.app, layer.sender):
            one.sender = layer.sender
            one.is_sender_known = True


def _keep_inner(outer: t.Any, layer: Layer) -> None:
    """Let an outer layer record as the one that knows the framework would.

    So where the outer one sits makes no difference to routes that only the framework
    can find, to async receivers, or to strictness.
    """
    if (
        outer.inner is None
        and layer is not outer
        and layer.find_request is not None
        and layer.sender is outer.sender
    ):
        outer.inner = layer
        outer.strict = outer.strict or layer.strict


def passed_on(
    layer: Layer,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    outer: Exchange,
) -> Iterable[bytes]:
    """Call the application for an exchange that a layer around this one records."""
    outer.find_request = layer.find_request or outer.find_request
    if outer.starter is not None:
        _keep_inner(outer.starter.recorder, layer)
    before = outer.entered
    outer.entered = (*before, layer)
    try:
        return layer.app(environ, start_response)
    finally:
        # A middleware may call the layer a second time. While the body is produced,
        # this was the first call, by a middleware that is a generator.
        if outer.entered and outer not in producing.values():
            outer.entered = before
