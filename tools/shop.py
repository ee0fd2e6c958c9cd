"""The actions of Agent Lumos in a shop: search, look at a product's features, pick one, click what is on the page.

Source of names and interface texts: allenai/lumos at 146dd9d, eval/webshop/run_eval.py. There every click replays the
whole visit, a search loses its last character, features are paired with items by the numbers of their results, and no
feature means `buy now`; here a visit is a state, and each of these is what it says.
"""

from __future__ import annotations

from lumos_edge.errors import ToolError
from lumos_edge.reader import Reader
from lumos_edge.shop.visit import BACK, BUY, NEXT, PARTS, PREVIOUS, Shop, best
from lumos_edge.toolbox import Example, Query, tool
from lumos_edge.values import Items, Text
from lumos_edge.web.ranking import ranked_texts

_N_ITEMS = 2
_N_FEATURES = 3
_BETWEEN = " ** "

# A model may be asked to choose.
_TIMEOUT_S = 600.0


@tool(interface="Search(Query): Search related items according to the Query")
def Search(query: Query, shop: Shop) -> Text:
    found = shop.search(query)[:_N_ITEMS]
    return Text(_BETWEEN.join(f"{product.id} - {product.title.replace('**', '')}" for product in found))


@tool(
    interface="FeatureRetrieve(Feature_list, Query): Select the most relevant features from Feature_list according to "
    "Query",
    labels={"query": "Query"},
    timeout_s=_TIMEOUT_S,
)
def FeatureRetrieve(features: Items, query: Query, reader: Reader) -> Text:
    names = [str(item) for item in features.items]
    options = [name for name in names if name not in (BACK, NEXT, PREVIOUS, BUY, *PARTS)]
    if not options:
        return Text("none")
    fitting = [name for name, score in ranked_texts(options, query)[:_N_FEATURES] if score > 0]
    return Text(", ".join(fitting or [best(options, query, reader)]))


@tool(
    interface="Pick(Item_names, Item_features, Query): Pick the most relevant item from Item_names according to Query, "
    "Item_names and Item_features",
    labels={"names": "Item_names", "features": "Item_features", "query": "Query"},
    timeout_s=_TIMEOUT_S,
)
def Pick(names: Text, features: tuple[Text, ...], query: Query, reader: Reader) -> Text:
    items = names.text.split(_BETWEEN)
    if not all(" - " in item for item in items):
        raise ToolError(f"expected what a search found, not {names.text[:80]!r}")
    known = [feature.text for feature in features] + [""] * len(items)
    described = [f"{item}. {feature}" for item, feature in zip(items, known, strict=False)]
    return Text(best(described, query, reader).partition(" - ")[0])


@tool(interface="Click(Item): Click the Item to check more information", timeout_s=_TIMEOUT_S)
def Click(item: Query, shop: Shop, reader: Reader) -> Items | Text:
    shop.click(shop.name(item, reader))
    return Text(f"Done: {shop.purchase}") if shop.purchase else Items(tuple(map(Text, shop.clickables)))


_MUG = "I want a blue ceramic mug that is dishwasher safe, and price lower than 20.00 dollars"

EXAMPLES = (
    Example(
        _MUG,
        (
            (
                "Search two relevant items and the product names according to the instruction.",
                f"R1 = Search({_MUG})",
                "b07mug0001 - Ceramic coffee mug, 12 oz, dishwasher safe ** b07mug0002 - Enamel camping mug",
            ),
            (
                "Select the most relevant features of item b07mug0001.",
                f"R2 = Click(b07mug0001); R3 = FeatureRetrieve(R2, Query: {_MUG})",
                "blue, 12 oz",
            ),
            (
                "Select the most relevant features of item b07mug0002.",
                f"R4 = Click(< prev); R5 = Click(b07mug0002); R6 = FeatureRetrieve(R5, Query: {_MUG})",
                "navy blue",
            ),
            (
                "Pick up the most related one from the two relevant items according to the product names and their "
                "features.",
                f"R7 = Pick(Item_names: R1, Item_features: [R3, R6], Query: {_MUG})",
                "b07mug0001",
            ),
            (
                "Buy this item by selecting its relevant features.",
                "R8 = Click(< prev); R9 = Click(R7); R10 = Click(blue); R11 = Click(12 oz); R12 = Click(buy now)",
                "Done",
            ),
        ),
    ),
)
