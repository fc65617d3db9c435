"""Skips of tests that need what is not installed, in CI and elsewhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import missing
from tests.integrations import postgresql

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
RUN = (ROOT / ".ci" / "run").read_text("utf-8")

# A test for each kind of skip.
SKIPPED = {
    "mark": """
        import pytest
        @pytest.mark.skipif(True, reason="Debian's package wrk is not installed")
        def test_it(): pass
    """,
    "marks of the module": """
        from tests.missing import needs
        pytestmark = needs("tmux", "no-such-program")
        def test_it(): pass
    """,
    "fixture": """
        import pytest
        @pytest.fixture
        def server(): pytest.skip("Debian's package postgresql is not installed: why")
        def test_it(server): pass
    """,
    "test": """
        import pytest
        def test_it(): pytest.skip("gevent is not installed")
    """,
    "import of the test": """
        import pytest
        def test_it(): pytest.importorskip("no_such_module.part")
    """,
    "import of the module": """
        import pytest
        pytest.importorskip("no_such_module", reason="SQLAlchemy is not installed")
        def test_it(): pass
    """,
    "module": """
        import pytest
        pytest.skip("release.tar.gz cannot be downloaded", allow_module_level=True)
    """,
    "doctest": '''
        def shown():
            """
            >>> import pytest
            >>> pytest.importorskip("no_such_module")
            """
    ''',
    "unittest": """
        import unittest
        class ItTest(unittest.TestCase):
            @unittest.skip("redis is not installed")
            def test_it(self): pass
    """,
    "teardown": """
        import pytest
        @pytest.fixture
        def server():
            yield
            pytest.importorskip("no_such_module")
        def test_it(server): pass
    """,
}
OTHERS = {
    "for another reason": """
        import pytest
        def test_it(): pytest.skip("only root can give files away")
    """,
    "without a compiler": """
        import pytest
        def test_it(): pytest.skip("bjoern is not installed")
    """,
    "expected to fail": """
        import pytest
        @pytest.mark.xfail
        def test_it(): raise LookupError("it is not installed")
    """,
}


def outcomes(pytester: pytest.Pytester, code: str) -> dict[str, int]:
    pytester.makepyfile(code)
    options = ("--doctest-modules", "-p", "no:cacheprovider", "-p", "no:signalpost")
    result = pytester.runpytest_inprocess(*options, plugins=[missing])
    return result.parseoutcomes()


@pytest.mark.parametrize("code", SKIPPED.values(), ids=SKIPPED)
def test_skip_for_what_ci_installs_fails(pytester: pytest.Pytester, code: str) -> None:
    found = outcomes(pytester, code)
    assert "skipped" not in found
    assert found.keys() & {"failed", "errors"}


@pytest.mark.parametrize("code", OTHERS.values(), ids=OTHERS)
def test_other_skips_are_kept(pytester: pytest.Pytester, code: str) -> None:
    (found,) = outcomes(pytester, code).items()
    assert found in {("skipped", 1), ("xfailed", 1)}


def run(*words: str, **variables: str) -> str:
    """Run tests of this repository where no program is found; return the output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=ROOT,
        env=os.environ | {"PATH": "", "PYTEST_ADDOPTS": "", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


# A test for each package whose programs are searched on the PATH.
WITHOUT_PROGRAMS = {
    "chromium": "servers/test_pages.py::test_a_folder_without_pages_fails",
    "mariadb-server": "integrations/test_sqlalchemy_mariadb.py::"
    "test_statements_of_a_first_connection_belong_to_no_request",
    "prometheus": "example_app/test_monitoring.py::"
    "test_alerts_are_sound_and_fire_for_their_causes",
    "rabbitmq-server": "servers/test_relay_rabbitmq.py::"
    "test_group_that_is_not_there_has_no_dead_letters",
    "redis-server": "integrations/relay/test_background.py::"
    "test_flush_waits_until_all_is_sent",
    "tmux": "integrations/test_flask_watch.py::test_a_list_fits_a_narrow_terminal",
    "wrk": "servers/test_load.py::test_every_count_is_the_same",
}


def test_tests_fail_in_ci_without_the_programs_that_it_installs() -> None:
    words = [f"tests/{test}" for test in WITHOUT_PROGRAMS.values()]
    output = run(*words, CI="true")
    for package in WITHOUT_PROGRAMS:
        assert f"Debian's package {package} is not installed; in CI" in output
    assert " skipped" not in output
    elsewhere = run(*words, CI="")
    for package in WITHOUT_PROGRAMS:
        assert f"Debian's package {package} is not installed\n" in elsewhere
    assert " failed" not in elsewhere
    assert " error" not in elsewhere


def test_without_postgresql_its_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(postgresql, "_PROGRAMS", tmp_path)
    with pytest.raises(pytest.skip.Exception) as caught:
        postgresql.find_server()
    assert str(caught.value) == missing.not_installed("postgresql")


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of some functions in all tests, each with where it is."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (
                getattr(node.func, "attr", getattr(node.func, "id", "")) in names
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def text_of(node: ast.AST) -> str:
    return ast.unparse(node).strip("f'\"")


def test_ci_installs_each_package_that_a_skip_names() -> None:
    named = {text_of(call.args[0]) for _, call in calls("needs", "not_installed")}
    (listed,) = re.findall(r'packages="([^"]+)"', RUN)
    assert named - {"package"} == {*listed.split()}


def test_skips_for_imports_have_reasons_that_the_rule_finds() -> None:
    wrong = []
    for place, call in calls("importorskip"):
        reasons = [text_of(one.value) for one in call.keywords if one.arg == "reason"]
        is_ours = text_of(call.args[0]).partition(".")[0] not in sys.stdlib_module_names
        if is_ours and not all(one.endswith(" is not installed") for one in reasons):
            wrong.append(place)
    assert wrong == []


def test_ci_is_set_where_all_checks_are_run(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "CI=$CI"\n')
    make.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if name != "CI"}
    own["PATH"] = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    # As root it would install packages.
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    for given, expected in (({}, "CI=true"), ({"CI": "false"}, "CI=false")):
        done = subprocess.run(
            [ROOT / ".ci" / "run"],
            env=own | given,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == expected
