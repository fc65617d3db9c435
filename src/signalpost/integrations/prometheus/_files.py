"""The files of this process: a copy of its values for others, made again when lost."""

from __future__ import annotations

import mmap
import os
import time
import typing as t
from struct import pack

from prometheus_client.samples import Exemplar

from ._contents import entry_of
from ._contents import HEADER_BYTES
from ._contents import VALUE_BYTES
from ._log import warn

if t.TYPE_CHECKING:
    from ._directory import Directory

__all__ = ["ProcessFiles", "Value"]

_FIRST_BYTES = 1 << 16
_NUMBER_BYTES = 8


class Value:
    """A number of a series, as the client's ``ValueClass``.

    It takes no lock: the client's would be taken again by a receiver that the garbage
    collection calls in the same thread. The store calls for one thread at a time.
    """

    __slots__ = ("_files", "exemplar", "file", "key", "kind", "place", "value")

    def __init__(self, files: ProcessFiles | None, kind: str, key: str) -> None:
        self._files = files
        self.kind = kind
        self.key = key
        self.value = 0.0
        self.exemplar: Exemplar | None = None
        self.file: _File | None = None
        self.place = 0
        if files is not None:
            files.add(self)

    def inc(self, amount: float) -> None:
        """Add to the number."""
        self.value += amount
        if self.file is not None:
            self.file.numbers[self.place] = self.value
        elif self._files is not None:
            self._files.write(self)

    def set(self, value: float) -> None:
        """Set the number."""
        self.value = 0.0
        self.inc(value)

    def get(self) -> float:
        """Return the number."""
        return self.value

    def set_exemplar(self, exemplar: Exemplar) -> None:
        """Keep an exemplar, in memory."""
        self.exemplar = exemplar

    def get_exemplar(self) -> Exemplar | None:
        """Return the latest exemplar."""
        return self.exemplar


class _File:
    """A file of the client's format, whose room is reserved before it is used.

    The system ends a process that writes to a page that the disk has no room for, as
    that of a sparse file, or beyond the end of a file.

    It is marked as one without all of the values, by its size or in the padding of its
    header, until :meth:`finish`.

    :param descriptor: A new file; the caller closes the descriptor.
    :param folder: The folder that it is in.
    """

    numbers: memoryview[float]
    """What the file has, as numbers; each value by its place."""

    def __init__(self, descriptor: int, folder: object) -> None:
        self._file = open(os.dup(descriptor), "r+b", buffering=0)  # noqa: SIM115  # closed later
        self._folder = folder
        self._map: mmap.mmap | None = None
        self._used = HEADER_BYTES
        self._capacity = 0

    def take(self, value: Value) -> None:
        """Give a value its place."""
        entry = entry_of(value.key.encode(), (value.value, 0.0))
        end = self._used + len(entry)
        map_ = self._mapped(end)
        map_[self._used : end] = entry
        self._used = end
        map_[:4] = pack("i", end)
        value.place = (end - VALUE_BYTES) // _NUMBER_BYTES
        value.file = self

    def finish(self, *, is_whole: bool = True) -> None:
        """Mark the file as one with all of the values, or not."""
        if self._map is not None:
            self._map[:HEADER_BYTES] = pack("ii", self._used, not is_whole)

    def state(self, folder: object) -> tuple[bool, bool]:
        """Return whether another has removed it, and whether it was cut short."""
        found = os.fstat(self._file.fileno())
        is_removed = found.st_nlink == 0 or folder is not self._folder
        return is_removed, found.st_size < self._capacity

    def close(self) -> None:
        """Close it; it stays."""
        self._unmap()
        self._file.close()

    def _mapped(self, needed: int) -> mmap.mmap:
        if self._map is not None and needed <= self._capacity:
            return self._map
        capacity = max(self._capacity, _FIRST_BYTES)
        while capacity < needed:
            capacity *= 2
        descriptor = self._file.fileno()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, capacity)
        else:  # pragma: no cover  # as on macOS
            os.ftruncate(descriptor, capacity)
        found = mmap.mmap(descriptor, capacity)
        is_first = self._map is None
        self._unmap()
        self._map, self._capacity = found, capacity
        self.numbers = memoryview(found).cast("d")
        if is_first:
            self.finish(is_whole=False)
        return found

    def _unmap(self) -> None:
        if self._map is not None:
            self.numbers.release()
            self._map.close()


class ProcessFiles:
    """The files of this process in a directory, each held by a lock while it lives.

    What cannot be filed now is kept in memory, and a file that is not whole is marked:
    a scrape fails then, until :meth:`mend` has filed it.

    :param directory: The directory.
    :param logged: What was logged already.
    """

    def __init__(self, directory: Directory, logged: set[str]) -> None:
        self._directory = directory
        self._logged = logged
        # The number of a process may come again, while a file of it is there.
        self._suffix = f"{os.getpid()}-signalpost-{time.time_ns():x}"
        self._files: dict[str, _File] = {}
        self._values: dict[str, list[Value]] = {}
        self._behind: set[str] = set()

    def add(self, value: Value) -> None:
        """File a new value; at the first change, if there is no file of its kind."""
        self._values.setdefault(value.kind, []).append(value)
        if value.kind in self._files:
            self.write(value)

    def write(self, value: Value) -> None:
        """File a value that is in no file. It is left to :meth:`mend` if need be."""
        kind = value.kind
        if kind in self._behind:
            return
        try:
            if kind in self._files:
                self._files[kind].take(value)
            else:
                self._catch_up(kind)
        except (OSError, ValueError) as error:
            self._fall_behind(kind, error)

    def find_lost(self) -> bool:
        """Return whether a file was removed or cut short since the last call."""
        before = len(self._behind)
        for kind, file in [*self._files.items()]:
            is_removed, is_cut = file.state(self._directory.folder)
            if is_cut:
                self._drop(kind)
            if is_removed or is_cut:
                # It is in use on, as others read it, until another is made.
                self._behind.add(kind)
                what = (
                    f"files in {self._directory.path} were removed or cut while in use"
                )
                warn(self._logged, what, "they are written again from memory")
        return len(self._behind) > before

    def mend(self) -> None:
        """File what is not filed yet.

        :raises OSError: If it cannot be filed now.
        """
        self._directory.reopen()
        self.find_lost()
        for kind in sorted(self._behind):
            try:
                self._catch_up(kind)
            except (OSError, ValueError) as error:
                self._fall_behind(kind, error)
                raise

    def close(self) -> None:
        """Close the files, which stay."""
        for kind in [*self._files]:
            self._drop(kind)

    def _catch_up(self, kind: str) -> None:
        """Have a file with all values of a kind."""
        folder = self._directory.folder
        file = self._files.get(kind)
        if file is None or file.state(folder)[0]:
            name = f"{kind}_{self._suffix}.db"
            with self._directory.replacing(name) as descriptor:
                file = _File(descriptor, folder)
            self._drop(kind)
            self._files[kind] = file
        for value in self._values[kind]:
            if value.file is None:
                file.take(value)
        file.finish()
        self._behind.discard(kind)

    def _drop(self, kind: str) -> None:
        if kind in self._files:
            self._files.pop(kind).close()
            for value in self._values[kind]:
                value.file = None

    def _fall_behind(self, kind: str, error: Exception) -> None:
        self._behind.add(kind)
        if kind in self._files:
            self._files[kind].finish(is_whole=False)
        what = f"{self._directory.path} takes no more; scrapes fail until it does"
        warn(self._logged, what, error)
