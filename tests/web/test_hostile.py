"""Pages that mean harm or are broken: each is one typed error in the trace, and the page before is still there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.errors import PageError
from lumos_edge.executor import Executor
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Result, Task
from lumos_edge.web import browser, saved
from lumos_edge.web.document import Element
from lumos_edge.web.opening import open_site
from lumos_edge.web.reading import parse, read_document
from lumos_edge.web.site import Site
from tests.web.conftest import Open
from tests.web.shop import Shop
from tests.web.tasks import choosing
from tests.web.test_transport import serving

N_BYTES = 50_000_000
PARAGRAPH = b"<p>" + b"x" * 997
BEGIN = "<title>Begin</title><p><a href='{}'>Next</a></p>"


def go(site: Site, query: str = "Next") -> Result:
    """What comes of a click, as the trace has it."""
    (action,) = parse_actions(f"R1 = CLICK(Env, QUERY: {query})")
    return Executor(Toolbox.of_packs(["web"], [site, choosing(1)])).execute(action, {}, Task("any"))


@pytest.fixture(params=["http", "browser"])
def begin(request: pytest.FixtureRequest) -> Open:
    """Opens a page over HTTP or in a browser."""
    if request.param == "http":
        return open_site
    request.getfixturevalue("chromium")
    opened: Open = request.getfixturevalue("browse")
    return opened


def check(site: Site, error: str) -> None:
    """The next page is that error and nothing else; the page before is there and can be used."""
    result = go(site)
    assert (result.error, result.values) == (error, ()), result.message
    assert "\n" not in result.message
    assert site.environment is not None
    document = site.environment.observe()
    assert (document.title, [element.name for element in document.elements]) == ("Begin", ["Next"])


# Hidden, so that a busy machine's Chromium need not lay it out before it is seen to be too much.
PAGES = {
    "50 MB of text": b"<div hidden>" + b"x" * N_BYTES,
    "50 MB of paragraphs": b"<div hidden>" + PARAGRAPH * (N_BYTES // len(PARAGRAPH)),
    "60,000 links": b"<div hidden>" + b"<a href=/>x</a>" * 60_000,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_too_much_is_left_again(shop: Shop, begin: Open, name: str) -> None:
    shop.add("/next", PAGES[name])
    check(begin(shop.add("/begin", BEGIN.format("/next"))), "PageTooLarge")


def test_a_hundred_thousand_levels(shop: Shop, begin: Open) -> None:
    """Chromium itself takes half a minute for them on a busy machine."""
    shop.add("/next", b"<div hidden>" + b"<div>" * 100_000)
    result = go(begin(shop.add("/begin", BEGIN.format("/next"))))
    expected = ("PageTooLarge",) if begin is open_site else ("PageTooLarge", "ToolTimeout")
    assert (result.error in expected, result.values) == (True, ()), result.message


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://localhost.evil.example/",
        "file:///etc/hostname",
        "ftp://localhost/",
        "data:text/html,<button>x</button>",
        "view-source:http://localhost/",
    ],
)
@pytest.mark.parametrize("is_redirect", [False, True], ids=["link", "redirect"])
def test_what_nobody_allowed_is_not_reached(shop: Shop, begin: Open, target: str, is_redirect: bool) -> None:
    if is_redirect:
        shop.add("/next", "", 302, Location=target)
    site = begin(shop.add("/begin", BEGIN.format("/next" if is_redirect else target)))
    result = go(site)
    assert result.error in ("HostNotAllowed", "PageNotLoaded" if is_redirect else ""), result.message
    assert site.environment is not None
    assert site.environment.observe().title == "Begin"


def test_of_a_page_without_end_only_so_much_is_read(begin: Open) -> None:
    """A server that would go on for ever is hung up on."""
    sent = 0

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>Long</title>")
        while sent < 10 * N_BYTES:
            try:
                connection.sendall(PARAGRAPH)
            except OSError:
                return
            sent += len(PARAGRAPH)

    with serving(pour) as url, pytest.raises(PageError, match="cannot be opened"):
        begin(url)
    assert 0 < sent < N_BYTES


def test_a_script_that_nests_without_end(shop: Shop, browse: Open, chromium: None) -> None:
    shop.add(
        "/next",
        "<body hidden><script>let at = document.body; for (let i = 0; i < 100000; i++) {"
        "const next = document.createElement('i'); at.append(next); at = next; }</script>",
    )
    result = go(browse(shop.add("/begin", BEGIN.format("/next"))))
    assert (result.error in ("PageTooLarge", "PageNotLoaded", "ToolTimeout"), result.values) == (True, ())


def test_a_page_whose_script_never_ends(
    shop: Shop, browse: Open, chromium: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("/next", "<button>Go</button><script>for (;;);</script>")
    site = browse(shop.add("/begin", BEGIN.format("/next")))
    monkeypatch.setattr(browser, "TIMEOUT_S", 4.0)
    result = go(site)
    assert (result.error, result.values) == ("ToolTimeout", ())


MARKUP = (
    "<!--",
    "</",
    "</a",
    "<?",
    "<!",
    "<![CDATA[",
    "<![a[",
    "<title></",
    "<textarea></textarea",
    "--!><!--",
)


@pytest.mark.parametrize("unit", MARKUP)
def test_markup_that_is_never_closed_is_read_once(unit: str) -> None:
    """html.parser looked for its end from each place again: minutes for these, and hours for a whole page."""
    page = read_document(parse("<a href=x>Before</a>" + unit * (400_000 // len(unit))), "")
    assert page.elements[0].name == "Before"


@pytest.mark.parametrize(
    ("html", "names"),
    [
        ("<script>a = '<!--';</script><button>Go</button>", ["Go"]),
        ("<!-- a --!><button>Go</button><!-- --><button>On</button>", ["Go", "On"]),
        ("<![if !IE]><button>Go</button><![endif]>", ["Go"]),
        ("<script>//<![CDATA[\nx < 1 //]]></script><button>Go</button>", ["Go"]),
        ("<!--><button>Go</button>", ["Go"]),
        ("<button>Go</button><button", ["Go"]),
    ],
)
def test_markup_is_closed_where_browsers_close_it(
    shop: Shop, browse: Open, chromium: None, html: str, names: list[str]
) -> None:
    assert [element.name for element in read_document(parse(html), "").elements] == names
    assert [element.name for element in browse_document(browse(shop.add("/x", html)))] == names


def browse_document(site: Site) -> tuple[Element, ...]:
    assert site.environment is not None
    return site.environment.observe().elements


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "next.html").write_bytes(b"x" * N_BYTES)
    (tmp_path / "begin.html").write_text(BEGIN.format("next.html"))
    check(open_site(tmp_path / "begin.html"), "PageTooLarge")
    with pytest.raises(PageError, match="has more than 5,000,000 bytes"):
        open_site(tmp_path / "next.html")
    monkeypatch.setattr(saved, "MAX_ARCHIVE_BYTES", 1000)
    (tmp_path / "x.har").write_text(" " * 1001)
    with pytest.raises(PageError, match="more than 1,000 bytes"):
        open_site(tmp_path / "x.har")


def test_an_archive_that_is_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "x.har").write_text("[" * 100_000)
    with pytest.raises(PageError, match="is no HTTP archive"):
        open_site(tmp_path / "x.har")


def test_a_file_is_opened_by_name_and_its_folder_with_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.html").write_text("<title>Out</title>")
    (tmp_path / "in" / "link.html").symlink_to(tmp_path / "out.html")
    begin = tmp_path / "in" / "begin.html"
    for target in ((tmp_path / "out.html").as_uri(), "../out.html", "link.html", "%2e%2e/out.html"):
        begin.write_text(BEGIN.format(target))
        check(open_site(begin.as_uri()), "HostNotAllowed")
