"""The directory of all processes' files: their sum, and the merge of the dead's."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
import typing as t
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
from threading import Lock
from weakref import finalize
from weakref import WeakValueDictionary

from prometheus_client import Gauge
from prometheus_client.metrics_core import Metric

from ...receivers.own_folder import OwnFolder
from ._contents import add_values
from ._contents import Contents
from ._contents import file_of
from ._contents import Found
from ._contents import Identity
from ._contents import Values
from ._values import warn

__all__ = ["Directory", "directory_at"]

_SUMMED = ("counter", "histogram", "summary")
_MODES = Gauge._MULTIPROC_MODES  # noqa: SLF001  # where the client lists them
_MOST_PASSES = 20
_MOST_DEAD = 30
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_NAME = re.compile(
    r"(?P<kind>counter|histogram|summary|gauge)_(?:(?P<mode>[a-z]+)_)?"
    r"(?P<pid>[0-9]+)(?P<ours>-signalpost-[0-9a-z]+)?\.db",
    re.ASCII,
)
_LOCK = ".signalpost-merge"
_PATIENCE_SECONDS = 1.0
_NOBODY = 0  # as the number of a process


class Directory:
    """The directory that the processes of one machine share.

    It belongs to the user that runs this, unless that is root, and no other can write
    to it. All that is done in it is done by its descriptor; what is no plain file is
    left out. A process holds a shared lock on it, and an exclusive one on each of its
    files: neither can be inherited by a process with the same number.

    :param path: Its path.
    :raises OSError: If it is not there, or not safe; with the reason.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._logged: set[str] = set()
        self._contents = Contents(self._logged)
        self._lock, self._merge_lock = Lock(), Lock()
        self._process = os.getpid()
        self._seen: set[tuple[str, int]] = set()
        self._dead: set[str] = set()
        # Files of living processes, to be read on when another removes them.
        self._kept: dict[str, int] = {}
        self._enough = _MOST_DEAD
        finalize(self, _close_all, self._kept)
        self._end: finalize[[], Directory] | None = None
        self.opened = 0
        self._open()

    def _open(self) -> None:
        path = Path(self.path)
        owner = path.lstat().st_uid if os.geteuid() == 0 else None
        folder = OwnFolder(path, owner=owner, closed=_WRITABLE)
        if self._end is not None:
            self._end()
        self._folder = folder
        self._end = finalize(self, folder.close)
        self._lock_shared()
        self.opened += 1

    def _lock_shared(self) -> None:
        with suppress(OSError):
            fcntl.flock(self._folder.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def reopen(self) -> None:
        """Open it again if another has replaced it, and make it if it was removed.

        :raises OSError: If that cannot be.
        """
        try:
            found = os.stat(self.path, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(self._folder.descriptor)):
                return
        except PermissionError:
            # Workers of another user may have no way to it, and need none.
            return
        except FileNotFoundError:
            pass
        with suppress(FileExistsError):
            os.mkdir(self.path, stat.S_IRWXU)
        self._open()

    def begin_in_child(self) -> None:
        """Leave what is the parent's to it; once, whichever store asks first."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        self._lock, self._merge_lock = Lock(), Lock()
        _close_all(self._kept)

    @contextmanager
    def replacing(self, name: str) -> Generator[int]:
        """Give the descriptor of a new file, locked, that takes the place of another.

        :raises OSError: If there is no room; what there was stays then.
        """
        folder, new = self._folder.descriptor, f".{name}"
        self._remove(new)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600, dir_fd=folder)
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            if os.geteuid() == 0:
                owner = os.fstat(folder)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield descriptor
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            self._remove(new)
            raise
        finally:
            os.close(descriptor)

    def look(self) -> None:
        """Open the files of processes that have come, unless a scrape does."""
        if self._lock.acquire(blocking=False):
            try:
                listed = set(self._listed().items())
                for name, _ in sorted(listed - self._seen):
                    match = _NAME.fullmatch(name)
                    if match is not None and match["ours"]:
                        with suppress(OSError), self._opened(name) as descriptor:
                            self._is_living(name, match, descriptor)
                self._seen = listed
                for name in [*self._kept]:
                    if not _is_locked(self._kept[name]):
                        os.close(self._kept.pop(name))
                self._merge_many(len(listed))
            finally:
                self._lock.release()

    def metrics(self) -> list[Metric]:
        """Return the sum of what the processes have counted, living and dead.

        :raises OSError: If a file cannot be read now, and may be later. Sums without
            it would be less than they were.
        """
        with self._lock:
            for number in range(_MOST_PASSES):
                before = self._merges()
                found = self._read_all()
                if found is not None and self._merges() == before:
                    return [*self._contents.summed(found)]
                time.sleep(0.001 * number)
        raise TimeoutError(f"{self.path} changed during each of {_MOST_PASSES} reads")

    def _merge_many(self, files: int) -> None:
        """Merge the files of dead processes if there are many, and never wait.

        No hook reports the end of some processes, such as the workers of a queue.
        """
        if files > self._enough:
            try:
                self.merge(_NOBODY, patience_seconds=0)
            except TimeoutError:
                pass  # another process does it
            except OSError as error:
                warn(self._logged, "files of ended processes are not merged", error)
            self._enough = len(self._listed()) + _MOST_DEAD

    def merge(self, pid: int, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Add the files of dead processes to one file, and remove them.

        :param pid: A dead process that locks no file, as those of the client.
        :param patience_seconds: How long to wait for another process that merges.
        :raises OSError: If it fails; the files are as before then, and the next call
            merges them.
        """
        self._dead.add(str(pid))
        # A signal of the next child may come during this.
        while self._dead and self._merge_lock.acquire(blocking=False):
            try:
                dead = {*self._dead}
                with self._locked(patience_seconds):
                    for kind in _SUMMED:
                        self._merge(kind, dead)
                    for name, match in self._names().items():
                        is_live = (match["mode"] or "").startswith("live")
                        if is_live and self._is_dead(name, match, dead):
                            self._remove(name)
                self._dead -= dead
            finally:
                self._merge_lock.release()

    def clear(self) -> bool:
        """Remove the files of earlier runs; return whether no other process uses it."""
        folder = self._folder.descriptor
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The attempt releases the lock that was held.
            self._lock_shared()
            return False
        for name in self._listed():
            found = _NAME.fullmatch(name.removeprefix("."))
            if name == _LOCK or (found and not self._is_locked(name)):
                self._remove(name)
        self._lock_shared()
        return True

    def give_to(self, user: int, group: int) -> None:
        """Let workers of another user write to it, if root has made it for them.

        :raises PermissionError: If it has other files, or belongs to another user.
        """
        folder = self._folder.descriptor
        if os.geteuid() != 0 or os.fstat(folder).st_uid == user:
            return
        names = self._listed().keys() - {_LOCK}
        if os.fstat(folder).st_uid != 0 or not all(map(_NAME.fullmatch, names)):
            raise PermissionError(
                f"{self.path} must belong to the user {user} of the workers; run chown"
                f" {user} on it, or choose another directory"
            )
        os.fchown(folder, user, group)

    def _listed(self) -> dict[str, int]:
        """Return the names of the files in it, each with the inode of the file."""
        # Threads and forked processes share the position of a descriptor.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(".", flags, dir_fd=self._folder.descriptor)
        try:
            with os.scandir(descriptor) as entries:
                return {entry.name: entry.inode() for entry in entries}
        finally:
            os.close(descriptor)

    def _names(self) -> dict[str, re.Match[str]]:
        """Return the names of the files to read, with the parts of each name."""
        names = sorted(self._listed())
        found = {name: match for name in names if (match := _NAME.fullmatch(name))}
        return {
            name: match
            for name, match in found.items()
            if (match["mode"] in _MODES) == (match["kind"] == "gauge")
        }

    def _merges(self) -> list[tuple[int, int] | None]:
        """Return which merged files there are."""
        return [self._identity(_merged(kind)) for kind in _SUMMED]

    def _identity(self, name: str) -> tuple[int, int] | None:
        with suppress(FileNotFoundError):
            found = self._folder.stat(name)
            return found.st_ino, found.st_mtime_ns
        return None

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            self._folder.remove(name)

    @contextmanager
    def _opened(self, name: str) -> Generator[int]:
        if not stat.S_ISREG(self._folder.stat(name).st_mode):
            raise PermissionError(f"{name} is no plain file")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._folder.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read_all(self) -> Found | None:
        """Return what is in all files; ``None`` if one goes meanwhile."""
        names = self._names()
        found: Found = {(kind, "", ""): {} for kind in _SUMMED}
        merged: set[Identity] = set()
        for kind in _SUMMED:
            names.pop(_merged(kind), None)
            found[kind, "", ""], more = self._merged_content(kind)
            merged |= more
        for name, match in names.items():
            try:
                with self._left_out(name), self._opened(name) as descriptor:
                    self._read(found, merged, name, match, descriptor)
            except FileNotFoundError:
                return None
        missing = self._kept.keys() - names.keys()
        for name in missing:
            # It was removed; its process, if it lives, will write another.
            descriptor = self._kept[name]
            if not _is_locked(descriptor):
                os.close(self._kept.pop(name))
                continue
            match = t.cast("re.Match[str]", _NAME.fullmatch(name))
            self._read(found, merged, name, match, descriptor)
        # A file that is gone may have been replaced since the names were read.
        return found if missing <= self._kept.keys() else None

    def _read(
        self,
        found: Found,
        merged: set[Identity],
        name: str,
        match: re.Match[str],
        descriptor: int,
    ) -> None:
        """Add the contents of a file."""
        is_living = self._is_living(name, match, descriptor)
        mode = match["mode"] or ""
        is_over = mode.startswith("live") and match["ours"] and not is_living
        if is_over or _identity(name, descriptor) in merged:
            return
        values, is_behind = self._contents.read(name, descriptor)
        if is_behind and is_living:
            raise OSError(f"the process of {name} has values that it cannot file now")
        which = (match["kind"], mode, match["pid"] if mode else "")
        add_values(found.setdefault(which, {}), values)

    def _is_living(self, name: str, match: re.Match[str], descriptor: int) -> bool:
        """Return whether the process of a file of ours lives; keep the file then."""
        if not match["ours"] or not _is_locked(descriptor):
            return False
        kept = self._kept.get(name)
        is_new = kept is None or not os.path.sameopenfile(kept, descriptor)
        if is_new and match["kind"] != "gauge":
            with suppress(OSError):
                self._kept[name] = os.dup(descriptor)
                if kept is not None:
                    os.close(kept)
        return True

    def _is_dead(self, name: str, match: re.Match[str], dead: set[str]) -> bool:
        if not match["ours"]:
            return match["pid"] in dead
        return name != _merged(match["kind"]) and not self._is_locked(name)

    def _is_locked(self, name: str) -> bool:
        """Return whether a living process holds a file; so if there is none."""
        try:
            with self._opened(name) as descriptor:
                return _is_locked(descriptor)
        except FileNotFoundError:
            return True
        except PermissionError:
            return False

    def _merged_content(self, kind: str) -> tuple[Values, set[Identity]]:
        name = _merged(kind)
        is_gone = suppress(FileNotFoundError)
        with self._left_out(name), is_gone, self._opened(name) as descriptor:
            return self._contents.read_merged(descriptor)
        return {}, set()

    @contextmanager
    def _left_out(self, name: str) -> Generator[None]:
        """Skip a file that this process has no permission to read."""
        try:
            yield
        except PermissionError as error:
            warn(self._logged, f"{name} cannot be read, and is left out", error)

    def _merge(self, kind: str, dead: set[str]) -> None:
        names = self._names()
        values, merged = self._merged_content(kind)
        listed = []
        for name, match in names.items():
            if match["kind"] == kind and self._is_dead(name, match, dead):
                with suppress(PermissionError), self._opened(name) as descriptor:
                    listed.append(_identity(name, descriptor))
                    if listed[-1] not in merged:
                        add_values(values, self._contents.read(name, descriptor)[0])
        if listed:
            # A reader counts the dead in it once it is there, however this ends.
            with self.replacing(_merged(kind)) as descriptor:
                with open(os.dup(descriptor), "wb") as file:
                    file.write(file_of(values) + json.dumps(listed).encode())
                os.fsync(descriptor)
            for name, *_ in listed:
                self._remove(name)

    @contextmanager
    def _locked(self, patience_seconds: float) -> Generator[None]:
        """Keep other processes from merging; scrapes go on."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(_LOCK, flags, 0o600, dir_fd=self._folder.descriptor)
        try:
            deadline = time.monotonic() + patience_seconds
            while _is_locked(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{_LOCK} in {self.path} was locked for too long"
                    )
                time.sleep(0.005)
            yield
        finally:
            # A child that was forked meanwhile has the same lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


_directories: WeakValueDictionary[str, Directory] = WeakValueDictionary()


def directory_at(path: str) -> Directory:
    """Return the directory; the same for all of this process, which has one lock.

    :raises OSError: As :class:`Directory`.
    """
    path = os.path.abspath(path)
    found = _directories.get(path)
    if found is None:
        found = _directories[path] = Directory(path)
    return found


def _close_all(descriptors: dict[str, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])


def _merged(kind: str) -> str:
    return f"{kind}_0-signalpost-merged.db"


def _identity(name: str, descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return name, found.st_ino, found.st_mtime_ns


def _is_locked(descriptor: int, lock: int = fcntl.LOCK_SH) -> bool:
    """Return whether another holds a file; if not, ``LOCK_EX`` locks it."""
    try:
        fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    if lock == fcntl.LOCK_SH:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
