"""The files of this process: a copy of its values for others, made again when lost."""

from __future__ import annotations

import mmap
import os
import time
import typing as t
from struct import pack

from prometheus_client.samples import Exemplar

from ...receivers.own_files import reserve
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

    :param file: Where others read it, or ``None``.
    :param key: Its key there.
    """

    __slots__ = ("_file", "exemplar", "key", "place", "value")

    def __init__(self, file: _ProcessFile | None, key: str) -> None:
        self._file = file
        self.key = key
        self.value = 0.0
        self.exemplar: Exemplar | None = None
        # Which of the numbers of the file; the first one is its header.
        self.place = 0
        if file is not None:
            file.add(self)

    def inc(self, amount: float = 1.0) -> None:
        """Add to the number."""
        self.value += amount
        if self._file is not None:
            if self.place:
                self._file.numbers[self.place] = self.value
            else:
                self._file.write()

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


class _ProcessFile:
    """The values of one kind, and a file of the client's format that others read.

    The file is made at the first change of a value. Its room is reserved before it is
    used: the system ends a process that writes to a page that the disk has no room for,
    or beyond the end of a file. A file without all values is empty, or has a mark in
    the padding of its header: a scrape fails then.

    :param directory: The directory of the file.
    :param kind: The kind of the values, as the client names it.
    :param logged: The warnings that were logged already.
    """

    numbers: memoryview[float]
    """The contents of the file as numbers; each value has a position."""

    def __init__(self, directory: Directory, kind: str, logged: set[str]) -> None:
        self._directory = directory
        # The number of a process may be reused while its file still exists.
        self._name = f"{kind}_{os.getpid()}-signalpost-{time.time_ns():x}.db"
        self._logged = logged
        self._values: list[Value] = []
        self._is_behind = False
        self._clear()

    def _clear(self) -> None:
        self._descriptor = -1
        self._folder: object = None
        self._map: mmap.mmap | None = None
        self._filed = 0
        self._used = HEADER_BYTES
        self._capacity = 0

    def add(self, value: Value) -> None:
        """Keep a new value."""
        self._values.append(value)
        if self._descriptor >= 0:
            self.write()

    def write(self) -> None:
        """File the values that are not filed; if that fails, :meth:`mend` does it."""
        if not self._is_behind:
            self._is_behind = True
            try:
                self._catch_up()
            except (OSError, ValueError) as error:
                self._report(error)

    def is_lost(self) -> bool:
        """Return whether another has removed or changed it since the last call."""
        if self._descriptor < 0:
            return False
        found = os.fstat(self._descriptor)
        if found.st_size < self._capacity:
            self.close()
        elif not self._has_header():
            self._folder = None  # so that another is made
        elif found.st_nlink > 0 and self._folder is self._directory.folder:
            return False
        if self._is_behind:
            return False
        # It stays in use until another is made, because others read it.
        self._is_behind = True
        what = f"files in {self._directory.path} were removed or changed while in use"
        warn(self._logged, what, "they are written again from memory")
        return True

    def mend(self) -> None:
        """File what is not filed.

        :raises OSError: If it cannot be filed now.
        """
        if self._is_behind:
            try:
                self._catch_up()
            except (OSError, ValueError) as error:
                self._report(error)
                raise

    def close(self) -> None:
        """Close the file, which stays."""
        self._unmap()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        for value in self._values[: self._filed]:
            value.place = 0
        self._clear()

    def _catch_up(self) -> None:
        folder = self._directory.folder
        is_new = self._descriptor < 0 or self._folder is not folder
        if is_new or not os.fstat(self._descriptor).st_nlink:
            with self._directory.replacing(self._name) as descriptor:
                new = os.dup(descriptor)
            self.close()
            self._descriptor, self._folder = new, folder
        while self._filed < len(self._values):
            self._take(self._values[self._filed])
            self._filed += 1
        self._mark(is_whole=True)
        self._is_behind = False

    def _take(self, value: Value) -> None:
        entry = entry_of(value.key.encode(), (value.value, 0.0))
        end = self._used + len(entry)
        if self._map is None or end > self._capacity:
            self._grow(end)
        map_ = t.cast("mmap.mmap", self._map)
        map_[self._used : end] = entry
        self._used = end
        map_[:4] = pack("i", end)
        value.place = (end - VALUE_BYTES) // _NUMBER_BYTES

    def _grow(self, needed: int) -> None:
        capacity = max(self._capacity, _FIRST_BYTES)
        while capacity < needed:
            capacity *= 2
        reserve(self._descriptor, capacity)
        found = mmap.mmap(self._descriptor, capacity)
        self._unmap()
        self._map, self._capacity = found, capacity
        self.numbers = memoryview(found).cast("d")
        self._mark(is_whole=False)

    def _unmap(self) -> None:
        if self._map is not None:
            self.numbers.release()
            self._map.close()

    def _has_header(self) -> bool:
        if self._map is None or self._is_behind:
            return True
        return self._map[:HEADER_BYTES] == pack("ii", self._used, 0)

    def _mark(self, *, is_whole: bool) -> None:
        if self._map is not None:
            self._map[:HEADER_BYTES] = pack("ii", self._used, not is_whole)

    def _report(self, error: Exception) -> None:
        self._mark(is_whole=False)
        what = f"{self._directory.path} takes no more; scrapes fail until it does"
        warn(self._logged, what, error)


class ProcessFiles(dict[str, _ProcessFile]):
    """The files of this process in a directory, by kind; created on first use.

    :param directory: The directory.
    :param logged: The warnings that were logged already.
    """

    def __init__(self, directory: Directory, logged: set[str]) -> None:
        self._directory = directory
        self._logged = logged

    def __missing__(self, kind: str) -> _ProcessFile:
        self[kind] = found = _ProcessFile(self._directory, kind, self._logged)
        return found

    def find_lost(self) -> bool:
        """Return whether files were removed or changed since the last call."""
        return sum(file.is_lost() for file in self.values()) > 0

    def mend(self) -> None:
        """File what is not filed.

        :raises OSError: If it cannot be filed now.
        """
        self._directory.reopen()
        self.find_lost()
        for file in self.values():
            file.mend()

    def close(self) -> None:
        """Close the files, which stay."""
        for file in self.values():
            file.close()
