"""What forms send, as browsers do (HTML Living Standard, "form submission")."""

from __future__ import annotations

import pytest

from lumos_edge.errors import PageNotLoaded, StalePage, ToolError
from lumos_edge.web.document import Operation
from lumos_edge.web.static import StaticEnvironment
from lumos_edge.web.transport import Request, Response


class Web:
    """Answers every request with one page, and keeps what it was asked."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.asked: list[Request] = []

    def send(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(request.url, self.html)


def do(html: str, *actions: tuple[Operation, str, str]) -> Request:
    """The last request, after actions on the elements of those names."""
    web = Web(html)
    environment = StaticEnvironment(web, Request("http://a.example/dir/page?old#f"))
    for operation, name, text in actions:
        page = environment.observe()
        environment.act(operation, next(e for e in page.elements if name in (e.name, e.label)), text)
    return web.asked[-1]


GO: tuple[Operation, str, str] = ("CLICK", "Go", "")


@pytest.mark.parametrize(
    ("controls", "sent"),
    [
        ('<input name="a" value="1"><input value="no name">', "a=1"),
        ('<input type="hidden" name="a" value="1"><input name="b" disabled value="2">', "a=1"),
        ('<input type="checkbox" name="a" checked><input type="checkbox" name="b">', "a=on"),
        ('<input type="radio" name="a" value="1"><input type="radio" name="a" value="2" checked>', "a=2"),
        ('<select name="a"><option>x<option value="y" selected>z</select>', "a=y"),
        ('<select name="a"><option disabled>x<option>y</select>', "a=y"),
        ('<select name="a" multiple><option selected>x<option selected>y<option>z</select>', "a=x&a=y"),
        ('<textarea name="a">x\ny</textarea>', "a=x%0D%0Ay"),
        ('<button name="a" value="1">Other</button>', ""),
        ('<fieldset disabled><input name="a" value="1"></fieldset>', ""),
        ('<input type="file" name="a"><input type="reset" name="b">', ""),
    ],
)
def test_the_fields_of_a_form(controls: str, sent: str) -> None:
    asked = do(f"<form action=/x>{controls}<button>Go</button></form>", GO)
    assert asked == Request(f"http://a.example/x{'?' if sent else ''}{sent}")


def test_the_button_pressed_is_sent_and_may_say_where_to() -> None:
    button = '<button name="do" value="buy" formaction="/buy" formmethod="post">Go</button>'
    assert do(f"<form action=/x>{button}</form>", GO) == Request(
        "http://a.example/buy", "POST", (("do", "buy"),)
    )


def test_a_form_without_an_action_goes_to_its_own_page() -> None:
    assert do("<form><button>Go</button></form>", GO).url == "http://a.example/dir/page"


def test_a_control_may_stand_outside_its_form() -> None:
    html = '<form id="f" action="/x"></form><input form="f" name="a" value="1"><button form="f">Go</button>'
    assert do(html, GO).url == "http://a.example/x?a=1"


def test_what_was_typed_and_chosen_is_sent() -> None:
    html = (
        '<form action="/x"><input name="t" aria-label="T"><textarea name="n" aria-label="N"></textarea>'
        '<select name="s" aria-label="S"><option value="1">one<option value="2">two</select>'
        '<input type="checkbox" name="c" aria-label="C"><input type="radio" name="r" value="1" aria-label="R1" checked>'
        '<input type="radio" name="r" value="2" aria-label="R2"><button>Go</button></form>'
    )
    asked = do(
        html,
        ("TYPE", "T", "a b"),
        ("TYPE", "N", "c"),
        ("SELECT", "S", "two"),
        ("CLICK", "C", ""),
        ("CLICK", "R2", ""),
        GO,
    )
    assert asked.url == "http://a.example/x?t=a+b&n=c&s=2&c=on&r=2"


def test_links() -> None:
    assert do('<base href="/b/"><a href="c">Go</a>', GO).url == "http://a.example/b/c"
    assert do('<a href=" ?q ">Go</a>', GO).url == "http://a.example/dir/page?q"
    assert (
        do('<a href="#there">Go</a>', GO).url == "http://a.example/dir/page?old#f"
    )  # nothing is asked again


@pytest.mark.parametrize(
    ("html", "error"),
    [
        ('<a href="javascript:go()">Go</a>', ToolError),
        ("<div onclick='go()'>Go</div>", ToolError),
        ('<form method="post" enctype="multipart/form-data"><button>Go</button></form>', PageNotLoaded),
        ('<form id="f"></form><button form="other">Go</button>', ToolError),
        ('<form><input type="radio" name="r" required><button>Go</button></form>', ToolError),
        ("<form><textarea required></textarea><button>Go</button></form>", ToolError),
    ],
)
def test_what_cannot_be_done(html: str, error: type[ToolError]) -> None:
    with pytest.raises(error):
        do(html, GO)


def test_required_does_not_count_where_the_form_says_so() -> None:
    assert do(
        '<form action="/x" novalidate><input required name="a"><button>Go</button></form>', GO
    ).url.endswith("?a=")


def test_a_page_that_cannot_be_read_leaves_the_old_one() -> None:
    web = Web('<title>Old</title><a href="/next">Go</a>')
    environment = StaticEnvironment(web, Request("http://a.example/"))
    (link,) = environment.observe().elements
    web.html = "<i>" * 60_000
    with pytest.raises(ToolError, match="tags"):
        environment.act("CLICK", link, "")
    assert environment.observe().title == "Old"


def test_an_element_of_a_longer_page_is_stale() -> None:
    long = StaticEnvironment(Web("<button>Go</button>" * 9), Request("http://a.example/"))
    short = StaticEnvironment(Web("<p>x</p>"), Request("http://a.example/"))
    short.observe()
    with pytest.raises(StalePage):
        short.act("CLICK", long.observe().elements[-1], "")
