"""The live page where browsers differ, shown in Chromium."""

from __future__ import annotations

import contextlib
import typing as t

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser
from playwright.sync_api import expect

from tests.missing import not_installed
from tests.servers.live_server import change_data
from tests.servers.live_server import CHROMIUM
from tests.servers.live_server import LiveSite
from tests.servers.live_server import new_context
from tests.servers.live_server import opened
from tests.servers.live_server import PATIENCE_SECONDS
from tests.servers.live_server import Seen

expect.set_options(timeout=PATIENCE_SECONDS * 1000)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=not_installed("chromium"))


def test_a_click_opens_a_row_while_other_text_is_selected(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/page")
    # WebKit leaves what is selected, other browsers need a script for it.
    seen.row("/page").locator(".opener").evaluate(
        "one => { getSelection().selectAllChildren(document.querySelector('#since'));"
        " one.firstChild.dispatchEvent("
        "new MouseEvent('click', { bubbles: true, detail: 1 })); }"
    )
    expect(seen.page.locator("#routes .detail")).to_be_visible()
    seen.page.keyboard.press("Escape")
    seen.page.evaluate("getSelection().empty()")


def test_charts_come_in_a_browser_without_a_valid_language(
    browser: Browser, site: LiveSite
) -> None:
    # So it is in WebKit without a locale. Intl raises an error for it, in uPlot.
    language = (
        "Object.defineProperty(Navigator.prototype, 'language', {get: () => 'C'})"
    )
    context = new_context(browser)
    context.add_init_script(language)
    with contextlib.closing(context), opened(context) as seen:
        seen.log_in(site.url)
        site.get("/items/1")
        expect(seen.page.locator("#charts canvas")).to_have_count(2)
        assert seen.errors == []


def test_an_open_row_fits_a_window_that_is_made_narrow_during_a_pause(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/page")
    seen.tab("Requests")
    seen.row("/page").click()
    seen.page.get_by_role("button", name="Pause").click()
    seen.page.set_viewport_size({"width": 390, "height": 844})
    first = seen.page.locator("#exchanges th").first
    seen.wait(lambda: first.evaluate("one => one.offsetWidth") > 100, "a path is seen")
    seen.page.set_viewport_size({"width": 1280, "height": 900})


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


def test_each_power_of_ten_has_its_label(site: LiveSite, seen: Seen) -> None:
    def spread(data: dict[str, t.Any]) -> None:
        for name, seconds in (("p50", 5e-6), ("p99", 5.0)):
            lines = data["periods"][f"{name}_seconds"]
            lines[:] = [seconds] * len(lines)

    site.get("/page")
    seen.page.evaluate(
        "() => { const paint = CanvasRenderingContext2D.prototype;"
        " const write = paint.fillText; window.labels = [];"
        " paint.fillText = function (...all)"
        " { labels.push(all[0]); write.apply(this, all); }; }"
    )
    change_data(seen.page, spread)
    # 1e-6 * 10 ** 5 is 0.09999999999999999.
    expected = ["10 s", "100 ms", "1 ms", "10 µs"]
    script = "all => all.every(one => labels.includes(one))"
    seen.wait(lambda: bool(seen.page.evaluate(script, expected)), "all are labels")
