"""A running shop, and the browser of those tests that need one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from lumos_edge.errors import PageError
from lumos_edge.web.browser import find_browser
from lumos_edge.web.opening import open_site
from lumos_edge.web.site import Site
from tests.web.shop import Shop

Open = Callable[..., Site]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """The shop, empty of visitors."""
    server = Shop()
    yield server
    server.close()


@pytest.fixture(scope="session")
def chromium() -> None:
    """A Chromium that starts, fetched by Playwright where none is installed.

    Where there is neither one nor a way to get it, the tests that need it are skipped, and pytest's summary says why.
    """
    if not find_browser():
        install = [sys.executable, "-m", "playwright", "install", "chromium"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            pytest.skip("no Chromium is installed (apt install chromium), and Playwright cannot fetch one")
    server = Shop()
    try:
        open_site(server.url, browser="headless").close()
    except PageError as error:
        pytest.skip(f"the installed Chromium does not start: {error}")
    finally:
        server.close()


@pytest.fixture
def browse() -> Iterator[Open]:
    """Opens sites in a browser, and closes them at the end."""
    sites: list[Site] = []

    def opened(url: str, **options: object) -> Site:
        sites.append(open_site(url, browser="headless", **options))  # type: ignore[arg-type]
        return sites[-1]

    yield opened
    for site in sites:
        site.close()


@pytest.fixture
def other() -> Iterator[Shop]:
    """A server that no user allowed: the same host, another port."""
    server = Shop()
    yield server
    server.close()
