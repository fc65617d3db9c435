from __future__ import annotations

import csv
import io
import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event
from webtest import TestApp
from webtest import TestResponse

from example_app import create_app
from example_app.shop import CollapsedShelfError
from signalpost.config import enabled_for
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import message_flashed
from signalpost.testing import capture

QUANTITY_ADVICE = "Choose a whole number from 1 to 99."


def put_into_cart(browser: TestApp, slug: str, quantity: str = "1") -> str:
    """Return the page that the visitor ends on."""
    answer = browser.post("/cart/add", {"slug": slug, "quantity": quantity}, status=303)
    return str(answer.follow().text)


def text_of(page: TestResponse, selector: str) -> str:
    element = page.html.select_one(selector)
    assert element is not None
    return element.get_text(strip=True)


def change(database: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def test_catalogue_shows_every_product(browser: TestApp) -> None:
    page = browser.get("/")
    assert len(page.html.select(".card")) == 8
    assert "Brass bell" in page
    assert text_of(page, ".card .price") == "€\N{NO-BREAK SPACE}49.00"


def test_second_start_keeps_what_the_database_holds(
    open_shop: Callable[..., TestApp], database: Path
) -> None:
    open_shop()
    change(database, "DELETE FROM products WHERE slug <> 'brass-bell'")
    assert len(open_shop().get("/").html.select(".card")) == 1


def test_reviews_are_shown_with_their_products(browser: TestApp) -> None:
    page = browser.get("/reviews")
    assert text_of(page, "section .reviews li").startswith("★★★★★The fog came.")
    assert len(page.html.select("section")) == 8
    assert len(page.html.select(".reviews li")) == 9


def test_reviews_come_to_a_database_that_had_none(
    open_shop: Callable[..., TestApp], database: Path
) -> None:
    open_shop()
    change(database, "DROP TABLE reviews")
    assert "The fog came." in open_shop().get("/reviews")


def test_page_names_a_product_without_reviews(
    open_shop: Callable[..., TestApp], database: Path
) -> None:
    browser = open_shop()
    change(database, "DELETE FROM reviews WHERE slug = 'brass-bell'")
    assert "There are no reviews yet." in browser.get("/reviews")


def test_product_page_shows_a_labelled_form(browser: TestApp) -> None:
    page = browser.get("/").click("Morse key")
    assert text_of(page, "h1") == "Morse key"
    assert text_of(page, "label[for=quantity]") == "Quantity"
    assert page.form["quantity"].value == "1"


@pytest.mark.parametrize(
    "slug",
    [
        "no-such-thing",
        "%00",
        "%ff%fe",
        "..%2f..%2fetc",
        "' OR 1=1 --",
        "<b>",
        "x" * 9999,
    ],
)
def test_hostile_slug_is_not_found(browser: TestApp, slug: str) -> None:
    page = browser.get(f"/products/{slug}", status=404)
    assert "We have nothing under that name" in page


def test_unknown_address_is_not_found(browser: TestApp) -> None:
    assert "We have nothing under that name" in browser.get("/nowhere", status=404)


def test_other_errors_keep_their_headers(browser: TestApp) -> None:
    answer = browser.get("/cart/add", status=405)
    assert "POST" in answer.headers["Allow"]
    assert "Method Not Allowed" in answer


def test_adding_to_the_cart_flashes_a_message(browser: TestApp) -> None:
    form = browser.get("/products/brass-bell").form
    form["quantity"] = "2"
    with capture(message_flashed, sender=browser.app) as sent:
        page = form.submit().follow()
    assert text_of(page, "[role=status]") == "Added to your cart: 2 × Brass bell."
    assert text_of(page, ".total .price").endswith("98.00")
    assert [(one["category"], one["message"]) for one in sent] == [
        ("success", "Added to your cart: 2 × Brass bell.")
    ]


def test_adding_again_adds_up(browser: TestApp) -> None:
    put_into_cart(browser, "brass-bell", "2")
    put_into_cart(browser, "brass-bell", "3")
    assert text_of(browser.get("/cart"), ".count").startswith("5")


def test_removing_takes_a_product_out(browser: TestApp) -> None:
    put_into_cart(browser, "brass-bell")
    put_into_cart(browser, "morse-key")
    page = browser.get("/cart").forms[0].submit().follow()
    assert "Removed from your cart." in page
    assert [link.text for link in page.html.select(".lines h2 a")] == ["Morse key"]


@pytest.mark.parametrize("slug", ["never-added", "", "\x00", "' OR 1=1 --"])
def test_removing_what_is_not_there_changes_nothing(
    browser: TestApp, slug: str
) -> None:
    put_into_cart(browser, "brass-bell")
    page = browser.post("/cart/remove", {"slug": slug}, status=303).follow()
    assert "Brass bell" in page


@pytest.mark.parametrize(
    "quantity", ["", "0", "-1", "100", "1.5", "1e1", "two", "\x00", "9" * 5000]
)
def test_bad_quantity_is_explained(browser: TestApp, quantity: str) -> None:
    assert QUANTITY_ADVICE in put_into_cart(browser, "brass-bell", quantity)
    assert "Your cart is empty." in browser.get("/cart")


def test_missing_quantity_is_explained(browser: TestApp) -> None:
    answer = browser.post("/cart/add", {"slug": "brass-bell"}, status=303)
    assert QUANTITY_ADVICE in answer.follow()


def test_cart_holds_at_most_99_of_one_product(browser: TestApp) -> None:
    assert "Added" in put_into_cart(browser, "brass-bell", "99")
    assert "at most 99 of one product" in put_into_cart(browser, "brass-bell")
    assert text_of(browser.get("/cart"), ".count").startswith("99")


@pytest.mark.parametrize("form", [{}, {"slug": "gone"}, {"slug": "\x00"}])
def test_unknown_product_is_not_added(browser: TestApp, form: dict[str, str]) -> None:
    browser.post("/cart/add", form | {"quantity": "1"}, status=404)
    assert "Your cart is empty." in browser.get("/cart")


def test_product_that_left_the_shop_leaves_the_cart(
    browser: TestApp, database: Path
) -> None:
    put_into_cart(browser, "brass-bell")
    put_into_cart(browser, "morse-key")
    change(database, "DELETE FROM products WHERE slug = 'brass-bell'")
    assert "no longer sell something" in browser.get("/cart")
    page = browser.get("/cart")
    assert "no longer sell something" not in page
    assert text_of(page, ".count").startswith("1")


def test_forged_cart_is_an_empty_one(browser: TestApp) -> None:
    browser.set_cookie("session", "eyJjYXJ0IjpbXX0.forged.signature")
    assert "Your cart is empty." in browser.get("/cart")


def test_oversized_form_is_refused(browser: TestApp) -> None:
    browser.post("/cart/add", {"slug": "x" * 100_000}, status=413)


def test_cart_cookie_stays_with_this_site(browser: TestApp) -> None:
    form = browser.get("/products/brass-bell").form
    cookie = form.submit().headers["Set-Cookie"]
    assert "SameSite=Lax" in cookie
    assert "HttpOnly" in cookie


def test_export_has_a_row_for_each_product(browser: TestApp) -> None:
    answer = browser.get("/export.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.content_type == "text/csv"
    assert len(rows) == 8
    assert rows[0]["slug"] == "brass-bell"
    assert rows[0]["price_euros"] == "49.00"


def test_export_is_sent_row_by_row(app: Flask) -> None:
    client = app.test_client()
    with client.get("/export.csv") as answer:
        chunks = list(answer.iter_encoded())
    assert answer.content_length is None
    assert len(chunks) == 1 + 8


def test_export_survives_a_client_that_leaves(app: Flask) -> None:
    client = app.test_client()
    with (
        capture(exchange_closed, sender=app) as sent,
        client.get("/export.csv") as answer,
    ):
        next(answer.iter_encoded())
    assert [one["exchange"].outcome for one in sent] == ["aborted"]


@pytest.mark.parametrize("config", ["signalpost.toml", None])
def test_export_that_is_left_releases_its_connection_with_any_receiver(
    open_shop: Callable[..., TestApp], config: str | None
) -> None:
    app = open_shop(SIGNALPOST_CONFIG=config).app
    assert isinstance(app, Flask)
    connections = []
    engine = app.extensions["shop"].kw["bind"]
    event.listen(engine, "connect", lambda one, _: connections.append(one))
    event.listen(engine, "close", lambda one, _: connections.remove(one))
    with app.test_client().get("/export.csv") as answer:
        next(answer.iter_encoded())
        next(answer.iter_encoded())
        assert len(connections) == 1
    assert connections == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_export_holds_no_formulas(browser: TestApp, database: Path, start: str) -> None:
    name = f'{start}HYPERLINK("x"), "y"'
    change(database, "UPDATE products SET name = ? WHERE slug = 'brass-bell'", name)
    text = browser.get("/export.csv").body.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert f"'{name}" in [row["name"] for row in rows]


def test_failing_page_is_friendly_and_sent_once(browser: TestApp) -> None:
    with capture(got_request_exception, sender=browser.app) as sent:
        page = browser.get("/fail", status=500)
    assert "Something broke on our side" in page
    assert "shelf" not in page
    assert [type(one["exception"]) for one in sent] == [CollapsedShelfError]


def test_homepage_writes_one_line_a_receiver(
    browser: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    browser.get("/", headers={"Referer": "https://search.example/results?q=secret"})
    lines = {name: text for name, _, text in caplog.record_tuples}
    assert len(caplog.record_tuples) == len(lines) == 3
    assert lines["signalpost.referrers"] == "GET / https://search.example/results"
    assert lines["signalpost.latency"].startswith("GET / 200 complete ")
    assert lines["example_app"] == "rendered catalogue.html"


def test_messages_are_logged_in_a_line(
    browser: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "example_app")
    put_into_cart(browser, "brass-bell")
    texts = [text for _, _, text in caplog.record_tuples]
    assert texts.count("flashed success: 'Added to your cart: 1 × Brass bell.'") == 1


def test_failure_is_logged_once_and_then_counted(
    browser: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        browser.get("/fail", status=500)
    lines = [
        text for name, _, text in caplog.record_tuples if name == "signalpost.failures"
    ]
    assert len(lines) == 1
    assert "GET /fail - view example_app.shop.CollapsedShelfError at=" in lines[0]


def test_applications_are_received_separately(
    open_shop: Callable[..., TestApp],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_shop()
    other = open_shop(DATABASE=str(tmp_path / "other.sqlite"))
    caplog.set_level(logging.INFO, "signalpost.latency")
    other.get("/")
    assert len(caplog.record_tuples) == 1


def test_relative_database_starts_in_the_instance_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path))
    monkeypatch.setenv("SHOP_DATABASE", "named-by-environment.sqlite")
    monkeypatch.setenv("SHOP_SIGNALPOST_CONFIG", "null")
    app = create_app()
    assert (tmp_path / "named-by-environment.sqlite").exists()
    assert not enabled_for(app)


def test_order_empties_the_cart_and_waits_to_be_confirmed(
    browser: TestApp, database: Path
) -> None:
    put_into_cart(browser, "brass-bell", "2")
    page = browser.post("/orders", status=303).follow()
    assert text_of(page, "h1") == "Order 1"
    assert "98.00" in page
    assert "It is not confirmed yet." in page
    assert "Your cart is empty." in browser.get("/cart")
    change(database, "UPDATE orders SET is_confirmed = 1")
    assert "It is confirmed." in browser.get("/orders/1")


def test_order_is_in_the_outbox_with_its_event(
    browser: TestApp, database: Path
) -> None:
    put_into_cart(browser, "brass-bell")
    browser.post("/orders", status=303)
    with closing(sqlite3.connect(database)) as connection:
        ((event,),) = connection.execute("SELECT event FROM signalpost_outbox")
    assert json.loads(event)["data"] == {"order": 1, "total_cents": 4900}


def test_order_of_nothing_is_refused(browser: TestApp) -> None:
    assert "There is nothing in your cart." in browser.post("/orders").follow()


def test_order_of_another_visitor_is_not_shown(
    open_shop: Callable[..., TestApp],
) -> None:
    browser = open_shop(SECRET_KEY="for tests")
    put_into_cart(browser, "brass-bell")
    browser.post("/orders", status=303)
    browser.get("/orders/1", status=200)
    open_shop(SECRET_KEY="for tests").get("/orders/1", status=404)
