"""The check of the documentation's pages, in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.missing import not_installed

PAGES = Path(__file__).parents[2] / ".ci" / "pages"
SIDE_BAR = (
    '<div class="sidebar-drawer" style="display: none">signalpost Version 1.0'
    " Changelog Source</div>"
)
DARK = "@media (prefers-color-scheme: dark) { body { background: #000 } }"
GOOD = f"<style>body {{ background: #fff }} {DARK}</style>{SIDE_BAR}<article>"

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("chromium") or shutil.which("chromium-browser")),
        reason=not_installed("chromium"),
    ),
]


def checked(
    folder: Path, *, environment: dict[str, str] | None = None, **pages: str
) -> tuple[int, str]:
    pytest.importorskip("playwright", reason="playwright is not installed")
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(f"<!doctype html>{text}")
    done = subprocess.run(
        [sys.executable, PAGES, folder],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_pages_that_are_as_they_must_be_pass(tmp_path: Path) -> None:
    assert checked(tmp_path, good=f"{GOOD}<p>short") == (0, "")


def test_each_fault_of_a_page_is_named(tmp_path: Path) -> None:
    code, messages = checked(
        tmp_path,
        phone=f'{GOOD}<p style="width: 500px">wide',
        desktop=f'{GOOD}<p style="width: 1500px">wide',
        bare="<style>body { background: #fff }</style><article>plain",
    )
    assert code == 1
    assert "phone.html: scrolls sideways at 390 px, light" in messages
    assert "phone.html: scrolls sideways at 390 px, dark" in messages
    assert "phone.html: scrolls sideways at 1280 px" not in messages
    assert "desktop.html: scrolls sideways at 1280 px, dark" in messages
    assert "bare.html: light and dark have the same background" in messages
    assert "bare.html: the side bar lacks 'signalpost'" in messages


def test_a_folder_without_pages_fails(tmp_path: Path) -> None:
    code, messages = checked(tmp_path)
    assert (code, "has no page; build the site first" in messages) == (1, True)


@pytest.mark.parametrize(("ci", "expected"), [("", 0), ("true", 1)])
def test_without_a_browser_only_ci_fails(
    ci: str, expected: int, tmp_path: Path
) -> None:
    code, messages = checked(tmp_path, environment={"PATH": "", "CI": ci}, good=GOOD)
    assert (code, "pages were NOT checked" in messages) == (expected, True)
