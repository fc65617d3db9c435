"""Jobs of RQ as units of work.

Each job that a worker runs is a :class:`~signalpost.work.Work` named as its function,
with the id of the request, or the work, that queued it.
"""

from __future__ import annotations

import typing as t

from rq.job import Job

from ..receivers.context import request_context
from ..work import work

__all__ = ["WorkJob"]

_KEY = "signalpost"


class WorkJob(Job):
    """A job that is a unit of work; a class for queues and for workers.

    ::

        class ShopJob(WorkJob):
            application = app

        queue = Queue(connection=redis, job_class=ShopJob)

    .. code-block:: console

        $ rq worker --job-class shop.ShopJob

    A queue needs it for the id of the request, which is kept in the ``meta`` of the
    job. A worker needs it for all else. Each try of a job is a unit of work, and one
    that raises has the outcome ``"error"``.

    .. versionadded:: 0.1
    """

    application: t.ClassVar[t.Any] = None
    """What sends ``work-started`` and ``work-finished``: the Flask or WSGI application
    whose receivers are called."""

    @classmethod
    def create(cls, *arguments: t.Any, **options: t.Any) -> t.Self:
        """Make a job, with what lines have of the current request."""
        job = super().create(*arguments, **options)
        context = request_context()
        if context:
            # A mapping of the caller's may be used for several jobs.
            job.meta = {**job.meta, _KEY: context}
        return t.cast("t.Self", job)

    def perform(self) -> t.Any:
        """Run the job as a unit of work."""
        with work(self._work_name(), self.application, context=self._context()):
            return super().perform()

    def _work_name(self) -> str:
        try:
            name: t.Any = self.func_name
        except Exception:  # noqa: BLE001  # data that cannot be read; raised again below
            name = None
        return name if isinstance(name, str) and name else "unknown"

    def _context(self) -> dict[str, str] | None:
        # It comes from Redis.
        meta: t.Any = self.meta
        return meta.get(_KEY) if isinstance(meta, dict) else None
