"""Which element a query means."""

from __future__ import annotations

import pytest

from lumos_edge.web.document import Operation
from lumos_edge.web.ranking import is_clear, ranked, ranked_options
from lumos_edge.web.reading import parse, read_document

PAGE = """
<nav><a href="/basket">Basket (2)</a> <a href="/login">Log in</a></nav>
<form><input type="search" aria-label="Search the shop"><button>Search</button></form>
<ul><li><a href="/1">Desk lamp</a> <button>Add to basket</button></li>
<li><a href="/2">Reading lamp</a> <button>Add to basket</button></li></ul>
<form><label>Departure <input></label><label>Arrival <input></label>
<label>Kind <select><option>Lamps<option>Tables</select></label>
<label>Order <select><option>by name<option>by price</select></label></form>
"""
ELEMENTS = read_document(parse(PAGE), "").elements


@pytest.mark.parametrize(
    ("operation", "query", "expected"),
    [
        ("CLICK", "Open the basket", "link 'Basket (2)'"),
        ("CLICK", "Click the search button", "button 'Search'"),
        ("CLICK", "log in", "link 'Log in'"),
        ("CLICK", "Open the page of the reading lamp", "link 'Reading lamp'"),
        ("TYPE", "Type Atlanta as the departure", "textbox 'Departure'"),
        ("TYPE", "Type lamp to search the shop", "searchbox 'Search the shop'"),
        ("SELECT", "Choose the order by price", "combobox 'Order'"),
        ("SELECT", "Choose tables", "combobox 'Kind'"),
    ],
)
def test_the_best_element(operation: Operation, query: str, expected: str) -> None:
    assert str(ranked(ELEMENTS, operation, query, 3)[0].element) == expected


def test_equal_buttons_are_told_apart_by_what_is_around_them() -> None:
    best = ranked(ELEMENTS, "CLICK", "Add the reading lamp to the basket", 3)[0].element
    assert (best.name, best.ancestors[0]) == ("Add to basket", "Reading lamp Add to basket")


def test_what_shares_no_word_comes_last_and_what_cannot_be_done_does_not_come() -> None:
    unlike = ranked(ELEMENTS, "CLICK", "zzz", 5)
    assert [element.name for element, _ in unlike[:2]] == ["Basket (2)", "Log in"]
    assert {score for _, score in unlike} == {0}
    assert all("TYPE" in element.operations for element, _ in ranked(ELEMENTS, "TYPE", "search basket", 5))
    assert len(ranked(ELEMENTS, "CLICK", "basket", 2)) == 2


@pytest.mark.parametrize(
    ("query", "clear"),
    [
        ("log in", True),
        ("Type Atlanta as the departure", True),
        ("Add a lamp to the basket", False),
        ("zzz", False),
    ],
)
def test_a_model_is_asked_only_where_the_ranking_is_not_clear(query: str, clear: bool) -> None:
    scores = [score for _, score in ranked(ELEMENTS, "CLICK", query, 16)]
    assert is_clear(scores) is clear


@pytest.mark.parametrize(
    ("text", "expected"),
    [("LAST YEAR", ("Last year",)), ("in the past year", ("Past year", "Last year")), ("week", ())],
)
def test_options(text: str, expected: tuple[str, ...]) -> None:
    assert ranked_options(("Any time", "Past year", "Last year"), text) == expected
