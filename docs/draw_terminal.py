"""Draws the terminal of the README: ``python docs/draw_terminal.py``.

The lines are what a small shop logs for six requests, with the colours of a terminal.
"""

from __future__ import annotations

import io
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from html import escape
from pathlib import Path
from unittest import mock

import flask
import sqlalchemy as sa

from signalpost.config import enabled_for
from signalpost.integrations.flask import Signalpost

PICTURE = Path(__file__).parent / "_static" / "terminal.svg"
COLOURS = {"31": "#ff6b68", "32": "#7ec96f", "33": "#e5c07b", "1;35": "#d489e8"}
LEVELS = {"WARNING": "#e5c07b", "ERROR": "#ff6b68"}
TEXT, FAINT, GROUND = "#d8dee9", "#8d98ab", "#1b1f27"
LINE_PIXELS, LETTER_PIXELS, MARGIN = 22, 7.85, 16

RECEIVERS = {
    "latency": {"slow_seconds": 0.5},
    "referrers": {"paths": ["/"]},
    "failures": True,
    "sqlalchemy": True,
    "sql-totals": True,
    "sql-repeats": {"most_times": 3},
}


def new_shop() -> flask.Flask:
    app = flask.Flask("shop")
    app.config["SIGNALPOST_FORMAT"] = "text"
    app.config["SIGNALPOST_RECEIVERS"] = RECEIVERS
    Signalpost(app)
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)

    @app.get("/")
    def home() -> str:
        return "hello"

    @app.get("/reviews")
    def reviews() -> str:
        with engine.connect() as connection:
            for number in range(5):
                connection.execute(sa.text("SELECT :stars"), {"stars": number})
        return "reviews"

    @app.get("/search")
    def search() -> str:
        time.sleep(0.6)
        return "found"

    @app.get("/export")
    def export() -> Iterator[str]:
        for number in range(3):
            time.sleep(0.04)
            yield f"{number}\n" * 1000

    @app.get("/cart/<int:number>")
    def cart(number: int) -> str:
        raise LookupError(f"no cart {number}")

    logging.getLogger("shop").addFilter(lambda record: False)  # Flask's own traceback
    return app


def logged() -> list[str]:
    """Return the lines of six requests, with the codes of colours, without times."""
    errors = io.StringIO()
    environment = {**os.environ, "FORCE_COLOR": "1"}
    environment.pop("NO_COLOR", None)
    with mock.patch.dict(os.environ, environment, clear=True), redirect_stderr(errors):
        app = new_shop()
        client = app.test_client()
        visits = ["/", "/reviews", "/search", "/export", "/nothing", "/cart/3"]
        for path in visits:
            referrer = {"Referer": "https://search.example/results?q=mug"}
            headers = referrer if path == "/" else {}
            client.get(path, headers=headers, buffered=True)
        enabled_for(app).disable_all()
    lines = [one for one in errors.getvalue().splitlines() if one[:4].isdigit()]
    return [_shortened(one) for one in lines]


def _shortened(line: str) -> str:
    line = re.sub(r"^\S+ \S+ ", "", line)
    line = line.replace("new_shop.<locals>.", "")
    line = re.sub(r"at=\S*?[^/\s]+:(\d+:\w+)", r"at=shop.py:\1", line)
    return line.partition(" times=")[0]


def drawn(lines: list[str]) -> Iterator[str]:
    longest = max(len(re.sub(r"\x1b\[[\d;]*m", "", one)) for one in lines)
    width = round(longest * LETTER_PIXELS + 2 * MARGIN)
    height = LINE_PIXELS * (len(lines) + 1) + 2 * MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" font-size="13"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace">'
    )
    yield f'<rect width="{width}" height="{height}" rx="8" fill="{GROUND}"/>'
    shown = ["\x1b[2m$ flask --app shop run\x1b[0m", *lines]
    for number, line in enumerate(shown, 1):
        y = MARGIN + number * LINE_PIXELS - 7
        yield (
            f'<text x="{MARGIN}" y="{y}" fill="{TEXT}" xml:space="preserve">'
            f"{_spans(line)}</text>"
        )
    yield "</svg>"


def _spans(line: str) -> str:
    parts = re.split(r"\x1b\[([\d;]*)m", line)
    spans = [_named(parts[0])]
    for code, text in zip(parts[1::2], parts[2::2], strict=True):
        colour = FAINT if code == "2" else COLOURS.get(code)
        shown = escape(text)
        spans.append(f'<tspan fill="{colour}">{shown}</tspan>' if colour else shown)
    return "".join(spans)


def _named(text: str) -> str:
    """Colour the level and the logger, with which each line begins."""
    level, space, rest = text.partition(" ")
    logger, gap, message = rest.partition(" ")
    if not message:
        return escape(text)
    colour = LEVELS.get(level, FAINT)
    return (
        f'<tspan fill="{colour}">{level}</tspan>{space}'
        f'<tspan fill="{FAINT}">{logger}</tspan>{gap}{escape(message)}'
    )


if __name__ == "__main__":
    PICTURE.write_text("\n".join(drawn(logged())) + "\n", encoding="utf-8")
