"""Shows what is enabled, and what the receivers know: a page made by asking them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import Any
from typing import TypeVar

from flask import Blueprint
from flask import current_app
from flask import render_template

from signalpost.config import enabled_for
from signalpost.config import EnabledReceiver
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.lines import one_line
from signalpost.receivers.lines import one_word
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.receivers.referrer_counter import ReferrerCount
from signalpost.receivers.referrer_counter import ReferrerCounter

LONGEST_TEXT = 80
MOST_ROWS = 10

about = Blueprint("about", __name__, url_prefix="/about")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Described:
    """One enabled receiver, in words."""

    name: str
    options: str
    signals: str
    source: str


@about.get("/receivers")
def receivers() -> str:
    """Show which receivers are enabled, and what they know.

    Everyone may read it, as this is an example; yours is for those who run the shop.
    """
    enabled = enabled_for(current_app)
    return render_template(
        "receivers.html",
        enabled=[_described(one) for one in enabled.values()],
        figures=_answer("recorder", LatencyRecorder.snapshot),
        referrers=_answer("referrer-counter", _top),
        totals=_answer("referrer-counter", ReferrerCounter.totals),
        failures=_answer("failures", FailureLogger.counts),
        most=MOST_ROWS,
    )


@about.app_template_filter()
def cut(text: str) -> str:
    """Return what a client may have sent: short, and without what is not printable."""
    return one_word(text, LONGEST_TEXT)


@about.app_template_filter()
def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds: ``0.0123`` as ``12.3``."""
    return "–" if isnan(seconds) else f"{seconds * 1000:.1f}"


@about.app_template_filter()
def percent(share: float) -> str:
    """Return a share as ``2.5 %``."""
    return "–" if isnan(share) else f"{share * 100:.1f} %"


@about.app_template_filter()
def file_name(place: str) -> str:
    """Return a place in the code without the folders that it is in."""
    return place.rpartition(os.sep)[2]


def _answer(name: str, question: Callable[[Any], _Answer]) -> _Answer | None:
    """Return what a receiver answers; ``None`` if it is not enabled."""
    found = enabled_for(current_app).get(name)
    return None if found is None else question(found.receiver)


def _top(counter: ReferrerCounter) -> list[ReferrerCount]:
    return counter.top(MOST_ROWS)


def _described(one: EnabledReceiver) -> Described:
    options = (
        f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in one.shown_options.items()
    )
    # Names and options are from files: their marks must not change the page's.
    return Described(
        one_line(one.name),
        one_line(", ".join(options)),
        one_line(
            f"hears {', '.join(one.signals)}" if one.signals else "connects itself"
        ),
        one_line(
            one.source.removeprefix(_folder()).removesuffix(one.name).rstrip(", ")
        ),
    )


def _folder() -> str:
    """Return where the configuration is, of which visitors need not know."""
    path = current_app.config["SIGNALPOST_CONFIG"] or ""
    return os.path.join(os.path.dirname(os.path.join(current_app.root_path, path)), "")
