"""Actions in words on the shop, over HTTP and out of a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lumos_edge.errors import Declined, ElementNotFound, PageError, StalePage, ToolError
from lumos_edge.values import Page, PageAction
from lumos_edge.web.opening import open_site
from lumos_edge.web.policy import Policy
from lumos_edge.web.site import Site
from lumos_edge.web.static import StaticEnvironment
from lumos_edge.web.transport import HttpTransport, Request
from tests.web.archive import ArchivingTransport
from tests.web.shop import Shop
from tests.web.tasks import TASKS, run


@pytest.mark.parametrize("name", TASKS)
def test_a_task_over_http_and_its_replay_out_of_an_archive(shop: Shop, tmp_path: Path, name: str) -> None:
    actions, expected = TASKS[name]
    recorded = ArchivingTransport(HttpTransport(Policy.of(shop.url)))
    results = list(run(Site.begin(StaticEnvironment(recorded, Request(shop.url))), actions))
    assert [result.error for result in results] == [""] * len(actions)
    (page,) = results[-1].values
    assert isinstance(page, Page)
    assert expected in page.title

    n_requests = len(shop.requests)
    again = list(run(open_site(recorded.write(tmp_path / "shop.har")), actions))
    assert again == results
    assert len(shop.requests) == n_requests


def test_a_page_says_what_was_done_and_what_is_there(shop: Shop) -> None:
    site = open_site(shop.url)
    page = site.act("CLICK", "Env", "Open the basket")
    assert page.done == PageAction("CLICK", 2, "link 'Basket (0)'")
    assert (page.number, page.url) == (1, f"{shop.url}basket")
    assert str(page) == (
        "Basket: 0 euros - Shop; headings: Basket: 0 euros; forms: search: Search the shop, Empty basket"
    )


def test_what_the_server_gets(shop: Shop) -> None:
    site = open_site(shop.url)
    site.act("TYPE", "Env", "search the shop", "a&b=c é")
    site.act("CLICK", "Env", "search button")
    assert shop.requests[-1] == "GET /search?q=a%26b%3Dc+%C3%A9"
    assert len(shop.sessions) == 1  # one visitor: its cookie came back


def test_an_earlier_page_is_past(shop: Shop) -> None:
    site = open_site(shop.url)
    first = site.act("CLICK", "Env", "basket")
    site.act("CLICK", first, "home")
    with pytest.raises(StalePage, match=r"page 1 .* is past, this is page 2"):
        site.act("CLICK", first, "home")


def test_the_user_is_asked_before_a_form_is_sent(shop: Shop) -> None:
    asked: list[str] = []

    def decline(action: str) -> bool:
        asked.append(action)
        return False

    site = open_site(shop.url, confirm=decline)
    site.act("CLICK", "Env", "Offers")
    assert asked == []
    n_requests = len(shop.requests)
    with pytest.raises(Declined):
        site.act("CLICK", "Env", "search button")
    assert (asked, len(shop.requests)) == (["CLICK button 'Search'"], n_requests)


def test_nothing_fits(shop: Shop) -> None:
    site = open_site(shop.url)
    with pytest.raises(ElementNotFound, match=r"none of 11 elements for CLICK fits 'zzz'"):
        site.act("CLICK", "Env", "zzz")
    with pytest.raises(ElementNotFound, match="none of 0 elements for SELECT"):
        site.act("SELECT", "Env", "the kind", "Lamps")
    site.act("CLICK", "Env", "delivery day")
    with pytest.raises(ElementNotFound, match=r"has no option 'Sunday'; it has Monday 7 December"):
        site.act("SELECT", "Env", "week day", "Sunday")


def test_a_text_that_an_input_does_not_take(shop: Shop) -> None:
    site = open_site(shop.url)
    site.act("CLICK", "Env", "delivery day")
    with pytest.raises(ToolError, match=r"takes a date such as 2026-11-24, not 'Christmas'"):
        site.act("TYPE", "Env", "date", "Christmas")


def test_a_form_that_is_not_filled_in_is_not_sent(shop: Shop) -> None:
    site = open_site(shop.url)
    site.act("CLICK", "Env", "log in")
    n_requests = len(shop.requests)
    with pytest.raises(ToolError, match="it asks for 'name'"):
        site.act("CLICK", "Env", "log in now")
    assert len(shop.requests) == n_requests


def test_what_needs_a_script_says_so(shop: Shop) -> None:
    site = open_site(shop.url)
    site.act("CLICK", "Env", "offers")
    with pytest.raises(ToolError, match=r"button 'Pick a date' needs a script"):
        site.act("CLICK", "Env", "pick a date")


class Chosen:
    """Chooses the last line."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def choose(self, request: str, lines: Sequence[str]) -> int:
        self.asked.append((request, tuple(lines)))
        return len(lines) - 1


def test_a_chooser_picks_among_the_best(shop: Shop) -> None:
    site, chooser = open_site(shop.url), Chosen()
    page = site.act("CLICK", "Env", "Add a lamp to the basket", chooser=chooser)
    ((request, lines),) = chooser.asked
    assert request == "CLICK: Add a lamp to the basket"
    assert "button 'Add to basket' in Desk lamp 30 euros Add to basket > main" in lines
    assert page.done is not None
    assert lines[-1].startswith(page.done.element)


def test_a_chooser_picks_an_option_that_is_not_named(shop: Shop) -> None:
    site, chooser = open_site(shop.url), Chosen()
    site.act("CLICK", "Env", "delivery day")
    page = site.act("SELECT", "Env", "week day", "the weekend", chooser)
    assert page.done is not None
    assert page.done.text == "Friday 11 December"


def test_saved_files_lead_to_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<title>A</title><a href="b.html?x#y">Next</a><a href="/etc/hostname">Out</a>'
    )
    (tmp_path / "b.html").write_bytes('<meta charset="latin-1"><title>Größe</title>'.encode("latin-1"))
    site = open_site(tmp_path / "a.html")
    with pytest.raises(ToolError, match="not in the folder"):
        site.act("CLICK", "Env", "out")
    assert site.act("CLICK", "Env", "next").title == "Größe"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.html", None, "there is no page"),
        ("x.har", "{}", "is no HTTP archive .* KeyError"),
        ("x.har", '{"log": {"entries": []}}', "has no page of HTML"),
        ("x.html", "<div>" * 600, "nested more than 512 deep"),
    ],
)
def test_what_is_no_page(tmp_path: Path, name: str, content: str | None, expected: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(PageError, match=expected):
        open_site(tmp_path / name)


def test_an_archive_without_the_page_says_which(shop: Shop, tmp_path: Path) -> None:
    recorded = ArchivingTransport(HttpTransport(Policy.of(shop.url)))
    Site.begin(StaticEnvironment(recorded, Request(shop.url)))
    site = open_site(recorded.write(tmp_path / "x.har"))
    with pytest.raises(ToolError, match=r"the archive has no GET of http://localhost:\d+/basket"):
        site.act("CLICK", "Env", "basket")
