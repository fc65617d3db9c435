"""The commands that CONTRIBUTING names."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.rst").read_text("utf-8")


def test_the_command_for_one_test_selects_some() -> None:
    command = re.search(r"``\.venv/bin/python (-m pytest[^`]*)``", TEXT)
    assert command is not None
    words = [*shlex.split(command[1]), "--collect-only", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_each_command_of_make_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    named = re.findall(r"(?:``|^    )make ([a-z-]+)", TEXT, re.M)
    assert "check" in named
    assert [one for one in named if one not in targets] == []
