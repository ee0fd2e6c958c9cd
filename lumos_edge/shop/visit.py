"""One visit to a shop, page by page: search, results, a product with its parts and options, and the purchase.

Source: WebShop (arXiv 2207.01206), its text environment. A page is the names that can be clicked on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from lumos_edge.errors import ElementNotFound, ToolError
from lumos_edge.shop.catalogue import Catalogue, Product
from lumos_edge.toolbox import Resource
from lumos_edge.web.ranking import is_clear, ranked_texts

BACK, NEXT, PREVIOUS, BUY = "back to search", "next >", "< prev", "buy now"
PARTS = ("description", "features", "reviews")
N_PER_PAGE = 10
MAX_CHOICES = 26
"""Names that a model is shown for a choice."""

PageKind: TypeAlias = Literal["search", "results", "product", "part", "done"]


class Chooser(Protocol):
    """Picks what a request means."""

    def choose(self, request: str, lines: Sequence[str]) -> int:
        """The index of the line that the request means. Raises what completing a prompt raises."""
        ...


@dataclass(frozen=True)
class Purchase:
    """What was bought, with which options."""

    product: Product
    options: dict[str, str]

    def __str__(self) -> str:
        chosen = ", ".join(self.options.values())
        return f"bought {self.product.id} - {self.product.title}{f' ({chosen})' if chosen else ''}"


@dataclass
class Shop(Resource):
    """A visit. In a replay there is no catalogue: a tool's results are taken from the trace."""

    catalogue: Catalogue
    page: PageKind = "search"
    results: tuple[Product, ...] = ()
    n_page: int = 1
    product: Product | None = None
    options: dict[str, str] = field(default_factory=dict)
    purchase: Purchase | None = None

    wanted = "a shop: --shop FILE"
    is_changed = True

    @classmethod
    def open(cls, path: Path, attributes: Path | None = None) -> Shop:
        """A visit to the shop with the catalogue in that file. Raises CatalogueError."""
        return cls(Catalogue.open(path, attributes))

    # -- the pages --------------------------------------------------------------------------------------------------

    def search(self, query: str) -> tuple[Product, ...]:
        """The first page of what is found, from whatever page. Raises ElementNotFound."""
        self._check_open()
        found = self.catalogue.search(query)
        if not found:
            raise ElementNotFound(f"no product has a word of {query[:80]!r}")
        self.page, self.results, self.n_page, self.product = "results", found, 1, None
        return self._shown()

    @property
    def clickables(self) -> tuple[str, ...]:
        """The names that can be clicked on this page."""
        if self.page == "results":
            after = (NEXT,) if self.n_page * N_PER_PAGE < len(self.results) else ()
            before = (PREVIOUS,) if self.n_page > 1 else ()
            return (BACK, *after, *before, *(product.id for product in self._shown()))
        if self.page == "product":
            assert self.product is not None
            options = dict.fromkeys(value for values in self.product.options.values() for value in values)
            return (BACK, PREVIOUS, *PARTS, BUY, *options)
        return (BACK, PREVIOUS) if self.page == "part" else ()

    def click(self, name: str) -> None:
        """Click what has that name on this page. Raises ElementNotFound, ToolError."""
        self._check_open()
        if name not in self.clickables:
            raise ElementNotFound(
                f"there is no {name!r} on this page; there are {', '.join(self.clickables) or 'none'}"
            )
        if name == BACK:
            self.page, self.results, self.product = "search", (), None
        elif name == PREVIOUS:
            self._go_back()
        elif name == NEXT:
            self.n_page += 1
        elif self.page == "results":
            self.page, self.product, self.options = "product", self.catalogue.products[name], {}
        elif name == BUY:
            self._buy()
        elif name in PARTS:
            self.page = "part"
        else:
            self._choose_option(name)

    def _shown(self) -> tuple[Product, ...]:
        start = (self.n_page - 1) * N_PER_PAGE
        return self.results[start : start + N_PER_PAGE]

    def _go_back(self) -> None:
        if self.page == "results":
            self.n_page -= 1
        else:
            self.page = "product" if self.page == "part" else "results"

    def _choose_option(self, value: str) -> None:
        assert self.product is not None
        name = next(name for name, values in self.product.options.items() if value in values)
        self.options = {**self.options, name: value}

    def _buy(self) -> None:
        assert self.product is not None
        self.page, self.purchase = "done", Purchase(self.product, self.options)

    def _check_open(self) -> None:
        if self.purchase:
            raise ToolError(f"the visit is over: {self.purchase}")

    # -- what a text means ------------------------------------------------------------------------------------------

    def name(self, text: str, chooser: Chooser) -> str:
        """The name on this page that a text means. Raises ElementNotFound on a page without names."""
        wanted = " ".join(text.lower().rstrip(".").split())
        if wanted in self.clickables:
            return wanted
        if not self.clickables:
            raise ElementNotFound(
                f"nothing can be clicked on the {self.page} page, so not {text[:80]!r} either"
            )
        return best(self.clickables, text, chooser)


def best(texts: Sequence[str], query: str, chooser: Chooser) -> str:
    """The text that a query means: by BM25, or by a model's choice among the best where that is not clear."""
    found = ranked_texts(texts, query)[:MAX_CHOICES]
    if is_clear([score for _, score in found]):
        return found[0][0]
    shown = [text for text, _ in found]
    return shown[chooser.choose(query, shown)]
