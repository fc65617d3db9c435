"""Pages of the shop; none of them mentions a receiver."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from flask import abort
from flask import Blueprint
from flask import current_app
from flask import flash
from flask import redirect
from flask import render_template
from flask import request
from flask import Response
from flask import session
from flask import url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import HTTPException

from signalpost.exchange import current_exchange

from .database import current_session
from .database import Order
from .database import Product
from .database import session_factory
from .events import order_placed

MOST_OF_ONE = 99
MOST_ORDERS = 20  # that a visitor's cookie remembers

shop = Blueprint("shop", __name__)


class CollapsedShelfError(Exception):
    """Raised by the failing page."""


@shop.get("/")
def catalogue() -> str:
    """Show every product."""
    products = current_session().scalars(select(Product).order_by(Product.name))
    return render_template("catalogue.html", products=products)


@shop.get("/products/<slug>")
def product(slug: str) -> str:
    """Show one product and the form that puts it into the cart."""
    return render_template("product.html", product=_find(slug), most=MOST_OF_ONE)


@shop.get("/reviews")
def reviews() -> str:
    """Show the reviews, on purpose with one more statement for each product.

    The receiver ``sql-repeats`` reports it; ``selectinload(Product.reviews)`` mends it.
    """
    products = current_session().scalars(select(Product).order_by(Product.name))
    return render_template("reviews.html", products=products)


@shop.get("/cart")
def show_cart() -> str:
    """Show the cart, without products that have left the shop since."""
    lines = _cart_lines()
    if len(lines) < len(_cart()):
        session["cart"] = {found.slug: quantity for found, quantity in lines}
        flash("We no longer sell something that was in your cart.", "error")
    return render_template("cart.html", lines=lines, total_cents=_total_cents(lines))


@shop.post("/cart/add")
def add_to_cart() -> AnyResponse:
    """Put some of one product into the cart, or show why not."""
    found = _find(request.form.get("slug", ""))
    quantity = request.form.get("quantity", default=0, type=int)
    together = _cart().get(found.slug, 0) + quantity
    if not 1 <= quantity <= MOST_OF_ONE:
        flash(f"Choose a whole number from 1 to {MOST_OF_ONE}.", "error")
    elif together > MOST_OF_ONE:
        flash(f"A cart holds at most {MOST_OF_ONE} of one product.", "error")
    else:
        session["cart"] = _cart() | {found.slug: together}
        flash(f"Added to your cart: {quantity} × {found.name}.", "success")
        return redirect(url_for(".show_cart"), 303)
    return redirect(url_for(".product", slug=found.slug), 303)


@shop.post("/cart/remove")
def remove_from_cart() -> AnyResponse:
    """Take a product out of the cart."""
    slug = request.form.get("slug", "")
    if slug in _cart():
        session["cart"] = {kept: n for kept, n in _cart().items() if kept != slug}
        flash("Removed from your cart.", "success")
    return redirect(url_for(".show_cart"), 303)


@shop.post("/orders")
def place_order() -> AnyResponse:
    """Order what is in the cart; another process confirms it."""
    lines = _cart_lines()
    if not lines:
        flash("There is nothing in your cart.", "error")
        return redirect(url_for(".show_cart"), 303)
    order = Order(total_cents=_total_cents(lines))
    current_session().add(order)
    current_session().flush()
    # Before the commit: the event is sent if, and only if, there is the order.
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # Flask's way
    order_placed.send(app, order=order.number, total_cents=order.total_cents)
    current_session().commit()
    session["cart"] = {}
    session["orders"] = [*session.get("orders", []), order.number][-MOST_ORDERS:]
    return redirect(url_for(".show_order", number=order.number), 303)


@shop.get("/orders/<int:number>")
def show_order(number: int) -> str:
    """Show an order of this visitor's, and whether it is confirmed."""
    order = current_session().get(Order, number)
    if order is None or number not in session.get("orders", []):
        abort(404)
    return render_template("order.html", order=order)


@shop.get("/export.csv")
def export() -> Response:
    """Send the catalogue as CSV, each row as it is read."""
    # The request's own session is closed before the server asks for the first row.
    own_session = session_factory()()
    response = Response(
        _csv_lines(own_session),
        mimetype="text/csv",
        headers={"Content-Disposition": "attachment; filename=products.csv"},
    )
    # There is no exchange while no receiver is connected, which operators choose.
    (current_exchange() or response).call_on_close(own_session.close)
    return response


@shop.get("/fail")
def fail() -> str:
    """Fail on purpose, so that a receiver has something to report."""
    raise CollapsedShelfError("a shelf gave way, as it was asked to")


@shop.app_errorhandler(HTTPException)
def show_error(error: HTTPException) -> AnyResponse:
    """Show an error in the shop's own look, its status and headers unchanged."""
    response = AnyResponse.force_type(error.get_response())
    response.set_data(render_template("error.html", error=error))
    return response


@shop.app_context_processor
def cart_count() -> dict[str, int]:
    """Give every page the number of things in the cart."""
    return {"cart_count": sum(_cart().values())}


@shop.app_template_filter()
def euros(cents: int) -> str:
    """Return cents as euros: ``1250`` as ``12.50``."""
    return f"{cents // 100}.{cents % 100:02d}"


def _cart() -> dict[str, int]:
    """Return what this visitor's cart holds, as {"brass-bell": 2}."""
    cart: dict[str, int] = session.get("cart", {})
    return cart


def _cart_lines() -> list[tuple[Product, int]]:
    """Return the products in the cart that the shop still has, and how many of each."""
    cart = _cart()
    query = select(Product).where(Product.slug.in_(cart)).order_by(Product.name)
    return [(found, cart[found.slug]) for found in current_session().scalars(query)]


def _total_cents(lines: list[tuple[Product, int]]) -> int:
    return sum(found.price_cents * quantity for found, quantity in lines)


def _find(slug: str) -> Product:
    return current_session().get(Product, slug) or abort(404)


def _csv_lines(own_session: Session) -> Iterator[str]:
    yield _csv_line("slug", "name", "price_euros", "description")
    query = select(Product).order_by(Product.name).execution_options(yield_per=100)
    for row in own_session.scalars(query):
        yield _csv_line(row.slug, row.name, euros(row.price_cents), row.description)


def _csv_line(*cells: str) -> str:
    """Return one line, in which no spreadsheet takes a cell for a formula."""
    line = io.StringIO()
    formulas = tuple("=+-@\t\r\n")
    csv.writer(line).writerow(f"'{c}" if c.startswith(formulas) else c for c in cells)
    return line.getvalue()
