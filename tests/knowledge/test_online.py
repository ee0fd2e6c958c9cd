"""Wikipedia over the network: articles and searches of a real server, which fails in all the ways that servers do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lumos_edge.errors import PageNotLoaded, PageTooLarge
from lumos_edge.knowledge import online
from lumos_edge.knowledge.library import Library
from lumos_edge.knowledge.online import OnlineWiki
from lumos_edge.resources import cache_folder
from tests.knowledge.packs import ROMANS, build_pack
from tests.knowledge.wiki import Wiki


@pytest.fixture
def wiki(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiki]:
    monkeypatch.setattr(online, "_BACKOFF_S", 0.01)
    with Wiki().running() as server:
        yield server


def texts(asked: OnlineWiki, name: str) -> list[str]:
    return [passage.text for passage in asked.entity(name)]


def test_an_article_is_its_text_without_what_stands_beside_it(wiki: Wiki) -> None:
    (passage,) = OnlineWiki(wiki.address).entity("Genghis Khan")
    assert passage.text.split("\n") == [
        "Born | Temüjin",
        "c. 1162",
        "Genghis Khan had sixteen children.",
        "Empire",
        "He founded the Mongol Empire.",
    ]
    assert (passage.title, passage.pack) == ("Genghis Khan", "127.0.0.1")
    assert passage.source == f"{wiki.address}/wiki/Genghis_Khan"
    assert [agent for agent in wiki.user_agents if agent and agent.startswith("lumos-edge/")]


def test_a_redirect_leads_to_its_article(wiki: Wiki) -> None:
    (passage,) = OnlineWiki(wiki.address).entity("Temüjin")
    assert passage.title == "Genghis Khan"


def test_a_page_that_lists_articles_comes_with_the_first_of_them(wiki: Wiki) -> None:
    titles = [passage.title for passage in OnlineWiki(wiki.address).entity("mercury")]
    assert titles == ["Mercury", "Mercury (planet)", "Mercury (mythology)"]


def test_no_article(wiki: Wiki) -> None:
    assert OnlineWiki(wiki.address).entity("Atlantis") == []


def test_a_search_reads_the_articles_that_are_found(wiki: Wiki) -> None:
    asked = OnlineWiki(wiki.address)
    assert [p.title for p in asked.search("god of commerce")] == ["Mercury (mythology)"]
    assert [p.title for p in asked.search("Did Genghis found the Mongol Empire?")] == ["Genghis Khan"]
    searches = [fields["srsearch"] for fields in wiki.asked if fields["action"] == "query"]
    assert searches[1:] == [
        "did genghis found the mongol empire",
        "genghis OR found OR mongol OR empire",
    ]


def test_the_wikis_syntax_in_a_question_is_text(wiki: Wiki) -> None:
    asked = OnlineWiki(wiki.address)
    asked.search('-commerce AND intitle:"Mercury" insource:/x/ ~*|')
    assert wiki.asked[0]["srsearch"] == "commerce and intitle mercury insource x"
    n_asked = len(wiki.asked)
    assert asked.search('"*-?') == []
    assert len(wiki.asked) == n_asked


def test_what_passes_is_tried_again(wiki: Wiki) -> None:
    wiki.statuses = [503, 429, 500]
    assert len(OnlineWiki(wiki.address).entity("Genghis Khan")) == 1
    assert len(wiki.asked) == 4
    wiki.statuses = [503] * 4
    with pytest.raises(PageNotLoaded, match=r"127\.0\.0\.1 answered 503"):
        OnlineWiki(wiki.address).entity("Atlantis")


def test_what_stays_is_not(wiki: Wiki) -> None:
    wiki.statuses = [403]
    with pytest.raises(PageNotLoaded, match="answered 403 Forbidden"):
        OnlineWiki(wiki.address).entity("Genghis Khan")
    assert len(wiki.asked) == 1


def test_a_server_leads_nowhere_else(wiki: Wiki) -> None:
    wiki.statuses = [302]
    with pytest.raises(PageNotLoaded, match="answered 302 Found"):
        OnlineWiki(wiki.address).entity("Genghis Khan")


def test_a_silent_server_is_left(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "_TIMEOUTS_S", (5.0, 0.05))
    wiki.pause_s = 0.5
    with pytest.raises(PageNotLoaded, match="did not answer"):
        OnlineWiki(wiki.address).entity("Genghis Khan")


def test_no_server(wiki: Wiki) -> None:
    with pytest.raises(PageNotLoaded, match="localhost did not answer"):
        OnlineWiki("http://localhost:9").entity("Genghis Khan")


def test_a_reply_may_not_fill_the_memory(wiki: Wiki) -> None:
    wiki.packs = True
    wiki.body = b" " * (online.MAX_BYTES + 1)  # 8 kB on the way
    with pytest.raises(PageTooLarge, match="more than 8,388,608 bytes"):
        OnlineWiki(wiki.address).entity("Genghis Khan")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Sign in to the hotel's network</html>", "something else than JSON"),
        (b"[" * 100_000, "something else than JSON"),
        (b"[]", "a reply of another form"),
        (b"{}", "a reply of another form"),
        (b'{"parse": {"title": "x", "text": 3, "properties": {}}}', "a reply of another form"),
        (b'{"error": {"code": "ratelimited", "info": "You are too fast."}}', "You are too fast."),
    ],
)
def test_replies_of_another_form(wiki: Wiki, body: bytes, message: str) -> None:
    wiki.body = body
    with pytest.raises(PageNotLoaded, match=message):
        OnlineWiki(wiki.address).entity("Genghis Khan")


def test_what_came_is_kept_for_a_week(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> int:
        asked = OnlineWiki(wiki.address)
        assert (len(asked.entity("Genghis Khan")), asked.entity("Atlantis")) == (1, [])
        assert len(asked.search("god of commerce")) == 1
        return len(wiki.asked)

    assert (ask(), ask()) == (4, 4)
    monkeypatch.setattr(online, "_KEPT_S", -1)
    assert ask() == 8


def test_only_so_much_is_kept(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "_MOST_KEPT", 2)
    asked = OnlineWiki(wiki.address)
    for name in ("Genghis Khan", "Atlantis", "Mercury (planet)", "Mercury (planet)", "Genghis Khan"):
        asked.entity(name)
    assert [fields["page"] for fields in wiki.asked] == [
        "Genghis Khan",
        "Atlantis",
        "Mercury (planet)",
        "Genghis Khan",
    ]


def test_a_broken_store_begins_anew_and_one_that_cannot_be_made_keeps_nothing(wiki: Wiki) -> None:
    file = cache_folder() / "online.sqlite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 1000)
    for _ in range(3):
        assert len(OnlineWiki(wiki.address).entity("Genghis Khan")) == 1
    assert len(wiki.asked) == 1
    file.unlink()
    file.mkdir()
    assert len(OnlineWiki(wiki.address).entity("Genghis Khan")) == 1
    assert len(wiki.asked) == 2


@pytest.mark.parametrize("address", ["en.wikipedia.org", "ftp://en.wikipedia.org", "http://", ""])
def test_an_address_is_one_of_the_web(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of a wiki"):
        OnlineWiki(address)


def test_a_library_asks_the_wiki_for_names_that_no_pack_has(wiki: Wiki, tmp_path: Path) -> None:
    library = Library([build_pack(tmp_path / "romans.sqlite", *ROMANS)], OnlineWiki(wiki.address))
    assert library.entity("Genghis Khan", 1)[0].pack == "romans"
    assert wiki.asked == []
    assert library.entity("Attila", 1)[0].pack == "127.0.0.1"
    library.close()


def test_a_library_ranks_its_packs_and_the_wiki_together(wiki: Wiki, tmp_path: Path) -> None:
    library = Library([build_pack(tmp_path / "romans.sqlite", *ROMANS)], OnlineWiki(wiki.address))
    assert library.search("the god of commerce", 1)[0].title == "Mercury (mythology)"
    assert library.search("a liquid metal", 1)[0].title == "Mercury (element)"
    library.close()


def test_without_packs_rare_words_weigh_more_all_the_same(wiki: Wiki) -> None:
    library = Library([], OnlineWiki(wiki.address))
    assert library.entity("the planet Mercury closest to the Sun", 1)[0].title == "Mercury (planet)"
    listed = library.entity("Mercury")
    assert library.rank("What is Mercury the god of?", listed, 1)[0].title == "Mercury (mythology)"
