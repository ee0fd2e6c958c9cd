"""HTML to what can be seen and done on a page."""

from __future__ import annotations

import pytest

from lumos_edge.errors import PageTooLarge
from lumos_edge.web.document import Document, Element
from lumos_edge.web.reading import MAX_DEPTH, MAX_HTML_BYTES, MAX_TAGS, parse, read_document


def read(body: str) -> Document:
    return read_document(parse(body), "http://shop.example/")


def only(body: str) -> Element:
    (element,) = read(body).elements
    return element


@pytest.mark.parametrize(
    ("body", "role", "name"),
    [
        ('<a href="/x"> Two\n words </a>', "link", "Two words"),
        ('<a href="/x"><img alt="Logo"></a>', "link", "Logo"),
        ('<a href="/x" aria-label="Home">x</a>', "link", "Home"),
        ('<a href="/x" title="Basket"><svg></svg></a>', "link", "Basket"),
        ("<button>Go<script>steal()</script></button>", "button", "Go"),
        ('<input type="submit">', "button", "Submit"),
        ('<input type="submit" value="Send">', "button", "Send"),
        ('<label for="n">Name</label><input id="n">', "textbox", "Name"),
        ("<label>Name <input></label>", "textbox", "Name"),
        (
            '<span id="l">Given</span> <span id="m">name</span><input aria-labelledby="l m">',
            "textbox",
            "Given name",
        ),
        ('<input type="email" placeholder="you@example.org">', "textbox", "you@example.org"),
        ('<input type="search" name="q">', "searchbox", "q"),
        ('<input type="number" aria-label="Amount">', "spinbutton", "Amount"),
        ('<input type="checkbox" aria-label="Cheap">', "checkbox", "Cheap"),
        ('<textarea aria-label="Note">text</textarea>', "textbox", "Note"),
        ('<div contenteditable aria-label="Note">text</div>', "textbox", "Note"),
        ('<div role="tab">Prices</div>', "tab", "Prices"),
        ('<div onclick="go()">Prices</div>', "button", "Prices"),
        ("<details><summary>More</summary><button>Hidden</button></details>", "button", "More"),
    ],
)
def test_role_and_name(body: str, role: str, name: str) -> None:
    element = only(body)
    assert (element.role, element.name) == (role, name)


@pytest.mark.parametrize(
    "body",
    [
        "<p>text</p>",
        "<a>no target</a>",
        '<input type="hidden" name="csrf">',
        "<button disabled>Go</button>",
        "<fieldset disabled><button>Go</button></fieldset>",
        "<div hidden><button>Go</button></div>",
        '<div aria-hidden="true"><button>Go</button></div>',
        '<div style="color: red; display:none"><button>Go</button></div>',
        "<details>More<button>Go</button></details>",
        "<template><button>Go</button></template>",
        '<label role="presentation">x</label>',
    ],
)
def test_what_nobody_can_use_is_no_element(body: str) -> None:
    assert read(body).elements == ()


def test_a_selection_box_has_its_options_and_its_choice() -> None:
    box = only(
        '<select aria-label="Kind"><option>All<option value=l selected>Lamps<option disabled>Sold</select>'
    )
    assert (box.role, box.options, box.value) == ("combobox", ("All", "Lamps"), "Lamps")
    assert box.operations == ("CLICK", "SELECT")
    assert only("<select><option>a</option><option>b</option></select>").value == "a"
    assert only("<select multiple><option>a</option></select>").value == ""


def test_what_can_be_typed_into() -> None:
    assert "TYPE" in only("<input>").operations
    assert "TYPE" in only('<input type="date">').operations
    assert "TYPE" not in only("<input readonly>").operations
    assert "TYPE" not in only('<input type="file">').operations
    assert "TYPE" not in only('<input type="checkbox">').operations


def test_values_are_seen_but_no_password() -> None:
    assert only('<input value="lamp">').value == "lamp"
    assert only("<textarea>a\nb</textarea>").value == "a b"
    assert only('<input type="password" value="sesame">').value == "******"
    assert only('<input type="radio" checked>').value == "checked"


def test_ancestors_say_which_of_several_equal_elements_it_is() -> None:
    page = read(
        "<main><ul><li>Desk lamp <button>Add</button></li><li>Oak table <button>Add</button></li></ul>"
        "<fieldset><legend>Order</legend><button>Add</button></fieldset></main>"
    )
    assert [element.ancestors[0] for element in page.elements] == ["Desk lamp Add", "Oak table Add", "Order"]


def test_title_headings_and_forms() -> None:
    page = read(
        "<title>The\n shop</title><h1>Lamps</h1><h2 hidden>secret</h2><h3></h3>"
        '<form aria-label="search"><input name="q"><input type="hidden" name="h"></form>'
        "<form><button>Add</button></form><form><button>Add</button></form>"
    )
    assert (page.title, page.headings, page.forms) == ("The shop", ("Lamps",), ("search: q", "Add"))


def test_ids_count_the_elements_and_are_unique() -> None:
    page = read("<p>x</p>" + "<button>Go</button>" * 5)
    assert [element.id for element in page.elements] == [1, 2, 3, 4, 5]
    assert len({element.position for element in page.elements}) == 5


def test_a_submit_button_belongs_to_a_form() -> None:
    assert only("<form><button>Go</button></form>").is_submit
    assert only('<form id="f"></form><button form="f">Go</button>').is_submit
    assert not only("<button>Go</button>").is_submit
    assert not only('<form><button type="button">Go</button></form>').is_submit


def test_control_characters_never_reach_a_terminal() -> None:
    page = read("<title>a\x1b[31mb\u202ec</title><button>x\x07y</button>")
    assert (page.title, page.elements[0].name) == ("a[31mbc", "xy")


def test_marks_choose_the_elements_and_number_them() -> None:
    tree = parse('<div n="7"><span n="9">Sign in</span><button n="12">Go</button><p n="x">y</p></div>')
    page = read_document(tree, "", mark="n", only={9, 12})
    assert [(e.id, e.role, e.name) for e in page.elements] == [(9, "span", "Sign in"), (12, "button", "Go")]


@pytest.mark.parametrize(
    "html",
    [
        "<p>" + "x" * MAX_HTML_BYTES,
        "<i>" * (MAX_TAGS + 1),
        "<div>" * (MAX_DEPTH + 1) + "deep",
    ],
    ids=["long", "many tags", "deep"],
)
def test_a_page_that_is_too_large_is_refused(html: str) -> None:
    with pytest.raises(PageTooLarge, match=r"[\d,]+"):
        read_document(parse(html), "")


def test_broken_html_is_a_page_all_the_same() -> None:
    page = read(
        "</div><<a href=x>Go</b></a><select><option>a<p>b</select><![CDATA[x]]><!-- <button>no</button>"
    )
    assert [element.name for element in page.elements][:1] == ["Go"]
