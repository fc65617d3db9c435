"""The live page: shows what an application does now.

A :class:`LiveRecorder` records requests, in one file of fixed size for each process. A
:class:`LivePage` shows what all processes of a machine have recorded; so does
``flask signalpost live``, and :func:`read_live` returns it as data.

::

    LiveRecorder().connect(app)
    app.wsgi_app = LivePage(app.wsgi_app, token=os.environ["LIVE_TOKEN"])
"""

from __future__ import annotations

from ._folder import live_folder
from .page import LivePage
from .reading import read_live
from .recording import LiveRecorder
from .snapshot import LiveSnapshot

__all__ = ["LivePage", "LiveRecorder", "LiveSnapshot", "live_folder", "read_live"]
