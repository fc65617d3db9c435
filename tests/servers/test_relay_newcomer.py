"""The page of the relay, followed in a fresh environment: an event crosses.

The files and the commands are those of the page; only the ports are of this run, and
the package is the wheel of this checkout.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import textwrap
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.brokers import running_redis
from tests.servers.test_newcomer import is_offline
from tests.servers.test_newcomer import Output
from tests.servers.test_newcomer import PATIENCE_SECONDS
from tests.servers.test_newcomer import pip
from tests.servers.test_newcomer import ROOT
from tests.servers.test_newcomer import run
from tests.servers.test_newcomer import started

PAGE = (ROOT / "docs" / "howto" / "relay.rst").read_text("utf-8")
BROKER = "redis://localhost/0"


def section(title: str) -> str:
    """Return the text of a section of the page."""
    _, found, rest = PAGE.partition(f"\n{title}\n---")
    assert found, title
    return re.split(r"\n[^\n]+\n-{4,}\n", rest)[0]


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?: {{4}}.*\n|\n)+)", text, re.M
    )
    return [textwrap.dedent(one).strip() + "\n" for one in found]


def commands(text: str) -> list[list[str]]:
    """Return the words of each command that is shown."""
    lines = "".join(blocks(text, "console")).replace("\\\n", " ").splitlines()
    return [shlex.split(line[2:]) for line in lines if line.startswith("$ ")]


STEPS = section("Step by step: Flask, SQLAlchemy and Redis")
COMMANDS = commands(STEPS)


def command(*first: str) -> tuple[str, ...]:
    """Return the one command that begins with some words."""
    (found,) = [one for one in COMMANDS if one[: len(first)] == [*first]]
    return tuple(found)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from running_redis(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
def programs(
    redis_server: RedisServer,  # no environment is made if there is none
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder of the programs of a fresh environment."""
    folder = tmp_path_factory.mktemp("fresh")
    built = pip(
        *("wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--wheel-dir", folder, ROOT),
    )
    assert built.returncode == 0, built.stdout
    (wheel,) = folder.glob("signalpost-*.whl")
    venv.create(folder / "environment", symlinks=os.name != "nt")
    found = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    (requirement,) = command("pip", "install")[2:]
    installed = pip(
        *("--python", found / "python", "install"),
        *("--constraint", ROOT / "constraints.txt"),
        f"{requirement} @ {wheel.as_uri()}",
    )
    if installed.returncode and is_offline(installed.stdout):
        pytest.skip("what the page needs cannot be downloaded without a network")
    assert installed.returncode == 0, installed.stdout
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of the page."""
    for text in blocks(STEPS, "python"):
        name = text.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_order_of_the_page_is_shipped(
    programs: Path, folder: Path, redis_server: RedisServer
) -> None:
    def of_this_run(*first: str) -> tuple[str, ...]:
        words = command(*first)
        return tuple(redis_server.url if one == BROKER else one for one in words)

    with contextlib.ExitStack() as stack:

        def start(*words: str) -> Output:
            return Output(stack.enter_context(started(programs, folder, words)))

        served = start(*of_this_run("flask"), "--port", "0")
        port = served.find(r"http://127\.0\.0\.1:(\d+)")[1]
        start(*of_this_run("signalpost", "relay", "dispatch"))
        worker = start(*of_this_run("signalpost", "relay", "listen"))
        words = command("curl")
        url = words[-1].replace(":5000", f":{port}")
        data = words[words.index("-d") + 1].encode()
        with urllib.request.urlopen(url, data, PATIENCE_SECONDS) as response:
            answer = response.read().decode()
        assert answer == "order 1\n"
        assert f"{shlex.join(words)}\n{answer}" in blocks(STEPS, "console")[-1]
        (line,) = blocks(STEPS, "text")
        worker.find(f"^{re.escape(line.strip())}$")


FIRST = """
    from decimal import Decimal
    import relaying
    relaying.order_placed.send("till", order=5, total=Decimal("9.99"))
"""


def test_event_of_the_first_example_is_received(
    programs: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    opening = PAGE[: PAGE.index("\nStep by step")]
    (shown,) = blocks(opening, "python")
    events, sender, worker = re.split(r"\n# [^\n]+\n", f"\n{shown}")[1:]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "events.py").write_text(events)
    own = sender.replace("redis://broker/0", redis_server.url)
    (tmp_path / "relaying.py").write_text(
        f"from shop.events import order_placed\n{own}"
    )
    # The worker's own lines could be written between parts of a line.
    line = r'print(f"{sender} {order} {total!r}\n", end="", flush=True)'
    body = worker.replace("...", line)
    (tmp_path / "shipping.py").write_text(body)
    words = [
        redis_server.url if one == "redis://broker/0" else one
        for one in commands(opening)[-1]
    ]

    with started(programs, tmp_path, tuple(words)) as process:
        sent = run(programs, tmp_path, "python", "-c", textwrap.dedent(FIRST))
        assert (sent.returncode, sent.stderr) == (0, "")
        Output(process).find(r"^till 5 Decimal\('9\.99'\)$")
