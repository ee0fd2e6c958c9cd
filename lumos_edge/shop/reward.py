"""How WebShop scores a purchase, from 0 to 1.

Source: WebShop (arXiv 2207.01206), section 3.2, and web_agent_site/engine/goal.py of princeton-nlp/WebShop: the share
of the wanted attributes, options and the price that fit, times how far the kind of product is right. Two parts differ:
there the words of a title that count are nouns found by spaCy, here all words of three letters or more that are no
stop words; and strings are compared with difflib instead of the Levenshtein distance, with the same threshold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from lumos_edge.errors import CatalogueError
from lumos_edge.shop.catalogue import Catalogue, Product
from lumos_edge.shop.visit import Purchase

_SAME = 0.85

_COLOURS = re.findall(
    r"\w+",
    """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel
    camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry
    cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green
    grey heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot
    midnight mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple
    rainbow red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan
    taupe teal tiger turquoise violet walnut wheat white wine yellow
    """,
)


@dataclass(frozen=True)
class Goal:
    """What is wanted. `options` are values without their names; `price_upper` the price that may not be exceeded."""

    instruction: str
    product: Product
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    price_upper: float


def read_goals(path: Path, catalogue: Catalogue) -> Iterator[Goal]:
    """The goals of WebShop's items_human_ins.json for the products of the catalogue. Raises CatalogueError.

    WebShop draws the highest price at random; here it is the next but one multiple of 10 above the price.
    """
    try:
        found = json.loads(path.read_bytes())
        for key, instructions in found.items():
            product = catalogue.products.get(key.lower())
            if product:
                yield from (_goal(product, data) for data in instructions if data["instruction_attributes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"{path} has no goals: {type(error).__name__}: {error}") from error


def _goal(product: Product, data: Mapping[str, Any]) -> Goal:
    upper = 10.0 * (int(product.price // 10) + 2)
    options = data["instruction_options"]
    return Goal(
        f"{data['instruction'].strip('.')}, and price lower than {upper:.2f} dollars",
        product,
        tuple(data["instruction_attributes"]),
        tuple(options.values() if isinstance(options, dict) else options),
        upper,
    )


def reward(purchase: Purchase | None, goal: Goal) -> float:
    """The score; 0 where nothing was bought."""
    if purchase is None:
        return 0.0
    bought = purchase.product
    n_attributes = sum(_has_attribute(bought, wanted) for wanted in goal.attributes)
    n_options = sum(_is_wanted(bought, name, value, goal.options) for name, value in purchase.options.items())
    fits = n_attributes + n_options + (bought.price <= goal.price_upper)
    return kind_score(bought, goal.product) * fits / (len(goal.attributes) + len(goal.options) + 1)


def kind_score(bought: Product, wanted: Product) -> float:
    """How far a product is of the wanted kind: 1, 0.5, 0.1 or 0."""
    words = _title_words(wanted.title)
    share = len(words & _title_words(bought.title)) / len(words) if words else 0.2
    if share < 0.1:
        return 0.1 if share else 0.0
    categories = _categories(bought) & _categories(wanted)
    return 1.0 if bought.query == wanted.query or len(categories) >= 2 or share > 0.2 else 0.5


def _categories(product: Product) -> set[str]:
    return {part.strip() for part in product.product_category.split("›") if part.strip()}


_NO_NOUNS = frozenset({"and", "for", "from", "not", "that", "the", "this", "with", "without", "you", "your"})


def _title_words(title: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]{3,}", title.lower()) if word not in _NO_NOUNS}


def _has_attribute(product: Product, wanted: str) -> bool:
    return any(is_same(found, wanted) for found in product.attributes) or wanted in product.text


def _is_wanted(product: Product, name: str, value: str, options: Sequence[str]) -> bool:
    chosen, wanted = _colour(value), [_colour(option) for option in options]
    if chosen in wanted if name == "size" else any(is_same(option, chosen) for option in wanted):
        return True
    return chosen in product.text


def _colour(value: str) -> str:
    """The first colour that is named in a value, or the value."""
    return next((colour for colour in _COLOURS if colour in value), value)


def is_same(one: str, other: str) -> bool:
    """Whether two texts have nearly the same words: the token set ratio of fuzzy matching is above 85 %."""
    words, others = set(re.findall(r"\w+", one.lower())), set(re.findall(r"\w+", other.lower()))
    common = " ".join(sorted(words & others))
    texts = [
        common,
        *(f"{common} {' '.join(sorted(rest))}".strip() for rest in (words - others, others - words)),
    ]
    pairs = ((texts[0], texts[1]), (texts[0], texts[2]), (texts[1], texts[2]))
    return any(left and SequenceMatcher(None, left, right).ratio() > _SAME for left, right in pairs)
