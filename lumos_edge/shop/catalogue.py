"""Products in WebShop's published JSON format, searched with SQLite's FTS5.

Source of the format: WebShop (arXiv 2207.01206), items_shuffle.json and items_ins_v2.json, read as
web_agent_site/engine/engine.py of princeton-nlp/WebShop reads them.
"""

from __future__ import annotations

import json
import re
import sqlite3
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumos_edge.errors import CatalogueError
from lumos_edge.web.names import clean

MAX_BYTES = 500_000_000
"""Bytes that a catalogue may have: it is read into memory as a whole."""

N_FOUND = 50
"""Products that a search finds at most, as in WebShop."""

# Those of Lucene's English analyzer, which WebShop's search has.
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
        "this to was will with",
    )
)
_NO_PRICE = 100.0  # what WebShop takes for a product without one
_MAX_ID = 10


@dataclass(frozen=True)
class Product:
    """A product. `options` are the choices by their names (size, color), `attributes` what the annotators found.

    `price` is the lower end of its range.
    """

    id: str
    title: str
    description: str
    bullet_points: tuple[str, ...]
    price: float
    price_text: str
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    query: str
    category: str
    product_category: str

    @property
    def text(self) -> str:
        """All that is said of it, lower case."""
        return " ".join((self.title, *self.bullet_points, self.description)).lower()


class Catalogue:
    """Products by their ids, and the search over them. Costs some 20 us and 5 kB for each product."""

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = {product.id: product for product in products}
        # A run's tools work in threads, one after the other.
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._index.close)
        self._index.execute(
            "CREATE VIRTUAL TABLE products USING fts5(id UNINDEXED, title, text, tokenize='porter unicode61')"
        )
        rows = ((product.id, product.title, _indexed(product)) for product in self.products.values())
        self._index.executemany("INSERT INTO products VALUES (?, ?, ?)", rows)

    @classmethod
    def open(cls, path: Path, attributes: Path | None = None) -> Catalogue:
        """The catalogue in a JSON file, with the annotators' attributes in another. Raises CatalogueError."""
        found = _read_json(attributes) if attributes else {}
        if not isinstance(found, dict):
            raise CatalogueError(f"{attributes} has no attributes: expected an object by product ids")
        listed = _read_json(path)
        if not isinstance(listed, list):
            raise CatalogueError(f"{path} is no catalogue: expected a list of products")
        products = []
        for number, data in enumerate(listed, 1):
            try:
                if _is_product(data):
                    products.append(_product(data, found.get(data["asin"], {})))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CatalogueError(f"{path}, product {number}: {type(error).__name__}: {error}") from error
        if not products:
            raise CatalogueError(f"{path} has no products")
        return cls(products)

    def search(self, query: str, n_best: int = N_FOUND) -> tuple[Product, ...]:
        """The products that share a word with the query, the best first by BM25; a word of the title counts twice."""
        words = [word for word in dict.fromkeys(re.findall(r"\w+", query.lower())) if word not in _STOP_WORDS]
        if not words:
            return ()
        match = " OR ".join(f'"{word}"' for word in words)
        rows = self._index.execute(
            "SELECT id FROM products WHERE products MATCH ? ORDER BY bm25(products, 0, 2, 1), rowid LIMIT ?",
            (match, n_best),
        )
        return tuple(self.products[key] for (key,) in rows)


def _indexed(product: Product) -> str:
    options = (value for values in product.options.values() for value in values)
    return " ".join((*product.bullet_points, product.description, *options, *product.attributes))


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CatalogueError(f"{path} has more than {MAX_BYTES:,} bytes, which are read into memory")
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} is no catalogue: {error}") from error


def _is_product(data: dict[str, Any]) -> bool:
    """WebShop leaves out what has no id, or a longer one than Amazon's."""
    return data["asin"] != "nan" and len(data["asin"]) <= _MAX_ID


def _product(data: dict[str, Any], annotated: Mapping[str, Any]) -> Product:
    points = data.get("small_description") or ()
    prices = _prices(data.get("pricing"))
    return Product(
        id=str(data["asin"]).lower(),
        title=clean(str(data["name"])),
        description=clean(str(data.get("full_description") or "")),
        bullet_points=tuple(map(clean, [points] if isinstance(points, str) else points)),
        price=min(prices),
        price_text=" to ".join(f"${price:.2f}" for price in prices),
        options=_options(data.get("customization_options") or {}),
        attributes=tuple(map(str, annotated.get("attributes", ()))),
        query=str(data.get("query", "")).lower().strip(),
        category=str(data.get("category", "")),
        product_category=str(data.get("product_category", "")),
    )


def _prices(pricing: str | None) -> list[float]:
    found = [float(price.replace(",", "")) for price in re.findall(r"\$\s*([\d,]*\.?\d+)", pricing or "")]
    return found[:2] or [_NO_PRICE]


def _options(customizations: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> dict[str, tuple[str, ...]]:
    """The choices as WebShop's pages write them: in lower case, with bars for slashes."""
    return {
        name.lower(): tuple(dict.fromkeys(_option(choice["value"]) for choice in choices))
        for name, choices in customizations.items()
        if choices
    }


def _option(value: str) -> str:
    return clean(value.replace("/", " | ").lower())
