"""The live page in a real browser, with a real server of two workers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser
from playwright.sync_api import BrowserContext
from playwright.sync_api import expect
from playwright.sync_api import Page

import signalpost.live
from signalpost.live import read_live
from tests.missing import not_installed
from tests.servers import launch
from tests.servers import live_application
from tests.servers.live_server import CHROMIUM
from tests.servers.live_server import hide
from tests.servers.live_server import LiveSite
from tests.servers.live_server import new_context
from tests.servers.live_server import number_in
from tests.servers.live_server import opened
from tests.servers.live_server import PATIENCE_SECONDS
from tests.servers.live_server import Seen
from tests.servers.live_server import server_clock
from tests.servers.live_server import serving_live
from tests.servers.live_server import TOKEN

STATIC = Path(signalpost.live.__file__).with_name("static")
OWN = ("live", "login")
TABS = (
    *("Routes", "In flight", "Requests", "SQL"),
    *("Failures", "Referrers", "Signals", "Workers"),
)
# They are there when there is something in them.
RARE_TABS = (re.compile(r"^Work\s?\d"), re.compile(r"^Relay\s?\d"))
PHONE = {"width": 390, "height": 844}

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=not_installed("chromium"))


@contextlib.contextmanager
def own_site(
    browser: Browser, folder: Path, speed: int = 1
) -> Generator[tuple[LiveSite, Seen]]:
    """Give a site that has served no other test, and its page before the login."""
    context = new_context(browser)
    with (
        serving_live(folder, speed) as site,
        contextlib.closing(context),
        opened(context) as seen,
    ):
        yield site, seen


def line_of(mark: str) -> int:
    """Return the line of the application that has a comment."""
    lines = Path(live_application.__file__).read_text("utf-8").splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.endswith(f"# {mark}"))


# --- What it shows ---


@needs_browser
def test_the_page_has_the_numbers_of_both_workers(site: LiveSite, seen: Seen) -> None:
    by_worker = site.workers_that_answer("/items/7")
    for _ in range(20):
        site.get("/items/8")
    for _ in range(3):
        site.get("/fail")
        site.get("/not-a-page")
    seen.shows_all(site)
    expect(seen.figure("Errors")).to_contain_text("3 in all")
    expect(seen.figure("Workers").locator("dd").first).to_have_text("2")
    items = sum(by_worker.values()) + 20
    assert seen.cells("/items/<int:number>")[-2] == str(items)
    assert seen.cells("/fail")[3] == "3"
    assert seen.cells("<unmatched>")[2] == "3"
    seen.tab("Workers")
    rows = [seen.cells(pid) for pid in by_worker]
    assert [row[1] for row in rows] == ["● alive", "● alive"]
    assert sum(int(row[4]) for row in rows) == site.requests
    assert sum(int(row[5]) for row in rows) == 3


@needs_browser
def test_the_quantiles_are_those_of_the_requests(site: LiveSite, seen: Seen) -> None:
    for _ in range(4):
        site.get("/slow")
    site.wait_until_counted()
    snapshot = read_live(site.folder)
    rows = [one for one in snapshot.exchanges if one.route == "/slow"]
    own = sorted(one.response_seconds or 0 for one in rows)
    seen.next_polls()
    p50 = seen.cells("/slow")[6]
    # Three digits are shown.
    most = 1.01 * (1 + snapshot.quantile_error)
    assert own[1] / most <= seconds_in(p50) <= own[2] * most
    assert own[0] >= 0.2
    seen.tab("Requests")
    assert "warn" in str(seen.row("/slow").locator("td").nth(4).inner_html())


def seconds_in(text: str) -> float:
    """Return the seconds of a duration that the page shows."""
    number, unit = text.split()
    return float(number) * {"µs": 1e-6, "ms": 1e-3, "s": 1}[unit]


@needs_browser
def test_a_repeated_statement_is_shown_with_its_line(
    site: LiveSite, seen: Seen
) -> None:
    site.get("/orders")
    seen.tab("Requests")
    row = seen.row("/orders")
    repeats = live_application.REPEATS
    expect(row).to_contain_text(f"▲ {repeats}× of {repeats}")
    row.click()
    place = f"{live_application.__file__}:{line_of('N+1')}:orders"
    warning = f"One statement ran {repeats} times, from {place}"
    expect(seen.page.get_by_text(warning)).to_be_visible()
    statements = seen.page.locator(".event.sql")
    expect(statements).to_have_count(repeats)
    for text in statements.all_inner_texts():
        assert "SELECT ? AS total" in text
        assert place in text
        assert re.search(r"\+[\d.]+ (µs|ms|s)", text)
    # Later statements are further to the right, and the template comes last.
    starts = [
        float(one.get_attribute("x") or "nan")
        for one in seen.page.locator(".event.sql rect").all()
    ]
    assert starts == sorted(starts)
    kinds = seen.page.locator(".event span").all_inner_texts()
    assert kinds.index("signal") < kinds.index("sql") < kinds.index("template")
    assert kinds[-1] == "response"


@needs_browser
def test_statements_and_failures_are_counted(site: LiveSite, seen: Seen) -> None:
    message = f"shelf {site.requests}"
    site.get(f"/fail?message=shelf%20{site.requests}")
    site.get("/orders")
    site.write_lists()
    seen.tab("SQL")
    expect(seen.row("SELECT ? AS total")).to_contain_text(
        f"▲ {live_application.REPEATS}×"
    )
    seen.tab("Failures")
    expect(seen.row(message)).to_be_visible()
    seen.row(message).click()
    traceback = seen.page.get_by_role("region", name="Traceback")
    expect(traceback).to_contain_text("in fail")
    expect(traceback).to_contain_text("LookupError")


@needs_browser
def test_referrers_and_receivers_are_shown(site: LiveSite, seen: Seen) -> None:
    for _ in range(3):
        site.get("/items/1", Referer="https://search.example/results?q=secret")
    site.write_lists()
    seen.tab("Referrers")
    expect(seen.row("https://search.example/results")).to_be_visible()
    assert "secret" not in seen.page.content()
    seen.tab("Signals")
    expect(seen.row("LiveRecorder").first).to_be_visible()
    assert int(seen.cells("LiveRecorder.closed")[3]) > 0


@needs_browser
def test_a_stream_is_in_flight_until_it_is_aborted(site: LiveSite, seen: Seen) -> None:
    before = number_in(seen.figure("Aborted").inner_text())
    seen.tab("In flight")
    with site.open("/stream") as connection:
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        expect(seen.row("/stream")).to_contain_text("200, sending")
        expect(seen.figure("In flight").locator("dd").first).to_have_text("1")
        expect(seen.figure("In flight")).to_contain_text("longest")
    expect(seen.row("/stream")).to_have_count(0)
    expect(seen.figure("Aborted")).to_contain_text(f"{before + 1} in all")
    seen.tab("Requests")
    expect(seen.row("/stream")).to_contain_text("200 aborted")


@needs_browser
def test_a_killed_worker_is_shown_with_its_request(site: LiveSite, seen: Seen) -> None:
    site.kill_a_worker()
    seen.tab("In flight")
    expect(seen.row("GET /die")).to_contain_text("its worker died")
    pid = seen.cells("GET /die")[2]
    expect(seen.figure("Workers")).to_contain_text("1 killed")
    expect(seen.figure("Workers").locator("dd").first).to_have_text("2")
    seen.tab("Workers")
    expect(seen.row(pid)).to_contain_text("✕ killed")
    expect(seen.page.get_by_role("tab", name="Workers")).to_contain_text("!")
    # The worker may have accepted a poll before it was killed.
    seen.messages = [one for one in seen.messages if "net::ERR_" not in one]


@needs_browser
def test_a_list_that_is_cut_has_the_number_of_the_rest(
    site: LiveSite, seen: Seen
) -> None:
    seen.tab("Requests")
    rows = seen.page.locator("#exchanges tr.row")

    def whole() -> int:
        return rows.count() + number_in(rest(seen) or "0")

    # A poll gives 200 at most, and those of a browser without time have more between.
    for _ in range(3):
        for _ in range(150):
            site.get("/items/9")
        # A request that a worker died in has not ended, and so is not among them.
        what = f"{site.requests} requests are accounted for"
        seen.wait(lambda: whole() == site.requests, what)
    assert "not in this list" in rest(seen)
    assert rows.count() == 400


def rest(seen: Seen) -> str:
    return str(seen.page.locator("#exchanges .rest").inner_text())


@needs_browser
def test_work_and_events_have_lists_once_there_are_any(
    browser: Browser, tmp_path: Path
) -> None:
    with own_site(browser, tmp_path) as (site, seen):
        seen.log_in(site.url)
        site.get("/page")
        seen.next_polls()
        tabs = seen.page.get_by_role("tab").all_inner_texts()
        assert [re.sub(r"[\d !]+$", "", one) for one in tabs] == [*TABS]
        site.get("/work")
        site.get("/place")
        for name in RARE_TABS:
            expect(seen.page.get_by_role("tab", name=name)).to_be_visible()
        assert seen.problems() == []


@needs_browser
def test_work_is_shown_by_its_name_and_among_the_requests(
    site: LiveSite, seen: Seen
) -> None:
    for _ in range(3):
        site.get("/work?name=resize")
    before = site.requests
    seen.tab(RARE_TABS[0])
    # It is counted last.
    expect(seen.row("resize-again").locator("td").nth(1)).to_have_text("3")
    name, minute, all_, failed, *_ = seen.cells("resize-again")
    assert (name, minute, all_, failed) == ("resize-again", "3", "3", "3")
    expect(seen.figure("Requests")).to_contain_text(f"{before:,} in all")
    seen.row("resize-again").click()
    seen.page.get_by_role("button", name="Show its requests").click()
    seen.page.mouse.move(1, 1)
    rows = seen.page.locator("#exchanges tr.row")
    seen.wait(lambda: rows.count() == 3, "only these are shown")
    expect(rows.first).to_contain_text("WORK resize-again")
    expect(rows.first).to_contain_text("– error")
    rows.first.click()
    seen.page.get_by_role("button", name="Show its traceback").click()
    expect(seen.row("no lorry")).to_contain_text("resize-again")


@needs_browser
def test_work_and_requests_are_filtered_by_kind(site: LiveSite, seen: Seen) -> None:
    site.get("/work")
    seen.tab("Requests")
    rows = seen.page.locator("#exchanges tr.row td:first-child")
    for kind, is_work in (("work", True), ("requests", False)):
        seen.page.locator("#filters").get_by_label("Kind").select_option(kind)
        seen.page.mouse.move(1, 1)
        seen.wait(lambda: rows.count() > 0, f"there are rows of {kind}")
        texts = rows.all_inner_texts()
        assert {one.startswith("WORK ") for one in texts} == {is_work}
        expect(seen.page.locator("#exchanges .rest")).to_contain_text("fit")


@needs_browser
def test_events_are_shown_with_what_waits_and_what_failed(
    site: LiveSite, seen: Seen
) -> None:
    before = time.monotonic()
    site.get("/place?name=order-paid&waiting=2")
    tab = seen.page.get_by_role("tab", name=RARE_TABS[1])
    expect(tab).to_contain_text("!")
    seen.tab(RARE_TABS[1])
    rows = seen.page.locator("#relay tr.row")
    expect(rows.filter(has_text="→ order-paid")).to_contain_text("shop")
    row = rows.filter(has_text="← order-paid")
    expect(row).to_contain_text("shipping")
    # The first of the two events could be shown alone.
    seen.next_polls()
    cells = row.locator("td").all_inner_texts()
    assert cells[2:7] == ["1", "1", "1", "0", "0"]
    assert cells[7] == "500 ms"
    assert cells[9] == "LookupError: no stock"
    note = seen.page.locator("#relay .rest")
    expect(note).to_contain_text(
        re.compile(r"shop: 2 wait; the oldest for \d\d\.\d s, Connection refused")
    )
    oldest = re.search(r"for (.*) s,", note.inner_text())
    assert oldest is not None
    # It was 30 s old, and a tenth is shown.
    assert 30 <= float(oldest[1]) <= 30.1 + time.monotonic() - before
    row.click()
    facts = seen.page.locator("#relay .detail")
    expect(facts).to_contain_text(
        re.compile(r"1× failed until \d\d:\d\d:\d\d: LookupError: no stock")
    )
    site.get("/place?name=order-paid")
    seen.tab("Workers")
    expect(seen.row("alive")).to_be_visible()


# --- Filters, order, focus ---


@needs_browser
def test_filters_leave_what_fits(site: LiveSite, seen: Seen) -> None:
    site.get("/slow")
    site.get("/fail")
    site.get("/not-a-page")
    site.get("/items/3", **{"X-Request-ID": "harbour-1"})
    seen.tab("Requests")
    rows = seen.page.locator("#exchanges tr.row")

    def only(label: str, value: str, cell: int, pattern: str) -> None:
        seen.page.get_by_role("button", name="Clear").click()
        field = seen.page.locator("#filters").get_by_label(label)
        if str(field.evaluate("one => one.tagName")) == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
        seen.page.mouse.move(1, 1)
        seen.wait(lambda: rows.count() > 0, f"{label} {value} has rows")
        texts = rows.locator(f"td:nth-child({cell})").all_inner_texts()
        assert [one for one in texts if not re.fullmatch(pattern, one.strip())] == []
        expect(seen.page.locator("#exchanges .rest")).to_contain_text("fit")

    only("Route", "/fail", 3, "/fail")
    only("Route", "<unmatched>", 3, "–")
    only("Status", "5xx", 4, r"5\d\d.*")
    # Work has no status.
    only("Outcome", "complete", 4, r"\d+|–")
    only("At least, s", "0.2", 5, r"[2-9]\d\d ms|[\d.]+ s")
    only("Id begins with", "harbour", 7, "harbour-1")
    seen.page.locator("#filters").get_by_label("Id begins with").fill("nobody")
    expect(seen.page.get_by_text("No request that fits")).to_be_visible()


@needs_browser
def test_a_filter_finds_what_the_page_no_longer_has(site: LiveSite, seen: Seen) -> None:
    site.get("/items/4", **{"X-Request-ID": "old-anchor"})
    for _ in range(420):
        site.get("/items/9")
    seen.page.reload()
    seen.is_live()
    seen.tab("Requests")
    expect(seen.page.get_by_text("old-anchor")).to_have_count(0)
    seen.page.locator("#filters").get_by_label("Id begins with").fill("old-a")
    seen.page.mouse.move(1, 1)
    expect(seen.row("/items/4")).to_contain_text("old-anchor")


@needs_browser
def test_a_request_that_fits_stays_in_the_filtered_list(
    site: LiveSite, seen: Seen
) -> None:
    seen.tab("Requests")
    filter_by_id(seen, "stays")
    site.get("/items/4", **{"X-Request-ID": "stays-here"})
    rows = seen.page.locator("#exchanges tr.row")
    expect(rows).to_have_count(1)
    # More than the page has of all requests.
    for _ in range(3):
        for _ in range(150):
            site.get("/items/9")
        seen.shows_all(site)
    expect(rows).to_have_count(1)


@needs_browser
def test_a_request_that_fits_is_found_if_a_poll_leaves_it_out(
    site: LiveSite, seen: Seen
) -> None:
    seen.tab("Requests")
    filter_by_id(seen, "between")
    hide(seen.page, "true")
    site.get("/items/4", **{"X-Request-ID": "between-two"})
    for _ in range(250):
        site.get("/items/9")
    hide(seen.page, "false")
    seen.shows_all(site)
    expect(seen.row("/items/4")).to_contain_text("between-two")


def filter_by_id(seen: Seen, text: str) -> None:
    """Filter, and wait until the older requests are searched, too; none fits."""
    with seen.page.expect_response(re.compile("find=1")):
        seen.page.locator("#filters").get_by_label("Id begins with").fill(text)
    seen.page.mouse.move(1, 1)
    expect(seen.page.get_by_text("No request that fits")).to_be_visible()


@needs_browser
def test_a_route_leads_to_its_requests(site: LiveSite, seen: Seen) -> None:
    site.get("/page")
    seen.row("/page").click()
    seen.page.get_by_role("button", name="Show its requests").click()
    seen.page.mouse.move(1, 1)
    expect(seen.page.get_by_role("tab", name="Requests")).to_have_attribute(
        "aria-selected", "true"
    )
    expect(seen.row("GET /page")).to_be_visible()
    seen.wait(
        lambda: (
            set(seen.page.locator("#exchanges td:nth-child(3)").all_inner_texts())
            == {"/page"}
        ),
        "only its requests are shown",
    )


@needs_browser
def test_the_charts_come_with_the_first_request(
    browser: Browser, tmp_path: Path
) -> None:
    with own_site(browser, tmp_path) as (site, seen):
        asked: list[str] = []
        seen.page.on("request", lambda one: asked.append(one.url))
        library = re.compile("uplot.js$")
        seen.page.route(library, lambda route: route.abort(), times=1)
        seen.log_in(site.url)
        expect(seen.figure("Requests")).to_contain_text("0 in all")
        seen.next_polls()
        assert not any(library.search(url) for url in asked)
        site.get("/items/1")
        # The first try fails, as while a server starts again.
        expect(seen.page.locator("#charts canvas")).to_have_count(2)
        assert sum(library.search(url) is not None for url in asked) == 2
        assert seen.errors == []


@needs_browser
def test_the_times_of_a_single_period_are_seen(
    browser: Browser, tmp_path: Path
) -> None:
    # The clock of the server is faster, so that the period ends soon.
    with own_site(browser, tmp_path, speed=20) as (site, seen):
        seen.log_in(site.url)
        site.get("/items/1")
        expect(seen.page.locator("#time canvas")).to_be_visible()
        seen.wait(lambda: pixels_of(seen, "p99") > 0, "there is a point")
        assert seen.errors == []


def pixels_of(seen: Seen, name: str) -> int:
    """Return how many pixels of the chart of times have a color."""
    color = str(
        seen.page.evaluate(
            "name => getComputedStyle(document.body).getPropertyValue(name)",
            f"--{name}",
        )
    )
    script = """
        (color) => {
            const canvas = document.querySelector("#time canvas");
            const { width, height } = canvas;
            const { data } =
                canvas.getContext("2d").getImageData(0, 0, width, height);
            let count = 0;
            for (let at = 0; at < data.length; at += 4)
                count += color.every((n, i) => Math.abs(n - data[at + i]) < 40);
            return count;
        }
    """
    return int(seen.page.evaluate(script, [*rgb(color)]))


@needs_browser
def test_every_row_opens_with_all_of_its_columns(site: LiveSite, seen: Seen) -> None:
    seen.page.set_viewport_size({"width": 390, "height": 844})
    seen.tab("Workers")
    seen.page.locator("tr.row:visible").first.click()
    facts = seen.page.locator(".detail dt").all_inner_texts()
    assert facts[0] == "Process"
    assert {"Started", "Last", "File"} <= {*facts}
    assert seen.overflow() == 0
    seen.page.set_viewport_size({"width": 1280, "height": 900})


@needs_browser
def test_a_column_sorts_both_ways(site: LiveSite, seen: Seen) -> None:
    site.get("/items/1")
    site.get("/page")
    for route in ("/items/<int:number>", "/page"):
        expect(seen.row(route)).to_be_visible()
    routes = seen.page.locator("#routes tr.row td:first-child")
    heading = seen.page.locator("#routes").get_by_role("button", name="Route")
    heading.click()
    seen.page.mouse.move(1, 1)
    up = routes.all_inner_texts()
    assert up == sorted(up)
    heading.click()
    seen.page.mouse.move(1, 1)
    assert routes.all_inner_texts() == up[::-1]
    head = seen.page.locator("#routes th", has_text="Route")
    expect(head).to_have_attribute("aria-sort", "descending")


@needs_browser
def test_the_keyboard_is_enough(site: LiveSite, seen: Seen) -> None:
    site.get("/orders")
    site.get("/orders")
    seen.shows_all(site)
    page = seen.page
    press = page.keyboard.press
    page.get_by_role("button", name="Pause").focus()
    press("Tab")
    assert focused(page) == "tab-routes"
    press("ArrowRight")
    press("ArrowRight")
    assert focused(page) == "tab-exchanges"
    expect(page.locator("#exchanges")).to_be_visible()
    expect(page.locator("#routes")).to_be_hidden()
    press("End")
    assert focused(page) == "tab-workers"
    press("ArrowRight")
    assert focused(page) == "tab-routes"
    press("ArrowRight")
    press("ArrowRight")
    for _ in range(30):
        press("Tab")
        if page.evaluate("document.activeElement.className") == "opener":
            break
    before = page.evaluate("document.activeElement.innerText")
    press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('tr').rowIndex") == 2
    press("Enter")
    expect(page.locator("#exchanges .events")).to_be_visible()
    press("Escape")
    expect(page.locator("#exchanges .events")).to_have_count(0)
    press("ArrowUp")
    assert page.evaluate("document.activeElement.innerText") == before


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


@needs_browser
def test_a_row_that_is_read_stays_where_it_is(site: LiveSite, seen: Seen) -> None:
    site.get("/orders")
    # A request that came after the click would be a new one.
    seen.shows_all(site)
    seen.tab("Requests")
    seen.row("/orders").click()
    events = seen.page.locator("#exchanges .events")
    expect(events).to_be_visible()
    where = seen.row("/orders").bounding_box()
    kept = seen.page.evaluate_handle("document.activeElement")
    for _ in range(5):
        site.get("/items/2")
    button = seen.page.locator("#fresh")
    expect(button).to_have_text("Show 5 new")
    assert seen.row("/orders").bounding_box() == where
    assert seen.page.evaluate("one => one === document.activeElement", kept)
    expect(events).to_be_visible()
    button.click()
    seen.page.mouse.move(1, 1)
    expect(seen.page.locator("#exchanges tr.row").first).to_contain_text("/items/2")


@needs_browser
def test_focus_stays_in_a_list_that_is_sorted_again(site: LiveSite, seen: Seen) -> None:
    site.get("/page")
    seen.row("/page").locator(".opener").focus()
    for number in range(40):
        site.get("/page")
        if number % 10 == 0:
            seen.next_polls(1)
    seen.next_polls()
    assert seen.page.evaluate("document.activeElement.innerText") == "/page"


# --- How it looks ---


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(
    browser: Browser,
    context: BrowserContext,
    site: LiveSite,
    scheme: t.Literal["light", "dark"],
) -> None:
    site.get("/orders")
    site.get("/" + "x" * 200)
    site.get(f"/work?name={'x' * 200}")
    site.get(f"/place?name={'x' * 200}&message={'x' * 200}")
    phone = new_context(
        browser,
        viewport=PHONE,
        color_scheme=scheme,
        storage_state=context.storage_state(),
    )
    with contextlib.closing(phone), opened(phone) as seen:
        seen.page.goto(site.url)
        seen.is_live()
        for name in (*TABS, *RARE_TABS):
            seen.tab(name)
            assert (name, seen.overflow()) == (name, 0)
            openers = seen.page.locator(".opener:visible")
            if openers.count():
                openers.first.click()
                seen.next_polls(1)
                assert (name, seen.overflow()) == (name, 0)
        seen.tab("Requests")
        seen.row("/orders").click()
        expect(seen.page.locator("#exchanges .events")).to_be_visible()
        assert seen.overflow() == 0
        assert seen.problems() == []


@needs_browser
@pytest.mark.parametrize("width", [390, 701, 901, 1201, 1920])
def test_legends_are_beside_nothing_else(
    site: LiveSite, seen: Seen, width: int
) -> None:
    site.get("/items/1")
    expect(seen.page.locator("#charts canvas")).to_have_count(2)
    seen.page.set_viewport_size({"width": width, "height": 900})
    seen.next_polls(1)
    for chart in seen.page.locator("#charts section").all():
        parts = ("h2", ".u-legend", ".u-wrap")
        heading, legend, plot = (chart.locator(one).bounding_box() for one in parts)
        around = chart.bounding_box()
        assert heading is not None
        assert legend is not None
        assert plot is not None
        assert around is not None
        assert heading["y"] + heading["height"] <= legend["y"] + 4
        assert legend["x"] + legend["width"] <= around["x"] + around["width"]
        assert legend["height"] < 40  # one line
        assert plot["y"] + plot["height"] <= around["y"] + around["height"]
    for box in seen.page.locator("#figures > div").all():
        is_cut = "one => one.scrollWidth > one.clientWidth"
        assert not box.evaluate(is_cut), box.inner_text()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(
    seen: Seen, scheme: t.Literal["light", "dark"]
) -> None:
    seen.page.emulate_media(color_scheme=scheme)
    colors = {
        name: str(
            seen.page.evaluate(
                "name => getComputedStyle(document.body).getPropertyValue(name)",
                f"--{name}",
            )
        )
        for name in (
            *("ground", "card", "grid", "ink", "soft", "good", "warn", "bad"),
            *("requests", "p50", "p90", "p99"),
        )
    }
    is_dark = luminance(colors["ground"]) < 0.1
    assert is_dark == (scheme == "dark")
    for text in ("ink", "soft", "good", "warn", "bad"):
        for ground in ("ground", "card", "grid"):
            # The ratio for text of WCAG 2.2, 1.4.3.
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    for line in ("requests", "bad", "warn", "p50", "p90", "p99"):
        # The ratio for graphics of WCAG 2.2, 1.4.11.
        assert contrast(colors[line], colors["card"]) >= 3, line
    background = str(
        seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    )
    assert tuple(map(int, re.findall(r"\d+", background))) == rgb(colors["ground"])


def rgb(color: str) -> tuple[int, ...]:
    digits = color.strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(one * 2 for one in digits)
    return tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4))


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [one / 255 for one in rgb(color)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4
        for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@needs_browser
def test_nothing_jumps_when_numbers_come(site: LiveSite, seen: Seen) -> None:
    parts = ("#figures", "#charts", "#tabs", "#panels")

    def places() -> list[t.Any]:
        return [seen.page.locator(one).bounding_box() for one in parts]

    before = places()
    for _ in range(30):
        site.get("/items/5")
        site.get("/fail")
    seen.next_polls(3)
    assert places() == before


# --- Safety ---

HOSTILE_PATHS = (
    "/<script>alert(1)</script>",
    "/<img/src=x/onerror=alert(1)>",
    "/javascript:alert(1)",
    "/%E2%80%AEgpj.exe",
    "/%1b[31mred",
    "/" + "%3Cb%3E" * 500,
    "/%ff%fe%ed%a0%80",
)


@needs_browser
def test_hostile_texts_are_only_text(site: LiveSite, seen: Seen) -> None:
    elements = "document.querySelectorAll('script, img, b, iframe, a').length"
    before = seen.page.evaluate(elements)
    for path in HOSTILE_PATHS:
        site.get(path)
    site.get("/items/1", "A|B!")
    for referrer in ("javascript:alert(1)", "https://x.example/<script>alert(2)"):
        site.get("/items/1", Referer=referrer)
    message = "%3Cimg%20src=x%20onerror=alert(3)%3E%E2%80%AE%1b[2J%0Anext"
    site.get(f"/fail?message={message}")
    hostile = "%3Cscript%3Ealert(4)%3C/script%3E%E2%80%AE%1b[2J"
    site.get(f"/work?name={hostile}")
    site.get(f"/place?name={hostile}&message={message}")
    site.write_lists()
    for name in (*TABS, *RARE_TABS):
        seen.tab(name)
        seen.next_polls()
        for opener in seen.page.locator(".opener:visible").all()[:3]:
            opener.click()
        seen.next_polls(1)
        text = str(seen.page.locator("main").inner_text())
        assert "\u202e" not in text
        assert "\x1b" not in text
    seen.tab("Requests")
    seen.page.locator("#fresh").click(force=True)
    assert seen.page.get_by_text("<script>alert(1)").count() > 0
    seen.tab("Failures")
    assert seen.page.get_by_text("onerror=alert(3)").count() > 0
    for name in RARE_TABS:
        seen.tab(name)
        assert seen.row("<script>alert(4)</script>").count() > 0
    marks = "document.querySelectorAll('.event b').length"
    assert seen.page.evaluate(elements) - seen.page.evaluate(marks) == before
    assert seen.problems() == []


@needs_browser
def test_the_policy_refuses_what_a_script_would_inject(seen: Seen) -> None:
    with pytest.raises(Exception, match="TrustedHTML"):
        seen.page.evaluate("document.body.innerHTML = '<b>'")
    seen.page.evaluate("window.violations.length = 0")
    seen.messages.clear()


@needs_browser
def test_a_wrong_token_opens_nothing(browser: Browser, site: LiveSite) -> None:
    stranger = new_context(browser)
    with contextlib.closing(stranger), opened(stranger) as seen:
        answer = seen.page.goto(f"{site.url}")
        assert answer is not None
        assert answer.status == 401
        seen.page.get_by_label("Token").fill("a-wrong-token-of-mine")
        seen.page.get_by_role("button", name="Log in").click()
        expect(seen.page.get_by_text("The token is wrong.")).to_be_visible()
        assert stranger.cookies() == []
        assert seen.polls == 0
        seen.page.get_by_label("Token").fill(TOKEN)
        seen.page.get_by_role("button", name="Log in").click()
        seen.is_live()
        (cookie,) = stranger.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert TOKEN not in json.dumps(dict(cookie))
        assert seen.dialogs == seen.errors == []


@needs_browser
def test_a_login_opens_the_list_that_was_open(browser: Browser, site: LiveSite) -> None:
    stranger = new_context(browser)
    with contextlib.closing(stranger), opened(stranger) as seen:
        seen.page.goto(f"{site.url}#workers")
        # The first one is wrong.
        for token in (TOKEN[1:], TOKEN):
            seen.page.get_by_label("Token").fill(token)
            seen.page.get_by_role("button", name="Log in").click()
        seen.is_live()
        expect(seen.page.locator("#workers")).to_be_visible()
        # As after twelve hours, while the page is open.
        stranger.clear_cookies()
        seen.page.get_by_label("Token").fill(TOKEN)
        seen.page.get_by_role("button", name="Log in").click()
        seen.is_live()
        expect(seen.page.locator("#workers")).to_be_visible()


@needs_browser
def test_the_command_opens_by_its_link(browser: Browser, site: LiveSite) -> None:
    site.get("/items/1")
    command = [sys.executable, "-m", "flask", "--app", "tests.servers.live_application"]
    with subprocess.Popen(
        [*command, "signalpost", "live", "--folder", str(site.folder)],
        cwd=launch.ROOT,
        env=launch._environment()
        | {"LIVE_FOLDER": str(site.folder), "LIVE_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        stranger = new_context(browser)
        try:
            url = link_of(process)
            with opened(stranger) as seen:
                asked: list[str] = []
                seen.page.on("request", lambda one: asked.append(one.url))
                seen.page.goto(url)
                seen.is_live()
                token = url.partition("#token=")[2]
                assert token not in seen.page.url
                assert not any(token in one for one in asked)
                seen.shows_all(site)
            with opened(stranger) as again:
                again.page.goto(url)
                again.is_live()
                assert token not in again.page.url
        finally:
            stranger.close()
            process.terminate()
            process.communicate(timeout=PATIENCE_SECONDS)


def link_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"http://127\S+#token=\S+", line):
            return found[0]
    raise AssertionError(f"no link in {lines}")


# --- Polling ---


@needs_browser
def test_a_hidden_page_polls_nothing(seen: Seen) -> None:
    hide(seen.page, "true")
    seen.page.wait_for_timeout(200)
    before = seen.polls
    seen.page.wait_for_timeout(600)
    assert seen.polls == before
    hide(seen.page, "false")
    seen.next_polls()
    seen.is_live()


@needs_browser
def test_a_paused_page_polls_nothing(site: LiveSite, seen: Seen) -> None:
    seen.page.get_by_role("button", name="Pause").click()
    expect(seen.page.get_by_role("status")).to_have_text("Paused at")
    seen.page.wait_for_timeout(200)
    before = seen.polls
    seen.page.wait_for_timeout(600)
    assert seen.polls == before
    site.get("/items/1")
    seen.page.get_by_role("button", name="Go on").click()
    seen.is_live()
    seen.shows_all(site)


@needs_browser
def test_ten_minutes_of_load_leave_the_memory_of_the_page_flat(
    browser: Browser, tmp_path: Path
) -> None:
    # By the clock of the server, which each poll finds some seconds later.
    speed = 120
    with own_site(browser, tmp_path, speed) as (site, seen):
        seen.log_in(site.url)
        seen.tab("Requests")

        def grown(minutes: float, polls: int) -> tuple[float, int]:
            target = seen.polls + polls
            end = time.monotonic() + minutes * 60 / speed
            while seen.polls < target or time.monotonic() < end:
                site.get("/items/1")
                site.get("/orders")
                seen.row("/orders").locator(".opener").click()
                seen.next_polls(8)
                seen.page.keyboard.press("Escape")
                seen.page.evaluate("document.activeElement.blur()")
                seen.page.mouse.move(1, 1)
            seen.page.evaluate("gc()")
            heap = seen.page.evaluate("performance.memory.usedJSHeapSize")
            nodes = seen.page.evaluate("document.getElementsByTagName('*').length")
            return float(heap), int(nodes)

        # The list of requests is full then, and after ten minutes so are the charts.
        for _ in range(3):
            for _ in range(150):
                site.get("/items/1")
            seen.next_polls()
        heap, nodes = grown(10, polls=24)
        begun = server_clock(seen)
        later_heap, later_nodes = grown(10, polls=150)
        assert server_clock(seen) - begun >= 600
        assert seen.problems() == []
    assert later_heap < heap + 1_000_000
    assert later_nodes < nodes + 100


@needs_browser
def test_the_page_survives_a_server_that_stops_and_starts(
    site: LiveSite, seen: Seen
) -> None:
    since = str(seen.page.locator("#since").inner_text()).partition(" (")[0]
    site.stop()
    expect(seen.page.get_by_role("status")).to_have_text("No answer since")
    # What was there stays to be read.
    expect(seen.figure("Requests")).to_contain_text("in all")
    site.start()
    site.get("/items/1")
    seen.is_live()
    seen.tab("Workers")
    expect(seen.page.locator("#workers")).to_contain_text("○ ended")
    # The history outlives the restart, as the files do.
    assert since in str(seen.page.locator("#since").inner_text())
    seen.shows_all(site)
    # The browser itself reports that there was no answer.
    assert all("net::ERR_" in one for one in seen.messages)
    seen.messages.clear()


@needs_browser
def test_the_page_shows_why_it_has_no_numbers(site: LiveSite, seen: Seen) -> None:
    mode = site.folder.stat().st_mode
    site.folder.chmod(0o777)
    try:
        expect(seen.page.get_by_role("status")).to_contain_text("777")
    finally:
        site.folder.chmod(mode)
    seen.is_live()
    assert all("status of 503" in one for one in seen.messages)
    seen.messages.clear()


# --- Its files ---


def test_the_page_is_under_ninety_kilobytes() -> None:
    files = ("index.html", "live.css", "live.js", "uplot.js", "icon.svg")
    login = ("login.html", "login.js")
    sizes = {one.name: one.stat().st_size for one in STATIC.iterdir()}
    assert sizes.keys() == {*files, *login, "uplot.LICENSE.txt"}
    assert sum(sizes[name] for name in files) < 90_000
    assert sum(sizes[name] for name in login) < 2_000


def test_no_text_becomes_markup_and_nothing_is_inline() -> None:
    script = "".join((STATIC / f"{one}.js").read_text("utf-8") for one in OWN)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert word not in script
    for word in ("eval(", "new Function", "DOMParser", "srcdoc", "createContextual"):
        assert word not in script
    for name in ("index.html", "login.html"):
        page = (STATIC / name).read_text("utf-8")
        assert not re.search(r"<style|style=|\son\w+=|javascript:|://", page)
        assert all("src=" in one for one in re.findall(r"<script[^>]*>", page))
    assert "<!--problem-->" in (STATIC / "login.html").read_text("utf-8")


def test_uplot_is_as_it_was_published() -> None:
    # Of uPlot 1.6.32: dist/uPlot.iife.min.js, LICENSE.
    published = {
        "uplot.js": "19c8d4c6ad88929a79f4ae49d6f71615",
        "uplot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc33",
    }
    assert {
        name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:32]
        for name in published
    } == published
