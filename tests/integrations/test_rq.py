"""Jobs of RQ as units of work, run without Redis."""

from __future__ import annotations

import typing as t
from collections.abc import Generator
from contextlib import suppress

import pytest
import redis
from rq.job import Job

from signalpost.exchange import current_exchange
from signalpost.integrations.rq import WorkJob
from signalpost.lifecycle import work_finished
from signalpost.work import Work
from signalpost.work import work


class App:
    """An application, to be a sender."""


class ShopJob(WorkJob, Job):
    application = App()


def give() -> str:
    exchange = current_exchange()
    assert isinstance(exchange, Work)
    return exchange.id


async def give_later() -> str:
    return give()


def fail() -> None:
    raise LookupError("no such thing")


class Packer:
    def pack(self) -> str:
        return give()

    @classmethod
    def ship(cls) -> str:
        return give()

    def __call__(self) -> str:
        return give()


@pytest.fixture
def connection() -> Generator[redis.Redis]:
    # It connects when it is asked something, and it is not.
    with redis.Redis() as found:
        yield found


@pytest.fixture
def finished() -> Generator[list[Work]]:
    found: list[Work] = []

    def note(sender: object, exchange: Work) -> None:
        found.append(exchange)

    with work_finished.connected_to(note, ShopJob.application):
        yield found


def test_class_must_be_one_of_jobs_with_ours_first() -> None:
    advice = r"write class Bad\(WorkJob, Job\)"
    for bases in ((WorkJob,), (Job, WorkJob)):
        with pytest.raises(TypeError, match=advice):
            type("Bad", bases, {})


@pytest.mark.parametrize("function", [give, give_later])
def test_job_is_a_unit_of_work_of_its_function(
    function: t.Any, connection: redis.Redis, finished: list[Work]
) -> None:
    job = ShopJob.create(function, connection=connection)
    result = job.perform()
    (found,) = finished
    assert found.name == f"{__name__}.{function.__name__}"
    assert (found.outcome, found.id) == ("complete", result)
    assert current_exchange() is None


@pytest.mark.parametrize(
    ("method", "name"),
    [(Packer().pack, "pack"), (Packer.ship, "ship"), (Packer(), "__call__")],
)
def test_name_of_a_method_has_its_class(
    method: t.Any, name: str, connection: redis.Redis, finished: list[Work]
) -> None:
    job = ShopJob.create(method, connection=connection)
    job.perform()
    assert [one.name for one in finished] == [f"{__name__}.Packer.{name}"]


def test_job_has_the_id_of_what_queued_it(
    connection: redis.Redis, finished: list[Work]
) -> None:
    meta = {"own": 1}
    with work("order", None, context={"request_id": "f3-09"}):
        job = ShopJob.create(give, connection=connection, meta=meta)
    assert meta == {"own": 1}
    assert job.meta["own"] == 1
    assert job.perform() == "f3-09"
    assert [one.id for one in finished] == ["f3-09"]


def test_job_that_raises_is_an_error(
    connection: redis.Redis, finished: list[Work]
) -> None:
    job = ShopJob.create(fail, connection=connection)
    with pytest.raises(LookupError):
        job.perform()
    (found,) = finished
    assert found.outcome == "error"
    assert isinstance(found.exception, LookupError)


@pytest.mark.parametrize(
    "meta", [None, 7, [], {"signalpost": 7}, {"signalpost": {"request_id": "a b"}}]
)
def test_hostile_meta_gives_a_new_id(
    meta: t.Any, connection: redis.Redis, finished: list[Work]
) -> None:
    job = ShopJob.create(give, connection=connection)
    job.meta = meta
    assert len(job.perform()) == 36


def test_job_that_cannot_be_read_is_an_error_of_rq(
    connection: redis.Redis, finished: list[Work]
) -> None:
    job = ShopJob(id="broken", connection=connection)
    job.data = b"no pickle"
    with suppress(Exception):
        job.perform()
    (found,) = finished
    assert (found.name, found.outcome) == ("unknown", "error")
