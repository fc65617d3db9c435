"""The signals of gunicorn's server hooks."""

from __future__ import annotations

from ..._engine.namespace import Namespace
from ..._engine.signal import NamedSignal

server_signals: Namespace = Namespace()
"""Every signal of this page by its name, as in ``server_signals["post-fork"]``.

.. versionadded:: 0.1
"""

on_starting: NamedSignal = server_signals.signal(
    "on-starting", "The arbiter is about to start.", payload=()
)
"""The arbiter is about to start.

*Sender*: the arbiter.

*Sent when*: once, before it listens. A preloaded application is loaded by then.

*Payload*: none.

.. versionadded:: 0.1
"""

on_reload: NamedSignal = server_signals.signal(
    "on-reload", "The arbiter has read its configuration again.", payload=()
)
"""The arbiter has read its configuration again.

*Sender*: the arbiter.

*Sent when*: after SIGHUP, with the new configuration in force, before its workers are
forked and the old ones stopped.

*Payload*: none.

.. versionadded:: 0.1
"""

when_ready: NamedSignal = server_signals.signal(
    "when-ready", "The arbiter has opened its sockets.", payload=()
)
"""The arbiter has opened its sockets.

*Sender*: the arbiter.

*Sent when*: once, before the first worker is forked.

*Payload*: none.

.. versionadded:: 0.1
"""

pre_fork: NamedSignal = server_signals.signal(
    "pre-fork", "A worker is about to be forked.", payload=("worker",)
)
"""A worker is about to be forked.

*Sender*: the arbiter.

*Sent when*: before each fork, in the arbiter.

*Payload*:

- ``worker``: the worker, which has no ``pid`` yet.

.. versionadded:: 0.1
"""

post_fork: NamedSignal = server_signals.signal(
    "post-fork", "A worker has been forked.", payload=("worker",)
)
"""A worker has been forked.

*Sender*: the arbiter, or what of it is in the worker's process.

*Sent when*: first thing in the worker. Unless it was preloaded, the application is not
loaded yet, so receivers that it connects when it is imported do not receive this.

*Payload*:

- ``worker``: the worker.

.. versionadded:: 0.1
"""

post_worker_init: NamedSignal = server_signals.signal(
    "post-worker-init", "A worker has loaded the application.", payload=()
)
"""A worker has loaded the application and begins to serve.

*Sender*: the worker.

*Sent when*: once in each worker that came so far.

*Payload*: none.

.. versionadded:: 0.1
"""

worker_int: NamedSignal = server_signals.signal(
    "worker-int", "A worker was ordered to exit at once.", payload=("requests",)
)
"""A worker was ordered to exit at once: by SIGINT, SIGQUIT, or to load changed code.

*Sender*: the worker.

*Sent when*: in the worker's process. Its open requests end in a ``SystemExit`` right
after. SIGTERM does not send it: a worker finishes its work first then.

*Payload*:

- ``requests``: the open requests of the worker, the oldest first; a tuple of
  :class:`OpenRequest`.

.. versionadded:: 0.1
"""

worker_abort: NamedSignal = server_signals.signal(
    "worker-abort", "A worker was aborted, mostly for a timeout.", payload=("requests",)
)
"""A worker was aborted (SIGABRT): usually for a timeout.

*Sender*: the worker.

*Sent when*: in the worker's process, during the code that took too long, which ends in
a ``SystemExit`` right after. Not sent if that code never returns to Python; such a
worker is killed a little later, see :data:`child_exit`.

*Payload*:

- ``requests``: the open requests of the worker, the oldest first; a tuple of
  :class:`OpenRequest`. With the sync worker it is the request that took too long.

.. versionadded:: 0.1
"""

pre_exec: NamedSignal = server_signals.signal(
    "pre-exec", "A new arbiter is about to take over.", payload=()
)
"""A new arbiter is about to take over (SIGUSR2).

*Sender*: the arbiter, or what of it is in the new one's process.

*Sent when*: after the fork, before the new arbiter's program is executed.

*Payload*: none.

.. versionadded:: 0.1
"""

pre_request: NamedSignal = server_signals.signal(
    "pre-request",
    "A worker has read the headers of a request.",
    payload=("req", "queue_seconds"),
)
"""A worker has read the headers of a request.

*Sender*: the worker.

*Sent when*: before the environment is made and the application is called.

*Payload*:

- ``req``: gunicorn's request: ``method``, ``path``, ``headers`` …
- ``queue_seconds``: how long ago the front took the request, in seconds, by the
  ``queue_header`` of :func:`install_server_hooks`; else ``None``.

.. versionadded:: 0.1
"""

post_request: NamedSignal = server_signals.signal(
    "post-request",
    "A worker has finished a request.",
    payload=(
        "req",
        "environ",
        "resp",
        "exchange",
        "duration_seconds",
        "queue_seconds",
    ),
)
"""A worker has finished a request, successfully or not.

*Sender*: the worker.

*Sent when*: once for each :data:`pre_request`, after the response is closed; unless
the worker is killed before.

*Payload*:

- ``req``: gunicorn's request.
- ``environ``: the WSGI environment; ``{}`` if gunicorn did not get so far.
- ``resp``: gunicorn's response, or ``None``. Its ``status`` is a string such as
  ``"200 OK"``, or ``None`` if the application did not answer.
- ``exchange``: the :class:`~signalpost.exchange.Exchange`, usually closed, that
  the middleware recorded for this request; the outermost if there are several.
  ``None`` if no middleware saw it. Its ``outcome`` is ``None`` if the response was
  never closed; after a timeout its ``exception`` is the ``SystemExit``.
- ``duration_seconds``: since :data:`pre_request`, in seconds; ``None`` if that was
  not received.
- ``queue_seconds``: as for :data:`pre_request`.

.. versionadded:: 0.1
"""

child_exit: NamedSignal = server_signals.signal(
    "child-exit",
    "The arbiter has found that a worker has exited.",
    payload=("worker", "is_silent", "requests"),
)
"""The arbiter has found that a worker has exited.

*Sender*: the arbiter.

*Sent when*: after the process has ended; for one that was killed, nothing else is
sent. gunicorn gives its hook no exit status, which is only in its log. Not sent for
a worker that cannot load the application, as that ends the server.

*Payload*:

- ``worker``: the worker, with its ``pid``. Its ``aborted`` is ``True`` if the
  arbiter aborted it for a timeout.
- ``is_silent``: whether the process ended without a :data:`worker_exit`: killed, or
  crashed. ``None`` if it was forked before the hooks were installed.
- ``requests``: its open requests when it ended, the oldest first; a tuple of
  :class:`OpenRequest`, 16 at the most, without exchanges.

.. versionadded:: 0.1
"""

worker_exit: NamedSignal = server_signals.signal(
    "worker-exit", "A worker exits.", payload=("worker", "requests")
)
"""A worker exits.

*Sender*: the arbiter, or what of it is in the worker's process.

*Sent when*: last thing in the worker, unless it is killed or crashes.

*Payload*:

- ``worker``: the worker.
- ``requests``: what it has not finished, the oldest first; a tuple of
  :class:`OpenRequest`.

.. versionadded:: 0.1
"""

nworkers_changed: NamedSignal = server_signals.signal(
    "nworkers-changed",
    "The number of workers changes.",
    payload=("new_value", "old_value"),
)
"""The number of workers changes.

*Sender*: the arbiter.

*Sent when*: when the number is set: at first before :data:`on_starting`, when little
else of the arbiter is there; by SIGTTIN and SIGTTOU; and by each reload.

*Payload*:

- ``new_value``: how many there are to be.
- ``old_value``: how many it was before; ``None`` at first.

.. versionadded:: 0.1
"""

on_exit: NamedSignal = server_signals.signal(
    "on-exit", "The arbiter exits.", payload=()
)
"""The arbiter exits.

*Sender*: the arbiter.

*Sent when*: last thing in the arbiter, unless it is killed.

*Payload*: none.

.. versionadded:: 0.1
"""

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "on_starting": (),
    "on_reload": (),
    "when_ready": (),
    "pre_fork": ("worker",),
    "post_fork": ("worker",),
    "post_worker_init": (),
    "worker_int": (),
    "worker_abort": (),
    "pre_exec": (),
    "pre_request": ("req",),
    "post_request": ("req", "environ", "resp"),
    "child_exit": ("worker",),
    "worker_exit": ("worker",),
    "nworkers_changed": ("new_value", "old_value"),
    "on_exit": (),
}
"""Names of each hook's arguments after the first, which is the sender."""
