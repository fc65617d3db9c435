"""The environment variable that disables signalpost."""

from __future__ import annotations

import os
import typing as t

from ..errors import ConfigurationError
from ._misplaced import is_near
from ._raw_values import TRUTHS
from ._shown import shown_value

__all__ = ["DISABLED_VARIABLE", "is_disabled"]

DISABLED_VARIABLE: t.Final = "SIGNALPOST_DISABLED"
"""The environment variable that disables signalpost.

If it is ``1``, integrations do not change the application and read no configuration.

.. versionadded:: 0.1
"""


def is_disabled() -> bool:
    """Return whether the environment disables the package for applications.

    :raises ConfigurationError: If the value is not ``1``, ``0`` or a similar word, or
        if the name of the variable is misspelt.

    .. versionadded:: 0.1
    """
    for name in os.environ:
        if name != DISABLED_VARIABLE and is_near(name, DISABLED_VARIABLE):
            raise ConfigurationError(
                f"the environment, {name}: unknown variable; did you mean"
                f" {DISABLED_VARIABLE!r}?",
                "the environment",
                key=name,
            )
    value = os.environ.get(DISABLED_VARIABLE, "")
    truth = TRUTHS.get(value.strip().lower() or "0")
    if truth is None:
        raise ConfigurationError(
            f"the environment, {DISABLED_VARIABLE}: expected 1 or 0, got"
            f" {shown_value(value)}",
            "the environment",
            key=DISABLED_VARIABLE,
        )
    return truth
