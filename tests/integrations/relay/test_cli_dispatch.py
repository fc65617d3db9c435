"""``signalpost relay dispatch``, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from signalpost.console import main
from signalpost.live import read_live
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop.db") as shop:
        yield shop


def test_once_publishes_what_is_there(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.place_all(*range(30))
    with open_shop(tmp_path / "broker.db") as broker:
        words = [broker.url, "--database", shop.url, "--once", "--batch", "7"]
        assert main(["relay", "dispatch", *words]) == 0
        assert broker.orders() == [*range(30)]
    assert capsys.readouterr().out == "Published 30 events; 0 wait.\n"


def test_live_records_what_is_published(shop: Shop, tmp_path: Path) -> None:
    shop.place_all(*range(3))
    folder = tmp_path / "live"
    with open_shop(tmp_path / "broker.db") as broker:
        words = [broker.url, "--database", shop.url, "--once", "--live", str(folder)]
        assert main(["relay", "dispatch", *words]) == 0
    snapshot = read_live(folder)
    assert [(one.name, one.party, one.events) for one in snapshot.relay] == [
        ("order-placed", "signalpost_outbox", 3)
    ]
    assert [one.state for one in snapshot.workers] == ["ended"]


def test_folder_that_cannot_be_written_holds_up_nothing(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop.place_all(1)
    (tmp_path / "file").touch()
    with open_shop(tmp_path / "broker.db") as broker:
        words = [broker.url, "--database", shop.url, "--once", "--live"]
        assert main(["relay", "dispatch", *words, str(tmp_path / "file")]) == 0
        assert broker.orders() == [1]
    assert "nothing is recorded for the live page" in caplog.text


def test_table_and_database_may_be_named_elsewhere(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALPOST_RELAY_DATABASE", shop.url)
    shop.place_all(1)
    with open_shop(tmp_path / "broker.db") as broker:
        monkeypatch.setenv("SIGNALPOST_RELAY_URL", broker.url)
        words = ["relay", "dispatch", "--once", "--table"]
        assert main([*words, "main.signalpost_outbox"]) == 0
        assert broker.orders() == [1]
        assert main([*words, "letters"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sqlite:///b.db"], "no database is given: write --database URL"),
        (["sqlite:///b.db", "shop:paid", "--database", "sqlite:///a.db"], "one URL"),
        (["sqlite:///b.db", "--database", "sqlite:///a.db", "--once"], "no table"),
        (["sqlite:///b.db", "--database", "a.db"], "must be as sqlite:///shop.db"),
        (["sqlite:///b.db", "--database", "sqlite:///no/a.db", "--once"], "unable to"),
        (["nosuch://b", "--database", "sqlite:///a.db"], "must begin with one of"),
        (["sqlite:///b.db", "--database", "sqlite://", "--batch", "0"], "batch must"),
    ],
)
def test_mistake_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["relay", "dispatch", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
