from __future__ import annotations

import gc
import os

from hypothesis import settings

# A test that needs more examples multiplies the profile's, which are 100 otherwise.
settings.register_profile("fast", max_examples=25)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


def pytest_collection_finish() -> None:
    """Keep thousands of tests, and all that is imported, out of each collection."""
    gc.collect()
    gc.freeze()
