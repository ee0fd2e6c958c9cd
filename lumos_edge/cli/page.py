"""The options of commands whose tasks are on a web page."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

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

    def open(self, page: str) -> Site:
        """The site that begins with that page. Raises PageError, OfflineError, click.UsageError."""
        from lumos_edge.sources import require_network
        from lumos_edge.web.opening import is_remote, open_site

        if is_remote(page):
            require_network(f"the page {page}")
        may_ask = self.confirm if self.confirm is not None else sys.stdin.isatty() and sys.stderr.isatty()
        try:
            return open_site(page, allow_hosts=self.allow_hosts, confirm=_ask if may_ask else None)
        except ValueError as error:
            raise click.UsageError(f"--allow-host: {error}") from error


def _ask(action: str) -> bool:
    """Ask the user; without an answer the form is not sent."""
    try:
        return click.confirm(f"send the form? {action}", err=True)
    except click.Abort:
        return False
