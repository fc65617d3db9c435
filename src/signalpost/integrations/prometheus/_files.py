"""The files that each process of one machine keeps its figures in.

The files have the format of the client library's own multi-process mode, and names
that its collector takes, so that either reads what the other has written.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Sequence

from prometheus_client.samples import Exemplar

from ._figures import Family
from ._figures import Row

__all__ = ["FiledRow", "WorkerFiles", "file_of", "read_file"]

_FIRST_BYTES = 1 << 14
_MOST_BYTES = 1 << 28
_HEADER_BYTES = 8
_int = struct.Struct("i")
_double = struct.Struct("d")
_doubles = struct.Struct("dd")


class FiledRow(Row):
    """A row that other processes read, and that outlives this one.

    :param places: For each slot the file, and where in it.
    """

    __slots__ = ("_places",)

    def __init__(self, places: Sequence[tuple[_File, int]]) -> None:
        super().__init__(len(places))
        self._places = places

    def add(self, slot: int, amount: float) -> None:
        """Add to a slot."""
        self.set(slot, self.values[slot] + amount)

    def observe(
        self,
        slot: int,
        bounds: tuple[float, ...],
        value: float,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Add a value to a histogram; there is no place for an exemplar."""
        self.add(slot, value)
        self.add(slot + 1 + bisect_left(bounds, value), 1)

    def set(self, slot: int, value: float) -> None:
        """Set a slot."""
        self.values[slot] = value
        file, place = self._places[slot]
        # In one piece: struct.pack_into would show a zero in between.
        file.page[place : place + 8] = _double.pack(value)


class _File:
    """A file of one process, in its memory."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._used = _HEADER_BYTES
        self._capacity = 0
        self._reserve(_FIRST_BYTES)
        _write_used(self.page, self._used)

    def add(self, keys: Iterable[str]) -> list[int]:
        """Make entries of zero, and return where their values are."""
        block = bytearray()
        places = []
        for key in keys:
            block += _head_of(key.encode())
            places.append(self._used + len(block))
            block += _doubles.pack(0.0, 0.0)
        end = self._used + len(block)
        capacity = self._capacity
        while capacity < end:
            capacity *= 2
        if capacity > self._capacity:
            self._reserve(capacity)
        self.page[self._used : end] = bytes(block)
        # Last, so that a reader sees them whole or not at all.
        _write_used(self.page, end)
        self._used = end
        return places

    def _reserve(self, capacity: int) -> None:
        # A page of a sparse file that the disk has no room for would end the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._descriptor, 0, capacity)
        else:  # pragma: no cover  # as on macOS
            os.ftruncate(self._descriptor, capacity)
        self.page = mmap.mmap(self._descriptor, capacity)
        self._capacity = capacity

    def close(self) -> None:
        """Let go of the file, which stays."""
        self.page.close()
        os.close(self._descriptor)


def _write_used(page: mmap.mmap, used: int) -> None:
    page[:4] = _int.pack(used)


def _head_of(key: bytes) -> bytes:
    """Return what stands before the values of an entry, as the library pads it."""
    return _int.pack(len(key)) + key + b" " * (8 - (len(key) + 4) % 8)


class WorkerFiles:
    """The files of this process in a directory; made when there is something in them.

    :param directory: The directory.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        # The number of a process may come again, while a file of it is there.
        self._suffix = f"{os.getpid()}-signalpost-{time.time_ns():x}"
        self._files: dict[str, _File] = {}

    def row(
        self,
        names: tuple[str, ...],
        values: tuple[str, ...],
        families: Iterable[Family],
    ) -> FiledRow:
        """Return a new row.

        :param names: The names of the labels.
        :param values: Their values.
        :param families: The metrics whose slots it has.
        :raises OSError: If there is no room for it.
        """
        labels = dict(zip(names, values, strict=True))
        by_kind: dict[str, list[str]] = {}
        order = []
        for family in families:
            keys = by_kind.setdefault(family.kind, [])
            for sample, more in family.slots:
                order.append((family.kind, len(keys)))
                said = [family.name, sample, {**labels, **more}, family.help_text]
                keys.append(json.dumps(said, sort_keys=True))
        places = {kind: self._file(kind).add(keys) for kind, keys in by_kind.items()}
        return FiledRow(
            [(self._files[kind], places[kind][number]) for kind, number in order]
        )

    def _file(self, kind: str) -> _File:
        found = self._files.get(kind)
        if found is None:
            prefix = "gauge_livesum" if kind == "gauge" else kind
            path = os.path.join(self._directory, f"{prefix}_{self._suffix}.db")
            found = self._files[kind] = _File(path)
        return found

    def close(self) -> None:
        """Let go of the files, which stay."""
        while self._files:
            self._files.popitem()[1].close()


def read_file(path: str) -> tuple[dict[bytes, float], str]:
    """Return what a file holds, as far as it can be read.

    :returns: The values by their keys; and what is wrong with the file, or ``""``.
    :raises OSError: If it cannot be opened.
    """
    found: dict[bytes, float] = {}
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
        # Also when a process has just made it.
        if len(header) < _HEADER_BYTES:
            return found, ""
        used = _int.unpack_from(header)[0]
        data = header + file.read(max(0, min(used, _MOST_BYTES) - _HEADER_BYTES))
    position = _HEADER_BYTES
    while position < used:
        try:
            length = _int.unpack_from(data, position)[0]
            key = data[position + 4 : position + 4 + length]
            if length <= 0 or len(key) != length:
                return found, f"there is no key at {position}"
            position += 4 + length + 8 - (length + 4) % 8
            value = _double.unpack_from(data, position)[0]
            # The time that follows it belongs to the entry, too.
            position = position + 16
        except struct.error:
            return found, f"it ends at {len(data)} of {used} bytes"
        found[key] = found.get(key, 0.0) + value
    return found, ""


def file_of(values: dict[bytes, float]) -> bytes:
    """Return what a file that holds values by their keys consists of."""
    block = bytearray()
    for key, value in values.items():
        block += _head_of(key) + _doubles.pack(value, 0.0)
    return _int.pack(_HEADER_BYTES + len(block)) + b"\0\0\0\0" + block
