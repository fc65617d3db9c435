"""Shows the pages of the shop; none of them mentions a receiver."""

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

MAX_QUANTITY = 99
MAX_ORDERS = 20  # in the cookie

shop = Blueprint("shop", __name__)


class CollapsedShelfError(Exception):
    """The page that fails on purpose raises this."""


@shop.get("/")
def catalogue() -> str:
    """Show every product."""
    products = current_session().scalars(select(Product).order_by(Product.name))
    return render_template("catalogue.html", products=products)


@shop.get("/products/<slug>")
def product(slug: str) -> str:
    """Show one product and the form that puts it into the cart."""
    return render_template(
        "product.html", product=_product_or_404(slug), max=MAX_QUANTITY
    )


@shop.get("/reviews")
def reviews() -> str:
    """Show the reviews, with an N+1 query on purpose: a statement for each product.

    The receiver ``sql-repeats`` reports it; ``selectinload(Product.reviews)`` fixes it.
    """
    products = current_session().scalars(select(Product).order_by(Product.name))
    return render_template("reviews.html", products=products)


@shop.get("/cart")
def show_cart() -> str:
    """Show the cart, without products that the shop no longer has."""
    lines = _cart_lines()
    if len(lines) < len(_cart()):
        session["cart"] = {found.slug: quantity for found, quantity in lines}
        flash("We no longer sell something that was in your cart.", "error")
    return render_template("cart.html", lines=lines, total_cents=_total_cents(lines))


@shop.post("/cart/add")
def add_to_cart() -> AnyResponse:
    """Add a quantity of a product to the cart, or show why this is not possible."""
    found = _product_or_404(request.form.get("slug", ""))
    quantity = request.form.get("quantity", default=0, type=int)
    together = _cart().get(found.slug, 0) + quantity
    if not 1 <= quantity <= MAX_QUANTITY:
        flash(f"Choose a whole number from 1 to {MAX_QUANTITY}.", "error")
    elif together > MAX_QUANTITY:
        flash(f"A cart holds at most {MAX_QUANTITY} of one product.", "error")
    else:
        session["cart"] = _cart() | {found.slug: together}
        flash(f"Added to your cart: {quantity} × {found.name}.", "success")
        return redirect(url_for(".show_cart"), 303)
    return redirect(url_for(".product", slug=found.slug), 303)


@shop.post("/cart/remove")
def remove_from_cart() -> AnyResponse:
    """Remove a product from the cart."""
    slug = request.form.get("slug", "")
    if slug in _cart():
        session["cart"] = {kept: n for kept, n in _cart().items() if kept != slug}
        flash("Removed from your cart.", "success")
    return redirect(url_for(".show_cart"), 303)


@shop.post("/orders")
def place_order() -> AnyResponse:
    """Place an order for the cart; another process confirms it."""
    lines = _cart_lines()
    if not lines:
        flash("There is nothing in your cart.", "error")
        return redirect(url_for(".show_cart"), 303)
    order = Order(total_cents=_total_cents(lines))
    current_session().add(order)
    current_session().flush()
    # Before the commit, so that the event is stored if and only if the order is.
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # as Flask documents
    order_placed.send(app, order=order.number, total_cents=order.total_cents)
    current_session().commit()
    session["cart"] = {}
    session["orders"] = [*session.get("orders", []), order.number][-MAX_ORDERS:]
    return redirect(url_for(".show_order", number=order.number), 303)


@shop.get("/orders/<int:number>")
def show_order(number: int) -> str:
    """Show one of the visitor's own orders and whether it is confirmed."""
    order = current_session().get(Order, number)
    if order is None or number not in session.get("orders", []):
        abort(404)
    return render_template("order.html", order=order)


@shop.get("/export.csv")
def export() -> Response:
    """Stream the catalogue as CSV, row by row."""
    # The request's session is closed before the server reads the first row.
    own_session = session_factory()()
    response = Response(
        _csv_lines(own_session),
        mimetype="text/csv",
        headers={"Content-Disposition": "attachment; filename=products.csv"},
    )
    # There is no exchange if the configuration enables no receiver.
    (current_exchange() or response).call_on_close(own_session.close)
    return response


@shop.get("/fail")
def fail() -> str:
    """Fail on purpose, so that a receiver reports it."""
    raise CollapsedShelfError("a shelf gave way, on purpose")


@shop.app_errorhandler(HTTPException)
def show_error(error: HTTPException) -> AnyResponse:
    """Show an error as a page of the shop; keep its status and headers."""
    response = AnyResponse.force_type(error.get_response())
    response.set_data(render_template("error.html", error=error))
    return response


@shop.app_context_processor
def cart_count() -> dict[str, int]:
    """Pass the number of products in the cart to every template."""
    return {"cart_count": sum(_cart().values())}


@shop.app_template_filter()
def euros(cents: int) -> str:
    """Format cents as euros: ``1250`` as ``12.50``."""
    return f"{cents // 100}.{cents % 100:02d}"


def _cart() -> dict[str, int]:
    """Return the visitor's cart, as {"brass-bell": 2}."""
    cart: dict[str, int] = session.get("cart", {})
    return cart


def _cart_lines() -> list[tuple[Product, int]]:
    """Return the products and quantities of the cart that the shop still has."""
    cart = _cart()
    query = select(Product).where(Product.slug.in_(cart)).order_by(Product.name)
    return [(found, cart[found.slug]) for found in current_session().scalars(query)]


def _total_cents(lines: list[tuple[Product, int]]) -> int:
    return sum(found.price_cents * quantity for found, quantity in lines)


def _product_or_404(slug: str) -> Product:
    return current_session().get(Product, slug) or abort(404)


def _csv_lines(own_session: Session) -> Iterator[str]:
    yield _csv_line("slug", "name", "price_euros", "description")
    query = select(Product).order_by(Product.name).execution_options(yield_per=100)
    for row in own_session.scalars(query):
        yield _csv_line(row.slug, row.name, euros(row.price_cents), row.description)


def _csv_line(*cells: str) -> str:
    """Return a line of CSV; no spreadsheet runs one of its cells as a formula."""
    line = io.StringIO()
    formulas = tuple("=+-@\t\r\n")
    csv.writer(line).writerow(f"'{c}" if c.startswith(formulas) else c for c in cells)
    return line.getvalue()
