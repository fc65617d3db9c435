"""The live page where browsers differ, shown in Chromium."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.missing import not_installed
from tests.servers.live_server import CHROMIUM
from tests.servers.live_server import LiveSite
from tests.servers.live_server import PATIENCE_SECONDS
from tests.servers.live_server import Seen

expect.set_options(timeout=PATIENCE_SECONDS * 1000)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=not_installed("chromium"))


def test_texts_are_in_the_middle_of_their_row(site: LiveSite, seen: Seen) -> None:
    # On the baseline of the small chart they are below it, in Firefox the numbers only.
    site.get("/page")
    row = seen.row("/page")
    middles = row.evaluate(
        "row => [row, ...row.querySelectorAll('code, span')]"
        ".map(one => one.getBoundingClientRect())"
        ".filter(box => box.height).map(box => (box.top + box.bottom) / 2)"
    )
    assert middles == [pytest.approx(middles[0], abs=1.5)] * len(middles)


def test_a_filter_that_is_no_number_is_marked(site: LiveSite, seen: Seen) -> None:
    # Firefox and WebKit take any text in a field of a number, and give no value for it.
    seen.tab("Requests")
    field = seen.page.get_by_label("At least, s")
    color = "one => getComputedStyle(one).borderTopColor"
    usual = field.evaluate(color)
    field.press_sequentially("1e")
    assert field.evaluate(color) != usual
    field.fill("0.5")
    assert field.evaluate(color) == usual
