"""Pages in a real Chromium: the same trajectories as without one, what only a browser can do, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lumos_edge.errors import HostNotAllowed, PageError, PageNotLoaded, StalePage, ToolError, ToolTimeout
from lumos_edge.values import Page
from lumos_edge.web import browser
from lumos_edge.web.browser import BrowserEnvironment
from lumos_edge.web.document import Document, Element
from lumos_edge.web.opening import open_site
from lumos_edge.web.policy import Policy
from lumos_edge.web.site import Site
from tests.web.conftest import Open
from tests.web.shop import Shop
from tests.web.tasks import TASKS, run

pytestmark = pytest.mark.usefixtures("chromium")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_the_same_trajectory_as_without_a_browser(shop: Shop, browse: Open, name: str) -> None:
    actions, expected = TASKS[name]
    plain = open_site(shop.url)
    without = [result.values for result in run(plain, actions)]
    shop.sessions.clear()
    site = browse(shop.url)
    with_browser = [result.values for result in run(site, actions)]
    assert site.first == plain.first
    assert with_browser == without
    last = with_browser[-1][0]
    assert isinstance(last, Page)
    assert expected in last.title


def test_scripts_run_and_what_they_show_can_be_clicked(shop: Shop, browse: Open) -> None:
    site = browse(shop.url)
    site.act("CLICK", "Env", "Offers")
    assert "You took Half-price lamp" in site.act("CLICK", "Env", "Take the half-price lamp").headings
    site.act("CLICK", "Env", "Pick a date")
    assert "Picked 24 December" in site.act("CLICK", "Env", "24 December").headings


def document(site: Site) -> Document:
    assert site.environment is not None
    return site.environment.observe()


def named(site: Site) -> list[str]:
    return [element.name for element in document(site).elements]


def test_what_is_not_shown_is_not_there(shop: Shop, browse: Open) -> None:
    url = shop.add(
        "/hidden",
        "<style>.a {display: none} .b {visibility: hidden} .c {visibility: visible}</style>"
        "<div class=a><button>A</button></div><div class=b><button>B</button><button class=c>C</button></div>",
    )
    assert named(browse(url)) == ["C"]


def test_what_was_typed_and_chosen_is_seen(shop: Shop, browse: Open) -> None:
    url = shop.add(
        "/form",
        "<input aria-label=a><textarea aria-label=b></textarea><select aria-label=c multiple>"
        "<option>x<option>y<option>z</select><input type=checkbox aria-label=d><input type=password aria-label=e>"
        "<div contenteditable aria-label=f></div>",
    )
    site = browse(url)
    site.act("TYPE", "Env", "a", "one  two")
    site.act("TYPE", "Env", "b", "more")
    site.act("SELECT", "Env", "c", "x")
    site.act("SELECT", "Env", "c", "z")
    site.act("CLICK", "Env", "d")
    site.act("TYPE", "Env", "e", "secret")
    site.act("TYPE", "Env", "f", "free text")
    values = [element.value for element in document(site).elements]
    assert values[:5] == ["one two", "more", "x, z", "checked", "******"]


def test_a_page_that_cleared_itself_is_empty(shop: Shop, browse: Open) -> None:
    site = browse(shop.add("/clear", '<button onclick="document.open()">Clear</button>'))
    assert site.act("CLICK", "Env", "Clear").headings == ()
    assert document(site).elements == ()


def test_a_link_that_opens_a_window_leads_there(shop: Shop, browse: Open) -> None:
    url = shop.add("/new", '<a href="/basket" target="_blank">Basket</a>')
    assert browse(url).act("CLICK", "Env", "Basket").title == "Basket: 0 euros - Shop"


def test_the_same_errors_as_without_a_browser(shop: Shop, browse: Open) -> None:
    for site in (browse(shop.url), open_site(shop.url)):
        site.act("CLICK", "Env", "log in")
        n_requests = len(shop.requests)
        with pytest.raises(ToolError, match="the form is not sent: it asks for 'name'"):
            site.act("CLICK", "Env", "log in now")
        assert len(shop.requests) == n_requests
        site.act("CLICK", "Env", "delivery day")
        with pytest.raises(ToolError, match="takes a date such as 2026-11-24, not 'Christmas'"):
            site.act("TYPE", "Env", "date", "Christmas")


def test_screenshots_are_kept_and_named(shop: Shop, browse: Open, tmp_path: Path) -> None:
    site = browse(shop.url, screenshots=tmp_path / "pictures")
    page = site.act("CLICK", "Env", "basket")
    assert (site.first.screenshot, page.screenshot) == ("000.png", "001.png")
    files = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in files] == ["000.png", "001.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


# -- what it may not -----------------------------------------------------------------------------------------------


def test_links_forms_redirects_and_scripts_lead_nowhere_else(shop: Shop, other: Shop, browse: Open) -> None:
    shop.add("/away", "", 302, Location=f"{other.url}?redirected")
    url = shop.add(
        "/ways",
        f'<title>Ways</title><a href="{other.url}?link">Link</a><a href="/away">Redirect</a>'
        f'<form method=post action="{other.url}?form"><button>Form</button></form>'
        f"""<button type=button onclick="location = '{other.url}?script'">Script</button>"""
        f'<a href="{other.url}?window" target="_blank">Window</a><a href="file:///etc/hostname">File</a>'
        '<a href="http://127.0.0.1:9/">Address</a>'
        f"""<button type=button onclick="window.open('{other.url}?opened')">Open</button>""",
    )
    site = browse(url)
    for way in ("Link", "Redirect", "Form", "Script", "Window", "File", "Address", "Open"):
        with pytest.raises(HostNotAllowed):
            site.act("CLICK", "Env", way)
        assert document(site).title == "Ways"
    assert other.requests == []


def test_a_page_is_made_of_nothing_else(shop: Shop, other: Shop, browse: Open) -> None:
    shop.add("/moved", "", 302, Location=f"{other.url}?moved")
    address = other.url.replace("http:", "")
    url = shop.add(
        "/parts",
        f'<title>Parts</title><link rel=stylesheet href="{other.url}?style"><img src="{other.url}?picture">'
        f'<iframe src="{other.url}?frame"></iframe><script src="{other.url}?script"></script><img src="/moved">'
        f"<script>const tries = [() => fetch('{other.url}?fetch'), () => navigator.sendBeacon('{other.url}?beacon'),"
        f" () => new WebSocket('ws:{address}socket'), () => new EventSource('{other.url}?events'),"
        f" () => fetch('/moved'), () => new Worker('{other.url}?worker'), () => open('{other.url}?opened')];"
        "for (const each of tries) try { Promise.resolve(each()).catch(() => 0); } catch (e) {}</script>",
    )
    site = browse(url)
    assert document(site).title == "Parts"
    assert other.requests == []
    assert any("/moved" in request for request in shop.requests)


def test_a_host_that_was_allowed_can_be_reached(shop: Shop, other: Shop, browse: Open) -> None:
    url = shop.add("/there", f'<a href="{other.url}basket">There</a>')
    site = browse(url, allow_hosts=[f"localhost:{other.port}"])
    assert site.act("CLICK", "Env", "There").url == f"{other.url}basket"


def test_a_page_begins_at_an_address(browse: Open, shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(PageError, match="a browser opens http and https addresses, not"):
        browse(str(tmp_path / "x.html"))
    with pytest.raises(PageError, match="cannot be opened"):
        browse("http://shop.invalid/")


def test_a_server_that_is_gone(shop: Shop, browse: Open) -> None:
    url = shop.add("/gone", '<title>Here</title><a href="http://localhost:9/">Gone</a>')
    site = browse(url, allow_hosts=["localhost:9"])
    with pytest.raises(PageNotLoaded):
        site.act("CLICK", "Env", "Gone")
    assert document(site).title == "Here"


# -- pages that change ---------------------------------------------------------------------------------------------


@pytest.fixture
def changing(shop: Shop) -> Iterator[BrowserEnvironment]:
    url = shop.add(
        "/changing",
        "<button id=a>Cancel</button><button id=b>Go on</button><script>"
        "document.getElementById('b').onclick = () => document.title = 'Went on';</script>",
    )
    environment = BrowserEnvironment(url, Policy.of(url))
    yield environment
    environment.close()


def script(environment: BrowserEnvironment, text: str) -> None:
    environment._run(environment._page.evaluate(text))


def elements(environment: BrowserEnvironment) -> tuple[Element, ...]:
    return environment.observe().elements


def test_an_element_that_moved_is_still_the_one(changing: BrowserEnvironment) -> None:
    _, go_on = elements(changing)
    script(changing, "document.body.prepend(document.createElement('button'))")
    changing.act("CLICK", go_on, "")
    assert changing.observe().title == "Went on"


@pytest.mark.parametrize(
    "change", ["document.getElementById('b').remove()", "document.getElementById('b').textContent = 'Pay'"]
)
def test_an_element_that_vanished_or_became_another_is_not_clicked(
    changing: BrowserEnvironment, change: str
) -> None:
    _, go_on = elements(changing)
    script(changing, change)
    with pytest.raises(StalePage, match="button 'Go on' is not on the page any more"):
        changing.act("CLICK", go_on, "")
    assert changing.observe().title == ""


def test_a_script_that_never_ends(shop: Shop, browse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    url = shop.add("/endless", '<button onclick="for (;;);">Wait</button>')
    site = browse(url)
    monkeypatch.setattr(browser, "TIMEOUT_S", 4.0)
    with pytest.raises(ToolTimeout, match="the browser took longer than 4 s"):
        site.act("CLICK", "Env", "Wait")
