"""Makes one small mistake at a time in the code, and prints those that no test finds.

``python -m tests.mutants --seed 1 --sample 255 --package src/signalpost/_engine``
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import typing as t
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Mutants that behave as the code does, each with the reason, for one:
# ("signal.py", "if a < b:", "a < b -> a <= b"): "they are never equal"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "asyncness.py",
        'flags = getattr(getattr(function, "__code__", None), "co_flags", 0)',
        "0 -> 1",
    ): "1 is none of the flags that are looked for",
    (
        "asyncness.py",
        "return flags if type(flags) is int else 0",
        "0 -> 1",
    ): "1 is none of the flags that are looked for",
    ("connection.py", "return parts[0]", "0 -> -1"): "there is one part",
    (
        "fast_table.py",
        "if self._is_busy or self.waiting or key in self.any:",
        "self._is_busy or self.waiting or key in self.any -> True",
    ): "a longer way to the same table",
    (
        "fast_table.py",
        "if self._is_busy or self.waiting or key in self.by_receiver:",
        "self._is_busy or self.waiting or key in self.by_receiver -> True",
    ): "a longer way to the same table",
    (
        "fast_table.py",
        "if routes.any_route is not None or routes.generations:",
        "routes.any_route is not None or routes.generations -> True",
    ): "no route is valid then",
    ("fast_table.py", "if removed:", "removed -> True"): "it is empty then",
    (
        "fast_table.py",
        "if self.waiting:",
        "self.waiting -> True",
    ): "run_waiting() asks the same",
    (
        "identity.py",
        "if kind in (MethodType, BuiltinMethodType) or isinstance(receiver, type):",
        (
            "kind in (MethodType, BuiltinMethodType) or isinstance(receiver, type)"
            " -> False"
        ),
    ): "a shorter way to the same answer",
    (
        "serial.py",
        "if self.waiting:",
        "self.waiting -> True",
    ): "run_waiting() asks the same",
    (
        "signal.py",
        "if table.has_names and dispatch_uid is None:",
        (
            "table.has_names and dispatch_uid is None"
            " -> table.has_names or dispatch_uid is None"
        ),
    ): "no receiver has the key of a uid, and none has a name without has_names",
    (
        "signal.py",
        "elif type(sender) not in PLAIN_TYPES:",
        "type(sender) not in PLAIN_TYPES -> True",
    ): "a longer way to the same route",
    (
        "table.py",
        "self.run_waiting()",
        "deleted",
    ): "the thread that holds the lock runs what waits; this is only sooner",
    (
        "table.py",
        "if any_route is None:",
        "any_route is None -> True",
    ): "a route that is made again is as good",
    (
        "table.py",
        "if not self.by_sender:",
        "not self.by_sender -> False",
    ): "a shorter way to the same route",
    (
        "table.py",
        "if was_shared and not self.store.shared_count:",
        "was_shared and (not self.store.shared_count) -> True",
    ): "a route that is forgotten too soon is made again",
}

# Without pytest's cache, blinker's tests would be downloaded for each mutant.
PYTEST = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--rootdir=."]
PYTEST += ["--ignore-glob=*/test_blinker_suite.py"]
# A mutant may be as old and as long as the code was: nothing compiled is kept.
ENVIRON = {"HYPOTHESIS_PROFILE": "fast", "PYTHONDONTWRITEBYTECODE": "1"}

PAIRS = [(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.And, ast.Or)]
PAIRS += [(ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.Add, ast.Sub)]
PLAIN = {bool, int, type(None)}  # has changes enough without becoming None
SWAPPED: dict[type[ast.AST], t.Any] = dict(PAIRS + [pair[::-1] for pair in PAIRS])
FORCED = ast.Constant(value=True), ast.Constant(value=False)
# Code for type checkers or some Pythons only, and code without an effect at run time.
UNCHANGED = {"TYPE_CHECKING", "overload", "version_info"}
UNCHANGED_FIELDS = {"annotation", "returns", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """A module with one mistake, and what to print of it."""

    path: Path
    line: int
    source: str
    change: str
    content: bytes


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield each mutant of a module."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    found = {content}
    for node in changeable(ast.parse(content)):
        for old, new in changes(node):
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
            text, source = ast.unparse(new), lines[old.lineno - 1].decode().strip()
            change = "deleted" if text == "pass" else f"{ast.unparse(old)} -> {text}"
            if isinstance(new, ast.expr) and not isinstance(new, ast.Constant):
                text = f"({text})"  # it may be a part of another expression
            changed = content[:start] + text.encode() + content[end:]
            if changed not in found and (path.name, source, change) not in EQUIVALENT:
                found.add(changed)
                yield Mutant(path, old.lineno, source, change, changed)


def changeable(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node, and what is below it, unless it has no effect at run time."""
    marks = [getattr(node, "test", None), getattr(node, "left", None)]
    marks += getattr(node, "decorator_list", [])
    marked = " ".join(ast.unparse(mark) for mark in marks if mark is not None)
    if any(word in marked for word in UNCHANGED) or isinstance(node, ast.JoinedStr):
        return  # an f-string's places are wrong before Python 3.12
    yield node
    for name, value in ast.iter_fields(node):
        if name in UNCHANGED_FIELDS or (
            isinstance(node, ast.ClassDef) and name == "bases"
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from changeable(child)


def changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    """Yield what is replaced, and its replacement, for this very node."""
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            for place, op in enumerate(ops):
                swapped = [*ops[:place], SWAPPED[type(op)](), *ops[place + 1 :]]
                yield node, ast.Compare(left, swapped, others)
        case ast.BoolOp(op=op, values=values):
            yield node, ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, operand
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            if str not in (kind(left), kind(right)):
                yield node, ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from ((node, ast.Constant(value + step)) for step in (1, -1))
        case ast.If(test=test) | ast.IfExp(test=test):
            yield from ((test, forced) for forced in FORCED)
        case ast.While(test=test):
            yield test, ast.Constant(value=False)
        case ast.comprehension(ifs=tests):
            yield from ((test, forced) for test in tests for forced in FORCED)
        case ast.Return(value=ast.expr() as value) if kind(value) not in PLAIN:
            yield value, ast.Constant(None)
        case ast.arguments(defaults=defaults, kw_defaults=keyword_defaults):
            for default in (*defaults, *keyword_defaults):
                if default is not None and kind(default) not in PLAIN:
                    yield default, ast.Constant(None)
        case ast.AugAssign(target=target, op=ast.Add() | ast.Sub() as op, value=value):
            yield node, ast.AugAssign(target, SWAPPED[type(op)](), value)
    match node:
        case (
            ast.Expr(value=ast.Call() | ast.Await())
            | ast.Assign(targets=[ast.Attribute(), *_])
            | ast.AnnAssign(target=ast.Attribute(), value=ast.expr())
            | ast.AugAssign(target=ast.Attribute())
        ):
            yield node, ast.Pass()


def kind(node: ast.expr) -> type[object]:
    """Return the type of a constant, of an f-string, or else of the node."""
    if isinstance(node, ast.JoinedStr):
        return str
    return type(node.value if isinstance(node, ast.Constant) else node)


async def run(room: Path, tests: Sequence[str], limit: float | None) -> int | None:
    """Test the code in a room; return the exit code, or None after the limit."""
    environ = os.environ | ENVIRON | {"PYTHONPATH": f"{room}/src", "TMPDIR": str(room)}
    environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{room}/hypothesis"
    command = [sys.executable, *PYTEST, f"--basetemp={room}/pytest", *tests]
    with (room / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        async with asyncio.timeout(limit):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and all that the tests started
        await process.wait()


async def must_pass(room: Path, tests: Sequence[str]) -> None:
    """Test the code without a mutant, and exit if a test fails."""
    if await run(room, tests, None) != 0:
        sys.exit(f"{(room / 'output').read_text()}\nWithout a mutant, the tests fail.")


async def quickest_first(room: Path, tests: Sequence[str]) -> list[str]:
    """Return the files of tests, which must pass without a mutant."""
    report = [f"--junitxml={room}/report.xml", "--override-ini=junit_family=xunit1"]
    await must_pass(room, [*report, *tests])
    seconds: dict[str, float] = {}
    for case in ElementTree.parse(room / "report.xml").iter("testcase"):
        file, taken = file_of(case), float(case.attrib["time"])
        seconds[file] = seconds.get(file, 0.0) + taken
    return sorted(seconds, key=seconds.__getitem__)


def file_of(case: ElementTree.Element) -> str:
    """Return the file that a test was found in, which may be made by a library."""
    parts = case.attrib["classname"].split(".")
    places = [Path(*parts[:end]) for end in range(len(parts), 0, -1)]
    files = [place.with_suffix(".py") for place in places]
    return next((str(file) for file in files if file.is_file()), case.attrib["file"])


async def try_all(
    mutants: Sequence[Mutant], top: Path, options: argparse.Namespace
) -> Counter[str]:
    """Test mutants, some at a time; return how many ended in which way."""
    waiting, ends = iter(mutants), Counter[str]()

    async def try_some(room: Path) -> None:
        for mutant in waiting:
            copy = room / "src" / mutant.path.resolve().relative_to(top.parent)
            original = copy.read_bytes()
            copy.write_bytes(mutant.content)
            code = await run(room, tests, limit)
            copy.write_bytes(original)
            ends[{0: "survived", None: "hung"}.get(code, "failed")] += 1
            if code == 0:
                place = f"{mutant.path}:{mutant.line}"
                say(f"{place}: {mutant.change}\n    {mutant.source}")

    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        rooms = [Path(name, str(job)) for job in range(options.jobs)]
        for room in rooms:
            no_cache = shutil.ignore_patterns("__pycache__")
            shutil.copytree(top, room / "src" / top.name, ignore=no_cache)
        tests = await quickest_first(rooms[0], options.tests)
        begun = time.monotonic()
        await must_pass(rooms[0], tests)  # or each mutant would seem to be found
        limit = options.limit or 10 + 4 * (time.monotonic() - begun)
        async with asyncio.TaskGroup() as group:
            for room in rooms:
                group.create_task(try_some(room))
    return ends


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    option = parser.add_argument
    option("--package", type=Path, default=Path("src/signalpost/_engine"))
    option("--tests", nargs="+", default=["tests/_engine"], help="files or folders")
    option("--seed", type=int, default=1)
    option("--sample", type=int, default=255, help="how many mutants")
    option("--jobs", type=int, default=2, help="how many at a time")
    option("--limit", type=float, help="seconds for one; 10 + 4 times what tests take")
    option("--at-least", type=float, default=92, help="percent that must be killed")
    options = parser.parse_args(arguments)
    top = options.package.resolve()
    while (top.parent / "__init__.py").exists():
        top = top.parent
    modules = sorted(options.package.rglob("*.py"))
    mutants = [mutant for module in modules for mutant in mutants_of(module)]
    if not mutants:
        parser.error(f"{options.package} must be a package with code that can change")
    sample = min(options.sample, len(mutants))
    mutants = random.Random(options.seed).sample(mutants, sample)
    try:
        ends = asyncio.run(try_all(mutants, top, options))
    except KeyboardInterrupt:
        return 130
    killed = ends["failed"] + ends["hung"]
    percent = 100 * killed / len(mutants)
    say(
        f"{len(mutants)} mutants, {killed} killed ({ends['hung']} by time),"
        f" {ends['survived']} survived: {percent:.1f} %, of {options.at_least:g} %"
    )
    return int(percent < options.at_least)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
