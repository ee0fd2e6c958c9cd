"""The site that a URL or a file is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from lumos_edge.errors import LumosError, PageError, ToolError
from lumos_edge.web.policy import PORTS, Policy, file_of
from lumos_edge.web.saved import ArchiveTransport, FileTransport
from lumos_edge.web.site import Site
from lumos_edge.web.static import Environment, StaticEnvironment
from lumos_edge.web.transport import HttpTransport, Request


def open_site(
    page: str | Path,
    *,
    allow_hosts: Sequence[str] = (),
    confirm: Callable[[str], bool] | None = None,
    browser: Literal["", "headless", "visible"] = "",
    screenshots: Path | None = None,
) -> Site:
    """The site that begins with this page: an http(s) URL, an HTML file, or a HAR file.

    A URL allows its own host and port, `allow_hosts` (`host` or `host:port`) others; files open no socket.
    `confirm` is asked, with a description, before a form is sent. With `browser` the pages of a URL are in an
    installed Chromium, until the site is closed; `screenshots` is a folder for a picture of each. Raises PageError,
    and ValueError for a host that is none.
    """
    if browser:
        environment: Environment = _browser(str(page), allow_hosts, browser == "visible", screenshots)
    else:
        environment = _environment(str(page), allow_hosts)
    try:
        return Site.begin(environment, confirm)
    except LumosError as error:
        environment.close()
        if isinstance(error, ToolError):
            raise PageError(f"{page} cannot be opened: {error}") from error
        raise


def is_remote(page: str) -> bool:
    """Whether a page is a server's, and no file."""
    return page.lower().startswith(tuple(f"{scheme}://" for scheme in PORTS))


def _browser(
    page: str, allow_hosts: Sequence[str], is_visible: bool, screenshots: Path | None
) -> Environment:
    from lumos_edge.web.browser import BrowserEnvironment

    if not is_remote(page):
        raise PageError(f"a browser opens http and https addresses, not {page}")
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    return BrowserEnvironment(
        page, Policy.of(page, allow_hosts), screenshots=screenshots, is_visible=is_visible
    )


def _environment(page: str, allow_hosts: Sequence[str]) -> Environment:
    if is_remote(page):
        return StaticEnvironment(HttpTransport(Policy.of(page, allow_hosts)), Request(page))
    path = file_of(page) if page.lower().startswith("file:") else Path(page).resolve()
    if not path.is_file():
        raise PageError(f"there is no page {page}")
    if path.suffix.lower() == ".har":
        archive = ArchiveTransport.open(path)
        return StaticEnvironment(archive, archive.first)
    return StaticEnvironment(FileTransport(Policy({}, path.parent)), Request(path.as_uri()))
