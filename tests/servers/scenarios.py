"""The requests to each server, and the expected records."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.servers import client
from tests.servers.application import CHUNK
from tests.servers.application import CHUNKS
from tests.servers.application import FILE_BYTES
from tests.servers.application import RECORDS
from tests.servers.client import Answer
from tests.servers.launch import Address
from tests.servers.launch import GUNICORNS_TIMEOUT
from tests.servers.launch import serving

Record: t.TypeAlias = Mapping[str, t.Any]
Manner: t.TypeAlias = t.Literal[
    "stay",
    "in turn",
    "leave",
    "leave early",
    "reset upload",
    "close upload",
    "close chunk",
]

PATIENCE_SECONDS = 20.0
STREAM_BYTES = CHUNKS * len(CHUNK)

GUNICORNS = ("gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent")
WITH_SENDFILE = (
    *("gunicorn-sync", "gunicorn-gthread"),
    *("bjoern", "uwsgi", "uwsgi-offload", "mod_wsgi"),
)
"""Servers that send a file without a read in Python."""
WITH_WRAPPER = (*WITH_SENDFILE, "gunicorn-gevent", "waitress", "wsgiref")
"""Servers that offer ``wsgi.file_wrapper``."""
UPLOADING = (
    *(*GUNICORNS, "gevent", "werkzeug", "werkzeug-debugger", "wsgiref", "cheroot"),
    *("granian", "uwsgi", "uwsgi-offload"),
)
"""Servers that call the application before all of an upload has come."""
CHUNKING = tuple(
    one for one in UPLOADING if one not in {"wsgiref", "uwsgi", "uwsgi-offload"}
)
"""Those of them that read an upload in chunks for the application."""
# Under its debugger the server may leave Flask's response to the garbage collector.
FLASK_UPLOADING = tuple(one for one in UPLOADING if one != "werkzeug-debugger")
WITHOUT_ERROR = (*GUNICORNS, "werkzeug", "werkzeug-debugger", "wsgiref", "cheroot")
"""Servers at which an upload that is closed before its end reads as a short one."""
WITH_WERKZEUGS_ERROR = (*("werkzeug", "wsgiref", "uwsgi", "uwsgi-offload"),)
"""Servers whose input Werkzeug guards: it answers 400 when that ends too early."""
BUFFERING = ("mod_wsgi",)
"""Servers that take a small body whole, whether or not the client is still there."""


def alike(servers: t.Iterable[str], **record: t.Any) -> dict[str, Record]:
    """Return the records of single servers that differ from the others."""
    return dict.fromkeys(servers, record)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A request, and what must come of it."""

    name: str
    target: str
    record: Record
    """The expected value of the record, or a set that has it."""
    answer: Answer | None = None
    """The response to the client; ``None`` if it leaves, or if servers differ."""
    method: str = "GET"
    manner: Manner = "stay"
    requests: int = 1
    unlike: Mapping[str, Record] = field(default_factory=dict)
    """The records of single servers that differ."""
    servers: tuple[str, ...] | None = None
    """Those it is for, if not for all."""
    timeout: int = GUNICORNS_TIMEOUT
    """The seconds after which gunicorn ends a worker that is silent."""

    def expected(self, server: str) -> dict[str, t.Any]:
        record = {"exception": None, **self.record, **self.unlike.get(server, {})}
        return {
            "method": self.method,
            "path": self.target,
            "has_duration_seconds": True,
            "is_same_thread": True,
            "failures": int(record["exception"] is not None),
            **record,
        }

    def tokens(self) -> list[str]:
        """Return the key of its requests among all others of a run."""
        return [
            f"{self.name.replace(' ', '-')}-{number}" for number in range(self.requests)
        ]


@dataclass(frozen=True, slots=True)
class Observed:
    """The result of a scenario on a server."""

    answers: list[Answer]
    opened: list[str]
    """The requests, each as often as it was opened."""
    closed: list[Record]
    """The records, each as often as it was closed."""
    failure: str | None = None
    """Why the client could not do its part."""


@dataclass(frozen=True, slots=True)
class Run:
    """A server at work, and the lines that its receivers write."""

    address: Address
    records: Path

    def part_in(self, scenario: Scenario) -> tuple[list[Answer], str | None]:
        """Return what the client got, and why it could not do its part."""
        try:
            return self.ask(scenario), None
        except OSError as error:
            return [], repr(error)

    def ask(self, scenario: Scenario) -> list[Answer]:
        """Do the client's part, and wait for what is recorded of it."""
        tokens = scenario.tokens()
        targets = [f"{scenario.target}?request={token}" for token in tokens]
        answers: list[Answer] = []
        if scenario.manner == "stay":
            for target in targets:
                answers += [client.read_all(self.address, target, scenario.method)]
        elif scenario.manner == "in turn":
            answers = client.read_in_turn(self.address, targets)
        elif scenario.manner == "leave":
            client.leave_in_the_middle(self.address, f"{targets[0]}&left=yes")
        elif scenario.method == "POST":
            client.leave_while_uploading(
                self.address,
                targets[0],
                scenario.manner,
                lambda: self.wait_for("opened", tokens[0]),
            )
        else:
            client.leave_before_the_answer(
                self.address,
                targets[0],
                self.records.with_name(tokens[0]),
                lambda: self.wait_for("opened", tokens[0]),
            )
        for token in tokens:
            self.wait_for("closed", token)
        return answers

    def wait_for(self, signal: str, request: str) -> None:
        """Wait for a line; if it does not come, the checks fail."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for line in lines_of(self.records):
                if (line["signal"], line["request"]) == (signal, request):
                    return
            # Another process writes it, without a notification.
            time.sleep(0.01)


def lines_of(records: Path) -> list[dict[str, t.Any]]:
    # A line that crosses a page of the file may be seen before its other half.
    whole, _, _ = records.read_text("utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def observe(server: str) -> dict[str, Observed]:
    """Ask a server for everything, stop it, and return what came of each scenario.

    What is recorded is read last, so that a record closed twice is seen. A server with
    another timeout is started apart.
    """
    asked = [one for one in SCENARIOS if server in (one.servers or (server,))]
    parts: dict[str, tuple[list[Answer], str | None]] = {}
    with TemporaryDirectory(prefix="signalpost-") as scratch:
        records = Path(scratch, "records")
        records.touch()
        for timeout, group in groupby(asked, attrgetter("timeout")):
            with serving(
                server,
                "tests.servers.application:application",
                timeout,
                **{RECORDS: str(records)},
            ) as address:
                run = Run(address, records)
                parts |= {one.name: run.part_in(one) for one in group}
        lines = lines_of(records)
    return {
        one.name: Observed(
            parts[one.name][0],
            [
                line["request"]
                for line in lines
                if line["signal"] == "opened" and line["request"] in one.tokens()
            ],
            [
                line
                for line in lines
                if line["signal"] == "closed" and line["request"] in one.tokens()
            ],
            parts[one.name][1],
        )
        for one in asked
    }


ONE_AT_A_TIME = frozenset(("gunicorn-sync", "wsgiref", "bjoern", "uwsgi"))
"""The servers that have closed a request before they open the next one."""


def complaints(server: str, scenario: Scenario, observed: Observed) -> list[str]:
    """Return what is not as it must be, a line each.

    A server with threads may close a request after the client's next one is opened;
    what those close is compared without its order.
    """
    tokens = scenario.tokens()
    closed = [record["request"] for record in observed.closed]
    if server not in ONE_AT_A_TIME:
        closed.sort()
    found = [] if observed.failure is None else [f"no answer: {observed.failure}"]
    if observed.opened != tokens:
        found.append(f"opened {observed.opened}, not {tokens}")
    if closed != tokens:
        found.append(f"closed {closed}, not {tokens}")
    for record in observed.closed:
        for name, value in scenario.expected(server).items():
            if not _is_as_expected(record[name], value):
                found.append(f"{name} is {record[name]!r}, not {value!r}")
    if scenario.answer is not None:
        found += [
            f"the client got {answer}, not {scenario.answer}"
            for answer in observed.answers
            if answer != scenario.answer
        ]
    return found


def _is_as_expected(value: object, expected: object) -> bool:
    if isinstance(expected, (set, frozenset, range)):
        return value in expected
    return value == expected


def whole(status: int, body_bytes: int, route: str | None = None) -> dict[str, t.Any]:
    """Return the record of a response that the server took to its end."""
    return {
        "status": status,
        "route": route,
        "outcome": "complete",
        "body_bytes": body_bytes,
        "body_bytes_exact": True,
        "has_seconds_to_headers": True,
        "has_seconds_to_first_byte": body_bytes > 0,
    }


ABORTED = {"status": 200, "outcome": "aborted", "body_bytes_exact": True}
FAILED = {"outcome": "error", "exception": "LookupError", "body_bytes_exact": True}
# A server's own wrapper: the length is taken from the header.
BY_HEADER: dict[str, t.Any] = {
    "body_bytes_exact": False,
    "has_seconds_to_first_byte": False,
}
# It left while it uploaded: nothing was answered, and nothing has failed.
LEFT: dict[str, t.Any] = {
    "status": None,
    "outcome": "aborted",
    "body_bytes": 0,
    "route": None,
}
# Flask makes an error page of each exception, which no client gets.
FLASK_LEFT = {**LEFT, "body_bytes": 265, "route": "/upload"}
FLASK_TOOK = whole(200, 5, "/upload")
FLASK_REFUSED = whole(400, 167, "/upload")
EITHER = frozenset({False, True})
# granian sends in a separate thread, and may or may not learn of it in time.
EITHER_END = {"outcome": frozenset({"aborted", "complete"})}
# waitress closes a file when it has sent it, which may be in its main thread.
ELSEWHERE: dict[str, t.Any] = {**BY_HEADER, "is_same_thread": EITHER}
SLOW = "/slow/<int:seconds>"
NO_READS = {**BY_HEADER, "file_reads": 0}

SCENARIOS = (
    Scenario("plain", "/raw/plain", whole(200, 5), Answer(200, 5, True)),
    Scenario(
        "plain, HEAD", "/raw/plain", whole(200, 5), Answer(200, 0, True), method="HEAD"
    ),
    Scenario(
        "three in turn",
        "/raw/plain",
        whole(200, 5),
        Answer(200, 5, True),
        manner="in turn",
        requests=3,
    ),
    Scenario(
        "write()",
        "/raw/write",
        whole(200, 10),
        unlike=alike(
            # Their start_response returns nothing that could be called.
            ["bjoern", "granian"],
            outcome="error",
            exception="TypeError",
            body_bytes=0,
            has_seconds_to_first_byte=False,
        ),
    ),
    Scenario("two in a list", "/raw/drops", whole(200, 10), Answer(200, 10, True)),
    Scenario(
        "late start",
        "/raw/late",
        # What the client gets is left open: granian answers 200, without us too.
        whole(203, STREAM_BYTES),
    ),
    Scenario(
        "stream",
        "/raw/stream",
        whole(200, STREAM_BYTES),
        Answer(200, STREAM_BYTES, True),
    ),
    Scenario("stream, left", "/raw/stream", ABORTED, manner="leave"),
    Scenario("stream, left early", "/raw/stream", ABORTED, manner="leave early"),
    Scenario(
        "one chunk, left early",
        "/raw/drop",
        ABORTED,
        manner="leave early",
        unlike=alike(BUFFERING, **whole(200, 5)) | alike(["granian"], **EITHER_END),
    ),
    Scenario(
        "two in a list, left early",
        "/raw/drops",
        ABORTED,
        manner="leave early",
        unlike=alike(BUFFERING, **whole(200, 10)) | alike(["granian"], **EITHER_END),
    ),
    Scenario("plain, left early", "/raw/plain", whole(200, 5), manner="leave early"),
    Scenario(
        "file",
        "/raw/file",
        whole(200, FILE_BYTES),
        Answer(200, FILE_BYTES, True),
        unlike=alike(WITH_WRAPPER, **BY_HEADER)
        | alike(WITH_SENDFILE, **NO_READS)
        | alike(["waitress"], **ELSEWHERE),
    ),
    Scenario(
        "file, HEAD",
        "/raw/file",
        # Some look into the body before they drop it.
        whole(200, FILE_BYTES) | {"body_bytes": range(FILE_BYTES + 1)},
        Answer(200, 0, True),
        method="HEAD",
        unlike=alike(WITH_WRAPPER, **BY_HEADER) | alike(["waitress"], **ELSEWHERE),
    ),
    Scenario(
        "file, left",
        "/raw/file",
        ABORTED,
        manner="leave",
        # Only the sender of the file has the number of sent bytes.
        unlike=alike(
            WITH_WRAPPER, **BY_HEADER, outcome=frozenset({"aborted", "complete"})
        )
        | alike(["waitress"], **ELSEWHERE, outcome=frozenset({"aborted", "complete"})),
    ),
    Scenario(
        "upload, reset",
        "/raw/upload",
        LEFT,
        method="POST",
        manner="reset upload",
        unlike=alike(["granian"], **whole(200, 5)),
        servers=UPLOADING,
    ),
    Scenario(
        "upload, closed",
        "/raw/upload",
        LEFT,
        method="POST",
        manner="close upload",
        unlike=alike([*WITHOUT_ERROR, "granian"], **whole(200, 5)),
        servers=UPLOADING,
    ),
    Scenario(
        "chunked upload, closed",
        "/raw/upload",
        LEFT,
        method="POST",
        manner="close chunk",
        # The one that raises what the application might raise itself.
        unlike=alike(["cheroot"], outcome="error", exception="ValueError")
        | alike(["granian"], **whole(200, 5)),
        servers=CHUNKING,
    ),
    Scenario("error", "/raw/fail", FAILED | {"status": None, "body_bytes": 0}),
    Scenario(
        "error in the body",
        "/raw/fail-in-body",
        FAILED | {"status": 200, "body_bytes": len(CHUNK)},
    ),
    Scenario(
        "Flask",
        "/items/7",
        whole(200, 6, "/items/<int:item>"),
        Answer(200, 6, True),
    ),
    Scenario(
        "Flask, HEAD",
        "/items/7",
        whole(200, 0, "/items/<int:item>"),
        Answer(200, 0, True),
        method="HEAD",
    ),
    Scenario(
        "Flask stream",
        "/stream",
        whole(200, STREAM_BYTES, "/stream"),
        Answer(200, STREAM_BYTES, True),
    ),
    Scenario(
        "Flask stream, left", "/stream", ABORTED | {"route": "/stream"}, manner="leave"
    ),
    Scenario(
        "send_file",
        "/file",
        whole(200, FILE_BYTES, "/file"),
        Answer(200, FILE_BYTES, True),
        unlike=alike(WITH_WRAPPER, **BY_HEADER) | alike(["waitress"], **ELSEWHERE),
    ),
    Scenario(
        "send_file, HEAD",
        "/file",
        whole(200, 0, "/file"),
        Answer(200, 0, True),
        method="HEAD",
    ),
    Scenario(
        "Flask error",
        "/fail",
        whole(500, 265, "/fail") | {"exception": "LookupError"},
        Answer(500, 265, True),
    ),
    Scenario(
        "Flask error in the body",
        "/fail-in-body",
        FAILED | {"status": 200, "body_bytes": len(CHUNK), "route": "/fail-in-body"},
    ),
    Scenario(
        "Flask upload, reset",
        "/upload",
        FLASK_LEFT,
        method="POST",
        manner="reset upload",
        unlike=alike(WITH_WERKZEUGS_ERROR, **FLASK_REFUSED)
        | alike(["granian"], **FLASK_TOOK),
        servers=FLASK_UPLOADING,
    ),
    Scenario(
        "Flask upload, closed",
        "/upload",
        FLASK_LEFT,
        method="POST",
        manner="close upload",
        unlike=alike([*GUNICORNS, "cheroot", "granian"], **FLASK_TOOK)
        | alike(WITH_WERKZEUGS_ERROR, **FLASK_REFUSED),
        servers=FLASK_UPLOADING,
    ),
    Scenario("Flask, no route", "/none", whole(404, 207), Answer(404, 207, True)),
    # gunicorn looks at the timeout once a second.
    Scenario(
        "slower than the timeout",
        "/slow/4",
        whole(200, 4, SLOW),
        servers=("gunicorn-gthread", "gunicorn-gevent"),
        timeout=2,
    ),
    # It does not return before gunicorn ends the worker.
    Scenario(
        "ended by the timeout",
        "/slow/20",
        {
            **FAILED,
            "status": None,
            "route": SLOW,
            "exception": "SystemExit",
            "body_bytes": 0,
            "has_seconds_to_headers": False,
            "has_seconds_to_first_byte": False,
        },
        servers=("gunicorn-sync",),
        timeout=2,
    ),
)
"""In the order in which they are asked."""
