"""Receivers enabled by name, from a mapping, a TOML file or an INI file.

Which receivers run is an operator's to say, not the application's::

    [signalpost]
    auto-import = ["shop.audit"]
    format = "json"

    [signalpost.receivers]
    latency = {slow_seconds = 0.5}
    failures = true
    "shop.audit:record" = {signal = "exchange-closed"}

``auto-import`` names modules to import, in order. ``format`` is ``"text"``, ``"json"``
or ``"logfmt"``: what the loggers below ``signalpost`` log, from level ``INFO`` up, is
then written to standard error in that form, and by no other logger's means. The
receivers are named as in :data:`READY`, or ``package.module:object``, or as another
distribution names them under the entry-point group ``signalpost.receivers``; the value
is a table of options, or ``true`` for none, or ``false`` to leave it out.
"""

from __future__ import annotations

from ._configuration import Configuration
from ._enabled import Enabled
from ._enabled import enabled_for
from ._enabled import EnabledReceiver
from ._finding import READY
from ._published import ENTRY_POINT_GROUP
from ._unseen import unseen_lines

__all__ = [
    "ENTRY_POINT_GROUP",
    "READY",
    "Configuration",
    "Enabled",
    "EnabledReceiver",
    "enabled_for",
    "unseen_lines",
]
