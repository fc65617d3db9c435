"""The directory of all processes' files: their sum, and the merge of the dead's."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
import typing as t
from collections.abc import Container
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
from threading import Lock
from weakref import finalize
from weakref import WeakValueDictionary

from prometheus_client import Gauge
from prometheus_client.metrics_core import Metric

from ...receivers.own_files import hold
from ...receivers.own_files import is_held
from ...receivers.own_files import opened
from ...receivers.own_folder import OwnFolder
from ._contents import add_values
from ._contents import content_of
from ._contents import file_of
from ._contents import Found
from ._contents import summed
from ._contents import Values
from ._log import warn

__all__ = ["Directory", "directory_at"]

_SUMMED = ("counter", "histogram", "summary")
_MODES = Gauge._MULTIPROC_MODES  # noqa: SLF001  # where the client lists them
_MOST_PASSES = 20
_MOST_DEAD = 30
_MOST_MERGED = 60
_MOST_LISTED_BYTES = 1 << 24
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_NAME = re.compile(
    rf"(?P<kind>{'|'.join(_SUMMED)}|gauge_(?P<mode>{'|'.join(sorted(_MODES))}))"
    r"_(?P<pid>[0-9]+)(?P<ours>-signalpost-[0-9a-z]+)?\.db",
    re.ASCII,
)
_LOCK = ".signalpost-merge"
_PATIENCE_SECONDS = 1.0

Identity: t.TypeAlias = tuple[str, int, int]
"""The name of a file, its number, and when it was last changed."""


class _File(t.NamedTuple):
    """A file of a process, open; or the merged one of a kind."""

    name: str
    descriptor: int
    kind: str
    mode: str
    """That of a gauge, or an empty string."""
    pid: str
    is_ours: bool

    @property
    def is_merged(self) -> bool:
        return self.name == _merged(self.kind)

    @property
    def is_living(self) -> bool:
        """``True`` while a process holds the file; the client's are not held."""
        return self.is_ours and is_held(self.descriptor)

    @property
    def identity(self) -> Identity:
        found = os.fstat(self.descriptor)
        return self.name, found.st_ino, found.st_mtime_ns

    def is_over(self, dead: Container[str] = ()) -> bool:
        """Return whether it is to be merged, or a gauge that is to go."""
        if self.is_merged or (self.mode and not self.mode.startswith("live")):
            return False
        return not self.is_living if self.is_ours else self.pid in dead


class Directory:
    """The directory that the processes of one machine share.

    It belongs to the user that runs this, unless that is root, and no other can write
    to it. All that is done in it is done by its descriptor; what is not a plain file is
    left out. A process holds a shared lock on it, and an exclusive one on each of its
    files: neither can be inherited by a process with the same number.

    :param path: Its path.
    :raises OSError: If it is not there, or not safe; with the reason.
    """

    folder: OwnFolder
    """Where the files are; another one after :meth:`reopen` if it was replaced."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._logged: set[str] = set()
        self._lock, self._merge_lock = Lock(), Lock()
        self._process = os.getpid()
        self._dead: set[str] = set()
        # Files of living processes stay open, to be read when another removes them.
        self._held: dict[str, _File] = {}
        finalize(self, _close_all, self._held)
        self._open()

    def _open(self) -> None:
        path = Path(self.path)
        owner = path.lstat().st_uid if os.geteuid() == 0 else None
        self.folder = OwnFolder(path, owner=owner, closed=_WRITABLE)
        finalize(self, self.folder.close)
        self._lock_shared()

    def _lock_shared(self) -> None:
        with suppress(OSError):
            fcntl.flock(self.folder.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def reopen(self) -> None:
        """Open it again if another has replaced it, and make it if it was removed.

        Root makes it for the user that it belonged to.

        :raises OSError: If that cannot be.
        """
        before, is_new = self.folder, False
        try:
            found = os.stat(self.path, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(before.descriptor)):
                return
        except PermissionError:
            # Workers of another user may have no way to it, and need none.
            return
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(self.path, stat.S_IRWXU)
                is_new = True
        self._open()
        if is_new and os.geteuid() == 0:
            owner = os.fstat(before.descriptor)
            os.fchown(self.folder.descriptor, owner.st_uid, owner.st_gid)
        before.close()

    def begin_in_child(self) -> None:
        """Release the parent's files in a child; only the first call has an effect."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock, self._merge_lock = Lock(), Lock()

    @contextmanager
    def replacing(self, name: str) -> Generator[int]:
        """Yield the descriptor of a new, locked file that replaces another one.

        :raises OSError: If the disk is full; the old file then stays.
        """
        folder, new = self.folder.descriptor, f".{name}"
        self._remove(new)
        descriptor = self._created(new)
        try:
            hold(descriptor)
            yield descriptor
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            self._remove(new)
            raise
        finally:
            os.close(descriptor)

    def _created(self, name: str) -> int:
        """Create a file of the directory's user, whatever the umask, and open it."""
        descriptor = opened(self.folder, name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            os.fchmod(descriptor, 0o600)
            if os.geteuid() == 0:
                owner = os.fstat(self.folder.descriptor)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def look(self) -> None:
        """Open the files of new processes, and merge those of many dead ones.

        It never waits. No hook reports the end of some processes, such as the workers
        of a queue.
        """
        if self._lock.acquire(blocking=False):
            try:
                # Both are raised if another process merges.
                with suppress(FileNotFoundError, TimeoutError):
                    if self._has_many_dead():
                        self.merge()
            except OSError as error:
                warn(self._logged, "files of ended processes are not merged", error)
            finally:
                self._lock.release()

    def _has_many_dead(self) -> bool:
        try:
            with self._opened(self._held) as files:
                return sum(file.is_over() for file in files) > _MOST_DEAD
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            return True

    def metrics(self) -> list[Metric]:
        """Return the sum of the metrics of all processes, alive and dead.

        :raises OSError: If a file cannot be read now, and may be later. Sums without
            it would be less than they were.
        """
        with self._lock:
            for number in range(_MOST_PASSES):
                before = self._merges()
                why: object = "it changed meanwhile"
                try:
                    with self._opened(self._held) as files:
                        found, _ = self._sums(files)
                    if self._merges() == before:
                        return summed(found, self._logged)
                except (FileNotFoundError, BlockingIOError) as error:
                    why = error
                time.sleep(0.001 * number)
        raise TimeoutError(f"{self.path} was read {_MOST_PASSES} times: {why}")

    def merge(self, dead: str = "") -> None:
        """Add the files of dead processes to one file, and remove them.

        :param dead: The number of one that may hold no files, as those of the client;
            with it, another process that merges is waited for.
        :raises OSError: If it fails; the files are as before then, and the next call
            merges them.
        """
        self._dead.add(dead)
        before: list[str] = []
        # A signal of the next child may come during this.
        while self._dead and self._merge_lock.acquire(blocking=False):
            try:
                numbers = {*self._dead}
                with (
                    self._locked(_PATIENCE_SECONDS if dead else 0),
                    suppress(FileNotFoundError),  # it is done again then
                    self._to_merge(numbers) as files,
                ):
                    self._merge(files, numbers)
                    merged = [file.name for file in files]
                    # There are more, unless these cannot be removed.
                    if len(merged) < _MOST_MERGED or merged == before:
                        self._dead -= numbers
                    before = merged
            finally:
                self._merge_lock.release()

    def clear(self) -> bool:
        """Remove the files of earlier runs; return whether no other process uses it.

        What this process has counted stays, as with gunicorn's ``preload_app``.
        """
        try:
            fcntl.flock(self.folder.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            for name in self.folder.names():
                is_ours = name == _LOCK or _NAME.fullmatch(name.removeprefix("."))
                if is_ours and not self._is_in_use(name):
                    self._remove(name)
            return True
        finally:
            # Also the attempt releases the lock that was held.
            self._lock_shared()

    def give_to(self, user: int, group: int) -> None:
        """Let workers of another user write to it, if root has created it for them.

        :raises PermissionError: If it has other files, or belongs to another user.
        """
        folder = self.folder.descriptor
        owner = os.fstat(folder).st_uid
        if os.geteuid() != 0 or owner == user:
            return
        names = {*self.folder.names()} - {_LOCK}
        if owner != 0 or not all(map(_NAME.fullmatch, names)):
            raise PermissionError(
                f"{self.path} must belong to the user {user} of the workers; run chown"
                f" {user} on it, or choose another directory"
            )
        # The directory last, as the user can put other files into it from then on.
        for name in self.folder.names():
            os.chown(name, user, group, dir_fd=folder, follow_symlinks=False)
        os.fchown(folder, user, group)

    def _merges(self) -> list[tuple[int, int] | None]:
        """Return which merged files there are."""
        found: list[tuple[int, int] | None] = []
        for kind in _SUMMED:
            try:
                state = self.folder.stat(_merged(kind))
                found.append((state.st_ino, state.st_mtime_ns))
            except FileNotFoundError:
                found.append(None)
        return found

    def _is_in_use(self, name: str) -> bool:
        try:
            descriptor = opened(self.folder, name, os.O_RDONLY)
        except OSError:
            return False
        try:
            return is_held(descriptor)
        finally:
            os.close(descriptor)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            self.folder.remove(name)

    @contextmanager
    def _opened(self, held: dict[str, _File]) -> Generator[list[_File]]:
        """Give all files, open; those of living processes stay so in ``held``.

        :raises FileNotFoundError: If one is removed meanwhile.
        """
        try:
            names = self.folder.names()
            for name in names:
                self._hold(held, name)
            for name in held.keys() - names:
                # It was removed; its process, if alive, will write another one.
                if not held[name].is_living:
                    raise FileNotFoundError(f"{name} has gone")
            yield [held[name] for name in sorted(held)]
        finally:
            for name in [*held]:
                if held is not self._held or not held[name].is_living:
                    os.close(held.pop(name).descriptor)

    @contextmanager
    def _to_merge(self, dead: Container[str]) -> Generator[list[_File]]:
        """Give the merged files, and files to be merged, not too many to be open.

        :raises FileNotFoundError: If one goes meanwhile.
        """
        found: dict[str, _File] = {}
        try:
            merged = [*map(_merged, _SUMMED)]
            for name in sorted(self.folder.names(), key=lambda one: one not in merged):
                self._hold(found, name)
                file = found.get(name)
                if file and not file.is_merged and not file.is_over(dead):
                    os.close(found.pop(name).descriptor)
                if len(found) >= _MOST_MERGED:
                    break
            yield [*found.values()]
        finally:
            _close_all(found)

    def _hold(self, held: dict[str, _File], name: str) -> None:
        match = _NAME.fullmatch(name)
        if match is None:
            return
        found = self.folder.stat(name)
        if name in held:
            if os.path.samestat(found, os.fstat(held[name].descriptor)):
                return
            os.close(held.pop(name).descriptor)
        kind, mode, pid, ours = match.group("kind", "mode", "pid", "ours")
        try:
            if not stat.S_ISREG(found.st_mode):
                raise PermissionError("it is not a plain file")  # noqa: TRY301  # as below
            descriptor = opened(self.folder, name, os.O_RDONLY)
        except PermissionError as error:
            warn(self._logged, f"{name} cannot be read, and is left out", error)
        else:
            held[name] = _File(name, descriptor, kind, mode or "", pid, bool(ours))

    def _sums(self, files: list[_File]) -> tuple[Found, set[Identity]]:
        """Return the sums, and which files the merged ones among these contain.

        :param files: The files, the merged one of a kind first.
        """
        found: Found = {}
        merged: set[Identity] = set()
        for file in files:
            if (file.mode and file.is_over()) or file.identity in merged:
                continue
            content = content_of(file.name, file.descriptor, self._logged)
            if content.is_behind and file.is_living:
                raise BlockingIOError(f"{file.name} is not whole now")
            if file.is_merged:
                text = os.pread(file.descriptor, _MOST_LISTED_BYTES, content.end)
                merged |= self._listed(text)
            which = file.kind.partition("_")[0], file.mode, file.mode and file.pid
            add_values(found.setdefault(which, {}), content.values)
        return found, merged

    def _listed(self, text: bytes) -> set[Identity]:
        """Return which files a merged file contains."""
        try:
            return {(str(a), int(b), int(c)) for a, b, c in json.loads(text)}
        except (ValueError, TypeError, RecursionError) as error:
            warn(self._logged, "the merged file is damaged", error)
            return set()

    def _merge(self, files: list[_File], dead: set[str]) -> None:
        for kind in _SUMMED:
            over = [one for one in files if one.kind == kind and one.is_over(dead)]
            if over:
                before = [one for one in files if one.kind == kind and one.is_merged]
                found, merged = self._sums([*before, *over])
                values: Values = found.get((kind, "", ""), {})
                # Of the earlier ones those that were not removed, as by a crash.
                names = self.folder.names()
                listed = {one for one in merged if one[0] in names}
                listed |= {one.identity for one in over}
                # A reader counts the dead in it once it is there, however this ends.
                with self.replacing(_merged(kind)) as descriptor:
                    with open(os.dup(descriptor), "wb") as file:
                        file.write(file_of(values) + json.dumps([*listed]).encode())
                    os.fsync(descriptor)
                for one in over:
                    self._remove(one.name)
        for one in files:
            if one.mode and one.is_over(dead):
                self._remove(one.name)

    @contextmanager
    def _locked(self, patience_seconds: float) -> Generator[None]:
        """Keep other processes from merging; scrapes continue."""
        try:
            descriptor = self._created(_LOCK)
        except FileExistsError:
            descriptor = opened(self.folder, _LOCK, os.O_RDWR)
        try:
            deadline = time.monotonic() + patience_seconds
            while True:
                try:
                    hold(descriptor)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        what = f"{_LOCK} in {self.path} was locked for too long"
                        raise TimeoutError(what) from None
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


def _close_all(files: dict[str, _File]) -> None:
    while files:
        os.close(files.popitem()[1].descriptor)


def _merged(kind: str) -> str:
    return f"{kind}_0-signalpost-merged.db"
