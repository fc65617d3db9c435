"""Shows a receiver that runs in a separate process: it confirms orders.

``python -m example_app.relayed`` starts it together with the shop.
"""

from __future__ import annotations

import logging
import os
from functools import cache

from sqlalchemy import update
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from .database import open_database
from .database import Order
from .events import order_placed

logger = logging.getLogger("example_app.confirming")


@order_placed.connect
def confirm(sender: str, *, order: int, total_cents: int) -> None:
    """Confirm an order; a second call changes nothing."""
    with _sessions().begin() as session:
        session.execute(
            update(Order).where(Order.number == order).values(is_confirmed=True)
        )
    logger.info("confirmed order %d of %s: %d cents", order, sender, total_cents)


@cache
def _sessions() -> sessionmaker[Session]:
    return open_database(os.environ["SHOP_DATABASE"])
