from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from signalpost.live import page

ROOT = Path(__file__).parents[2]
STATIC = Path(page.__file__).with_name("static")


def test_the_wheel_has_the_files_of_the_page(tmp_path: Path) -> None:
    pytest.importorskip("flit_core", reason="flit_core is not installed")
    # In a separate process, as flit looks at the working directory.
    subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from flit_core.buildapi import *; build_wheel(sys.argv[1])",
            str(tmp_path),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = set(opened.namelist())
    expected = {
        f"signalpost/live/static/{one.relative_to(STATIC)}"
        for one in STATIC.rglob("*")
        if one.is_file()
    }
    assert "signalpost/live/static/index.html" in expected
    assert expected <= packed
