"""The live page in a browser, as people use it and as servers in between answer it."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route

from tests.missing import not_installed
from tests.servers import live_application
from tests.servers.live_server import change_data
from tests.servers.live_server import CHROMIUM
from tests.servers.live_server import hide
from tests.servers.live_server import LiveSite
from tests.servers.live_server import new_context
from tests.servers.live_server import number_in
from tests.servers.live_server import opened
from tests.servers.live_server import PATIENCE_SECONDS
from tests.servers.live_server import POLLS
from tests.servers.live_server import Seen
from tests.servers.live_server import server_clock
from tests.servers.live_server import serving_live
from tests.servers.live_server import TOKEN

SEARCHES = re.compile(r"/data\.json\?find=1")

expect.set_options(timeout=PATIENCE_SECONDS * 1000)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=not_installed("chromium"))


def rows_of(seen: Seen) -> t.Any:
    return seen.page.locator("#exchanges tr.row")


def fill_the_list(site: LiveSite, seen: Seen) -> None:
    """Have as many requests in the list as it can have; it is the open one then."""
    seen.tab("Requests")
    for _ in range(3):
        for _ in range(150):
            site.get("/items/9")
        seen.shows_all(site)
    seen.wait(lambda: rows_of(seen).count() == 400, "the list is full")


def others(seen: Seen) -> int:
    """Return the number of requests that are not in the list."""
    note = str(seen.page.locator("#exchanges .rest").inner_text())
    return number_in(note) if "more" in note else 0


# --- The list of requests ---


def test_a_filtered_list_and_the_others_are_all_that_fit(
    site: LiveSite, seen: Seen
) -> None:
    fill_the_list(site, seen)
    with seen.page.expect_response(SEARCHES):
        seen.page.locator("#filters").get_by_label("Kind").select_option("requests")
    seen.page.mouse.move(1, 1)
    script = "fetch('data.json?find=1&kind=requests').then(one => one.json())"
    found = seen.page.evaluate(script)
    fit = len(found["exchanges"]) + found["left_out"]
    seen.wait(
        lambda: rows_of(seen).count() + others(seen) == fit, "the answer is shown"
    )
    for _ in range(300):
        site.get("/items/9")
    seen.shows_all(site)
    seen.wait(
        lambda: rows_of(seen).count() + others(seen) >= fit + 300,
        "new requests are in the list",
    )
    assert rows_of(seen).count() + others(seen) == fit + 300
    assert rows_of(seen).count() <= 400


def test_a_search_does_not_make_the_list_shorter(site: LiveSite, seen: Seen) -> None:
    fill_the_list(site, seen)
    with seen.page.expect_response(SEARCHES):
        seen.page.locator("#filters").get_by_label("Kind").select_option("requests")
    seen.page.mouse.move(1, 1)
    seen.wait(lambda: others(seen) > 0, "the answer is shown")
    assert rows_of(seen).count() == 400


def test_the_number_of_others_stays_while_the_list_does(
    site: LiveSite, seen: Seen
) -> None:
    fill_the_list(site, seen)
    before = others(seen)
    seen.row("/items/9").click()
    for _ in range(30):
        site.get("/items/9")
    expect(seen.page.locator("#fresh")).to_have_text("Show 30 new")
    assert (rows_of(seen).count(), others(seen)) == (400, before)


def test_requests_are_new_once_also_after_ten_minutes_in_a_hidden_tab(
    browser: Browser, tmp_path: Path
) -> None:
    # By the clock of the server.
    speed = 120
    context = new_context(browser)
    with (
        serving_live(tmp_path, speed) as site,
        contextlib.closing(context),
        opened(context) as seen,
    ):
        for _ in range(20):
            site.get("/items/1")
        seen.log_in(site.url)
        # A request that came after the click would be a new one.
        seen.shows_all(site)
        seen.tab("Requests")
        seen.row("/items/1").click()
        seen.page.mouse.move(1, 1)
        hide(seen.page, "true")
        end = server_clock(seen) + 620
        seen.wait(lambda: server_clock(seen) > end, "ten minutes pass")
        for _ in range(3):
            site.get("/items/2")
        hide(seen.page, "false")
        seen.shows_all(site)
        expect(seen.page.locator("#fresh")).to_have_text("Show 3 new")
        assert seen.problems() == []


def test_a_list_whose_open_row_has_left_it_is_updated(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/orders")
    expect(seen.figure("Requests")).to_contain_text(f"{site.requests:,} in all")
    seen.tab("Requests")
    seen.row("/orders").click()
    seen.tab("Routes")
    for _ in range(3):
        for _ in range(150):
            site.get("/items/9")
        expect(seen.figure("Requests")).to_contain_text(f"{site.requests:,} in all")
    seen.tab("Requests")
    expect(seen.row("/orders")).to_have_count(0)
    site.get("/page")
    expect(seen.row("/page")).to_be_visible()


def test_older_requests_are_not_new(site: LiveSite, seen: Seen) -> None:
    site.get("/items/1")
    seen.shows_all(site)
    seen.tab("Requests")
    seen.row("/items/1").click()

    def make_older(data: dict[str, t.Any]) -> None:
        oldest = data["exchanges"][-1]
        # As after the files of a worker were removed.
        data["exchanges"] = [{**oldest, "key": "gone-1", "at": oldest["at"] - 3_600}]
        data["is_delta"] = False

    change_data(seen.page, make_older)
    seen.next_polls(3)
    expect(seen.page.locator("#fresh")).to_have_text("Up to date")
    expect(seen.row("/items/1")).to_be_visible()


def test_the_focus_stays_where_new_requests_are_asked_for(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/orders")
    seen.shows_all(site)
    seen.tab("Requests")
    seen.row("/orders").click()
    site.get("/items/2")
    button = seen.page.locator("#fresh")
    expect(button).to_have_text("Show 1 new")
    button.focus()
    seen.page.keyboard.press("Enter")
    expect(button).to_have_text("Up to date")
    expect(button).to_be_focused()
    # It does nothing then; an open row stays open.
    seen.row("/orders").click()
    button.focus()
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#exchanges .events")).to_be_visible()


def test_rows_are_in_order_of_what_a_column_shows(site: LiveSite, seen: Seen) -> None:
    for path in ("/page", "/nowhere", "/items/1", "/work", "/nowhere", "/slow"):
        site.get(path)
    seen.shows_all(site)
    seen.tab("Requests")
    cells = seen.page.locator("#exchanges td:nth-child(3)")
    heading = seen.page.locator("#exchanges").get_by_role("button", name="Route")
    for is_down in (False, True):
        heading.click()
        seen.page.mouse.move(1, 1)
        texts = cells.all_inner_texts()
        # A request without a route has a dash.
        assert {"–", "/page"} < {*texts}
        assert texts == sorted(texts, reverse=is_down)


def test_a_long_statement_is_whole_once_on_a_phone(site: LiveSite, seen: Seen) -> None:
    site.get("/orders")
    expect(seen.figure("Requests")).to_contain_text(f"{site.requests:,} in all")

    def lengthen(route: Route) -> None:
        response = route.fetch()
        data = response.json()
        for event in data["exchange"]["events"]:
            if event["kind"] == "sql":
                event["name"] = "SELECT a, b, c FROM shelves WHERE " + "x = ? AND " * 16
        route.fulfill(response=response, json=data)

    seen.page.route(re.compile(r"/data\.json\?exchange="), lengthen)
    seen.page.set_viewport_size({"width": 390, "height": 844})
    seen.tab("Requests")
    seen.row("/orders").click()
    statements = seen.page.locator(".event.sql code")
    expect(statements).to_have_count(live_application.REPEATS)
    cut = [
        one.evaluate("one => one.scrollHeight > one.clientHeight")
        for one in statements.all()
    ]
    # The others are repeats.
    assert cut == [False] + [True] * (live_application.REPEATS - 1)


def test_small_charts_are_in_order_of_their_sums(site: LiveSite, seen: Seen) -> None:
    for path in ("/page", "/slow", "/items/1", "/items/1"):
        site.get(path)
    for _ in range(12):
        site.get("/page")
    seen.shows_all(site)
    seen.page.locator("#routes").get_by_role("button", name="Last minute").click()
    seen.page.mouse.move(1, 1)
    counts = seen.page.locator("#routes td:nth-child(3)").all_inner_texts()
    numbers = [number_in(one) for one in counts]
    assert numbers == sorted(numbers)


def test_routes_that_share_a_row_have_no_list_of_requests(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/page")

    def add_others(data: dict[str, t.Any]) -> None:
        data["routes"].append({**data["routes"][0], "route": "<other>"})

    change_data(seen.page, add_others)
    seen.row("<other>").click()
    detail = seen.page.locator("#routes .detail")
    expect(detail).to_be_visible()
    expect(detail.get_by_role("button")).to_have_count(0)
    seen.tab("Requests")
    routes = seen.page.locator("select[name=route] option").all_inner_texts()
    assert "/page" in routes
    assert "<other>" not in routes


# --- Charts ---


def test_a_legend_has_the_latest_numbers_unless_a_pointer_is_on_a_chart(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/page")
    answer_once(seen.page, fill_the_charts)
    seen.page.reload()
    latest = [*["2.5"] * 3, *["2.50 s"] * 3]
    legend = seen.page.locator(".u-series:not(:first-child) .u-value")
    expect(legend).to_have_text(latest)
    chart = seen.page.locator("#rate .u-over")
    chart.hover()
    expect(legend.first).not_to_have_text("2.5")
    expect(legend.last).not_to_contain_text("–")
    seen.page.mouse.move(1, 1)
    expect(legend).to_have_text(latest)
    seen.page.set_viewport_size({"width": 800, "height": 900})
    seen.wait(lambda: width_of(chart) < 800, "the chart is narrower")
    expect(legend).to_have_text(latest)
    seen.page.emulate_media(color_scheme="dark")
    expect(legend).to_have_text(latest)
    seen.page.unroute_all(behavior="wait")
    seen.is_live()
    seen.messages.clear()


def answer_once(page: Page, change: Callable[[dict[str, t.Any]], object]) -> None:
    """Answer the first poll of the next page with a change, and others without data."""

    def answer(route: Route) -> None:
        if not route.request.url.endswith("since="):
            route.fulfill(status=503)
            return
        response = route.fetch()
        data = response.json()
        change(data)
        route.fulfill(response=response, json=data)

    page.route(POLLS, answer)


def fill_the_charts(data: dict[str, t.Any]) -> None:
    """Have numbers in all of the periods, which have ended."""
    periods, count = data["periods"], 120
    step = periods["step"]
    periods["from"] = data["now"] // step * step - count * step
    for name in periods.keys() - {"from", "step"}:
        periods[name] = [*[0.5] * (count - 1), 2.5]


def width_of(element: t.Any) -> float:
    box = element.bounding_box()
    assert box is not None
    return float(box["width"])


# --- Keys, addresses, and the way back ---


def test_a_key_opens_a_row_while_text_is_selected(site: LiveSite, seen: Seen) -> None:
    site.get("/page")
    opener = seen.row("/page").locator(".opener")
    opener.focus()
    select = "getSelection().selectAllChildren(document.querySelector('#since'))"
    seen.page.evaluate(select)
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#routes .detail")).to_be_visible()
    seen.page.keyboard.press("Escape")
    expect(seen.page.locator("#routes .detail")).to_have_count(0)


@pytest.mark.parametrize("key", ["Alt", "Control", "Meta"])
def test_keys_of_the_browser_are_left_to_it(
    site: LiveSite, seen: Seen, key: str
) -> None:
    for path in ("/page", "/items/1"):
        site.get(path)
    seen.shows_all(site)
    tab = seen.page.get_by_role("tab", name="Requests")
    tab.click()
    seen.page.keyboard.press(f"{key}+ArrowRight")
    expect(tab).to_have_attribute("aria-selected", "true")
    rows_of(seen).nth(1).locator(".opener").focus()
    seen.page.keyboard.press(f"{key}+Home")
    expect(rows_of(seen).nth(1).locator(".opener")).to_be_focused()


def test_an_address_opens_its_list(site: LiveSite, seen: Seen) -> None:
    seen.page.goto(f"{site.url}#workers")
    expect(seen.page.locator("#workers")).to_be_visible()
    expect(seen.page.locator("#routes")).to_be_hidden()
    for name in ("constructor", "nothing", "%00"):
        seen.page.goto(f"{site.url}#{name}")
        seen.next_polls()
        expect(seen.page.locator("#routes")).to_be_visible()


def test_a_link_with_a_token_leaves_none_in_the_address_of_an_open_page(
    site: LiveSite, seen: Seen
) -> None:
    seen.page.goto(f"{site.url}#token={TOKEN}")
    seen.wait(lambda: TOKEN not in seen.page.url, "the token goes")
    seen.is_live()


def test_no_filter_is_left_after_the_way_back(site: LiveSite, seen: Seen) -> None:
    site.get("/page")
    seen.tab("Requests")
    field = seen.page.get_by_label("Id begins with")
    field.fill("missing")
    expect(seen.page.get_by_text("No request that fits")).to_be_visible()
    seen.page.goto("about:blank")
    seen.page.go_back()
    seen.is_live()
    expect(field).to_have_value("")
    expect(seen.row("/page")).to_be_visible()


# --- Narrow windows, and large numbers ---


@pytest.mark.parametrize("width", [320, 390, 640])
def test_no_number_is_cut(site: LiveSite, seen: Seen, width: int) -> None:
    site.get("/items/1")

    def make_large(data: dict[str, t.Any]) -> None:
        data["total"] |= {
            "requests_per_second": 12_345.6,
            "in_flight": 1_234,
            "p50_seconds": 0.0444,
            "p90_seconds": 3_599.0,
            "p99_seconds": 165_000.0,
        }

    # 320 pixels are 1280 at a zoom of 400 % (WCAG 2.2, 1.4.10).
    seen.page.set_viewport_size({"width": width, "height": 800})
    change_data(seen.page, make_large)
    expect(seen.figure("p90")).to_contain_text("59 m 59 s")
    height = "one => one.offsetHeight / parseFloat(getComputedStyle(one).lineHeight)"
    # A usual time is in one line.
    p50 = seen.figure("p50").locator("dt + dd")
    expect(p50).to_have_text("44.4 ms")
    assert p50.evaluate(height) == pytest.approx(1, abs=0.1)
    for box in seen.page.locator("#figures dt + dd").all():
        is_cut = "one => one.parentNode.clientWidth < one.parentNode.scrollWidth"
        assert not box.evaluate(is_cut), box.inner_text()
    expect(seen.page.locator("#charts canvas")).to_have_count(2)
    for chart in seen.page.locator("#charts section").all():
        legend = chart.locator(".u-legend").bounding_box()
        plot = chart.locator(".u-wrap").bounding_box()
        assert legend is not None
        assert plot is not None
        assert legend["y"] + legend["height"] <= plot["y"]
    assert seen.overflow() == 0
    seen.page.set_viewport_size({"width": 1280, "height": 900})


def test_names_have_room_on_a_phone(site: LiveSite, seen: Seen) -> None:
    site.get("/work")
    site.get("/place")
    seen.page.set_viewport_size({"width": 390, "height": 844})
    tabs = seen.page.get_by_role("tab")
    expect(tabs).to_have_count(10)
    shares = {}
    for tab in tabs.all():
        tab.click()
        table = seen.page.locator("#panels table:visible")
        head = table.locator("th").first
        shares[tab.get_attribute("id")] = width_of(head) / width_of(table)
    assert {name: share for name, share in shares.items() if share < 0.3} == {}
    # Names of receivers are the longest ones.
    assert shares["tab-signals"] > 0.5


def test_long_words_are_broken_on_a_phone(seen: Seen) -> None:
    word = "shop" * 40

    def lengthen(data: dict[str, t.Any]) -> None:
        data["folder"] = f"/srv/{word}"
        queue = {"source": word, "waiting": 1, "oldest_seconds": 1, "left_behind": 0}
        data["relay_queues"] = [{**queue, "faults": [{"reason": word}]}]

    seen.page.set_viewport_size({"width": 390, "height": 844})
    change_data(seen.page, lengthen)
    expect(seen.page.locator("#foot")).to_contain_text(word)
    seen.tab("Relay")
    expect(seen.page.locator("#relay .rest")).to_contain_text(word)
    for text in seen.page.locator("#foot, #relay .rest").all():
        assert not text.evaluate("one => one.scrollWidth > one.clientWidth")
    assert seen.overflow() == 0


def test_no_label_of_an_open_row_is_broken(site: LiveSite, seen: Seen) -> None:
    site.write_lists()
    seen.page.set_viewport_size({"width": 320, "height": 800})
    seen.tab("Signals")
    seen.row("live").click()
    labels = seen.page.locator("#signals .detail dt")
    expect(labels.first).to_be_visible()
    count_lines = """
        (one) => {
            const range = document.createRange();
            range.selectNodeContents(one);
            return range.getClientRects().length;
        }
    """
    lines = {one.inner_text(): one.evaluate(count_lines) for one in labels.all()}
    assert lines == dict.fromkeys(lines, 1)
    assert seen.overflow() == 0


def test_times_are_not_negative_after_the_clock_was_set_back(
    site: LiveSite, seen: Seen
) -> None:
    def set_back(data: dict[str, t.Any]) -> None:
        data["since"] = data["now"] + 3_600

    site.get("/page")
    change_data(seen.page, set_back)
    expect(seen.page.locator("#since")).to_contain_text("(0 µs)")


# --- Answers ---


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_reason_why_there_is_no_data_can_be_read(seen: Seen, width: int) -> None:
    reason = f"/srv/{'shop' * 12}/live must be closed to other users, and has the mode"
    body = json.dumps(
        {"error": f"{reason} 777; run chmod 700 on it, or choose another"}
    )
    seen.page.route(POLLS, lambda route: route.fulfill(status=503, body=body))
    seen.page.set_viewport_size({"width": width, "height": 800})
    expect(seen.page.get_by_role("status")).to_contain_text("777")
    assert seen.overflow() == 0
    button = seen.page.get_by_role("button", name="Pause")
    expect(button).to_be_in_viewport(ratio=1)
    seen.page.unroute_all(behavior="wait")
    seen.is_live()
    seen.messages.clear()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, json.dumps({"message": "slow down"})),
        (502, "<h1>Bad gateway</h1>"),
        (503, ""),
        (200, "<!doctype html><title>Log in to the proxy</title>"),
        (200, '{"now": 17'),
        (200, "null"),
    ],
)
def test_an_answer_without_data_is_not_shown_as_live(
    site: LiveSite, seen: Seen, status: int, body: str
) -> None:
    site.get("/page")
    expect(seen.row("/page")).to_be_visible()
    seen.page.route(POLLS, lambda route: route.fulfill(status=status, body=body))
    state = seen.page.get_by_role("status")
    expect(state).to_have_text(f"No data (status {status}) since")
    # What was there stays to be read.
    expect(seen.row("/page")).to_be_visible()
    seen.page.unroute_all(behavior="wait")
    seen.is_live()
    seen.messages.clear()


@pytest.mark.parametrize("body", ["{}", "[]", '{"exchanges": 1}'])
def test_data_of_another_kind_is_not_shown_as_live(
    site: LiveSite, seen: Seen, body: str
) -> None:
    seen.page.route(POLLS, lambda route: route.fulfill(body=body))
    expect(seen.page.get_by_role("status")).to_have_text("No answer since")
    seen.page.unroute_all(behavior="wait")
    seen.is_live()


def test_a_request_that_cannot_be_shown_has_the_status(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/page")
    seen.tab("Requests")
    details = re.compile(r"/data\.json\?exchange=")
    seen.page.route(details, lambda one: one.fulfill(status=502, body="<h1>"))
    seen.row("/page").click()
    text = "This cannot be shown: No data (status 502)"
    expect(seen.page.get_by_text(text)).to_be_visible()
    seen.messages.clear()
