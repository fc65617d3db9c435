"""What the commands load: an application with the mistakes of its configuration."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import typing as t
from collections.abc import Iterable

import click
import flask
from flask.cli import ScriptInfo

from ..config import Configuration
from ..config import DISABLED_VARIABLE
from ..config import is_disabled
from ..config import unseen_lines
from ..errors import ConfigurationError
from ..receivers.lines import one_line
from .flask import kept_errors
from .flask import Signalpost
from .flask import State

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["application_of", "application_with_mistakes", "names_in", "state_of"]

_NAME = "signalpost"
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def application_of(info: ScriptInfo) -> flask.Flask:
    """Return the application, whose configuration must be right.

    :raises click.ClickException: If it is not, or the application is not set up.
    """
    app, mistakes = _loaded(info)
    if mistakes:
        raise _refusal(mistakes)
    state_of(app)
    return app


def application_with_mistakes(info: ScriptInfo) -> flask.Flask:
    """Return the application, of which what is right is enabled.

    What is wrong with its configuration is printed to standard error.

    :raises click.ClickException: If the application is not set up.
    """
    app, mistakes = _loaded(info)
    if mistakes:
        _refusal(mistakes).show()
    state_of(app)
    return app


def _loaded(info: ScriptInfo) -> tuple[flask.Flask, list[ConfigurationError]]:
    mistakes: list[ConfigurationError] = []
    token = kept_errors.set(mistakes)
    try:
        return info.load_app(), mistakes
    except ConfigurationError as error:  # of another configuration than init_app's
        raise _refusal([*mistakes, error]) from None
    finally:
        kept_errors.reset(token)


def state_of(app: flask.Flask) -> State:
    """Return what the extension keeps for an application.

    :raises click.ClickException: If the application is not set up.
    """
    state = app.extensions.get(_NAME)
    if isinstance(state, State):
        return state
    if is_disabled():
        raise click.ClickException(
            f"the application {app.name!r} is not set up, as {DISABLED_VARIABLE} is set"
            " in the environment; unset it to see what is configured"
        )
    raise click.ClickException(
        f"the application {app.name!r} is not set up; call"
        f" {Signalpost.__module__}.{Signalpost.__name__}(app) where it is made"
    )


class _Nobody:
    """The application that a configuration is checked for; it is never served."""

    # Some receivers take only an application of this kind, as Flask's.
    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer nothing, as it is never called."""
        raise NotImplementedError


def names_in(file: str) -> tuple[str, list[str]]:
    """Load a file for no application; return its names, and why lines are unseen.

    :raises click.ClickException: If something in it is wrong.
    """
    # As Flask does where it imports an application: modules are beside it.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    nobody = _Nobody()
    try:
        enabled = Configuration.from_file(file).load(nobody)
    except ConfigurationError as error:
        raise _refusal([error]) from None
    except Exception as error:  # noqa: BLE001  # of a module that reads its section
        reason = one_line(f"{type(error).__name__}: {error}{_place_of(error)}")
        raise click.ClickException(
            f"{one_line(file)}: a receiver of post-config-load failed: {reason}"
        ) from None
    names, unseen = ", ".join(enabled), unseen_lines(enabled)
    enabled.disable_all()
    return names, unseen


def _refusal(mistakes: Iterable[ConfigurationError]) -> click.ClickException:
    """Return what is wrong with a configuration, without a traceback."""
    whole = ConfigurationError.together([*mistakes])
    for one in whole.errors:
        place = "" if one.__cause__ is None else _place_of(one.__cause__)
        if place:
            one.args = (f"{one}{one_line(place)}",)
    whole = ConfigurationError.together(whole.errors)
    notes = "".join(f"\n({note})" for note in getattr(whole, "__notes__", ()))
    return click.ClickException(f"{whole}{notes}")


def _place_of(error: BaseException) -> str:
    """Return the innermost line, outside of us, that an error went through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_importing = frame.filename.startswith(("<frozen", str(importlib.__file__)))
        if not is_importing and not frame.filename.startswith(_OURS):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""
