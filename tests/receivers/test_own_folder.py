"""The folder of the sockets, while another process renames folders above it."""

from __future__ import annotations

import errno
import os
import stat
import threading
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest

from signalpost.lifecycle import message_flashed
from signalpost.receivers.own_folder import OwnFolder
from signalpost.receivers.watch import Watcher
from signalpost.receivers.watch import WatchSender
from tests.short_folders import short_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
on_linux = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="/proc is not mounted"
)


@pytest.fixture
def above() -> Generator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no path of a descriptor be found, as on a system without Linux' /proc."""
    find = os.stat

    def stat_of(path: t.Any, **named: t.Any) -> os.stat_result:
        if str(path).startswith("/proc/self/fd"):
            raise FileNotFoundError(errno.ENOENT, "no /proc", str(path))
        return find(path, **named)

    monkeypatch.setattr("os.stat", stat_of)


class Swapping:
    """Puts another folder in the place of one, as soon as that is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder = folder
        self.other = folder.with_name("theirs")
        self.other.mkdir(mode=0o777)
        self._open = os.open
        monkeypatch.setattr("os.open", self.open)

    def open(self, path: t.Any, *rest: t.Any, **named: t.Any) -> int:
        descriptor = self._open(path, *rest, **named)
        if Path(str(path)) == self._folder:
            self._folder.rename(self._folder.with_name("ours"))
            self.other.rename(self._folder)
        return descriptor


def test_threads_that_list_a_folder_at_a_time_miss_no_name(above: Path) -> None:
    for number in range(400):
        (above / f"{number}.sock").touch()
    above.chmod(0o700)
    found: list[int] = []
    with OwnFolder(above) as folder:
        threads = [
            threading.Thread(
                target=lambda: found.extend(len(folder.names()) for _ in range(30))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [400] * 120


@on_linux
def test_a_watcher_stays_in_the_folder_that_it_has_checked(
    above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = above / "watch"
    Swapping(monkeypatch, folder)
    with Watcher(folder):
        assert [*folder.iterdir()] == []
        (path,) = (above / "ours").iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*(above / "ours").iterdir()] == []


@on_linux
def test_a_sender_sends_to_none_but_the_folder_that_it_has_checked(
    above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = above / "watch"
    with Watcher(folder) as ours, Watcher(above / "spy") as spy:
        (above / "spy").chmod(0o755)
        swapping = Swapping(monkeypatch, folder)
        swapping.other.rmdir()
        (above / "spy").rename(swapping.other)
        sender = WatchSender(folder=folder)
        sender.connect()
        try:
            message_flashed.send("shop", message="saved", category="info")
        finally:
            sender.disconnect()
        assert [*spy.messages(0)] == []
        assert len([*ours.messages(0)]) == 1


def test_a_link_is_not_followed_though_it_leads_to_an_own_folder(above: Path) -> None:
    (above / "own").mkdir(mode=0o700)
    (above / "link").symlink_to(above / "own")
    with pytest.raises(PermissionError, match="must be a folder, and is not one"):
        OwnFolder(above / "link")


@pytest.mark.parametrize("mode", [0o750, 0o710, 0o701, 0o770, 0o777, 0o1777])
def test_a_folder_that_others_can_enter_is_refused(above: Path, mode: int) -> None:
    above.chmod(mode)
    with pytest.raises(PermissionError, match=f"has the mode {mode:o}"):
        OwnFolder(above)
    above.chmod(0o700)


def test_nothing_stays_open_of_a_folder_that_is_refused(above: Path) -> None:
    above.chmod(0o755)
    before = len(os.listdir("/dev/fd"))
    for _ in range(9):
        with pytest.raises(PermissionError):
            OwnFolder(above)
    assert len(os.listdir("/dev/fd")) == before
    above.chmod(0o700)


def test_nothing_stays_open_after_looks_and_watches(above: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(9):
        with Watcher(above / "watch"):
            sender = WatchSender(folder=above / "watch")
            sender.connect()
            message_flashed.send("shop", message="saved", category="info")
            sender.disconnect()
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o027, 0o077])
def test_folders_above_are_made_writable_for_the_user_only(
    above: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        OwnFolder.made(above / "a" / "b" / "c").close()
    finally:
        os.umask(before)
    for folder in (above / "a", above / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755 & ~umask
    assert stat.S_IMODE((above / "a" / "b" / "c").stat().st_mode) == 0o700


def test_folders_above_that_exist_stay_as_they_are(above: Path) -> None:
    (above / "a").mkdir()
    (above / "a").chmod(0o775)
    OwnFolder.made(above / "a" / "b").close()
    assert stat.S_IMODE((above / "a").stat().st_mode) == 0o775


@on_linux
def test_the_folder_above_may_be_writable_for_a_group(above: Path) -> None:
    above.chmod(0o775)
    with Watcher(above / "watch"):
        assert len([*(above / "watch").iterdir()]) == 1


@pytest.mark.usefixtures("without_proc")
def test_without_proc_the_path_is_used_and_the_folder_above_checked(
    above: Path,
) -> None:
    above.chmod(0o775)
    with pytest.raises(PermissionError, match="where no other user can rename it"):
        OwnFolder.made(above / "watch")
    above.chmod(0o755)
    with OwnFolder.made(above / "watch") as folder:
        assert folder.address("7.sock") == str(above / "watch" / "7.sock")
    above.chmod(0o1777)
    OwnFolder(above / "watch").close()


@as_root
@pytest.mark.usefixtures("without_proc")
def test_without_proc_no_other_user_owns_a_folder_above(above: Path) -> None:
    folder = above / "theirs" / "watch"
    OwnFolder.made(folder).close()
    os.chown(folder.parent, 12345, -1)
    with pytest.raises(PermissionError, match="belongs to 12345"):
        OwnFolder(folder)


@pytest.mark.usefixtures("without_proc")
def test_without_proc_messages_come_all_the_same(above: Path) -> None:
    with Watcher(above / "watch") as watcher:
        sender = WatchSender(folder=above / "watch")
        sender.connect()
        message_flashed.send("shop", message="saved", category="info")
        sender.disconnect()
        assert len([*watcher.messages(0)]) == 1
    assert [*(above / "watch").iterdir()] == []


def test_a_folder_that_was_removed_meanwhile_is_no_error(above: Path) -> None:
    with Watcher(above / "watch"):
        for one in (above / "watch").iterdir():
            one.unlink()
        (above / "watch").rmdir()
    assert not (above / "watch").exists()


def test_an_interrupt_while_it_begins_leaves_no_socket(
    above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(OwnFolder, "close_to_others", interrupt)
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(KeyboardInterrupt), Watcher(above / "watch"):
        pass
    assert [*(above / "watch").iterdir()] == []
    assert len(os.listdir("/dev/fd")) == before
