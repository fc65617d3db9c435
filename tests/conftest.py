from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Keep thousands of tests, and all that is imported, out of each collection."""
    gc.collect()
    gc.freeze()
