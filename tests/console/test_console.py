from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from signalpost.config import BUILTIN_RECEIVERS
from signalpost.console import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


class Ran(t.NamedTuple):
    code: int
    out: str
    err: str


Run = t.Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Ran:
        code = main(words)
        return Ran(code, *capsys.readouterr())

    return run


def test_receivers_are_listed_with_options_and_summaries(run: Run) -> None:
    code, out, err = run("receivers")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    start = lines.index("off referrers(paths=None, logger=None)")
    assert lines[start + 1].startswith("    Log the referrer of each request")
    assert {line[4:].partition("(")[0] for line in lines if line[:4] == "off "} >= {
        *BUILTIN_RECEIVERS
    }


def test_receivers_as_json_are_one_document(run: Run) -> None:
    data = json.loads(run("receivers", "--json").out)
    assert {*BUILTIN_RECEIVERS} <= {one["name"] for one in data["receivers"]}
    assert data["mistakes"] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shop.toml", "[signalpost]\nformat = 'text'\n[signalpost.receivers]\n"),
        ("shop.ini", "[signalpost]\nformat = text\n[signalpost.receivers]\n"),
    ],
)
def test_a_right_file_is_reported_with_code_0(
    run: Run, folder: Path, name: str, text: str
) -> None:
    (folder / name).write_text(f"{text}latency =\n" if "ini" in name else text)
    if name.endswith("ini"):
        (folder / name).write_text(f"{text}latency = yes\n")
    code, out, err = run("check", name)
    enabled = "latency" if name.endswith("ini") else "no receiver"
    assert (code, err) == (0, "")
    assert out == f"The configuration is right; it enables {enabled}.\n"


def test_mistakes_of_a_file_have_a_line_each_and_code_1(run: Run, folder: Path) -> None:
    (folder / "shop.toml").write_text(
        "[signalpst]\nx = 1\n[signalpost.receivers]\nlatencey = true\n"
    )
    code, out, err = run("check", "shop.toml")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == "Error: 2 mistakes in the configuration:"
    assert lines[1].startswith("  shop.toml, line 1, signalpst: unknown section")
    assert lines[2].startswith("  shop.toml, line 4, [signalpost.receivers] latencey:")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.toml", "cannot be read: No such file"),
        ("shop.txt", "must end in .toml or .ini"),
        (".", "must end in .toml or .ini"),
        ("folder.toml", "cannot be read: Is a directory"),
        ("nul\0.toml", "cannot be read: "),
        ("odd\x1b[31m.toml", "odd\\x1b[31m.toml: "),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_of_one_line(
    run: Run, folder: Path, name: str, reason: str
) -> None:
    (folder / "folder.toml").mkdir()
    code, out, err = run("check", name)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert reason in err
    assert err.removesuffix("\n").isprintable()
    data = json.loads(run("check", name, "--json").out)
    assert data["is_right"] is False
    assert len(data["mistakes"]) == 1


def test_a_module_that_fails_is_shown_with_its_line_once(
    run: Run, folder: Path
) -> None:
    (folder / "fails_in_console.py").write_text("1 / 0\n")
    (folder / "shop.toml").write_text(
        '[signalpost]\nauto-import = ["fails_in_console"]\n'
    )
    code, _, err = run("check", "shop.toml")
    assert code == 1
    assert err.count(f"({folder}/fails_in_console.py, line 1)") == 1
    assert "Traceback" not in err


def test_warnings_do_not_change_the_code(run: Run, folder: Path) -> None:
    (folder / "shop.toml").write_text("[signalpost.receivers]\nlatency = true\n")
    code, _, err = run("check", "shop.toml")
    assert code == 0
    assert err.startswith("Warning, unless a server sets up logging: the lines of")
    (warning,) = json.loads(run("check", "shop.toml", "--json").out)["warnings"]
    assert warning.startswith("the lines of latency (INFO) are shown nowhere")


def test_a_package_that_is_missing_is_a_warning_of_one_line(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    (folder / "shop.toml").write_text(
        "[signalpost]\nformat = 'text'\n[signalpost.receivers]\nsql = true\n"
    )
    code, _, err = run("check", "shop.toml")
    assert code == 0
    assert err.startswith("Warning: shop.toml, line 4, [signalpost.receivers] sql: SQL")
    assert "pip install 'signalpost[sqlalchemy]'" in err
    assert err.count("\n") == 1


def test_warnings_are_shown_beside_mistakes(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    (folder / "shop.toml").write_text(
        "[signalpost.receivers]\nsql = true\nlatncy = true\n"
    )
    code, _, err = run("check", "shop.toml")
    assert code == 1
    assert "Error: shop.toml, line 3" in err
    assert "Warning: shop.toml, line 2" in err


def test_init_writes_to_standard_output_without_a_file(run: Run, folder: Path) -> None:
    code, out, err = run("init")
    assert (code, err) == (0, "")
    (folder / "shop.toml").write_text(out)
    assert run("check", "shop.toml").out == (
        "The configuration is right; it enables failures, latency.\n"
    )


def test_init_writes_a_file_and_prints_its_path(run: Run, folder: Path) -> None:
    code, out, _ = run("init", "shop.toml")
    assert code == 0
    assert out.startswith("Wrote shop.toml. For Flask, write app.config[")
    assert f"{os.fspath(folder / 'shop.toml')!r} before Signalpost(app)" in out
    assert (folder / "shop.toml").read_text() == run("init").out


def test_init_replaces_no_file_unless_it_is_forced(run: Run, folder: Path) -> None:
    path = folder / "shop.toml"
    path.write_text("mine")
    code, out, err = run("init", "shop.toml")
    assert (code, out) == (1, "")
    assert err.startswith("Error: shop.toml exists already;")
    assert path.read_text() == "mine"
    assert run("init", "shop.toml", "--force").code == 0
    assert path.read_text().startswith("# The configuration of signalpost")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere/shop.toml", "cannot be written: No such file or directory"),
        ("shop.ini", "the name must end in .toml"),
        ("shop", "the name must end in .toml"),
        ("nul\0.toml", "cannot be written: "),
        ("folder.toml", "exists already"),
    ],
)
def test_init_refuses_what_it_cannot_write(
    run: Run, folder: Path, name: str, reason: str
) -> None:
    (folder / "folder.toml").mkdir()
    code, _, err = run("init", name)
    assert code == 1
    assert reason in err
    assert err.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    "words", [[], ["chek"], ["check"], ["check", "a", "b"], ["receivers", "--jsn"]]
)
def test_wrong_arguments_end_with_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert "usage: signalpost" in capsys.readouterr().err


WITHOUT_OTHERS = """
import runpy, sys

packages = ("click", "flask", "opentelemetry", "prometheus_client", "sqlalchemy",
            "werkzeug")

class Without:
    def find_spec(self, wanted, path=None, target=None):
        package = wanted.partition(".")[0]
        if package in packages:
            raise ModuleNotFoundError(f"No module {wanted}", name=package)

sys.meta_path.insert(0, Without())
sys.argv[0] = "signalpost"
runpy.run_module("signalpost", run_name="__main__", alter_sys=True)
"""


def process(code: str, *words: str, **options: t.Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_it_runs_where_nothing_else_is_installed(folder: Path) -> None:
    with process(WITHOUT_OTHERS, "receivers") as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    lines = out.splitlines()
    for name in ("sqlalchemy", "prometheus", "opentelemetry"):
        start = lines.index(f"off {name}")
        assert lines[start + 1].endswith(f"run pip install 'signalpost[{name}]'")
    with process(WITHOUT_OTHERS, "init", "shop.toml") as running:
        assert running.wait(60) == 0
    with process(WITHOUT_OTHERS, "check", "shop.toml") as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert out == "The configuration is right; it enables failures, latency.\n"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    with process(WITHOUT_OTHERS, "receivers", "--json") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        err = running.stderr.read()
        assert running.wait(60) in (0, 1)
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error_of_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_OTHERS, "receivers"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the output cannot be written: ")
    assert done.stderr.count("\n") == 1
