"""The options of commands whose tasks are on a web page."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from lumos_edge.web.site import Site

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--allow-host",
        "allow_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="A host that pages may lead to, besides that of --page (repeatable).",
    ),
    click.option(
        "--confirm/--no-confirm",
        default=None,
        help="Ask before an action that sends a form. Default: ask in a terminal.",
    ),
    click.option(
        "--browser",
        type=click.Choice(["headless", "visible"]),
        help="Work in an installed Chromium, where scripts run (extra `browser`).",
    ),
    click.option(
        "--screenshots",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Keep a picture of the page after each action, with --browser.",
    ),
)


def page_options(function: F) -> F:
    """Add the options to a command; it gets them as one `PageOptions` called `page_options`."""

    @functools.wraps(function)
    def with_options(**values: Any) -> Any:
        own = {name: values.pop(name) for name in PageOptions.__dataclass_fields__}
        return function(page_options=PageOptions(**own), **values)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options  # type: ignore[return-value]


@dataclass(frozen=True)
class PageOptions:
    """The values of the options."""

    allow_hosts: tuple[str, ...]
    confirm: bool | None
    browser: Literal["headless", "visible"] | None
    screenshots: Path | None

    def open(self, page: str) -> Site:
        """The site that begins with that page, until the command ends. Raises PageError, OfflineError,
        click.UsageError.
        """
        from lumos_edge.sources import require_network
        from lumos_edge.web.opening import is_remote, open_site

        if self.screenshots and not self.browser:
            raise click.UsageError("--screenshots needs --browser: there is no picture of a page without one")
        if is_remote(page):
            require_network(f"the page {page}")
        may_ask = self.confirm if self.confirm is not None else sys.stdin.isatty() and sys.stderr.isatty()
        try:
            site = open_site(
                page,
                allow_hosts=self.allow_hosts,
                confirm=_ask if may_ask else None,
                browser=self.browser or "",
                screenshots=self.screenshots,
            )
        except ValueError as error:
            raise click.UsageError(f"--allow-host: {error}") from error
        click.get_current_context().call_on_close(site.close)
        return site


def _ask(action: str) -> bool:
    """Ask the user; without an answer the form is not sent."""
    try:
        return click.confirm(f"send the form? {action}", err=True)
    except click.Abort:
        return False
