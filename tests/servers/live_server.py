"""A server with two workers, and a browser that looks at its live page."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

from playwright.sync_api import Browser
from playwright.sync_api import BrowserContext
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route
from playwright.sync_api import sync_playwright

from signalpost.live import read_live
from tests.ports import free_port
from tests.servers import launch
from tests.servers.launch import Address
from tests.servers.live_application import PATH

TOKEN = "an-anchor-and-a-lantern"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_SECONDS = 20.0
POLL_MS = 40
POLLS = re.compile(r"/data\.json\?since=.*")

# The page polls every two seconds; here it is a moment, so that tests need not wait.
_QUICK = f"""
const later = window.setTimeout;
window.setTimeout = (call, ms, ...more) =>
    later(call, Math.min(ms, {POLL_MS}), ...more);
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {{
    window.violations.push(`${{event.violatedDirective}} ${{event.blockedURI}}`);
}});
"""


class LiveSite:
    """The application on gunicorn, which can stop and start again.

    :param scratch: An empty folder.
    :param speed: How many times faster than ours the clock of its workers is.
    """

    def __init__(self, scratch: Path, speed: int = 1) -> None:
        self.speed = speed
        self.folder = scratch / "live"
        self.address = Address("127.0.0.1", free_port())
        self.url = f"http://{self.address.host}:{self.address.port}{PATH}/"
        self.requests = 0
        self._log = scratch / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; it accepts by then."""
        at = f"{self.address.host}:{self.address.port}"
        own = {
            "LIVE_FOLDER": str(self.folder),
            "LIVE_TOKEN": TOKEN,
        }
        if self.speed != 1:
            # The same for all workers, which start one after the other.
            own["LIVE_CLOCK"] = f"{time.time()} {self.speed}"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
                    *("tests.servers.live_application:app", "--bind", at),
                    *("--workers", "2", "--worker-class", "gthread"),
                    *("--threads", "6", "--keep-alive", "0"),
                    *("--graceful-timeout", "10"),
                ],
                cwd=launch.ROOT,
                env=launch._environment() | own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        launch._wait_until_accepting(self._process, self.address, self._log)

    def stop(self) -> None:
        """Stop the server and its workers, if it runs."""
        if self._process is not None:
            launch._stop(self._process)
            self._process = None

    def get(self, path: str, method: str = "GET", **headers: str) -> bytes:
        """Send a request, and return the body of the response."""
        connection = http.client.HTTPConnection(*self.address, PATIENCE_SECONDS)
        with contextlib.closing(connection):
            # Its own checks of path and method would keep hostile ones from us.
            connection.putrequest(method, "/", skip_accept_encoding=True)
            connection._buffer[0] = f"{method} {path} HTTP/1.1".encode()  # type: ignore[attr-defined]
            for name, value in headers.items():
                connection.putheader(name, value.encode())
            connection.endheaders()
            response = connection.getresponse()
            # What the server itself refuses does not reach the application.
            self.requests += response.status != 400
            return response.read()

    @contextlib.contextmanager
    def open(self, path: str) -> Generator[socket.socket]:
        """Send a request, and leave the connection open for the block."""
        self.requests += 1
        with socket.create_connection(self.address, PATIENCE_SECONDS) as connection:
            host = f"Host: {self.address.host}"
            connection.sendall(f"GET {path} HTTP/1.1\r\n{host}\r\n\r\n".encode())
            yield connection

    def wait_until_counted(self) -> None:
        """Wait until each request is counted, which is after its client has it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while read_live(self.folder).total.requests_since_start < self.requests:
            assert time.monotonic() < deadline, f"{self.requests} are not counted"
            time.sleep(0.01)

    def kill_a_worker(self) -> None:
        """Have a worker killed in a request, and wait for another one's first one."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.get("/die")
        self.workers_that_answer("/items/0")

    def write_lists(self) -> None:
        """Have both workers write their lists, as they do once a second at most."""
        self.wait_until_counted()
        time.sleep(1.05)
        self.workers_that_answer("/items/0")
        self.wait_until_counted()

    def workers_that_answer(self, path: str) -> dict[str, int]:
        """Send requests until both workers have answered; return how many by each."""
        answers: dict[str, int] = {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(answers) < 2 and time.monotonic() < deadline:
            pid = self.get(path).decode()
            answers[pid] = answers.get(pid, 0) + 1
        assert len(answers) == 2, answers
        return answers


@contextlib.contextmanager
def serving_live(scratch: Path, speed: int = 1) -> Generator[LiveSite]:
    """Serve the application until the block ends."""
    site = LiveSite(scratch, speed)
    site.start()
    try:
        yield site
    finally:
        site.stop()


@contextlib.contextmanager
def chromium() -> Generator[Browser]:
    """Run a browser until the block ends."""
    assert CHROMIUM is not None
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*sandbox, "--js-flags=--expose-gc", "--enable-precise-memory-info"],
        )
        try:
            yield browser
        finally:
            browser.close()


class Seen:
    """A page in the browser, and what must never come of it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.dialogs: list[str] = []
        self.messages: list[str] = []
        self.errors: list[str] = []
        self.polls = 0
        page.on("dialog", self._dismiss)
        page.on("console", lambda one: self._keep(f"{one.type}: {one.text}"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda one: self._count(one.url))

    def _dismiss(self, dialog: t.Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _keep(self, message: str) -> None:
        # So a browser reports the page that asks for the token.
        if "the server responded with a status of 401" not in message:
            self.messages.append(message)

    def _count(self, url: str) -> None:
        self.polls += "/data.json?since=" in url

    def log_in(self, url: str) -> None:
        """Open the page, give the token and wait until it is live."""
        self.page.goto(url)
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_role("button", name="Log in").click()
        self.is_live()

    def is_live(self) -> None:
        expect(self.page.get_by_role("status")).to_have_text("Live, as of")

    def tab(self, name: str | re.Pattern[str]) -> None:
        """Open a list."""
        self.page.get_by_role("tab", name=name).click()
        # A list does not move while the pointer is on it.
        self.page.mouse.move(1, 1)

    def row(self, text: str) -> t.Any:
        """Return the first row of the open list that has a text."""
        return self.page.locator("tr.row:visible", has_text=text).first

    def cells(self, text: str) -> list[str]:
        """Return the texts of the first row that has a text."""
        return [str(one) for one in self.row(text).locator("td").all_inner_texts()]

    def figure(self, name: str) -> t.Any:
        """Return a figure with its note."""
        return self.page.locator("#figures > div", has_text=name)

    def shows_all(self, site: LiveSite) -> None:
        """Wait until the page has counted as many requests as were sent."""
        whole = re.compile(rf"(?<![\d,]){site.requests:,} in all")
        try:
            expect(self.figure("Requests")).to_contain_text(whole)
        except AssertionError as error:
            latest = read_live(site.folder).exchanges[:50]
            error.add_note(f"the latest: {[(one.method, one.path) for one in latest]}")
            raise

    def wait(self, is_true: Callable[[], bool], what: str) -> None:
        """Wait until something is true of the page."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_true():
            assert time.monotonic() < deadline, f"{what}, not in {PATIENCE_SECONDS} s"
            self.page.wait_for_timeout(POLL_MS / 2)

    def next_polls(self, number: int = 2) -> None:
        """Wait until the page shows what it has polled after now.

        :param number: That many polls begin after now. As one begins, the page shows
            the one before it.
        """
        # Polls that are already over may not have been counted here.
        self.page.evaluate("0")
        target = self.polls + number
        self.wait(lambda: self.polls >= target, "the page polls")

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))

    def problems(self) -> list[str]:
        """Return what must be empty: dialogs, messages, errors, violations."""
        violations = self.page.evaluate("window.violations")
        return [*self.dialogs, *self.messages, *self.errors, *violations]


@contextlib.contextmanager
def opened(context: BrowserContext) -> Generator[Seen]:
    """Open a page in a context, until the block ends."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    try:
        yield Seen(page)
    finally:
        page.close()


def new_context(browser: Browser, **options: t.Any) -> BrowserContext:
    """Return a new context, in which the page polls quickly."""
    context = browser.new_context(**options)
    context.add_init_script(_QUICK)
    return context


def change_data(page: Page, change: Callable[[dict[str, t.Any]], object]) -> None:
    """Have all of the data in each poll from now on, with a change."""

    def answer(route: Route) -> None:
        response = route.fetch(url=POLLS.sub("/data.json", route.request.url))
        data = response.json()
        change(data)
        route.fulfill(response=response, json=data)

    page.route(POLLS, answer)


def number_in(text: str) -> int:
    """Return the first number of a text, as 1234 of "1,234 in all"."""
    found = re.search(r"[\d,]+(?= in all)|[\d,]+", text)
    assert found is not None, text
    return int(found[0].replace(",", ""))


def hide(page: Page, is_hidden: str) -> None:
    # A browser without a screen hides no page; so its answer is replaced.
    page.evaluate(
        "isHidden => {"
        "Object.defineProperty(document, 'hidden',"
        " {configurable: true, get: () => isHidden});"
        "document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden == "true",
    )


def server_clock(seen: Seen) -> float:
    """Return the time of the server, as the page gets it."""
    script = "fetch('data.json').then((one) => one.json()).then((one) => one.now)"
    return float(seen.page.evaluate(script))
