"""Load an application, with the mistakes of its configuration, for the commands."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

import click
import flask
from flask.cli import ScriptInfo

from ...config import DISABLED_VARIABLE
from ...config import is_disabled
from ...console.texts import mistakes_text
from ...errors import ConfigurationError
from ..flask import kept_errors
from ..flask import Signalpost
from ..flask import State
from ._printing import CommandError

__all__ = ["application_of", "loaded", "refusal", "show_mistakes", "state_of"]

_NAME = "signalpost"


def loaded(info: ScriptInfo) -> tuple[flask.Flask, Sequence[ConfigurationError]]:
    """Return the application, of which what is right is enabled, and the mistakes.

    :raises click.ClickException: If it cannot be loaded without its configuration.
    """
    mistakes: list[ConfigurationError] = []
    token = kept_errors.set(mistakes)
    try:
        return info.load_app(), mistakes
    except ConfigurationError as error:  # of another configuration than init_app's
        raise refusal([*mistakes, error]) from None
    finally:
        kept_errors.reset(token)


def application_of(info: ScriptInfo) -> flask.Flask:
    """Return the application; its configuration must be right.

    :raises click.ClickException: If it is not, or the application is not set up.
    """
    app, mistakes = loaded(info)
    if mistakes:
        raise refusal(mistakes)
    state_of(app)
    return app


def state_of(app: flask.Flask) -> State:
    """Return the state of the extension for an application.

    :raises click.ClickException: If the application is not set up.
    """
    state = app.extensions.get(_NAME)
    if isinstance(state, State):
        return state
    if is_disabled():
        raise CommandError(
            f"the application {app.name!r} is not set up, because"
            f" {DISABLED_VARIABLE} is set in the environment; unset it to see what is"
            " configured"
        )
    raise CommandError(
        f"the application {app.name!r} is not set up; call"
        f" {Signalpost.__module__}.{Signalpost.__name__}(app) where it is made"
    )


def refusal(mistakes: Iterable[ConfigurationError]) -> click.ClickException:
    """Return what is wrong with a configuration, without a traceback."""
    return CommandError(mistakes_text(mistakes))


def show_mistakes(mistakes: Sequence[ConfigurationError]) -> None:
    """Print what is wrong with a configuration to standard error, if anything is."""
    if mistakes:
        refusal(mistakes).show()
