"""Frames and shadow trees in a real Chromium: seen where they are shown, used like what is around them, no way out."""

from __future__ import annotations

import socket

import pytest

from lumos_edge.errors import HostNotAllowed, PageNotLoaded, PageTooLarge, StalePage
from lumos_edge.web import frames
from lumos_edge.web.browser import BrowserEnvironment
from lumos_edge.web.document import Document, Element
from lumos_edge.web.site import Site
from tests.web.conftest import Open
from tests.web.shop import Shop
from tests.web.test_transport import serving

pytestmark = pytest.mark.usefixtures("chromium")


def document(site: Site) -> Document:
    assert site.environment is not None
    return site.environment.observe()


def named(site: Site) -> list[str]:
    return [element.name for element in document(site).elements]


def script(site: Site, text: str) -> object:
    assert isinstance(site.environment, BrowserEnvironment)
    return site.environment._run(site.environment._page.evaluate(text))


FIELDS = """<title>Sizes</title><button>Before</button>
<size-field><span>Width</span></size-field><size-field><span>Height</span></size-field>
<size-field style="display: none"><span>Depth</span></size-field><p hidden><button>Hidden</button></p>
<button>After</button><h1></h1><script>
window.made = 0;
customElements.define('size-field', class extends HTMLElement {
  constructor() {
    super(); window.made++;
    this.attachShadow({mode: 'open'}).innerHTML = '<label for=value><slot>Size</slot></label>' +
      '<form aria-label=size><input id=value><select aria-labelledby=unit><option>cm<option>mm</select>' +
      '<i id=unit>Unit</i></form><button>Take</button><div id=inner></div>';
    const inner = this.shadowRoot.querySelector('#inner').attachShadow({mode: 'open'});
    inner.innerHTML = '<a href="#more">More</a>';
    const [input, box] = this.shadowRoot.querySelectorAll('input, select');
    this.shadowRoot.querySelector('button').onclick = () =>
      document.querySelector('h1').textContent = `${this.textContent} ${input.value} ${box.value}`;
  }
});</script>"""


def test_shadow_trees_are_seen_where_they_are_shown_and_used(shop: Shop, browse: Open) -> None:
    site = browse(shop.add("/sizes", FIELDS))
    own = ["Unit", "Take", "More"]
    assert named(site) == ["Before", "Width", *own, "Height", *own, "After"]
    assert site.first.forms == ("size: Width, Unit", "size: Height, Unit")
    site.act("TYPE", "Env", "Height", "30")
    second = [element for element in document(site).elements if element.name == "Unit"][1]
    assert second.options == ("cm", "mm")
    assert site.environment is not None
    site.environment.act("SELECT", second, "mm")
    values = [element.value for element in document(site).elements if element.role in ("textbox", "combobox")]
    assert values == ["", "cm", "30", "mm"]
    site.environment.act("CLICK", document(site).elements[7], "")
    assert document(site).headings == ("Height 30 mm",)
    assert site.act("CLICK", "Env", "More").url.endswith("/sizes#more")
    assert script(site, "window.made") == 3  # looking at the page makes no element of it again


FRAME = """<title>Frame</title><a href="/basket">Basket</a><form aria-label=note method=post action="/delivery">
<label for=a>Day</label><input id=a name=day><button>Save</button></form><div id=host></div><script>
document.getElementById('host').attachShadow({mode: 'open'}).innerHTML = '<button>Deep</button>';</script>"""


def around(frame: str) -> str:
    return f"<title>Page</title><label for=a>Name</label><input id=a><nav>{frame}</nav><button>After</button>"


def test_a_frame_is_a_part_of_its_page(shop: Shop, browse: Open) -> None:
    shop.add("/frame", FRAME)
    site = browse(shop.add("/page", around('<iframe src="/frame">none</iframe>')))
    assert named(site) == ["Name", "Basket", "Day", "Save", "Deep", "After"]
    elements = document(site).elements
    assert [element.id for element in elements] == [1, 2, 3, 4, 5, 6]
    assert elements[1].ancestors == ("navigation",)
    assert site.first.forms == ("note: Day",)
    site.act("TYPE", "Env", "day", "Monday")
    page = site.act("CLICK", "Env", "save")
    assert (page.title, page.headings) == ("Page", ("Delivered on Monday",))
    assert shop.requests[-1] == "POST /delivery"
    page = site.act("CLICK", "Env", "basket")
    assert page.headings == ("Basket: 0 euros",)
    assert page.url.endswith("/page")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_frame_of_another_origin_that_is_allowed(shop: Shop, other: Shop, browse: Open, host: str) -> None:
    """Of another port, in the page's process; of another site, in a process of its own."""
    other.add("/frame", f'{FRAME}<iframe srcdoc="<button>Inner</button>"></iframe>')
    url = shop.add("/page", around(f'<iframe src="http://{host}:{other.port}/frame"></iframe>'))
    site = browse(url, allow_hosts=[f"{host}:{other.port}"])
    assert named(site) == ["Name", "Basket", "Day", "Save", "Deep", "Inner", "After"]
    site.act("TYPE", "Env", "day", "Friday")
    assert site.act("CLICK", "Env", "save").headings == ("Delivered on Friday",)
    assert other.requests[-1] == "POST /delivery"


def test_what_is_in_a_frame_that_is_not_shown_or_not_allowed_is_not_there(
    shop: Shop, other: Shop, browse: Open
) -> None:
    shop.add("/frame", FRAME)
    shop.add("/moved", "", 302, Location=f"{other.url}moved")
    hidden = (
        '<iframe src="/frame" style="display: none"></iframe><div hidden><iframe src="/frame"></iframe></div>'
    )
    refused = f'<iframe src="{other.url}"></iframe><iframe src="/moved"></iframe><iframe src="file:///etc/"></iframe>'
    gone = '<iframe src="http://localhost:9/"></iframe>'
    site = browse(shop.add("/page", around(hidden + refused + gone)), allow_hosts=["localhost:9"])
    assert named(site) == ["Name", "After"]
    assert other.requests == []


def test_out_of_a_frame_leads_no_other_way_than_out_of_the_page(
    shop: Shop, other: Shop, browse: Open
) -> None:
    shop.add("/away", "", 302, Location=f"{other.url}?redirected")
    shop.add(
        "/ways",
        f'<a href="{other.url}?link">Link</a><a href="/away">Redirect</a><a href="{other.url}?top" target=_top>Top</a>'
        f'<form method=post action="{other.url}?form"><button>Form</button></form>'
        f"""<button type=button onclick="location = '{other.url}?script'">Script</button>"""
        '<a href="http://localhost:9/">Gone</a><a href="/basket" target=_parent>Out</a>',
    )
    site = browse(shop.add("/page", around('<iframe src="/ways"></iframe>')), allow_hosts=["localhost:9"])
    for way in ("Link", "Redirect", "Top", "Form", "Script"):
        with pytest.raises(HostNotAllowed):
            site.act("CLICK", "Env", way)
        assert "Form" in named(site)
    with pytest.raises(PageNotLoaded):
        site.act("CLICK", "Env", "Gone")
    assert "Form" in named(site)
    assert other.requests == []
    assert site.act("CLICK", "Env", "Out").title == "Basket: 0 euros - Shop"


@pytest.mark.parametrize(
    "change",
    [
        "document.querySelector('iframe').remove()",
        "document.querySelector('iframe').src = '/basket'",
        "document.querySelector('iframe').contentDocument.getElementById('host').remove()",
        "location = '/basket'",
    ],
    ids=["frame removed", "frame elsewhere", "shadow tree removed", "page elsewhere"],
)
def test_what_vanished_is_stale(shop: Shop, browse: Open, change: str) -> None:
    shop.add("/frame", FRAME)
    site = browse(shop.add("/page", around('<iframe src="/frame"></iframe>')))
    deep = find(site, "Deep")
    script(site, change)
    assert isinstance(site.environment, BrowserEnvironment)
    site.environment._run(site.environment._settle())
    with pytest.raises(StalePage, match="button 'Deep' is not on the page any more"):
        site.environment.act("CLICK", deep, "")
    assert "Deep" not in named(site)


def find(site: Site, name: str) -> Element:
    (found,) = [element for element in document(site).elements if element.name == name]
    return found


def _never_answer(connection: socket.socket) -> None:
    connection.recv(1)


def test_a_frame_whose_server_never_answers_keeps_nothing_from_being_used(shop: Shop, browse: Open) -> None:
    with serving(_never_answer) as url:
        port = url.rstrip("/").rpartition(":")[2]
        site = browse(
            shop.add("/page", around(f'<iframe src="{url}"></iframe>')), allow_hosts=[f"localhost:{port}"]
        )
        assert named(site) == ["Name", "After"]
        assert site.act("CLICK", "Env", "After").title == "Page"
        site.close()


def test_a_frame_whose_script_never_ends_is_left_out(
    shop: Shop, other: Shop, browse: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_FRAME_TIMEOUT_S", 1.0)
    other.add(
        "/endless", "<button>Endless</button><script>addEventListener('load', () => { for (;;); })</script>"
    )
    url = shop.add("/page", around(f'<iframe src="http://127.0.0.1:{other.port}/endless"></iframe>'))
    site = browse(url, allow_hosts=["127.0.0.1"])
    assert named(site) == ["Name", "After"]
    assert site.act("CLICK", "Env", "After").title == "Page"


def test_more_frames_than_are_read(shop: Shop, browse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAMES", 5)
    button = "<button onclick='document.body.innerHTML += `<iframe></iframe>`.repeat(5)'>More</button>"
    site = browse(shop.add("/page", f"<title>Page</title>{button}"))
    with pytest.raises(PageTooLarge, match="the page has 6 frames, at most 5 are read"):
        site.act("CLICK", "Env", "More")
