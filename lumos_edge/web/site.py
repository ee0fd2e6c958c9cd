"""The page that the agent is on: an action in words becomes one element, and what is done to it the next page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lumos_edge import values
from lumos_edge.errors import Declined, ElementNotFound, StalePage, ToolError
from lumos_edge.toolbox import Resource
from lumos_edge.values import Page, PageAction
from lumos_edge.web.document import Document, Element, Operation
from lumos_edge.web.names import cut
from lumos_edge.web.ranking import is_clear, ranked, ranked_options
from lumos_edge.web.static import Environment

N_CANDIDATES = 16
"""Elements that are shown for a choice."""

_MAX_LINE = 160


class Chooser(Protocol):
    """Picks what a query means."""

    def choose(self, request: str, lines: Sequence[str]) -> int:
        """The index of the line that the request means. Raises what completing a prompt raises."""
        ...


@dataclass
class Site(Resource):
    """The pages of one run, each with its number; `confirm` is asked before a form is sent.

    `first` is the page to begin with: what it says of itself is text, and gives no permission. In a replay there is
    no environment.
    """

    environment: Environment | None
    first: Page
    confirm: Callable[[str], bool] | None = None
    _current: Page = field(init=False, repr=False)

    wanted = "a page: --page URL or FILE"
    is_changed = True

    def __post_init__(self) -> None:
        self._current = self.first

    @classmethod
    def begin(cls, environment: Environment, confirm: Callable[[str], bool] | None = None) -> Site:
        """The site whose first page is what the environment shows; raises ToolError when there is none."""
        return cls(environment, _page(environment.observe(), 0, None), confirm)

    def close(self) -> None:
        """End the browser, where the pages are in one."""
        if self.environment is not None:
            self.environment.close()

    # -- what a prompt and a trace say of it -------------------------------------------------------------------------

    def describe(self) -> str:
        """See `Resource.describe`: the first page, for templates that show pages."""
        return f"Page: {self.first}"

    def write_json(self) -> dict[str, Any]:
        """See `Resource.write_json`."""
        return values.write_json(self.first)

    @classmethod
    def read_json(cls, data: dict[str, Any]) -> Site:
        """See `Resource.read_json`: the page alone, on which nothing can be done."""
        first = values.read_json(data)
        if not isinstance(first, Page):
            raise ValueError(f"a page was expected, a {type(first).__name__} was found")
        return cls(None, first)

    # -- what is done ------------------------------------------------------------------------------------------------

    def act(
        self,
        operation: Operation,
        page: Page | Literal["Env"],
        query: str,
        text: str = "",
        chooser: Chooser | None = None,
    ) -> Page:
        """The page after the action; without a `chooser` the best-ranked element is taken.

        Raises StalePage (for an earlier page, or when the element has gone), ElementNotFound, Declined, ToolError.
        """
        if isinstance(page, Page) and page.number != self._current.number:
            raise StalePage(
                f"page {page.number} ({page.title!r}) is past, this is page {self._current.number}"
            )
        if self.environment is None:
            raise ToolError("the page is not here: this is what a trace says of it")
        element, among = self._element(self.environment, operation, query, chooser)
        if operation == "SELECT":
            text = _option(element, text, chooser)
        done = PageAction(operation, element.id, str(element), text, among)
        if element.is_submit and self.confirm and not self.confirm(str(done)):
            raise Declined(f"the user declined: {done}")
        self.environment.act(operation, element, text)
        self._current = _page(self.environment.observe(), self._current.number + 1, done)
        return self._current

    def _element(
        self, environment: Environment, operation: Operation, query: str, chooser: Chooser | None
    ) -> tuple[Element, tuple[str, ...]]:
        """The element, and the lines of those that the chooser was shown."""
        document = environment.observe()
        candidates = ranked(document.elements, operation, query, N_CANDIDATES)
        best = candidates[0] if candidates else None
        if best is None or (not best.score and chooser is None):
            n_fitting = sum(operation in element.operations for element in document.elements)
            raise ElementNotFound(f"none of {n_fitting} elements for {operation} fits {query!r}")
        if chooser is None or is_clear([score for _, score in candidates]):
            return best.element, ()
        lines = tuple(element_line(element) for element, _ in candidates)
        chosen = chooser.choose(f"{operation}: {query}", lines)
        return candidates[chosen].element, lines


def element_line(element: Element) -> str:
    """An element as a module reads it: `link 'Basket' (2 items), in navigation`."""
    parts = [str(element)]
    if element.value:
        parts.append(f"({element.value})")
    if element.options:
        parts.append(f"of {', '.join(element.options[:8])}")
    if element.ancestors:
        parts.append(f"in {' > '.join(element.ancestors)}")
    return cut(" ".join(parts), _MAX_LINE)


def _option(element: Element, text: str, chooser: Chooser | None) -> str:
    """The element's own option that the text means."""
    found = ranked_options(element.options, text)
    if len(found) == 1 or (found and chooser is None):
        return found[0]
    if chooser is None:
        raise ElementNotFound(
            f"{element} has no option {text!r}; it has {cut(', '.join(element.options), 200)}"
        )
    options = found or element.options
    return options[chooser.choose(f"{element}: {text}", options)]


def _page(document: Document, number: int, done: PageAction | None) -> Page:
    return Page(
        number, document.url, document.title, document.headings, document.forms, done, document.screenshot
    )
