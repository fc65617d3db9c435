"""Write a first configuration file where none exists."""

from __future__ import annotations

import os

from ..config import template
from ..receivers.lines import single_line

__all__ = ["start_configuration"]


def start_configuration(path: str, *, replaces: bool) -> str:
    """Write a configuration with every receiver that can be enabled.

    :param path: Where; the name must end in ``.toml``.
    :param replaces: Whether a file that is there is replaced.
    :returns: A sentence for the user: the path of the file, and how to use it.
    :raises OSError: If it cannot be written; the message has the reason.
    """
    shown = single_line(path)
    if os.path.splitext(path)[1].lower() != ".toml":
        raise OSError(f"{shown}: the name must end in .toml, because the file is TOML")
    text = template()
    try:
        with open(path, "w" if replaces else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FileExistsError(
            f"{shown} exists already; choose another name, or replace it with --force"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{shown} cannot be written: {reason}") from None
    return (
        f"Wrote {shown}. For Flask, write"
        f' app.config["SIGNALPOST_CONFIG"] = {os.path.abspath(path)!r} before'
        " Signalpost(app)."
    )
