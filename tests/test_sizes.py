from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SIZES = Path(__file__).parents[1] / ".ci" / "sizes"


class Tree:
    """A repository with one module, ``src/shop.py``, and the checker."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / ".ci").mkdir()
        (root / "src").mkdir()
        shutil.copy(SIZES, root / ".ci")

    def check(self, module: str, exceptions: str = "") -> tuple[int, str]:
        """Return the checker's exit code and its messages."""
        table = f"[tool.signalpost.sizes]\n{exceptions}\n"
        (self._root / "pyproject.toml").write_text(table)
        (self._root / "src/shop.py").write_text(module)
        command = [sys.executable, str(self._root / ".ci/sizes")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def function_of(lines: int) -> str:
    return "class Shop:\n    def open(self):\n" + "        pass\n" * lines


def test_what_is_within_the_limits_passes(tree: Tree) -> None:
    assert tree.check(function_of(39)) == (0, "")
    assert tree.check("pass\n" * 499) == (0, "")


def test_a_function_of_40_lines_is_named_with_its_line(tree: Tree) -> None:
    code, messages = tree.check(function_of(40))
    assert code == 1
    assert messages == (
        "src/shop.py:2: the body of Shop.open has 40 lines, the limit is fewer than 40;"
        " split it by what it does\n"
    )


def test_a_docstring_is_not_counted(tree: Tree) -> None:
    docstring = '    """Open.\n' + "\n" * 40 + '    """\n'
    assert tree.check(f"def open():\n{docstring}    pass\n") == (0, "")


def test_a_function_within_a_function_is_checked(tree: Tree) -> None:
    inner = "    async def inner():\n" + "        pass\n" * 40
    _, messages = tree.check(f"def outer():\n{inner}")
    assert [line.split()[4] for line in messages.splitlines()] == [
        "outer",
        "outer.inner",
    ]


def test_a_module_of_500_lines_is_named(tree: Tree) -> None:
    code, messages = tree.check("pass\n" * 500)
    assert code == 1
    assert messages.startswith("src/shop.py:1: the module has 500 lines")


def test_an_exception_with_a_reason_passes(tree: Tree) -> None:
    exceptions = '"src/shop.py:Shop.open" = "a call less for each request"'
    assert tree.check(function_of(40), exceptions) == (0, "")


def test_an_exception_without_a_reason_is_none(tree: Tree) -> None:
    code, _ = tree.check(function_of(40), '"src/shop.py:Shop.open" = ""')
    assert code == 1


@pytest.mark.parametrize("key", ["src/shop.py", "src/shop.py:Shop.close"])
def test_an_exception_that_is_not_needed_is_an_error(tree: Tree, key: str) -> None:
    code, messages = tree.check(function_of(39), f'"{key}" = "a reason"')
    assert code == 1
    assert f"excepts {key}, which is within the limits or gone" in messages
