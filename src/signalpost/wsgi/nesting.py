"""Layers around layers: which one records a call, and which ones only pass it on."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from .._current import producing
from ..exchange import Exchange
from .application import ApplicationObject
from .finding import Layer
from .finding import layers_in
from .finding import refers_to

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["call_within", "is_within", "set_sender_within"]


def is_within(layer: Layer, outer: Exchange, environ: WSGIEnvironment) -> bool:
    """Return whether a call of a layer is part of the call that an exchange is of.

    If not, the application has called itself, as for a redirect inside of it, or is
    mounted in another.

    :param outer: The exchange in the environment that the layer gets.
    """
    start_response = outer._start_response
    recorder = layer if start_response is None else start_response.recorder
    if outer._sender is not layer.sender and not _is_around(recorder, layer, outer):
        return False
    if recorder is layer or layer in outer._entered_layers:
        return type(layer.app) is ApplicationObject and layer.app.is_second_call(
            environ
        )
    # While a body is produced, its call has already returned.
    return outer._start_status is None or outer not in producing.values()


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
    recorder.sender = outer.sender = outer._sender = layer.sender
    recorder.is_sender_known = True
    return True


def set_sender_within(layer: Layer) -> None:
    """Set the sender of the layers between a layer and its application.

    Otherwise one that is around a function makes a second record of each request.
    """
    for one in layers_in(layer.sender, layer.app):
        _keep_inner(layer, one)
        if not one.is_sender_known and refers_to(one.app, layer.sender):
            one.sender = layer.sender
            one.is_sender_known = True


def _keep_inner(outer: t.Any, layer: Layer) -> None:
    """Make an outer layer record as the layer of the framework would.

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


def call_within(
    layer: Layer,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    outer: Exchange,
) -> Iterable[bytes]:
    """Call the application for an exchange that a layer around this one records."""
    outer._find_request = layer.find_request or outer._find_request
    if outer._start_response is not None:
        _keep_inner(outer._start_response.recorder, layer)
    before = outer._entered_layers
    outer._entered_layers = (*before, layer)
    try:
        return layer.app(environ, start_response)
    finally:
        # A middleware may call the layer a second time. While the body is produced,
        # this was the first call, by a middleware that is a generator.
        if outer._entered_layers and outer not in producing.values():
            outer._entered_layers = before
