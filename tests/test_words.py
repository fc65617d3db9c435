from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = Path(__file__).parents[1] / ".ci" / "words"


class Tree:
    """A repository with one page, one module and the checker."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for folder in (".ci", "src", "docs", "changes"):
            (root / folder).mkdir()
        for name in ("README.md", "CONTRIBUTING.rst", "Makefile"):
            (root / name).write_text("A plain sentence.\n")
        shutil.copy(WORDS, root / ".ci")
        self.makefile = root / "Makefile"
        self.to_do = root / ".ci" / "words-to-do.txt"
        self.to_do.write_text("")

    def check(self, *options: str, page: str = "", module: str = "") -> tuple[int, str]:
        """Return the checker's exit code and its messages."""
        (self._root / "docs/page.rst").write_text(page)
        (self._root / "src/shop.py").write_text(module)
        command = [sys.executable, str(self._root / ".ci/words"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize(
    "sentence",
    [
        "Receivers hear it.",
        "It is heard in threads.",
        "The signal\nsays so.",
        "Ask somebody.",
        "It may be closed, lest it leaks.",
        "Metrics have figures.",
        "Whatever it does, it is logged.",
        "What is enabled is listed below.",
        "The request goes on.",
        "It has no route, nor has it an endpoint.",
        "As a rule, it is closed.",
        "It is a signal of ours.",
        "The exchange is over.",
        "It has a file of its own.",
        "The value stays as it is.",
        "A file is beside it.",
    ],
)
def test_dialect_in_a_page_fails(tree: Tree, sentence: str) -> None:
    code, messages = tree.check(page=f"Title\n=====\n\n{sentence}\n")
    assert code == 1
    assert messages.startswith("docs/page.rst:4: ")


@pytest.mark.parametrize(
    "text",
    [
        "It has an attribute ``signals``.",
        ">>> hears = 1\n... # nobody\nnobody",
        ".. code-block:: python\n\n    nobody = 1\n\n    somebody = 2",
        "..\n    nobody reads this\n\n    or this: nobody",
        "What is an exchange? A record.",
        "What it costs",
    ],
)
def test_code_questions_and_titles_pass(tree: Tree, text: str) -> None:
    assert tree.check(page=f"{text}\n\nA plain sentence.\n") == (0, "")


@pytest.mark.parametrize(
    "module",
    [
        "# Nobody\n# reads it.\n",
        "count = 1  # as somebody counts\n",
        "def count():\n    # The count\n    # goes on.\n    return 1\n",
    ],
)
def test_dialect_in_a_comment_fails(tree: Tree, module: str) -> None:
    code, messages = tree.check(module=module)
    assert code == 1
    assert messages.count("src/shop.py:") == 1


def test_dialect_in_a_comment_of_the_makefile_fails(tree: Tree) -> None:
    tree.makefile.write_text("run:  ## Tell the figures\n\tnobody --knows\n")
    code, messages = tree.check()
    assert code == 1
    assert {line.split(": ")[1] for line in messages.splitlines()} == {
        "'Tell'",
        "'figures'",
    }


def test_prose_after_code_is_read(tree: Tree) -> None:
    page = ".. code-block:: python\n\n    pass\n\nNobody\n\n>>> 1\n1\n\nSomebody\n"
    code, messages = tree.check(page=page)
    assert code == 1
    assert [line.split(": ")[1] for line in messages.splitlines()] == [
        "'Nobody'",
        "'Somebody'",
    ]


@pytest.mark.parametrize("opening", ["What", "Who", "Whether", "Tell"])
def test_a_docstring_with_a_relative_opening_fails(tree: Tree, opening: str) -> None:
    code, messages = tree.check(module=f'def f():\n    """{opening} it is open."""\n')
    assert code == 1
    assert messages.startswith("src/shop.py:2: ")


def test_a_message_is_read(tree: Tree) -> None:
    code, messages = tree.check(module='raise ValueError(f"{1} is heard twice")\n')
    assert (code, messages.split(": ")[:2]) == (1, ["src/shop.py:1", "'heard'"])


def test_a_name_is_not_read(tree: Tree) -> None:
    assert tree.check(module='hears = {"hears": 1}\n') == (0, "")


def test_a_file_that_is_still_to_be_rewritten_passes(tree: Tree) -> None:
    tree.to_do.write_text("docs/page.rst\n")
    assert tree.check(page="Nobody\n") == (0, "")


def test_a_file_that_is_plain_leaves_the_list(tree: Tree) -> None:
    tree.to_do.write_text("docs/page.rst\n")
    code, messages = tree.check(page="A plain sentence.\n")
    assert (code, "docs/page.rst is plain now" in messages) == (1, True)
    assert tree.check("--shrink", page="A plain sentence.\n") == (0, "")
    assert tree.to_do.read_text() == ""
