"""The file of a worker's lists: written in place, completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from struct import Struct
from typing import Final
from typing import NamedTuple
from zlib import crc32

__all__ = ["LIST_BYTES", "Region", "newest_version", "read_list", "write_list"]

_HEAD: Final = Struct("<8sQII")
_MAGIC: Final = b"splists\n"


class Region(NamedTuple):
    """Where a kind of lists is, twice: the older one is overwritten."""

    at: int
    size: int


_TOPS: Final = 1 << 18
_FAILURES: Final = 1 << 19

_REGIONS: Final[Mapping[str, Region]] = {
    "tops": Region(0, _TOPS),
    "failures": Region(2 * _TOPS, _FAILURES),
}

LIST_BYTES: Final[Mapping[str, int]] = {
    kind: region.size - _HEAD.size for kind, region in _REGIONS.items()
}
"""How long each kind may be, in bytes."""


def write_list(descriptor: int, kind: str, version: int, data: bytes) -> None:
    """Write lists over the older of the two that there are.

    A new file by another's name would be safe, too. But some file systems write it to
    the disk first, and the request in which that happens would wait.

    :param version: Counts up from 1.
    :raises OSError: If there is no room; the newer one stays.
    """
    region = _REGIONS[kind]
    head = _HEAD.pack(_MAGIC, version, len(data), crc32(data))
    at = region.at + version % 2 * region.size
    rest = memoryview(head + data)
    while rest:
        done = os.pwrite(descriptor, rest, at)
        at += done
        rest = rest[done:]


def newest_version(descriptor: int, kind: str) -> int:
    """Return the number of the newest lists; 0 if there are none."""
    heads = _heads_of(descriptor, kind)
    return heads[0][0] if heads else 0


def read_list(descriptor: int, kind: str) -> tuple[int, bytes]:
    """Return the newest lists that are whole, with their number.

    :raises ValueError: If there are none.
    """
    for version, at, length, check in _heads_of(descriptor, kind):
        data = os.pread(descriptor, length, at)
        if len(data) == length and crc32(data) == check:
            return version, data
    raise ValueError("it is damaged")


def _heads_of(descriptor: int, kind: str) -> list[tuple[int, int, int, int]]:
    """Return number, place, length and checksum of both, the newer first."""
    region = _REGIONS[kind]
    heads = []
    for half in range(2):
        at = region.at + half * region.size
        data = os.pread(descriptor, _HEAD.size, at)
        if len(data) == _HEAD.size:
            magic, version, length, check = _HEAD.unpack(data)
            if magic == _MAGIC and length <= LIST_BYTES[kind]:
                heads.append((version, at + _HEAD.size, length, check))
    return sorted(heads, reverse=True)
