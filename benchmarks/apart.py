"""Measures in a process of its own what would change the process of the others."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from . import peers
from .applications import applications
from .applications import variant
from .timing import Figure
from .timing import measure
from .timing import Row

LONGEST_ANSWER_SECONDS = 120


class NoAnswerError(Exception):
    """A process did not answer: it has ended, or takes too long."""


class Apart:
    """A process in which one peer is set up.

    :param name: The peer, by the name of its set-up.
    :param connection: To the process.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection

    def measure(self, rounds: int) -> dict[str, dict[str, Figure]]:
        """Return the peer's figures, by application and by set-up.

        :raises NoAnswerError: If the process does not give them.
        """
        try:
            self._connection.send(rounds)
            if self._connection.poll(LONGEST_ANSWER_SECONDS):
                found: dict[str, dict[str, Figure]] = self._connection.recv()
                return found
        except (EOFError, OSError) as error:
            raise NoAnswerError(
                f"the process of {self._name} has ended; its error is printed above"
            ) from error
        raise NoAnswerError(
            f"the process of {self._name} has not answered for"
            f" {LONGEST_ANSWER_SECONDS} seconds; give it fewer rounds"
        )


@contextmanager
def started(name: str) -> Generator[Apart]:
    """Start a process, and stop it at the end.

    :param name: The peer, by the name of its set-up.
    """
    # Not a fork: what is loaded here must not be there.
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(name, there), daemon=True)
    process.start()
    there.close()
    try:
        yield Apart(name, here)
    finally:
        here.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(name: str, connection: Connection) -> None:
    """Set a peer up and measure as often as asked, until nobody asks any more."""
    found, _ = peers.set_ups_apart()
    set_ups = found[name]()
    served, _ = applications()
    rows = [
        Row(
            application.name,
            [variant(application, one) for one in set_ups if one.fits(application)],
        )
        for application in served
    ]
    while True:
        try:
            rounds = connection.recv()
        except EOFError:
            return
        figures = measure(rows, rounds)
        connection.send(dict(zip((row.name for row in rows), figures, strict=True)))
