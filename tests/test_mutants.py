from __future__ import annotations

import ast
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests import mutants
from tests.mutants import main
from tests.mutants import mutants_of

SCRIPT = Path(mutants.__file__)
PATIENCE_SECONDS = 30.0


def changes_of(path: Path, source: str) -> list[str]:
    """Return how a module can be changed; each changed one must be another one."""
    path.write_text(source, encoding="utf-8")
    found = [*mutants_of(path)]
    changed = [ast.parse(mutant.content) for mutant in found]
    codes = {ast.dump(code) for code in (ast.parse(source), *changed)}
    assert len(codes) == 1 + len(found)
    return [mutant.change for mutant in found]


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("a < b", ["a < b -> a <= b"]),
        ("a == b > c", ["a == b > c -> a != b > c", "a == b > c -> a == b >= c"]),
        ("a is not None", ["a is not None -> a is None"]),
        ("a and b and c", ["a and b and c -> a or b or c"]),
        ("not a", ["not a -> a"]),
        ("a + b", ["a + b -> a - b"]),
        ("a = 7", ["7 -> 8", "7 -> 6"]),
        ("a = True", ["True -> False"]),
        ("a(b)", ["deleted"]),
        ("a.b = c", ["deleted"]),
        ("a.b: int = c", ["deleted"]),
        ("a.b += c", ["a.b += c -> a.b -= c", "deleted"]),
        ("if a: b", ["a -> True", "a -> False"]),
        ("a if b else c", ["b -> True", "b -> False"]),
        ("[a for a in b if a]", ["a -> True", "a -> False"]),
        ("while a: b", ["a -> False"]),
        ("while True: a", ["True -> False"]),
        ("def a(): return b", ["b -> None"]),
        ("def a(): return True", ["True -> False"]),
        ("def a(b=c, *, d=None, e='f'): a", ["c -> None", "'f' -> None"]),
        ("async def a(): await b", ["deleted"]),
    ],
)
def test_each_kind_of_mistake_is_made(
    tmp_path: Path, source: str, changes: list[str]
) -> None:
    assert changes_of(tmp_path / "one.py", source) == changes


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "a: int = b",
        "def a(b: c[1] = None, *d: e[2]) -> f[3]: g",
        "if TYPE_CHECKING: a()",
        "if t.TYPE_CHECKING: a()\nelse: b()",
        "if sys.version_info >= (3, 12): a()",
        "a = sys.version_info >= (3, 12)",
        "@overload\ndef a(b: int = 1) -> int: ...",
        "@t.overload\nasync def a(b: int = 1) -> int: ...",
        "raise ValueError('not ' + a)",
        "raise ValueError(f'{a + 1} ' 'is ' f'{not b}')",
        "class A(b[1]): c",
    ],
)
def test_what_cannot_be_noticed_is_left_as_it_is(tmp_path: Path, source: str) -> None:
    assert changes_of(tmp_path / "one.py", source) == []


def test_a_change_takes_the_place_of_what_it_replaces(tmp_path: Path) -> None:
    module = tmp_path / "one.py"
    changes_of(module, "# größer\nif 'ö' in (a and\n        b): c()  # so\nd\n")
    changed = {one.change: one for one in mutants_of(module)}
    swapped = changed["a and b -> a or b"]
    assert swapped.line == 2
    assert swapped.source == "if 'ö' in (a and"
    assert swapped.content.decode() == (
        "# größer\nif 'ö' in ((a or b)): c()  # so\nd\n"
    )
    assert changed["deleted"].content.decode() == (
        "# größer\nif 'ö' in (a and\n        b): pass  # so\nd\n"
    )


def test_an_equivalent_mutant_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("one.py", "a = 7", "7 -> 6")
    monkeypatch.setitem(mutants.EQUIVALENT, key, "both are odd enough")
    assert changes_of(tmp_path / "one.py", "a = 7") == ["7 -> 8"]


MODULE = """\
def is_positive(number: int) -> bool:
    return number > 0
"""
TESTS = """\
from shop.numbers import is_positive


def test_positive() -> None:
    assert is_positive(1)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a project with one module, which is the current folder."""
    root = tmp_path / "project"
    for name, text in {
        "src/shop/__init__.py": "",
        "src/shop/numbers.py": MODULE,
        "tests/test_numbers.py": TESTS,
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.chdir(root)
    return root


ARGUMENTS = ["--package=src/shop", "--tests=tests"]


def test_survivors_are_printed_and_counted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ARGUMENTS) == 1
    *survivors, last = capsys.readouterr().out.splitlines()
    assert sorted(survivors) == [
        "    return number > 0",
        "    return number > 0",
        "src/shop/numbers.py:2: 0 -> -1",
        "src/shop/numbers.py:2: number > 0 -> number >= 0",
    ]
    assert last == "4 mutants, 2 killed (0 by time), 2 survived: 50.0 %, of 92 %"


def test_nothing_is_left_behind(project: Path) -> None:
    (project / "tests/test_more.py").write_text(
        "def test_left(tmp_path): (tmp_path / 'left').touch()"
    )
    before = sorted(project.rglob("*.py"))
    main([*ARGUMENTS, "--sample=1"])
    assert sorted(project.rglob("*.py")) == before
    assert (project / "src/shop/numbers.py").read_text() == MODULE
    assert list((project.parent / "temporary").iterdir()) == []


def test_a_mutant_that_hangs_is_killed_by_time(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not even pytest starts within this time.
    assert main([*ARGUMENTS, "--limit=0.01", "--sample=3"]) == 0
    assert capsys.readouterr().out == (
        "3 mutants, 3 killed (3 by time), 0 survived: 100.0 %, of 92 %\n"
    )


def test_the_same_seed_chooses_the_same_mutants(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tests/test_numbers.py").write_text("def test_nothing(): pass")
    printed = []
    for seed in (1, 1, 2):
        main([*ARGUMENTS, f"--seed={seed}", "--sample=1"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]


MADE_BY_A_LIBRARY = """\
import textwrap
import unittest
from shop.numbers import is_positive

namespace = {"is_positive": is_positive}
code = "def test_zero(self): self.assertIs(is_positive(0), False)"
exec(compile(code, textwrap.__file__, "exec"), namespace)


class TestMade(unittest.TestCase):
    test_zero = namespace["test_zero"]
"""


def test_a_test_whose_code_is_a_librarys_is_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tests/test_made.py").write_text(MADE_BY_A_LIBRARY)
    main(ARGUMENTS)
    assert capsys.readouterr().out == (
        "4 mutants, 4 killed (0 by time), 0 survived: 100.0 %, of 92 %\n"
    )


def test_tests_that_fail_without_a_mutant_are_refused(project: Path) -> None:
    (project / "src/shop/numbers.py").write_text("is_positive = None")
    (project / "src/shop/more.py").write_text("seven = 7")
    with pytest.raises(SystemExit) as raised:
        main(ARGUMENTS)
    assert "TypeError: 'NoneType' object is not callable" in str(raised.value)
    assert str(raised.value).endswith("Without a mutant, the tests fail.")


def test_tests_that_fail_in_another_order_are_refused(project: Path) -> None:
    (project / "tests/test_after.py").write_text(
        "import os\n\ndef test_after(): assert 'BEFORE' in os.environ"
    )
    (project / "tests/test_a.py").write_text(
        "import os, time\n\n"
        "def test_before(): os.environ['BEFORE'] = 'it'; time.sleep(0.1)"
    )
    with pytest.raises(SystemExit, match="Without a mutant, the tests fail"):
        main(ARGUMENTS)


def test_a_package_without_anything_to_change_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--package=tests/no-such-package"])
    assert "no-such-package must be a package with code" in capsys.readouterr().err


def test_an_interrupt_ends_all_that_was_started(project: Path) -> None:
    (project / "tests/test_numbers.py").write_text(
        textwrap.dedent("""
            import os, pathlib, signal
            from shop.numbers import is_positive

            def test_positive():
                if is_positive(1) is not True or is_positive(0) is not False:
                    pathlib.Path("started").write_text(str(os.getpid()))
                    signal.pause()
        """)
    )
    os.mkfifo("started")
    started = os.open("started", os.O_RDONLY | os.O_NONBLOCK)
    command = [sys.executable, str(SCRIPT), *ARGUMENTS, "--jobs=1"]
    with subprocess.Popen(command) as process:
        try:
            assert select.select([started], [], [], PATIENCE_SECONDS)[0]
            hanging = int(os.read(started, 100))
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 130
        finally:
            process.kill()
            os.close(started)
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    assert list((project.parent / "temporary").iterdir()) == []
