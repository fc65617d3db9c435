"""The files of the page that never change while a process runs."""

from __future__ import annotations

import gzip
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from typing import NamedTuple

__all__ = ["StaticFile", "page_named", "static_file"]

_FOLDER: Final = Path(__file__).with_name("static")

_TYPES: Final = {
    "live.js": "text/javascript; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
    "uplot.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files that are served, and no others."""


class StaticFile(NamedTuple):
    """A file as it is served."""

    content_type: str
    data: bytes
    compressed: bytes
    etag: str


def static_file(name: str) -> StaticFile | None:
    """Return a file by its name; ``None`` for all others."""
    return _read(name) if name in _TYPES else None


@lru_cache(maxsize=len(_TYPES))
def _read(name: str) -> StaticFile | None:
    try:
        data = (_FOLDER / name).read_bytes()
    except FileNotFoundError:
        return None
    etag = f'"{sha256(data).hexdigest()[:32]}"'
    return StaticFile(_TYPES[name], data, gzip.compress(data, 9, mtime=0), etag)


@lru_cache(maxsize=2)
def page_named(name: str) -> str:
    """Return one of the pages."""
    return (_FOLDER / name).read_text(encoding="utf-8")
