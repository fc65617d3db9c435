"""Receivers that take the place of those that a reload has left."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signalpost import Namespace
from signalpost import receiver
from signalpost import Signal
from signalpost.errors import ReceiverError


def give(value: Any) -> Callable[..., Any]:
    """Return a function, of the same name each time."""

    def receive(sender: Any) -> Any:
        return value

    return receive


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def test_receiver_of_the_same_uid_is_replaced() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, dispatch_uid="uid")
    signal.connect(new, dispatch_uid="uid", replace=True)
    assert values_sent(signal) == ["new"]
    assert len(signal.connections) == 1


def test_receiver_of_the_same_name_is_replaced() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, replace=True)
    signal.connect(new, replace=True)
    assert values_sent(signal) == ["new"]


def test_receiver_is_connected_where_nothing_is_replaced() -> None:
    signal, new = Signal(), give("new")
    assert signal.connect(new, replace=True) is new
    assert values_sent(signal) == ["new"]
    assert signal.disconnect(new)
    assert not signal.receivers


def test_receiver_of_another_name_is_left() -> None:
    def receive_another(sender: Any) -> str:
        return "another"

    signal, new = Signal(), give("new")
    signal.connect(receive_another, replace=True)
    signal.connect(new, replace=True)
    assert values_sent(signal) == ["another", "new"]


def test_receiver_of_another_uid_is_left() -> None:
    signal, one, other = Signal(), give("one"), give("other")
    signal.connect(one, dispatch_uid=1, replace=True)
    signal.connect(other, dispatch_uid=2, replace=True)
    assert values_sent(signal) == ["one", "other"]


def test_receiver_of_the_same_name_in_another_module_is_left() -> None:
    signal, one, other = Signal(), give("one"), give("other")
    other.__module__ = "another"
    signal.connect(one, replace=True)
    signal.connect(other, replace=True)
    assert values_sent(signal) == ["one", "other"]


def test_receiver_that_replaces_keeps_the_place() -> None:
    signal = Signal()
    first, old, last, new = (give(name) for name in ("first", "old", "last", "new"))
    signal.connect(first)
    signal.connect(old, dispatch_uid="uid", replace=True)
    signal.connect(last)
    signal.connect(new, dispatch_uid="uid", replace=True)
    assert values_sent(signal) == ["first", "new", "last"]
    signal.disconnect(first)
    assert values_sent(signal) == ["new", "last"]


def test_receiver_of_another_sender_is_left() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, sender="a", replace=True)
    signal.connect(old, sender="b", replace=True)
    signal.connect(new, sender="b", replace=True)
    assert values_sent(signal, "a") == ["old"]
    assert values_sent(signal, "b") == ["new"]


def test_uid_without_replace_keeps_the_first_receiver() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, dispatch_uid="uid", replace=True)
    signal.connect(new, dispatch_uid="uid")
    assert values_sent(signal) == ["old"]


def test_replaced_receiver_is_let_go() -> None:
    class Receiver:
        def __call__(self, sender: Any) -> str:
            return "old"

        def __del__(self) -> None:
            died.append(1)

    signal, died, new = Signal(), list[int](), give("new")
    signal.connect(Receiver(), dispatch_uid="uid", weak=False)
    signal.connect(new, dispatch_uid="uid", replace=True)
    gc.collect()
    assert died == [1]
    assert values_sent(signal) == ["new"]


def test_new_receiver_is_held_as_its_own_connect_demands() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, dispatch_uid="uid", weak=False)
    signal.connect(new, dispatch_uid="uid", replace=True)
    del new
    gc.collect()
    assert not signal.receivers
    signal.connect(old, dispatch_uid="uid")
    signal.connect(give("new"), dispatch_uid="uid", replace=True, weak=False)
    gc.collect()
    assert values_sent(signal) == ["new"]


def test_options_of_the_replaced_receiver_are_gone() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, dispatch_uid="uid", once=True, when=lambda sender: False)
    signal.connect(new, dispatch_uid="uid", replace=True)
    assert values_sent(signal) == ["new"]
    assert values_sent(signal) == ["new"]


def test_replacing_by_the_same_receiver_changes_nothing() -> None:
    signal, same, last = Signal(), give("same"), give("last")
    signal.connect(same, replace=True)
    signal.connect(last)
    signal.connect(same, replace=True)
    assert values_sent(signal) == ["same", "last"]
    assert signal.disconnect(same)
    assert values_sent(signal) == ["last"]


def test_receiver_that_died_is_replaced() -> None:
    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(old, replace=True)
    del old
    gc.collect()
    signal.connect(new, replace=True)
    assert values_sent(signal) == ["new"]


def test_receiver_is_replaced_for_sends_that_are_on_their_way() -> None:
    def replace(sender: Any) -> None:
        signal.connect(new, dispatch_uid="uid", replace=True)

    signal, old, new = Signal(), give("old"), give("new")
    signal.connect(replace)
    signal.connect(old, dispatch_uid="uid")
    assert values_sent(signal) == [None]
    assert values_sent(signal) == [None, "new"]


def test_method_is_replaced_by_its_name() -> None:
    def made(value: str) -> Any:
        class Shop:
            def note(self, sender: Any) -> str:
                return value

        return Shop()

    signal, old, new = Signal(), made("old"), made("new")
    signal.connect(old.note, replace=True)
    signal.connect(new.note, replace=True)
    assert values_sent(signal) == ["new"]


class Caller:
    def __call__(self, sender: Any) -> None: ...


@pytest.mark.parametrize("wrong", [functools.partial(give, 1), Caller()])
def test_receiver_without_a_name_needs_a_uid(wrong: Any) -> None:
    signal = Signal()
    with pytest.raises(ReceiverError, match="dispatch_uid"):
        signal.connect(wrong, replace=True)
    assert not signal.receivers
    signal.connect(wrong, replace=True, dispatch_uid="uid")
    assert len(signal.connections) == 1


def test_every_way_to_connect_replaces() -> None:
    def define(value: str, connect: Any) -> Any:
        @connect  # type: ignore[untyped-decorator, unused-ignore]
        def receive(sender: Any) -> str:
            return value

        return receive

    signal = Signal()
    for connect in (
        signal.connect(replace=True),
        signal.connect_via("a", replace=True),
        receiver([signal], sender="a", replace=True),
    ):
        kept = [define("old", connect), define("new", connect)]
        assert values_sent(signal, "a") == ["new"]
        assert signal.disconnect(kept[1])
        assert not signal.receivers


def test_replacing_among_receivers_of_a_namespace_leaves_them() -> None:
    def audit(sender: Any, signal: Any) -> str:
        return "audit"

    namespace = Namespace()
    namespace.connect(audit)
    opened = namespace.signal("opened")
    old, new = give("old"), give("new")
    opened.connect(old, replace=True)
    opened.connect(new, replace=True)
    assert values_sent(opened) == ["audit", "new"]


MODULE = """
from signalpost import ANY, Namespace, receiver
from signals import opened

@opened.connect(replace=True)
def note(sender):
    return "note {version}"

@opened.connect_via("app", weak=True, replace=True)
async def note_later(sender):
    return "later {version}"

@receiver(opened, priority=1, replace=True)
def note_first(sender):
    return "first {version}"

class Audit:
    @staticmethod
    def note(sender):
        return "audit {version}"

opened.connect(Audit.note, replace=True)
"""
SIGNALS = """
from signalpost import Signal

opened = Signal()
"""
MAIN = """
import gc, importlib, os, sys
import receivers
from signals import opened

for version in (2, 3):
    with open("receivers.py", "w") as file:
        file.write(os.environ["MODULE"].replace("{version}", str(version)))
    importlib.invalidate_caches()
    importlib.reload(receivers)
    gc.collect()
    print([value for _, value in opened.send("api")])
    print(len(opened.connections))
"""


def test_reload_neither_warns_nor_leaves_old_receivers(tmp_path: Path) -> None:
    (tmp_path / "signals.py").write_text(SIGNALS)
    (tmp_path / "receivers.py").write_text(MODULE.replace("{version}", "1"))
    (tmp_path / "main.py").write_text(MAIN)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-B", "main.py"],
        cwd=tmp_path,
        env={"MODULE": MODULE, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['first 2', 'note 2', 'audit 2']",
        "4",
        "['first 3', 'note 3', 'audit 3']",
        "4",
    ]


NOTEBOOK = """
import gc
from signalpost import Signal

opened = Signal()
for version in (1, 2, 3):
    exec(
        "@opened.connect(replace=True)\\n"
        "def note(sender): return %d" % version, globals()
    )
gc.collect()
print([value for _, value in opened.send()])
"""


def test_cell_that_runs_again_neither_warns_nor_leaves_the_old_receiver() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", NOTEBOOK],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("[3]\n", "")
