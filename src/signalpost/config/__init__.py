"""Receivers enabled by name, from a mapping, a TOML file or an INI file.

The operator decides which receivers run, not the application::

    [signalpost]
    auto-import = ["shop.audit"]
    format = "json"

    [signalpost.receivers]
    latency = {slow_seconds = 0.5}
    failures = true
    "shop.audit:record" = {signal = "exchange-closed"}
    "shop.stock:reserve" = {signal = "shop.events:order_placed"}

``auto-import`` names modules to import, in order. ``format`` is ``"text"``, ``"json"``
or ``"logfmt"``: the loggers below ``signalpost`` then write to standard error in that
form, from level ``INFO`` up, and other loggers do not get these records. A receiver's
name is one of :data:`BUILTIN_RECEIVERS`, ``package.module:object``, or a name that
another distribution publishes under the entry-point group ``signalpost.receivers``. The
value is a table of options, ``true`` for the defaults, or ``false`` to leave it out.

No mistake is ignored: an unknown name, or a name that resembles one of these, is an
error. Sections of other tools, such as ``[tool.black]``, are allowed.
"""

from __future__ import annotations

from ._available import available_receivers
from ._available import AvailableReceiver
from ._available import Option
from ._checking import checked_file
from ._checking import CheckedFile
from ._configuration import Configuration
from ._disabled import DISABLED_VARIABLE
from ._disabled import is_disabled
from ._enabled import Enabled
from ._enabled import enabled_for
from ._enabled import EnabledReceiver
from ._finding import BUILTIN_RECEIVERS
from ._keys import configuration_of_keys
from ._keys import KNOWN_KEYS
from ._published import ENTRY_POINT_GROUP
from ._template import template
from ._unseen import unseen_lines

__all__ = [
    "BUILTIN_RECEIVERS",
    "DISABLED_VARIABLE",
    "ENTRY_POINT_GROUP",
    "KNOWN_KEYS",
    "AvailableReceiver",
    "CheckedFile",
    "Configuration",
    "Enabled",
    "EnabledReceiver",
    "Option",
    "available_receivers",
    "checked_file",
    "configuration_of_keys",
    "enabled_for",
    "is_disabled",
    "template",
    "unseen_lines",
]
