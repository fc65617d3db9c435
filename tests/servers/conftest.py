"""The fixtures of the tests that look at the live page in a browser."""

from __future__ import annotations

import typing as t
from collections.abc import Generator

import pytest

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import BrowserContext

    from tests.servers.live_server import LiveSite
    from tests.servers.live_server import Seen

# live_server needs playwright, which the other tests of this folder do not.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[LiveSite]:
    from tests.servers.live_server import serving_live

    with serving_live(tmp_path_factory.mktemp("live")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    from tests.servers.live_server import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def context(browser: Browser, site: LiveSite) -> Generator[BrowserContext]:
    """Return a context that is logged in."""
    from tests.servers.live_server import new_context
    from tests.servers.live_server import opened

    context = new_context(browser, viewport={"width": 1280, "height": 900})
    with opened(context) as seen:
        seen.log_in(site.url)
        assert seen.problems() == []
    yield context
    context.close()


@pytest.fixture
def seen(context: BrowserContext, site: LiveSite) -> Generator[Seen]:
    """Return the page, live; nothing that must not happen may happen to it."""
    from tests.servers.live_server import opened

    with opened(context) as page:
        page.page.goto(site.url)
        page.is_live()
        yield page
        assert page.problems() == []
