"""A visit to the shop: the catalogue's format, search, pages, the paper's actions, purchases and their score."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.agent import Agent
from lumos_edge.engine import Control, Sampling
from lumos_edge.errors import CatalogueError, ElementNotFound, ToolError
from lumos_edge.executor import Executor
from lumos_edge.grammar import actions_grammar
from lumos_edge.reader import Reader
from lumos_edge.shop.catalogue import Catalogue
from lumos_edge.shop.reward import Goal, is_same, kind_score, read_goals, reward
from lumos_edge.shop.visit import Purchase, Shop
from lumos_edge.templates import ChatTemplate, FewshotTemplate, LumosTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trace import of_records, record, replay
from lumos_edge.trajectory import Result, Task
from lumos_edge.values import Items, Text, Value
from tests.scripted import ScriptedEngine, accepts, random_text

FILES = Path(__file__).parent
CATALOGUE = FILES / "catalogue.json"
TASK = "I want a blue ceramic mug that is dishwasher safe, and price lower than 30.00 dollars"
FIXED = ["back to search", "< prev", "description", "features", "reviews", "buy now"]


@pytest.fixture
def shop() -> Shop:
    return Shop.open(CATALOGUE)


def reader(engine: ScriptedEngine) -> Reader:
    return Reader(engine, LumosTemplate("eval", "", ""), Sampling(), 8)


def run(shop: Shop, *calls: str, choices: tuple[str, ...] = ()) -> list[Result]:
    """The results of the calls, named R1, R2, ..."""
    toolbox = Toolbox.of_packs(["shop"], [shop, reader(ScriptedEngine(*choices))])
    executor = Executor(toolbox)
    bindings: dict[str, Value] = {}
    results = []
    for number, call in enumerate(calls, 1):
        (action,) = parse_actions(f"R{number} = {call}")
        results.append(executor.execute(action, bindings, Task(TASK)))
        bindings |= dict(zip(action.targets, results[-1].values, strict=False))
    return results


def texts(results: list[Result]) -> list[str]:
    return [str(result.values[0]) if result.values else result.error for result in results]


def test_the_published_format(shop: Shop) -> None:
    products = shop.catalogue.products
    assert set(products) == {"b07mug0001", "b07mug0002", "b07lamp001", "b07scarf01", "b07scarf02"}
    mug = products["b07mug0001"]
    assert mug.options == {"color": ("blue", "red | white", "black"), "size": ("12 oz", "16 oz")}
    assert (products["b07lamp001"].price, products["b07lamp001"].price_text) == (29.0, "$29.00 to $39.00")
    assert [products[key].price for key in ("b07scarf01", "b07scarf02")] == [100.0, 1015.5]
    assert products["b07mug0002"].bullet_points == ("Hand wash only",)


def test_the_papers_solution_of_a_task(shop: Shop) -> None:
    results = run(
        shop,
        f"Search({TASK})",
        "Click(b07mug0001)",
        f"FeatureRetrieve(R2, Query: {TASK})",
        "Click(< prev)",
        "Click(b07mug0002)",
        f"FeatureRetrieve(R5, Query: {TASK})",
        f"Pick(Item_names: R1, Item_features: [R3, R6], Query: {TASK})",
        "Click(< prev)",
        "Click(R7)",
        "Click(blue)",
        "Click(12 oz)",
        "Click(buy now)",
    )
    found = texts(results)
    assert (
        found[0]
        == "b07mug0001 - Ceramic coffee mug, 12 oz, dishwasher safe ** b07mug0002 - Enamel camping mug"
    )
    assert results[1].values == (
        Items(tuple(map(Text, [*FIXED, "blue", "red | white", "black", "12 oz", "16 oz"]))),
    )
    assert (found[2], found[5], found[6]) == ("blue", "navy blue", "b07mug0001")
    assert found[-1] == "Done: bought b07mug0001 - Ceramic coffee mug, 12 oz, dishwasher safe (blue, 12 oz)"


def test_the_last_word_of_a_search_counts(shop: Shop) -> None:
    assert texts(run(shop, "Search(a lamp)"))[0].startswith("b07lamp001 - ")


def test_a_click_is_one_step_of_the_visit(shop: Shop) -> None:
    shop.search("mug scarf")
    shop.click("b07scarf01")
    shop.click("description")
    assert shop.clickables == ("back to search", "< prev")
    shop.click("< prev")
    shop.click("red")
    shop.click("light grey (melange)")
    assert shop.options == {"color": "light grey (melange)"}
    shop.click("back to search")
    assert shop.page == "search"
    assert not shop.clickables
    with pytest.raises(ElementNotFound, match="there is no 'buy now' on this page; there are none"):
        shop.click("buy now")


def test_results_come_in_pages_of_ten(tmp_path: Path) -> None:
    products = [
        {**json.loads(CATALOGUE.read_text())[0], "asin": f"B{number}", "name": f"Mug {number}"}
        for number in range(23)
    ]
    (tmp_path / "mugs.json").write_text(json.dumps(products))
    shop = Shop.open(tmp_path / "mugs.json")
    assert len(shop.search("mug")) == 10
    assert shop.clickables[:2] == ("back to search", "next >")
    shop.click("next >")
    shop.click("next >")
    assert shop.clickables[:2] == ("back to search", "< prev")
    assert len(shop.clickables) == 5
    shop.click("< prev")
    assert shop.n_page == 2


def test_features_belong_to_the_items_in_the_order_given(shop: Shop) -> None:
    """Those of the second item were found first: by the results' numbers they would be swapped."""
    results = run(
        shop,
        "Search(mug)",
        "Click(b07mug0002)",
        "FeatureRetrieve(R2, Query: green mug)",
        "Click(< prev)",
        "Click(b07mug0001)",
        "FeatureRetrieve(R5, Query: black mug)",
        "Pick(Item_names: R1, Item_features: [R6, R3], Query: green)",
    )
    first = texts(results)[0].partition(" - ")[0]
    assert texts(results)[-1] == ("b07mug0002" if first == "b07mug0001" else "b07mug0001")


def test_no_features_are_none_and_buy_nothing(shop: Shop) -> None:
    results = run(shop, "Search(lamp)", "Click(b07lamp001)", "FeatureRetrieve(R2, Query: green)")
    assert texts(results)[-1] == "none"
    assert shop.purchase is None


def test_a_model_chooses_where_no_word_is_shared(shop: Shop) -> None:
    results = run(
        shop,
        "Search(mug)",
        "Click(the one for the rucksack)",
        "FeatureRetrieve(R2, Query: like grass)",
        choices=("Answer: 3", "Answer: 2"),
    )
    assert shop.product is not None
    assert texts(results)[-1] == [*shop.product.options["color"]][1]


def test_after_the_purchase_the_visit_is_over(shop: Shop) -> None:
    results = run(
        shop, "Search(lamp)", "Click(b07lamp001)", "Click(Buy Now.)", "Search(mug)", "Click(< prev)"
    )
    assert [result.error for result in results[2:]] == ["", "ToolError", "ElementNotFound"]
    assert shop.purchase == Purchase(shop.catalogue.products["b07lamp001"], {})


@pytest.mark.parametrize("query", ['" OR title:mug', "*", "NEAR(mug)", "", "R2-D2 AND (", "zzz"])
def test_a_query_is_words_and_no_language(shop: Shop, query: str) -> None:
    if any(word in query for word in ("mug", "title")):
        assert shop.search(query)
    else:
        with pytest.raises(ElementNotFound, match="no product has a word of"):
            shop.search(query)


def test_what_is_no_search_result_cannot_be_picked_from(shop: Shop) -> None:
    results = run(
        shop,
        "Search(mug)",
        "Click(b07mug0001)",
        "FeatureRetrieve(R2, Query: blue)",
        "Pick(Item_names: R3, Item_features: [R3], Query: blue)",
    )
    assert (results[-1].error, results[-1].message[:30]) == ("ToolError", "expected what a search found, ")


# -- the grammar, runs and replays ---------------------------------------------------------------------------------

TOOLS = Toolbox.of_packs(["shop"])


def test_the_papers_actions_are_generated() -> None:
    types = {"R1": frozenset({Text}), "R2": frozenset({Items}), "R3": frozenset({Text})}
    grammar = actions_grammar(TOOLS, types, formulation="iterative", max_actions=3)
    assert accepts(grammar, "R4 = Click(< prev); R5 = FeatureRetrieve(R2, Query: x)")
    assert accepts(grammar, "R4 = Pick(Item_names: R1, Item_features: [R3], Query: x)")
    assert not accepts(grammar, "R4 = FeatureRetrieve(R1, Query: x)")


def test_random_texts_of_the_grammar_are_valid() -> None:
    random = Random(7)
    for _ in range(100):
        kinds = [frozenset({random.choice([Text, Items])}) for _ in range(random.randint(0, 4))]
        types = {f"R{number}": kind for number, kind in enumerate(kinds, 1)}
        grammar = actions_grammar(TOOLS, types, formulation="iterative", max_actions=2)
        for action in parse_actions(random_text(grammar, random).strip()):
            TOOLS.check(action, types)
            types |= dict.fromkeys(action.targets, TOOLS.result_types(action, types))


RUN = (
    "Subgoal 1: Search two relevant items.",
    "R1 = Search(wool scarf)",
    "Subgoal 2: Buy it.",
    "R2 = Click(b07scarf01); R3 = Click(red); R4 = Click(buy now)",
    "Yes, I will stop planning.",
)


def agent(engine: ScriptedEngine, template: LumosTemplate | FewshotTemplate) -> Agent:
    toolbox = Toolbox.of_packs(["shop"], [Shop.open(CATALOGUE)])
    return Agent(engine, template, template, toolbox, formulation="iterative", reader=reader(engine))


def test_a_whole_run_and_its_replay() -> None:
    records: list[dict[str, object]] = []
    for _ in record(
        agent(ScriptedEngine(*RUN), LumosTemplate("eval", "", "")), Task(TASK), {}, records.append
    ):
        pass
    trace = of_records(records)
    assert trace.trajectory is not None
    assert str(trace.trajectory.answer).startswith("Done: bought b07scarf01")
    assert replay(trace) == trace.trajectory


def test_what_a_product_says_is_plain_text() -> None:
    chat = ChatTemplate.of_vocabulary(
        "{% for m in messages %}<|{{m.role}}|>{{m.content}}<|im_end|>{% endfor %}",
        bos="",
        eos="",
        is_control=lambda text: text == "<|im_end|>",
    )
    texts = (*RUN[:3], "R2 = Click(b07scarf01); R3 = Click(description)", RUN[4])
    engine = ScriptedEngine(*texts)
    made = agent(engine, FewshotTemplate(chat))
    names = set(made.toolbox.tools)
    trajectory = made.ask("Buy a scarf.")
    assert trajectory.answer == Items((Text("back to search"), Text("< prev")))
    assert set(made.toolbox.tools) == names
    for _, prompt in engine.prompts:
        assert all(piece == Control("<|im_end|>") for piece in prompt if isinstance(piece, Control))


# -- the score -----------------------------------------------------------------------------------------------------


def test_the_score_of_a_purchase(shop: Shop) -> None:
    (goal,) = read_goals(FILES / "goals.json", shop.catalogue)
    assert (
        goal.instruction
        == "I want a blue ceramic mug that is dishwasher safe, and price lower than 30.00 dollars"
    )
    products = shop.catalogue.products

    def score(key: str, **options: str) -> float:
        return reward(Purchase(products[key], options), goal)

    assert score("b07mug0001", color="blue", size="12 oz") == 1.0
    assert score("b07mug0001", color="blue", size="16 oz") == 0.75  # a size is the same or another one
    assert score("b07mug0001") == 0.5
    assert score("b07mug0002", color="navy blue") == 0.5  # navy is another colour; blue is in it, too
    assert score("b07lamp001") == 0.0
    assert reward(None, goal) == 0.0


def test_how_far_the_kind_is_right(shop: Shop) -> None:
    products = shop.catalogue.products
    assert kind_score(products["b07mug0002"], products["b07mug0001"]) == 1.0
    assert kind_score(products["b07scarf02"], products["b07scarf01"]) == 0.0  # no word of the title is shared


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("dishwasher safe", "safe dishwasher", True),
        ("machine wash", "machine wash cold", True),
        ("water proof", "waterproof", False),
        ("red", "green", False),
        ("", "red", False),
    ],
)
def test_nearly_the_same(one: str, other: str, expected: bool) -> None:
    assert is_same(one, other) is expected


def test_attributes_of_another_file(tmp_path: Path) -> None:
    attributes = tmp_path / "attributes.json"
    attributes.write_text(json.dumps({"B07MUG0002": {"attributes": ["machine washable"]}}))
    products = Catalogue.open(CATALOGUE, attributes).products
    mug = products["b07mug0002"]
    assert mug.attributes == ("machine washable",)
    goal = Goal("x", mug, ("machine washable",), (), 10.0)
    assert reward(Purchase(mug, {}), goal) == 1.0
    assert reward(Purchase(products["b07mug0001"], {}), goal) == 0.0  # dearer, and not said to be washable


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("no", "is no catalogue"),
        ("{}", "expected a list of products"),
        ("[]", "has no products"),
        ('[{"asin": "B1"}]', "product 1: KeyError: 'name'"),
        (
            '[{"asin": "B1", "name": "x", "customization_options": {"size": [{}]}}]',
            "product 1: KeyError: 'value'",
        ),
    ],
)
def test_what_is_no_catalogue(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CatalogueError, match=expected):
        Shop.open(tmp_path / "x.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="is no catalogue"):
        Shop.open(tmp_path / "nowhere.json")
    with pytest.raises(CatalogueError, match="has no goals"):
        list(read_goals(tmp_path / "nowhere.json", Catalogue.open(CATALOGUE)))
    assert issubclass(ElementNotFound, ToolError)
