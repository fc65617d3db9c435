from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from webtest import TestApp
from webtest import TestResponse

from signalpost.config import enabled_for


def texts_of(page: TestResponse, selector: str) -> list[str]:
    return [" ".join(one.get_text().split()) for one in page.html.select(selector)]


def cells_of(page: TestResponse, section: str, row: int) -> list[str]:
    """Return the texts of a row of a section's table."""
    part = page.html.select(f"[aria-labelledby={section}] tbody tr")[row]
    return [one.get_text(" ", strip=True) for one in part.select("th, td")]


def test_footer_leads_to_the_page(browser: TestApp) -> None:
    page = browser.get("/").click("Receivers")
    assert texts_of(page, "h1") == ["Who is listening"]
    assert texts_of(page, "footer [aria-current]") == ["Receivers"]


def enabled_on(page: TestResponse) -> list[list[str]]:
    """Return the texts about each receiver, without where it was enabled."""
    return [
        [part.get_text() for part in one.select("h3, p:not(.source)")]
        for one in page.html.select(".receivers li")
    ]


def test_page_shows_each_receiver_with_options_and_signals(browser: TestApp) -> None:
    template, message = "template-rendered", "message-flashed"
    routes = 'routes = ["/cart/add", "/cart/remove"]'
    assert enabled_on(browser.get("/about/receivers")) == [
        [
            "latency",
            'slow_seconds = 0.5, exclude = ["/static/**", "/metrics"]',
            "hears exchange-closed",
        ],
        ["recorder", "hears exchange-opened, exchange-closed"],
        ["referrers", 'paths = ["/"]', "hears request-started"],
        ["referrer-counter", 'paths = ["/"]', "hears request-started"],
        ["failures", "hears got-request-exception"],
        ["watch", "connects itself"],
        ["sqlalchemy", "connects itself"],
        ["sql", "slow_seconds = 0.1", "hears sql-executed, sql-failed"],
        ["sql-totals", "hears sql-executed, sql-failed"],
        ["sql-repeats", "most_times = 5", "hears sql-executed"],
        ["prometheus", 'path = "/metrics", with_scrapes = false', "connects itself"],
        [
            "example_app.receivers:log_template",
            f'signal = "{template}"',
            f"hears {template}",
        ],
        [
            "example_app.receivers:log_message",
            f'signal = "{message}"',
            f"hears {message}",
        ],
        ["example_app.audit:AuditLogger", routes, "hears exchange-closed"],
    ]


def test_page_shows_no_secret_and_no_mark_that_moves_text(
    open_shop: Callable[..., TestApp],
) -> None:
    options = {
        "signal": "exchange-closed",
        "api_key": "open-sesame",
        "dsn": "postgresql://shop:open-sesame@db/shop",
        "webhook_url": "https://hooks.example/open-sesame",
        "headers": {"Authorization": "Bearer open-sesame"},
        "address": "https://shop:open-sesame@queue.example/in",
        "title": "a\u202eb<script>",
    }
    receivers = {f"{__name__}:Anything": options}
    page = open_shop(SIGNALPOST_RECEIVERS=receivers).get("/about/receivers")
    assert "open-sesame" not in page
    assert "\u202e" not in page
    assert not page.html.select("script")
    text = page.html.get_text()
    assert 'api_key = "…", dsn = "…", webhook_url = "…", headers = "…"' in text
    assert 'address = "https://queue.example/…"' in text


class Anything:
    """Takes any option."""

    def __init__(self, **options: object) -> None:
        self.options = options

    def __call__(self, sender: object) -> None: ...


def test_page_shows_the_line_that_enabled_each_receiver(
    browser: TestApp, app: Flask
) -> None:
    *places, audit = texts_of(browser.get("/about/receivers"), ".source")
    config = Path(app.root_path, "signalpost.toml").read_text().splitlines()
    for place, name in zip(places, enabled_for(app), strict=False):
        file, line, section = place.split(", ")
        assert (file, section) == ("signalpost.toml", "[signalpost.receivers]")
        assert name in config[int(line.removeprefix("line ")) - 1]
    code = Path(app.root_path, "audit.py").read_text().splitlines()
    file, line = audit.split(", ")
    assert file == "audit.py"
    assert ".enable(" in code[int(line.removeprefix("line ")) - 1]


def test_page_shows_no_folder_of_the_machine(browser: TestApp, app: Flask) -> None:
    browser.get("/fail", status=500)
    page = browser.get("/about/receivers")
    assert app.root_path not in page


def test_page_shows_the_figures_of_each_route(browser: TestApp) -> None:
    browser.get("/products/brass-bell")
    browser.get("/products/morse-key")
    browser.get("/nowhere", status=404)
    page = browser.get("/about/receivers")
    rows = page.html.select("[aria-labelledby=figures] tbody tr")
    assert len(rows) == 4
    assert cells_of(page, "figures", 0)[:2] == ["All", "3"]
    assert cells_of(page, "figures", 1)[:2] == ["/products/<slug>", "2"]
    assert cells_of(page, "figures", 2)[:2] == ["<unmatched>", "1"]
    assert cells_of(page, "figures", 3) == [
        *("/about/receivers", "0", "0.0", "–", "1"),
        *("–", "–", "–", "–"),
    ]


def test_page_shows_where_visitors_come_from(browser: TestApp) -> None:
    browser.get("/")
    for _ in range(2):
        browser.get("/", headers={"Referer": "https://search.example/results?q=x"})
    page = browser.get("/about/receivers")
    assert "3 counted: 1 without a referrer, 0 from the shop itself." in texts_of(
        page, "[aria-labelledby=referrers] p"
    )
    assert cells_of(page, "referrers", 0) == ["https://search.example/results", "2"]


def test_hostile_referrer_is_text_and_short(browser: TestApp) -> None:
    hostile = "https://evil.example/<script>alert(1)</script>/\u202e" + "x" * 900
    browser.get("/", headers={"Referer": hostile.encode().decode("latin-1")})
    page = browser.get("/about/receivers")
    shown, _ = cells_of(page, "referrers", 0)
    assert not page.html.select("script")
    assert shown.startswith("https://evil.example/<script>alert(1)</script>/")
    assert shown.isprintable()
    assert len(shown) < 100


def test_page_counts_failures_by_their_place(browser: TestApp) -> None:
    for _ in range(2):
        browser.get("/fail", status=500)
    failure, times = cells_of(browser.get("/about/receivers"), "failures", 0)
    assert failure.startswith("example_app.shop.CollapsedShelfError shop.py:")
    assert failure.endswith(":fail")
    assert times == "2"


def test_page_shows_ten_failures_at_most(browser: TestApp, app: Flask) -> None:
    for number in range(12):
        app.add_url_rule(f"/{number}", f"{number}", _failing_with(number))
    for number in range(12):
        browser.get(f"/{number}", status=500)
    page = browser.get("/about/receivers")
    assert len(page.html.select("[aria-labelledby=failures] tbody tr")) == 10


def _failing_with(number: int) -> Callable[[], str]:
    kind = type(f"Failure{number}Error", (Exception,), {})

    def fail() -> str:
        raise kind

    return fail


def test_page_says_what_is_not_enabled(open_shop: Callable[..., TestApp]) -> None:
    page = open_shop(SIGNALPOST_CONFIG=None).get("/about/receivers")
    assert texts_of(page, "section .lead") == [
        "No receiver is enabled.",
        "The receiver recorder is not enabled.",
        "The receiver referrer-counter is not enabled.",
        "The receiver failures is not enabled.",
    ]


def test_receiver_that_was_disabled_leaves_the_page(
    browser: TestApp, app: Flask
) -> None:
    enabled_for(app).disable("recorder")
    page = browser.get("/about/receivers")
    assert "The receiver recorder is not enabled." in texts_of(page, "section .lead")
    assert "The last minute" in page


@pytest.mark.parametrize(
    "address", ["/about/receivers?x=%00%ff<script>", "/about/receivers?" + "y" * 5000]
)
def test_query_is_nothing_to_the_page(browser: TestApp, address: str) -> None:
    assert "script" not in browser.get(address)
