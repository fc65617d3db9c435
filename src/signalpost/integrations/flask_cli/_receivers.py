"""``flask signalpost receivers``."""

from __future__ import annotations

import click
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from ...config import available_receivers
from ...console.texts import document
from ...console.texts import mistakes_data
from ...console.texts import receiver_data
from ...console.texts import receiver_lines
from ._loading import loaded
from ._loading import show_mistakes
from ._loading import state_of
from ._printing import as_json
from ._printing import print_lines
from ._printing import width

__all__ = ["list_receivers"]


@click.command("receivers", short_help="List available and enabled receivers.")
@as_json("Print one JSON document, the mistakes of the configuration included.")
@pass_script_info
def list_receivers(info: ScriptInfo, *, is_json: bool) -> None:
    """List what can be enabled by name, with options, and what is enabled.

    The mistakes of the configuration are printed first. An option that may be a secret
    is shown as …
    """
    app, mistakes = loaded(info)
    found = available_receivers(state_of(app).enabled)
    if is_json:
        data = {
            "mistakes": mistakes_data(mistakes),
            "receivers": [receiver_data(one) for one in found],
        }
        print_lines([document(data)])
        return
    show_mistakes(mistakes)
    columns = width()
    for one in found:
        print_lines(receiver_lines(one, columns))
