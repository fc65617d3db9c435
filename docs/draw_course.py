"""Draws the pictures of ``course.rst``: ``python docs/draw_course.py``.

The files are those that it would draw now:

>>> for name, course in COURSES.items():
...     assert path_of(name).read_text(encoding="utf-8") == picture(course), name
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from html import escape
from pathlib import Path

STATIC = Path(__file__).parent / "_static"

WIDTH = 390
ROW = 25
TOP = 48
LANES = {"server": 98, "middleware": 176, "application": 272, "body": 358}
TIMES = {"seconds_to_headers": 54, "seconds_to_first_byte": 36, "duration_seconds": 18}

STYLE = """
  svg { font: 12px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
  .page { fill: #fff; stroke: #c8ccd0 }
  .lane { stroke: #c8ccd0; stroke-width: 1 }
  .head { fill: #1d2125; font-weight: 600 }
  .step { stroke: #69707a; stroke-width: 1.2 }
  .tip { fill: #69707a }
  .label { fill: #4a5159 }
  .paper { fill: #fff }
  .signal { fill: #dceaf9; stroke: #2b6cb0 }
  .name { fill: #12385f }
  .bad .signal { fill: #fbe3df; stroke: #b23b2a }
  .bad .name { fill: #6d1d12 }
  .time { stroke: #8a5a00; stroke-width: 2 }
  .span { fill: #8a5a00; font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .page { fill: #1b1e22; stroke: #444b53 }
    .lane { stroke: #444b53 }
    .head { fill: #eef0f2 }
    .step { stroke: #a3abb5 }
    .tip { fill: #a3abb5 }
    .label { fill: #c3cad2 }
    .paper { fill: #1b1e22 }
    .signal { fill: #17324f; stroke: #6aa9e9 }
    .name { fill: #d5e7fa }
    .bad .signal { fill: #4d1f19; stroke: #ee8a7b }
    .bad .name { fill: #fbdad4 }
    .time { stroke: #e0ac4a }
    .span { fill: #e0ac4a }
  }
"""


class Step(t.NamedTuple):
    """A line of a picture: a call from one lane to another."""

    source: str
    target: str
    text: str
    ends: str = ""
    """The time that ends here."""


class Signal(t.NamedTuple):
    """A line of a picture: a signal that is sent."""

    lane: str
    name: str


Course = tuple[Step | Signal, ...]

OPENING: Course = (
    Step("server", "middleware", "calls"),
    Signal("middleware", "exchange-opened"),
    Step("middleware", "application", "calls"),
    Signal("application", "appcontext-pushed"),
    Signal("application", "request-started"),
)
VIEW = Step("application", "application", "the view")
FAILING_VIEW = Step("application", "application", "the view raises")
ANSWER: Course = (
    Signal("application", "request-finished"),
    Step("application", "server", "start_response", "seconds_to_headers"),
    Signal("application", "request-tearing-down"),
    Signal("application", "appcontext-tearing-down"),
    Signal("application", "appcontext-popped"),
    Step("application", "server", "returns the body"),
)
CLOSE: Course = (
    Step("server", "body", "close()"),
    Step("body", "middleware", "closed", "duration_seconds"),
    Signal("middleware", "exchange-closed"),
)
FIRST_CHUNK = Step("body", "server", "first chunk", "seconds_to_first_byte")
ONLY_CHUNK = Step("body", "server", "the only chunk", "seconds_to_first_byte")
MORE_CHUNKS = Step("body", "server", "further chunks")
END = Step("body", "server", "end")

COURSES: dict[str, Course] = {
    "plain": (*OPENING, VIEW, *ANSWER, ONLY_CHUNK, END, *CLOSE),
    "streamed": (*OPENING, VIEW, *ANSWER, FIRST_CHUNK, MORE_CHUNKS, END, *CLOSE),
    "failed-view": (
        *OPENING,
        FAILING_VIEW,
        Signal("application", "got-request-exception"),
        *ANSWER,
        ONLY_CHUNK,
        END,
        *CLOSE,
    ),
    "failed-body": (
        *OPENING,
        VIEW,
        *ANSWER,
        FIRST_CHUNK,
        Step("body", "middleware", "exception"),
        Signal("middleware", "got-request-exception"),
        Step("middleware", "server", "exception"),
        *CLOSE,
    ),
    "aborted": (
        *OPENING,
        VIEW,
        *ANSWER,
        FIRST_CHUNK,
        Step("server", "server", "the client disconnects"),
        *CLOSE,
    ),
}
"""By the name of its picture, each course from the top down."""


def arrow(step: Step, y: int) -> Iterator[str]:
    """Draw a call from one lane to another."""
    start, end = LANES[step.source], LANES[step.target]
    text = escape(step.text)
    if start == end:
        yield (
            f'<circle class="tip" cx="{start}" cy="{y}" r="3"/>'
            f'<rect class="paper" x="{start + 6}" y="{y - 8}"'
            f' width="{len(text) * 6.5:g}" height="16"/>'
            f'<text class="label" x="{start + 8}" y="{y + 4}">{text}</text>'
        )
        return
    back = -5 if end > start else 5
    middle, width = (start + end) / 2, len(step.text) * 6.2 + 6
    yield f'<line class="step" x1="{start}" y1="{y}" x2="{end}" y2="{y}"/>'
    yield (
        f'<path class="tip" d="M{end} {y}l{back} -3.5v7z"/>'
        f'<rect class="paper" x="{middle - width / 2:g}" y="{y - 8}"'
        f' width="{width:g}" height="16"/>'
        f'<text class="label" x="{middle:g}" y="{y + 4}"'
        f' text-anchor="middle">{text}</text>'
    )


def pill(signal: Signal, y: int) -> Iterator[str]:
    """Draw a signal on the lane that sends it."""
    x = LANES[signal.lane]
    width = len(signal.name) * 6.7 + 14
    kind = ' class="bad"' if signal.name == "got-request-exception" else ""
    yield (
        f'<g{kind}><rect class="signal" x="{x - width / 2:g}" y="{y - 9}"'
        f' width="{width:g}" height="18" rx="9"/>'
        f'<text class="name" x="{x}" y="{y + 4}" text-anchor="middle">'
        f"{signal.name}</text></g>"
    )


def span(name: str, start: int, end: int) -> Iterator[str]:
    """Draw a time from its first to its last line."""
    x = TIMES[name]
    yield f'<path class="time" fill="none" d="M{x - 3} {start}h6m-3 0V{end}m-3 0h6"/>'
    yield (
        f'<text class="span" transform="translate({x - 5} {start + 4}) rotate(-90)"'
        f' text-anchor="end">{name}</text>'
    )


def picture(course: Course) -> str:
    """Return a course as an SVG."""
    height = TOP + len(course) * ROW + 4
    parts = [
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}"/>'
    ]
    for name, x in LANES.items():
        parts.append(
            f'<text class="head" x="{x}" y="22" text-anchor="middle">{name}</text>'
            f'<line class="lane" x1="{x}" y1="30" x2="{x}" y2="{height - 8}"/>'
        )
    for index, line in enumerate(course):
        y = TOP + index * ROW
        if isinstance(line, Signal):
            parts.extend(pill(line, y))
            continue
        parts.extend(arrow(line, y))
        if line.ends:
            parts.extend(span(line.ends, TOP, y))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def path_of(name: str) -> Path:
    """Return the file of a picture."""
    return STATIC / f"course-{name}.svg"


def main() -> None:
    """Write each picture into its file."""
    for name, course in COURSES.items():
        path_of(name).write_text(picture(course), encoding="utf-8")


if __name__ == "__main__":
    main()
