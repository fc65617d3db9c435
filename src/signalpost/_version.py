"""The version of this package, as it is installed."""

from __future__ import annotations

from importlib import metadata

__all__ = ["installed_version"]


def installed_version() -> str:
    """Return the version; ``"unknown"`` if the package was only copied.

    A frozen application, or a folder of sources in the path, has no metadata.
    """
    try:
        return metadata.version("signalpost")
    except metadata.PackageNotFoundError:
        return "unknown"
