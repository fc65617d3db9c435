"""gunicorn: server hooks as signals, in addition to your own hooks.

Add this as the last line of ``gunicorn.conf.py``::

    from signalpost.integrations.gunicorn import install_server_hooks

    install_server_hooks(globals())

Each signal is named after its hook. The sender is the hook's first argument, the
arbiter (gunicorn's master) or the worker; the payload has the other arguments by
gunicorn's names. So you can connect a function that was written as a hook::

    def child_exit(server, worker):
        server.log.info("worker %s is gone", worker.pid)

Receivers are isolated: if one raises, the logger ``signalpost.signals`` logs it, and
the server continues. ``ssl_context`` has no signal, because gunicorn needs its return
value.
"""

from __future__ import annotations

from ._active_requests import OpenRequest
from ._catalogue import child_exit
from ._catalogue import nworkers_changed
from ._catalogue import on_exit
from ._catalogue import on_reload
from ._catalogue import on_starting
from ._catalogue import post_fork
from ._catalogue import post_request
from ._catalogue import post_worker_init
from ._catalogue import pre_exec
from ._catalogue import pre_fork
from ._catalogue import pre_request
from ._catalogue import server_signals
from ._catalogue import when_ready
from ._catalogue import worker_abort
from ._catalogue import worker_exit
from ._catalogue import worker_int
from ._hooks import install_server_hooks

__all__ = [
    "OpenRequest",
    "child_exit",
    "install_server_hooks",
    "nworkers_changed",
    "on_exit",
    "on_reload",
    "on_starting",
    "post_fork",
    "post_request",
    "post_worker_init",
    "pre_exec",
    "pre_fork",
    "pre_request",
    "server_signals",
    "when_ready",
    "worker_abort",
    "worker_exit",
    "worker_int",
]
