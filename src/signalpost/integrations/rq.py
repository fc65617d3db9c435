"""Jobs of RQ as units of work.

Each job that a worker runs is a :class:`~signalpost.work.Work` named as its function,
with the id of the request, or the work, that queued it.
"""

from __future__ import annotations

import typing as t

from rq.job import Job

from .._relaying import flush_relays
from ..receivers.context import request_context
from ..work import work

__all__ = ["WorkJob"]

_KEY = "signalpost"


class WorkJob:
    """Make a class of jobs whose jobs are units of work, for queues and for workers.

    ::

        class ShopJob(WorkJob, Job):
            application = app

        queue = Queue(connection=redis, job_class=ShopJob)

    .. code-block:: console

        $ rq worker --job-class shop.ShopJob

    The queue needs this class for the id of the request, which is stored in the
    ``meta`` of the job. The worker needs it for everything else. Each try of a job is a
    unit of work; a try that raises has the outcome ``"error"``. The name of a method
    has its class, as ``"shop.Packer.pack"``.

    :raises TypeError: If a class does not have it before :class:`rq.job.Job`.

    .. versionadded:: 0.1
    """

    application: t.ClassVar[t.Any] = None
    """The sender of ``work-started`` and ``work-finished``: the Flask or WSGI
    application whose receivers are called."""

    meta: t.Any

    def __init_subclass__(cls, **options: t.Any) -> None:
        super().__init_subclass__(**options)
        kinds = cls.__mro__
        if Job not in kinds or kinds.index(Job) < kinds.index(WorkJob):
            raise TypeError(
                f"a WorkJob must be a Job of RQ, and {cls.__name__} is not, or has"
                f" Job before WorkJob; write class {cls.__name__}(WorkJob, Job)"
            )

    @classmethod
    def create(cls, *arguments: t.Any, **options: t.Any) -> t.Self:
        """Create a job with the id, method and route of the current request."""
        parent: t.Any = super()
        job: t.Self = parent.create(*arguments, **options)
        context = request_context()
        if context:
            # A mapping of the caller's may be used for several jobs.
            job.meta = {**job.meta, _KEY: context}
        return job

    def perform(self) -> t.Any:
        """Run the job as a unit of work."""
        parent: t.Any = super()
        try:
            with work(self._work_name(), self.application, context=self._context()):
                return parent.perform()
        finally:
            # The process may end now, without the functions of atexit.
            flush_relays()

    def _work_name(self) -> str:
        job = t.cast("t.Any", self)
        try:
            name, owner = job.func_name, job.instance
        except Exception:  # noqa: BLE001  # data that cannot be read; raised again below
            return "unknown"
        if not isinstance(name, str) or not name:
            return "unknown"
        if owner is None:
            return name
        # RQ's name of a method has no class, so the methods of all classes were one.
        kind = owner if isinstance(owner, type) else type(owner)
        return f"{kind.__module__}.{kind.__qualname__}.{name}"

    def _context(self) -> dict[str, str] | None:
        # The value is read from Redis.
        return self.meta.get(_KEY) if isinstance(self.meta, dict) else None
