"""``flask signalpost check``."""

from __future__ import annotations

from collections.abc import Iterable

import click
import flask
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from ...config import checked_file
from ...config import CheckedFile
from ...config import unseen_lines
from ...config._checking import noted_warnings
from ...console.layout import wrapped
from ...console.texts import check_data
from ...console.texts import document
from ...console.texts import right_text
from ...console.texts import warning_texts
from ...errors import ConfigurationError
from ...receivers.lines import logfmt_value
from ...wsgi.finding import layers_in
from ._loading import loaded
from ._loading import refusal
from ._loading import state_of
from ._printing import as_json
from ._printing import print_error_lines
from ._printing import print_lines
from ._printing import width
from ._unreached import never_called

__all__ = ["check"]


@click.command("check", short_help="Check the configuration, or a file.")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@as_json("Print one JSON document, the mistakes included.")
@pass_script_info
def check(info: ScriptInfo, file: str | None, *, is_json: bool) -> None:
    """Check the configuration without serving: the application's, or a FILE.

    Modules are imported and receivers made, as when the application starts. A FILE is
    checked without the application. All mistakes are printed; the exit code is 1 then.
    """
    checked = _checked_application(info) if file is None else checked_file(file)
    if is_json:
        reasons = checked.warnings + checked.unseen
        data = check_data(file, checked.receivers, checked.mistakes, reasons)
        print_lines([document(data)])
        if checked.mistakes:
            raise click.exceptions.Exit(1)
        return
    if checked.mistakes:
        raise refusal(checked.mistakes)
    print_lines(wrapped("", right_text(checked.receivers), width()))
    for text in warning_texts(checked.warnings, checked.unseen):
        print_error_lines(wrapped("", text, width(is_error=True)))


def _checked_application(info: ScriptInfo) -> CheckedFile:
    with noted_warnings() as warnings:
        app, mistakes = loaded(info)
    enabled = state_of(app).enabled
    if mistakes:
        return CheckedFile((), tuple(mistakes), (), ())
    return CheckedFile(
        tuple(enabled),
        (*_mistakes_of_layer(app),),
        tuple(unseen_lines(enabled)),
        (*warnings, *(one.text for one in never_called(enabled))),
    )


def _mistakes_of_layer(app: flask.Flask) -> Iterable[ConfigurationError]:
    """Yield a mistake if another object is in the place of the application's layer."""
    layer = state_of(app).middleware
    if not any(one is layer for one in layers_in(app, app.wsgi_app)):
        yield ConfigurationError(
            f"the requests of {app.name!r} are not recorded: the middleware of"
            " Signalpost is not found in app.wsgi_app any more; app.wsgi_app is"
            f" {logfmt_value(repr(app.wsgi_app))}. Put middlewares around app.wsgi_app,"
            " and call Signalpost(app) after code that replaces it"
        )
