"""``python -m signalpost``: the command ``signalpost``."""

from __future__ import annotations

import sys

from .console import main

if __name__ == "__main__":
    sys.exit(main())
