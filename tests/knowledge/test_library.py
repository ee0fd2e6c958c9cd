"""Searching: names first, then BM25; what is in a question is text."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from lumos_edge.knowledge.article import Article
from lumos_edge.knowledge.library import Library
from lumos_edge.knowledge.pack import Found, Pack
from tests.knowledge.packs import ROMANS, build_pack


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library([build_pack(tmp_path / "romans.sqlite", *ROMANS)])
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("Genghis Khan", "Genghis Khan"),
        ("  the GENGHIS-khán", "Genghis Khan"),
        ("Khan, Genghis", "Genghis Khan"),
        ("Ghengis Khan", "Genghis Khan"),
        ("Temujin", "Genghis Khan"),
        ("Temujin Khan", "Genghis Khan"),
        ("cafe", "Café"),
        ("Cafés", "Café"),
        ("Mercury (element)", "Mercury (element)"),
        ("mercury", "Mercury (planet)"),
        ("Who crossed the Rubicon?", "Julius Caesar"),
    ],
)
def test_an_entity_is_found_by_any_of_its_names(library: Library, query: str, title: str) -> None:
    assert library.entity(query)[0].title == title


def test_a_name_of_two_articles_gives_both(library: Library) -> None:
    titles = [passage.title for passage in library.entity("Mercury")]
    assert titles[:2] == ["Mercury (planet)", "Mercury (element)"]


def test_the_passages_of_an_entity_come_in_order(tmp_path: Path) -> None:
    text = " ".join(f"Sentence number {i} is about whales, which are large." for i in range(200))
    pack = build_pack(
        tmp_path / "whales.sqlite", Article("Whale", text, source="whale.txt"), ("Cod", "A fish.")
    )
    with closing(Library([pack])) as library:
        passages = library.entity("whale", 100)
        assert library.entity("whale", 3) == passages[:3]
    whole = " ".join(passage.text for passage in passages)
    assert whole == text
    assert {passage.source for passage in passages} == {"whale.txt"}
    assert {passage.pack for passage in passages} == {"whales"}


@pytest.mark.parametrize(
    "query", ['"', "*", "NEAR(a, b)", "-caesar", "title:caesar", "AND", "OR NOT", "(", "^a", "\0", ""]
)
def test_the_syntax_of_fts5_is_text(library: Library, query: str) -> None:
    library.search(query, 3)
    library.entity(query)
    assert library.search(f"{query} Rubicon", 1)[0].title == "Julius Caesar"


def test_words_that_every_question_has_find_nothing(tmp_path: Path) -> None:
    long = "The gluon binds quarks, as the photon binds electrons: " + "it has no mass and no charge. " * 8
    short = [(f"Port {i}", "An old port is located in what is now a city.") for i in range(3)]
    with closing(Library([build_pack(tmp_path / "p.sqlite", ("Force", long), *short)])) as library:
        found = library.search("What are gluons?", 5)
    assert [passage.title for passage in found] == ["Force"]


def test_a_name_outweighs_a_rarer_word(tmp_path: Path) -> None:
    others = [(f"Port {i}", "It is an old port by the sea.") for i in range(5)]
    rare, names = (
        ("Price", "It is worth a lot of money."),
        [("Art", "Mona Lisa in Paris."), ("Anna", "Lisa's friend.")],
    )
    with closing(Library([build_pack(tmp_path / "p.sqlite", rare, *names, *others)])) as library:
        assert library.search("How much is lisa worth?", 1)[0].title == "Price"
        assert library.search("How much is Lisa worth?", 1)[0].title == "Anna"


def test_several_packs_are_one_collection(tmp_path: Path) -> None:
    first = build_pack(tmp_path / "first.sqlite", ("Apple", "An apple is a fruit."), ("Rome", "A city."))
    second = build_pack(tmp_path / "second.sqlite", ("Pear", "A pear is a green fruit."))
    with closing(Library([first, second])) as library:
        assert {passage.pack for passage in library.search("fruit", 5)} == {"first", "second"}
        assert library.search("green fruit", 5)[0].title == "Pear"


def test_closing_waits_for_a_search(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    is_searching, may_go_on = Event(), Event()
    matching = Pack.matching

    def slowly(pack: Pack, expression: str, n: int) -> list[Found]:
        is_searching.set()
        may_go_on.wait()
        return matching(pack, expression, n)

    monkeypatch.setattr(Pack, "matching", slowly)
    with ThreadPoolExecutor(2) as threads:
        search = threads.submit(library.search, "Rubicon", 1)
        is_searching.wait()
        close = threads.submit(library.close)
        wait([close], timeout=0.2)
        may_go_on.set()
    assert search.result()[0].title == "Julius Caesar"
    assert close.exception() is None


def test_ranking_takes_the_best_of_what_is_given(library: Library) -> None:
    passages = library.entity("Julius Caesar") + library.entity("Genghis Khan")
    assert library.rank("the Mongol Empire", passages, 1)[0].title == "Genghis Khan"
    assert library.rank("children", (), 3) == ()
