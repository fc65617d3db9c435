"""The files of this process: a copy of its values for others, made again when lost."""

from __future__ import annotations

import os
import time
import typing as t
from collections.abc import Iterable
from contextlib import suppress
from struct import pack
from struct import Struct

from prometheus_client.mmap_dict import MmapedDict

from ._values import Value
from ._values import warn

if t.TYPE_CHECKING:
    from ._directory import Directory

__all__ = ["ProcessFiles"]

_FIRST_BYTES = 1 << 16
_pair = Struct("dd").pack


class _File(MmapedDict):
    """A file of the client's, whose room is reserved before it is used."""

    def __init__(self, descriptor: int) -> None:
        parent: t.Any = super()  # the client's class has no types
        try:
            parent.__init__(descriptor)
        except BaseException:
            self._f.close()
            raise

    def _init_value(self, key: str) -> None:
        # A page of a sparse file that the disk has no room for would end the process.
        needed = self._used + len(key.encode()) + 32
        capacity = self._capacity
        while capacity < needed:
            capacity *= 2
        if capacity > self._capacity:
            reserve(self._f.fileno(), capacity)
        parent: t.Any = super()
        parent._init_value(key)  # noqa: SLF001  # it is this one

    def put(self, place: int, value: float, timestamp: float) -> None:
        """Write a value in one piece, as the client does."""
        self._m[place : place + 16] = _pair(value, timestamp)

    def take(self, value: Value) -> None:
        """Give a value its place."""
        file: t.Any = self
        file.write_value(value.key, value.value, value.timestamp)
        value.place = self._positions[value.key]
        value.file = self

    def mark(self, is_behind: bool) -> None:  # noqa: FBT001  # what it is marked with
        """Mark the file as one without all of the values, in the header's padding."""
        self._m[4:8] = pack("i", is_behind)

    def state(self) -> tuple[bool, bool]:
        """Return whether another has removed it, and whether it was cut short."""
        found = os.fstat(self._f.fileno())
        return found.st_nlink == 0, found.st_size < self._capacity


def reserve(descriptor: int, size: int) -> None:
    """Have room for a file on the disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # pragma: no cover  # as on macOS
        os.ftruncate(descriptor, size)


class ProcessFiles:
    """The files of this process in a directory, each held by a lock while it lives.

    The values in memory are what counts. What cannot be filed now leaves the files
    behind, and marks them: a scrape fails then, until :meth:`mend` has made them again.

    :param directory: The directory.
    :param logged: What was logged already.
    """

    def __init__(self, directory: Directory, logged: set[str]) -> None:
        self._directory = directory
        self._logged = logged
        # The number of a process may come again, while a file of it is there.
        self._suffix = f"{os.getpid()}-signalpost-{time.time_ns():x}"
        self._files: dict[str, t.Any] = {}
        self._claims: dict[str, int] = {}
        self._values: dict[str, list[Value]] = {}
        self._lost: set[str] = set()
        self._opened = directory.opened

    def add(self, value: Value) -> None:
        """File a new value; at the first change, if there is no file of its kind."""
        self._values.setdefault(value.kind, []).append(value)
        if value.kind in self._files:
            self.write(value)

    def write(self, value: Value) -> None:
        """File a change. It is left to :meth:`mend` if that cannot be now."""
        kind = value.kind
        if kind in self._lost:
            return
        try:
            if kind in self._files:
                self._files[kind].take(value)
            else:
                self._make(kind)
        except (OSError, ValueError, IndexError) as error:
            self._lose(kind, error)

    def find_lost(self) -> bool:
        """Return whether a file was removed or cut short since the last call.

        To write where a file ends no more would end the process.
        """
        before = len(self._lost)
        for kind, file in [*self._files.items()]:
            is_removed, is_cut = file.state()
            if is_cut:
                self._release(kind)
                self._files.pop(kind).close()
            if is_removed or is_cut or self._opened != self._directory.opened:
                # It is in use on, as others read it, until another is made.
                self._lost.add(kind)
                what = (
                    f"files in {self._directory.path} were removed or cut while in use"
                )
                warn(self._logged, what, "they are written again from memory")
        self._opened = self._directory.opened
        return len(self._lost) > before

    def _release(self, kind: str) -> None:
        for value in self._values[kind]:
            value.file = None

    def mend(self) -> None:
        """Make again what was lost.

        :raises OSError: If it cannot be made now.
        """
        self._directory.reopen()
        self.find_lost()
        for kind in sorted(self._lost):
            try:
                self._make(kind)
            except (OSError, ValueError) as error:
                self._lose(kind, error)
                raise
            self._lost.discard(kind)
        self._mark()

    def close(self) -> None:
        """Close the files, which stay."""
        while self._files:
            self._files.popitem()[1].close()
        while self._claims:
            os.close(self._claims.popitem()[1])

    def _lose(self, kind: str, error: Exception) -> None:
        self._lost.add(kind)
        self._release(kind)
        what = f"{self._directory.path} takes no more; scrapes fail until it does"
        warn(self._logged, what, error)
        self._mark()

    def _mark(self) -> None:
        for file in self._files.values():
            file.mark(bool(self._lost))

    def _make(self, kind: str) -> None:
        """Make a file of all values of a kind, in the place of the one there is."""
        name = f"{kind}_{self._suffix}.db"
        try:
            with self._directory.replacing(name) as descriptor:
                reserve(descriptor, _FIRST_BYTES)
                file = self._filled(os.dup(descriptor), self._values[kind])
        except OSError:
            if kind not in self._files and kind not in self._claims:
                # An empty one takes no room, and shows that something is missing.
                with suppress(OSError), self._directory.replacing(name) as descriptor:
                    self._claims[kind] = os.dup(descriptor)
            raise
        if kind in self._claims:
            os.close(self._claims.pop(kind))
        if kind in self._files:
            self._files[kind].close()
        self._files[kind] = file

    def _filled(self, descriptor: int, values: Iterable[Value]) -> t.Any:
        file: t.Any = _File(descriptor)
        try:
            for value in values:
                file.take(value)
        except BaseException:
            file.close()
            raise
        return file
