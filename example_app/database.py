"""Shows plain SQLAlchemy in a Flask application: tables, and a session per request."""

from __future__ import annotations

from pathlib import Path

from flask import current_app
from flask import Flask
from flask import g
from sqlalchemy import create_engine
from sqlalchemy import ForeignKey
from sqlalchemy import insert
from sqlalchemy import NullPool
from sqlalchemy import select
from sqlalchemy import URL
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import relationship
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from signalpost.integrations.relay.outbox import OutboxTable


class Base(DeclarativeBase):
    """Base class of the shop's tables."""


class Product(Base):
    """A product for sale; its flag is a letter of ``static/flags.svg``."""

    __tablename__ = "products"

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]
    flag: Mapped[str]
    description: Mapped[str]
    reviews: Mapped[list[Review]] = relationship(order_by="Review.number")


class Review(Base):
    """A customer's review of a product."""

    __tablename__ = "reviews"

    number: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(ForeignKey(Product.slug), index=True)
    stars: Mapped[int]
    text: Mapped[str]


class Order(Base):
    """A visitor's order."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    total_cents: Mapped[int]
    is_confirmed: Mapped[bool] = mapped_column(default=False)


# An event is written here in the same transaction as the order that it reports.
OUTBOX = OutboxTable(Base.metadata)

_PRODUCTS = (
    ("brass-bell", "Brass bell", 4900, "J", "Rings across a harbour in fog."),
    ("deck-lantern", "Deck lantern", 6450, "R", "Burns for nine hours, red or green."),
    ("flag-set", "Set of forty flags", 18900, "L", "Cotton, hemmed, one pouch each."),
    ("guard-whistle", "Guard’s whistle", 890, "V", "Two tones that hold a train."),
    ("morse-key", "Morse key", 7200, "H", "A firm spring and a quiet contact."),
    ("semaphore-pair", "Semaphore pair", 2375, "O", "Two ash poles, two flags."),
    ("signal-mirror", "Signal mirror", 1250, "S", "Throws sunlight thirty miles."),
    ("weather-vane", "Weather vane", 11500, "K", "Points out what everybody felt."),
)

_REVIEWS = (
    ("brass-bell", 5, "The fog came. So did everybody else, and not into us."),
    ("deck-lantern", 4, "Nine hours, as promised. Sailors fear the tenth."),
    ("flag-set", 5, "Thirty-nine flags flown, one mistaken for a tablecloth."),
    ("guard-whistle", 3, "The train held. The guard did not."),
    ("morse-key", 5, "Short, long, short: a pleasure."),
    ("semaphore-pair", 2, "My neighbours waved back and called the police."),
    ("signal-mirror", 4, "Seen at thirty miles. Nothing to do at night."),
    ("weather-vane", 5, "Points out what everybody felt, now with authority."),
    ("brass-bell", 4, "Louder than our captain, who is looking for it."),
)


def init_database(app: Flask) -> None:
    """Open the application's database; create and fill it if it does not exist."""
    path = Path(app.instance_path, app.config["DATABASE"])
    app.extensions["shop"] = open_database(str(path))
    app.teardown_appcontext(_close_session)


def open_database(path: str) -> sessionmaker[Session]:
    """Return a session factory for a database; create and fill it if it is new."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Opening a file is fast, and without a pool no connection outlives its session.
    url = URL.create("sqlite", database=path)
    # The garbage collector closes a response that the server did not close, and runs
    # in any thread.
    any_thread = {"check_same_thread": False}
    engine = create_engine(url, poolclass=NullPool, connect_args=any_thread)
    with engine.begin() as connection:
        # If several processes start at once, only one of them may fill the file.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        Base.metadata.create_all(connection)
        if connection.scalar(select(Product.slug).limit(1)) is None:
            columns = Product.__table__.columns.keys()
            products = [dict(zip(columns, row, strict=True)) for row in _PRODUCTS]
            connection.execute(insert(Product), products)
        if connection.scalar(select(Review.number).limit(1)) is None:
            columns = ["slug", "stars", "text"]
            reviews = [dict(zip(columns, row, strict=True)) for row in _REVIEWS]
            connection.execute(insert(Review), reviews)
    return sessionmaker(engine)


def session_factory() -> sessionmaker[Session]:
    """Return the session factory of the current application's database."""
    factory: sessionmaker[Session] = current_app.extensions["shop"]
    return factory


def current_session() -> Session:
    """Return the session of this request; it is closed when the request ends."""
    if "shop_session" not in g:
        g.shop_session = session_factory()()
    session: Session = g.shop_session
    return session


def _close_session(_: BaseException | None) -> None:
    if "shop_session" in g:
        g.shop_session.close()
