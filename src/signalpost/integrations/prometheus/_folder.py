"""The directory of all processes' files: their sum, and what becomes of the dead's."""

from __future__ import annotations

import json
import os
import re
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from contextlib import contextmanager
from contextlib import suppress
from math import isfinite

from prometheus_client import multiprocess
from prometheus_client import utils
from prometheus_client.metrics_core import Metric

from ._figures import Complaints
from ._files import file_of
from ._files import read_file

__all__ = ["Folder", "FolderCollector"]

_PATIENCE_SECONDS = 5.0
_SUMMED = ("counter", "histogram", "summary")
_NAME = re.compile(
    r"(?P<kind>counter|histogram|summary|gauge)_(?:(?P<mode>[a-z]+)_)?"
    r"(?P<pid>[0-9]+)(?P<ours>-signalpost-[0-9a-z]+)?\.db",
    re.ASCII,
)
_LOCK = ".signalpost-lock"
_JOURNAL = ".signalpost-journal"

# The library has no types for these.
_in_text: Callable[[float], str] = utils.floatToGoString
_merged: Callable[[list[str]], Iterable[Metric]]
_merged = multiprocess.MultiProcessCollector.merge


class Entry(t.NamedTuple):
    """What the key of a file's entry says."""

    metric: str
    sample: str
    labels: dict[str, str]
    help_text: str
    le: float | None
    """The upper bound, if it is of a histogram's bucket."""
    row: tuple[t.Any, ...]
    """The name of the metric, and all labels but that of the bound."""


class _Sums(t.NamedTuple):
    """The sums for one set of labels."""

    metric: Metric
    samples: list[tuple[str, dict[str, str], float]]
    buckets: list[tuple[float, float]]


class Folder:
    """The directory of all processes' files.

    :param path: Its path.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._complaints = Complaints()
        self._entries: dict[bytes, Entry | None] = {}

    def metrics(self) -> list[Metric]:
        """Return the sum of what the processes have counted, living and dead.

        :raises OSError: If a file cannot be read now, and may be later. Sums without
            it would be less than they were.
        :raises TimeoutError: If the directory is locked for too long.
        """
        gauges: list[str] = []
        sums: dict[str, dict[bytes, float]] = {kind: {} for kind in _SUMMED}
        with self._locked():
            for name, match in self._names():
                kind = match["kind"]
                if kind != "gauge":
                    with self._left_out_if_unreadable(name):
                        self._add(sums[kind], name)
                elif not _is_of_dead(match) and self._is_whole(name):
                    gauges.append(os.path.join(self.path, name))
            found = [*self._gauges(gauges)]
        for kind in _SUMMED:
            found += self._summed(kind, sums[kind])
        return found

    def fold(self, pid: int) -> None:
        """Add the files of a process that is dead to one file, and remove them.

        :raises OSError: If it cannot; all is as before then.
        :raises TimeoutError: If the directory is locked for too long.
        """
        with self._locked():
            self._finish_fold()
            names = [*self._names()]
            for kind in _SUMMED:
                dead = [
                    name
                    for name, match in names
                    if match["kind"] == kind and match["pid"] == str(pid)
                ]
                if dead:
                    self._fold(kind, dead)
            for name, match in names:
                is_live = (match["mode"] or "").startswith("live")
                if is_live and match["pid"] == str(pid):
                    self._remove(name)

    def clear(self) -> None:
        """Remove all figures.

        :raises TimeoutError: If the directory is locked for too long.
        """
        with self._locked():
            self._finish_fold()
            for name, _ in self._names():
                self._remove(name)

    def _names(self) -> Iterable[tuple[str, re.Match[str]]]:
        """Return the files to read, each with what its name says."""
        names = set(os.listdir(self.path))
        kind, dead = self._journal()
        if kind:
            # Somebody died over a fold, whose outcome was certain already.
            names.difference_update(dead)
            if _unfolded(kind) in names:
                names.discard(_folded(kind))
        for name in sorted(names):
            found = _NAME.fullmatch(name)
            if found is None and kind and name == _unfolded(kind):
                found = _NAME.fullmatch(_folded(kind))
            if found is not None:
                yield name, found

    def _add(self, sums: dict[bytes, float], name: str) -> None:
        """Add up what is in a file."""
        values, problem = read_file(os.path.join(self.path, name))
        if problem:
            self._complaints.tell(f"{name} is damaged, its beginning counts", problem)
        for key, value in values.items():
            if isfinite(value) and self._entry(key) is not None:
                sums[key] = sums.get(key, 0.0) + value
            else:
                self._complaints.tell(f"{name} is damaged", "an entry is left out")

    @contextmanager
    def _left_out_if_unreadable(self, name: str) -> Generator[None]:
        """Go on without a file that nobody can ever read."""
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            self._complaints.tell(f"{name} cannot be read, and is left out", error)

    def _is_whole(self, name: str) -> bool:
        """Tell whether there is something in a file of gauges for the library."""
        values: dict[bytes, float] = {}
        problem = ""
        with self._left_out_if_unreadable(name):
            values, problem = read_file(os.path.join(self.path, name))
        if not problem and any(self._entry(key) is None for key in values):
            problem = "an entry has no name"
        if problem:
            self._complaints.tell(f"{name} is damaged, and left out", problem)
        # It trips over a file that a process has just made.
        return bool(values) and not problem

    def _gauges(self, paths: list[str]) -> Iterable[Metric]:
        """Return the gauges: what becomes of them, the library knows by their modes."""
        try:
            return _merged(paths)
        except OSError as error:
            # The application itself has removed one meanwhile.
            self._complaints.tell("gauges are left out of a scrape", error)
            return ()

    def _summed(self, kind: str, sums: dict[bytes, float]) -> Iterable[Metric]:
        metrics: dict[str, Metric] = {}
        # OpenMetrics wants the samples of a row together.
        rows: dict[tuple[t.Any, ...], _Sums] = {}
        for key, value in sums.items():
            entry = t.cast("Entry", self._entry(key))
            if entry.metric not in metrics:
                metrics[entry.metric] = Metric(entry.metric, entry.help_text, kind)
            row = rows.get(entry.row)
            if row is None:
                row = rows[entry.row] = _Sums(metrics[entry.metric], [], [])
            if entry.le is None:
                row.samples.append((entry.sample, entry.labels, value))
            else:
                row.buckets.append((entry.le, value))
        for (name, *items), row in rows.items():
            count = 0.0
            for bound, value in sorted(row.buckets):
                count += value
                labels = {**dict(items), "le": _in_text(bound)}
                row.metric.add_sample(f"{name}_bucket", labels, count)
            if row.buckets:
                row.metric.add_sample(f"{name}_count", dict(items), count)
            for sample in row.samples:
                row.metric.add_sample(*sample)
        return metrics.values()

    def _entry(self, key: bytes) -> Entry | None:
        """Return what a key says, or ``None`` if it is none."""
        try:
            return self._entries[key]
        except KeyError:
            if len(self._entries) > 500_000:
                self._entries.clear()
            found = self._entries[key] = _entry_of(key)
            return found

    def _fold(self, kind: str, dead: list[str]) -> None:
        sums: dict[bytes, float] = {}
        for name in (_folded(kind), *dead):
            with suppress(FileNotFoundError):
                self._add(sums, name)
        # From the journal on it is certain that the dead are in the sum, and nobody
        # counts them twice, whenever this process dies.
        try:
            self._write(_unfolded(kind), file_of(sums))
            self._write(_JOURNAL + "-new", json.dumps([kind, dead]).encode())
        except OSError:
            # What there was no room for takes none.
            self._remove(_unfolded(kind))
            self._remove(_JOURNAL + "-new")
            raise
        self._rename(_JOURNAL + "-new", _JOURNAL)
        self._finish_fold()

    def _finish_fold(self) -> None:
        kind, dead = self._journal()
        if kind:
            with suppress(FileNotFoundError):
                self._rename(_unfolded(kind), _folded(kind))
            for name in dead:
                self._remove(name)
            self._remove(_JOURNAL)

    def _journal(self) -> tuple[str, list[str]]:
        try:
            with open(os.path.join(self.path, _JOURNAL), "rb") as file:
                kind, dead = json.load(file)
        except FileNotFoundError:
            return "", []
        return kind, dead

    def _write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(data)

    def _rename(self, name: str, new_name: str) -> None:
        os.replace(os.path.join(self.path, name), os.path.join(self.path, new_name))

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.remove(os.path.join(self.path, name))

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other processes, threads and greenlets from folding and reading."""
        # There is no such lock on Windows, nor are there servers that fork.
        import fcntl

        path = os.path.join(self.path, _LOCK)
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(
                            f"{path} was locked for {_PATIENCE_SECONDS:g} s; find the"
                            " process that holds it"
                        ) from None
                    # One that blocks would stop all greenlets, its holder's too.
                    time.sleep(0.005)
            try:
                yield
            finally:
                # A child that was forked meanwhile has the same lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def _folded(kind: str) -> str:
    return f"{kind}_0-signalpost-folded.db"


def _unfolded(kind: str) -> str:
    return f".{kind}-signalpost-folding"


def _is_of_dead(match: re.Match[str]) -> bool:
    """Tell whether a file is one of ours, of a process that is gone.

    Of the library's the numbers need not be those of processes.
    """
    if not match["ours"]:
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def _entry_of(key: bytes) -> Entry | None:
    try:
        metric, sample, labels, help_text = json.loads(key)
        le = float(labels["le"]) if sample == f"{metric}_bucket" else None
        texts = (metric, sample, help_text, *labels, *labels.values())
        is_text = all(isinstance(text, str) for text in texts)
        "".join(texts).encode()
        Metric(metric, help_text, "gauge")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    is_sample = is_text and sample.startswith(metric)
    if not is_sample:
        return None
    rest = [one for one in labels.items() if le is None or one[0] != "le"]
    return Entry(metric, sample, labels, help_text, le, (metric, *rest))


Settle: t.TypeAlias = Callable[[], object]


class FolderCollector:
    """What a registry asks for the figures of all processes.

    :param folder: Where they are.
    :param settle: Called before, to write what this process has not written yet.
    :param describe: Tells the metrics that there always are.
    """

    def __init__(
        self,
        folder: Folder,
        settle: Settle,
        describe: Callable[[], Iterable[Metric]],
    ) -> None:
        self._folder = folder
        self._settle = settle
        self.describe = describe

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        self._settle()
        return self._folder.metrics()
