from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.live import read_live
from signalpost.live._cells import Closed
from signalpost.live._file import WorkerFile
from signalpost.live._layout import Layout
from signalpost.live._layout import RING_BYTES
from signalpost.live._records import packed
from signalpost.live.reading import Reader
from signalpost.receivers.own_folder import OwnFolder
from tests.live.shop import execute
from tests.live.shop import recorded
from tests.live.shop import shop
from tests.wsgi.serving import Server

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 20


def get(app: SignalMiddleware, path: str = "/", **environ: t.Any) -> None:
    with contextlib.suppress(LookupError):
        Server().serve(app, PATH_INFO=path, **environ)


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def in_a_process(text: str, folder: Path) -> subprocess.Popen[str]:
    """Start Python with the recorded shop as ``app``, and a folder."""
    before = f"""
        import os, signal, sys, time
        from pathlib import Path
        from tests.live.shop import recorded
        from tests.live.test_files import get
        folder = Path({str(folder)!r})
    """
    program = textwrap.dedent(before) + textwrap.dedent(text)
    # Coverage writes files, of which there must be none beyond a limit.
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_")
    }
    environment = own | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Return what a process has printed, once it has ended by itself."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, "")
    return out


def test_only_its_user_can_read_what_is_recorded(folder: Path) -> None:
    with recorded(folder) as app:
        get(app)
        assert folder.stat().st_mode & 0o777 == 0o700
        for file in folder.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_has_its_size_from_the_start(folder: Path) -> None:
    with recorded(folder) as app:
        get(app)
        file = the(folder, "*.live")
        before = file.stat()
        for _ in range(100):
            get(app, "/sql/50")
        assert file.stat().st_size == before.st_size == Layout(100).size
        assert file.stat().st_blocks == before.st_blocks
        assert before.st_blocks * 512 >= before.st_size


@pytest.mark.parametrize("size", [0, 7, 100, 200_000])
def test_a_file_that_is_cut_is_skipped_and_counted(folder: Path, size: int) -> None:
    with recorded(folder) as app:
        get(app)
    os.truncate(the(folder, "*.live"), size)
    snapshot = read_live(folder)
    assert (snapshot.files.count, snapshot.files.skipped) == (0, 1)
    assert snapshot.files.skipped_files[0].reason


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\xff" * len(data),
        lambda data: data[:20] + b"\xff" * 20 + data[40:],
        lambda data: data[:64] + b"\xff" * 64 + data[128:],
        lambda data: data[:9] + b"\x02" + data[10:],
    ],
    ids=["all", "beginning", "counts", "version"],
)
def test_a_damaged_file_is_skipped(
    folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    with recorded(folder) as app:
        get(app)
    file = the(folder, "*.live")
    file.write_bytes(damage(file.read_bytes()))
    snapshot = read_live(folder)
    assert (snapshot.files.count, snapshot.files.skipped) == (0, 1)


@pytest.mark.parametrize("seed", range(10))
def test_damage_anywhere_shows_wrong_numbers_at_most(folder: Path, seed: int) -> None:
    import random

    chance = random.Random(seed)
    with recorded(folder) as app:
        for _ in range(20):
            get(app, "/sql/3", HTTP_REFERER="https://a.example/")
        get(app, "/boom")
    for file in folder.iterdir():
        data = bytearray(file.read_bytes())
        for _ in range(200):
            at = chance.randrange(48, len(data) - 64)
            data[at : at + 64] = chance.randbytes(64)
        for at in range(128, 600_000, 997):
            data[at] = chance.randrange(256)
        file.write_bytes(data)
    reader = Reader(folder)
    snapshot = reader.snapshot()
    for row in snapshot.exchanges:
        reader.exchange(row.key)
    reader.find({"status": "5xx"})
    from signalpost.live.snapshot import json_default

    # As the page does; NaN is no JSON.
    json.dumps(snapshot, default=json_default, allow_nan=False)


def test_records_that_are_half_written_are_left_out(folder: Path) -> None:
    with recorded(folder) as app:
        for number in range(3):
            get(app, f"/items/{number}", HTTP_REFERER=f"https://{number}.example/")
    file = the(folder, "*.live")
    data = bytearray(file.read_bytes())
    at = data.index(b"\nhttps://1.example/\n")
    data[at : at + 5] = b"     "
    file.write_bytes(data)
    snapshot = read_live(folder)
    assert [row.path for row in snapshot.exchanges] == ["/items/2", "/items/0"]
    assert snapshot.exchanges_left_out == 1


def test_lists_that_are_half_written_leave_those_before(folder: Path) -> None:
    with recorded(folder):
        execute("SELECT 1")
    file = the(folder, "*.lists")
    data = bytearray(file.read_bytes())
    # The second ones are in the first place; these were written when it ended.
    data[40:44] = b"    "
    file.write_bytes(data)
    statements = read_live(folder).statements
    assert statements is not None
    assert [row.times for row in statements.rows] == [1]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1-ff.live", "it is a link"),
        ("2-ff.live", "it is not a file"),
        ("3-ff.live", "it is not a file"),
        ("worker.lists", "it is not a file"),
    ],
)
def test_what_is_no_file_is_named_with_the_reason(
    folder: Path, name: str, reason: str
) -> None:
    with recorded(folder) as app:
        get(app, "/")
    name = name.replace("worker", the(folder, "*.live").stem)
    (folder / name).unlink(missing_ok=True)
    if name.startswith("1-"):
        (folder / name).symlink_to("/etc/passwd")
    elif name.startswith("2-"):
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    snapshot = read_live(folder)
    assert snapshot.files.skipped_files == ((name, reason),)
    assert snapshot.total.requests_since_start == 1


def test_a_mark_that_is_damaged_is_no_request(folder: Path) -> None:
    with recorded(folder) as app:
        get(app, "/")
    file = the(folder, "*.live")
    data = bytearray(file.read_bytes())
    # A float that is nearly 0, where the time of a request would be.
    data[Layout(100).marks] = 9
    file.write_bytes(data)
    assert read_live(folder).in_flight == ()


@pytest.mark.parametrize("name", ["notes.live", "1-zz.live", "1-ff.live"])
def test_what_is_no_file_of_a_worker_is_skipped(folder: Path, name: str) -> None:
    with recorded(folder) as app:
        get(app)
        (folder / name).mkdir()
        (folder / "notes.txt").write_text("not ours")
        snapshot = read_live(folder)
    assert (snapshot.files.count, snapshot.files.skipped) == (1, 1)
    assert snapshot.files.skipped_files[0].name == name


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    with recorded(folder) as app:
        get(app)
        file = the(folder, "*.live")
        (folder / "1-ff.live").symlink_to(file)
        snapshot = read_live(folder)
    assert (snapshot.files.count, snapshot.files.skipped) == (1, 1)


def test_a_folder_that_others_can_enter_is_not_written(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    with caplog.at_level(logging.WARNING, "signalpost.live"), recorded(folder) as app:
        get(app)
        get(app)
    assert [*folder.iterdir()] == []
    (record,) = caplog.records
    assert "closed to other users" in record.getMessage()
    with pytest.raises(PermissionError):
        read_live(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_written(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with caplog.at_level(logging.WARNING, "signalpost.live"), recorded(folder) as app:
        get(app)
    assert [*folder.iterdir()] == []
    assert "must belong to the user" in caplog.text


def test_a_full_disk_is_logged_once_and_leaves_nothing(folder: Path) -> None:
    # A limit of the process replaces a full disk; it cannot be taken back.
    process = in_a_process(
        """
        import logging, resource
        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with recorded(folder) as app:
            for _ in range(3):
                get(app, "/sql/2")
        """,
        folder,
    )
    out = ended(process)
    assert out.count("nothing is recorded for the live page") == 1
    assert "File too large" in out
    assert [*folder.iterdir()] == []


def test_lists_that_have_no_room_are_logged_and_the_rest_goes_on(folder: Path) -> None:
    size = Layout(100).size
    process = in_a_process(
        f"""
        import logging, resource
        from tests.live.shop import execute
        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
        import signalpost.live._list_file as lists
        # As far from the beginning as the limit is.
        for kind, region in lists._REGIONS.items():
            lists._REGIONS[kind] = lists.Region({size} + 1, region.size)
        with recorded(folder) as app:
            for _ in range(3):
                get(app, "/sql/2")
        """,
        folder,
    )
    out = ended(process)
    assert out.count("lists of the live page are not written") == 1
    assert read_live(folder).total.requests_since_start == 3


def test_a_full_disk_later_does_not_end_the_process(folder: Path) -> None:
    process = in_a_process(
        """
        import resource
        with recorded(folder) as app:
            get(app)
            import logging
            logging.disable()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            for _ in range(500):
                get(app, "/sql/40")
        """,
        folder,
    )
    ended(process)
    assert read_live(folder).total.requests_since_start == 501


def test_a_reader_that_looks_for_new_files_stops_no_recording(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, readers = fcntl.flock, contextlib.ExitStack()

    def interrupted(descriptor: int, operation: int) -> None:
        # A reader in the middle of its question whether each worker is alive.
        if operation & fcntl.LOCK_EX:
            for path in folder.glob("*.live"):
                file = readers.enter_context(path.open("rb"))
                flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    with readers, recorded(folder) as app:
        get(app)
        assert read_live(folder).total.requests_since_start == 1


def test_a_file_that_was_never_locked_is_removed(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "1-ff.new").touch()
    os.utime(folder / "1-ff.new", (0, 0))
    (folder / "2-ff.new").touch()
    with recorded(folder) as app:
        get(app)
    assert read_live(folder).files.skipped == 0
    assert [one.name for one in folder.glob("*.new")] == ["2-ff.new"]


def test_threads_lose_no_request(folder: Path) -> None:
    threads, each = 32, 100
    ready = threading.Barrier(threads)
    with recorded(folder) as app:

        def ask(number: int) -> None:
            ready.wait()
            for _ in range(each):
                get(app, "/sql/2" if number % 2 else "/boom")

        running = [threading.Thread(target=ask, args=(one,)) for one in range(threads)]
        for one in running:
            one.start()
        reader = Reader(folder)
        keys: list[str] = []
        cursor = ""
        left_out = 0
        while any(one.is_alive() for one in running):
            snapshot = reader.snapshot(cursor)
            if snapshot.workers:
                cursor = snapshot.cursor
            keys += [row.key for row in snapshot.exchanges]
            left_out += snapshot.exchanges_left_out
            time.sleep(0.01)
        for one in running:
            one.join()
    snapshot = reader.snapshot(cursor)
    keys += [row.key for row in snapshot.exchanges]
    left_out += snapshot.exchanges_left_out
    whole = read_live(folder)
    assert whole.total.requests_since_start == threads * each
    assert whole.total.failed_since_start == threads * each // 2
    assert sum(whole.seconds.requests) == threads * each
    assert sum(row.requests_since_start for row in whole.routes) == threads * each
    assert whole.in_flight == ()
    assert whole.statements is not None
    assert whole.statements.rows[0].times == threads * each
    assert whole.failures is not None
    assert whole.failures.rows[0].times == threads * each // 2
    assert len(keys) == len(set(keys))
    assert len(keys) + left_out == threads * each


def test_the_ring_may_be_overwritten_while_it_is_read(folder: Path) -> None:
    with OwnFolder.made(folder) as own:
        file = WorkerFile(own, 10, 0.5, has_waterfall=True)
    paths = {number: "x" * (number % 7000) for number in range(4000)}
    assert sum(map(len, paths.values())) > 3 * RING_BYTES
    has_read = threading.Event()

    def write() -> None:
        while not has_read.is_set():
            for number, text in paths.items():
                closed = Closed()
                closed.method, closed.path = "GET", text[:200]
                closed.started_at = time.time()
                long = "" if len(text) <= 200 else text
                closed.extra = packed(("", long, "", "", str(number), "", ""), b"")
                file.close(closed)

    writer = threading.Thread(target=write)
    writer.start()
    reader = Reader(folder)
    seen = 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    while writer.is_alive():
        for row in reader.find({}).exchanges:
            assert row.path == paths[int(str(row.request_id))]
            seen += 1
        if seen >= 100 or time.monotonic() > deadline:
            has_read.set()
    writer.join()
    file.end()
    assert seen >= 100


def test_a_killed_worker_is_shown_with_what_it_died_in(folder: Path) -> None:
    process = in_a_process(
        """
        from tests.live.shop import shop
        def dying(environ, start_response):
            if environ["PATH_INFO"] == "/die":
                os.kill(os.getpid(), signal.SIGKILL)
            return shop(environ, start_response)
        with recorded(folder, dying) as app:
            get(app, "/items/mug")
            get(app, "/die")
        """,
        folder,
    )
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGKILL
    snapshot = read_live(folder)
    assert [row.state for row in snapshot.workers] == ["killed"]
    assert not snapshot.workers[0].is_busy
    (row,) = snapshot.in_flight
    assert (row.path, row.is_dead, row.seconds) == ("/die", True, None)
    assert row.pid == process.pid
    assert snapshot.total.in_flight == 0
    assert [one.path for one in snapshot.exchanges] == ["/items/mug"]


def test_a_worker_that_exits_has_ended_and_its_lists_are_whole(folder: Path) -> None:
    ended(
        in_a_process(
            """
            recording = recorded(folder)
            app = recording.__enter__()
            for _ in range(5):
                get(app, "/sql/2")
            """,
            folder,
        )
    )
    snapshot = read_live(folder)
    assert [row.state for row in snapshot.workers] == ["ended"]
    assert snapshot.statements is not None
    assert snapshot.statements.rows[0].times == 10


def test_history_survives_a_restart(folder: Path) -> None:
    for _ in range(3):
        with recorded(folder) as app:
            get(app, "/items/mug")
    with recorded(folder) as app:
        get(app)
        snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 4
    assert [row.state for row in snapshot.workers] == ["alive", *["ended"] * 3]
    assert len(snapshot.exchanges) == 4
    assert snapshot.since == min(row.started_at for row in snapshot.workers)


def test_files_of_the_dead_do_not_add_up(folder: Path) -> None:
    for _ in range(12):
        with recorded(folder) as app:
            get(app)
    assert len([*folder.glob("*.live")]) == len([*folder.glob("*.lists")]) <= 9
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    with recorded(folder) as app:
        get(app)
        assert read_live(folder).total.requests_since_start == 1
    (folder / "notes.txt").write_text("mine")
    os.utime(folder / "notes.txt", (0, 0))
    with recorded(folder) as app:
        get(app)
    assert (folder / "notes.txt").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_records_in_a_file_of_its_own(folder: Path) -> None:
    ended(
        in_a_process(
            """
            with recorded(folder) as app:
                get(app)
                for _ in range(3):
                    child = os.fork()
                    if not child:
                        for _ in range(5):
                            get(app, "/items/child")
                        sys.exit()
                    os.waitpid(child, 0)
                get(app)
            """,
            folder,
        )
    )
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 2 + 3 * 5
    assert sorted(row.requests for row in snapshot.workers) == [2, 5, 5, 5]
    assert {row.state for row in snapshot.workers} == {"ended"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_within_a_request_counts_it_once(folder: Path) -> None:
    ended(
        in_a_process(
            """
            def forking(environ, start_response):
                start_response("200 OK", [])
                child = os.fork()
                if child:
                    os.waitpid(child, 0)
                return [b"ok"]
            parent = os.getpid()
            recording = recorded(folder, forking)
            app = recording.__enter__()
            get(app, "/fork")
            if os.getpid() == parent:
                get(app, "/fork")
            """,
            folder,
        )
    )
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 2
    assert snapshot.in_flight == ()


def test_a_worker_is_alive_as_long_as_it_is_however_many_it_has_forked(
    folder: Path,
) -> None:
    process = in_a_process(
        """
        with recorded(folder) as app:
            get(app)
            child = os.fork()
            if not child:
                print(os.getpid(), flush=True)
                time.sleep(60)
                os._exit(0)
            time.sleep(60)
        """,
        folder,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert [row.state for row in read_live(folder).workers] == ["alive"]
        process.kill()
        process.wait(PATIENCE_SECONDS)
        assert [row.state for row in read_live(folder).workers] == ["killed"]
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_SECONDS)


def test_descriptors_are_closed(folder: Path) -> None:
    with recorded(folder) as app:
        get(app)
        reader = Reader(folder)
        reader.snapshot()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            get(app)
            reader.snapshot()
            reader.find({})
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_limit_of_open_files_is_no_failure_of_a_request(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with recorded(folder, shop) as app:
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
        try:
            server = Server()
            body = server.serve(app)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert body == b"ok"
