"""Pages without a browser: links are followed and forms are sent; no script runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit, urlunsplit

from bs4 import BeautifulSoup, Tag

from lumos_edge.errors import PageNotLoaded, StalePage, ToolError
from lumos_edge.web import names
from lumos_edge.web.document import Document, Element, Operation
from lumos_edge.web.names import attribute
from lumos_edge.web.reading import chosen_options, is_submit, option_text, parse, read_document
from lumos_edge.web.transport import Request, Response, Transport


class Environment(Protocol):
    """Where pages are, and what is done on them: without a browser, in one, or recorded."""

    def observe(self) -> Document:
        """The page as it is now. Raises PageTooLarge, ToolError."""
        ...

    def act(self, operation: Operation, element: Element, text: str) -> None:
        """Do this to an element of the page that was last observed; `text` is typed, or one of its options.

        Raises StalePage when the element is not there any more, and whatever loading a page raises.
        """
        ...

    def close(self) -> None:
        """Give back what the pages need; does nothing the second time."""
        ...


@dataclass
class StaticEnvironment:
    """Pages by a transport. What is typed and chosen is kept in the page's tree until its form is sent."""

    transport: Transport
    first: Request
    _tree: BeautifulSoup | None = field(default=None, repr=False)
    _url: str = ""
    _tags: list[Tag] = field(default_factory=list, repr=False)

    def observe(self) -> Document:
        """See `Environment.observe`."""
        if self._tree is None:
            self._open(self.first)
        assert self._tree is not None
        self._tags = [tag for tag in self._tree.descendants if isinstance(tag, Tag)]
        return read_document(self._tree, self._url)

    def _open(self, request: Request) -> None:
        response: Response = self.transport.send(request)
        tree = parse(response.html)
        # Nothing of the page before is given up until the new one is whole.
        self._tree, self._url = tree, response.url

    def act(self, operation: Operation, element: Element, text: str) -> None:
        """See `Environment.act`."""
        if not 0 <= element.position < len(self._tags):
            raise StalePage(f"{element} is not on the page any more")
        tag = self._tags[element.position]
        if operation == "TYPE":
            _type(tag, text, element)
        elif operation == "SELECT":
            _select(tag, text)
        else:
            self._click(tag, element)

    def close(self) -> None:
        """See `Environment.close`: there is nothing to give back."""

    def _click(self, tag: Tag, element: Element) -> None:
        if tag.name in ("a", "area") and tag.has_attr("href"):
            self._follow(attribute(tag, "href"))
        elif is_submit(tag):
            self._submit(tag)
        elif not _switch(tag) and element.operations == ("CLICK",):
            raise ToolError(f"{element} needs a script, which only a browser runs")

    def _follow(self, href: str) -> None:
        url = urljoin(self._base(), href.strip())
        if urlsplit(url).scheme == "javascript":
            raise ToolError("the link needs a script, which only a browser runs")
        target, fragment = urldefrag(url)
        if fragment and target == urldefrag(self._url).url:
            self._url = url
            return
        self._open(Request(target))

    def _base(self) -> str:
        assert self._tree is not None
        base = self._tree.find("base", href=True)
        return urljoin(self._url, attribute(base, "href")) if isinstance(base, Tag) else self._url

    def _submit(self, button: Tag) -> None:
        form = self._form(button)
        if form is None:
            raise ToolError("the button belongs to no form")
        self._check(form, button)
        method = (attribute(button, "formmethod") or attribute(form, "method") or "get").upper()
        action = attribute(button, "formaction") or attribute(form, "action") or self._url
        if "multipart" in attribute(form, "enctype") and method == "POST":
            raise PageNotLoaded("a form that sends files needs a browser")
        url = urljoin(self._base(), action)
        fields = tuple(
            pair for control in self._controls(form) for pair in _fields(control, control is button)
        )
        if method == "POST":
            self._open(Request(url, "POST", fields))
        else:
            self._open(Request(urlunsplit((*urlsplit(url)[:3], urlencode(fields), ""))))

    def _form(self, control: Tag) -> Tag | None:
        assert self._tree is not None
        if control.has_attr("form"):
            named = self._tree.find("form", id=attribute(control, "form"))
            return named if isinstance(named, Tag) else None
        around = control.find_parent("form")
        return around if isinstance(around, Tag) else None

    def _controls(self, form: Tag) -> list[Tag]:
        kinds = ("input", "select", "textarea", "button")
        return [tag for tag in self._tags if tag.name in kinds and self._form(tag) is form]

    def _check(self, form: Tag, button: Tag) -> None:
        """Raise ToolError where a browser would ask for what is missing, and send nothing."""
        if form.has_attr("novalidate") or button.has_attr("formnovalidate"):
            return
        controls = self._controls(form)
        for control in controls:
            if control.has_attr("required") and not control.has_attr("disabled"):
                group = [control]
                if attribute(control, "type").lower() == "radio":
                    group = [other for other in controls if other.get("name") == control.get("name")]
                if not any(value for member in group for _, value in _fields(member, False, named=False)):
                    asked = names.name(control, "", lambda _: None)
                    raise ToolError(f"the form is not sent: it asks for {asked!r}")


_FORMATS = {
    "date": (r"\d{4,}-\d\d-\d\d", "a date such as 2026-11-24"),
    "time": (r"\d\d:\d\d(:\d\d)?", "a time such as 09:30"),
    "month": (r"\d{4,}-\d\d", "a month such as 2026-11"),
    "week": (r"\d{4,}-W\d\d", "a week such as 2026-W48"),
    "datetime-local": (r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", "a date and time such as 2026-11-24T09:30"),
    "number": (r"-?\d*\.?\d+([eE][-+]?\d+)?", "a number"),
}


def check_text(kind: str, text: str, element: Element) -> None:
    """Raise ToolError for a text that an input of that type does not take."""
    pattern, expected = _FORMATS.get(kind.lower(), ("", ""))
    if pattern and text and not re.fullmatch(pattern, text):
        raise ToolError(f"{element} takes {expected}, not {text!r}")


def _type(tag: Tag, text: str, element: Element) -> None:
    check_text(attribute(tag, "type"), text, element)
    if tag.name == "input":
        tag["value"] = text
    else:
        tag.string = text


def _select(tag: Tag, text: str) -> None:
    options = [option for option in tag.find_all("option") if isinstance(option, Tag)]
    if not tag.has_attr("multiple"):
        for option in options:
            del option["selected"]
    chosen = next((option for option in options if option_text(option) == text), None)
    if chosen is None:
        raise StalePage(f"the option {text!r} is not on the page any more")
    chosen["selected"] = ""


def _switch(tag: Tag) -> bool:
    """Do what a click does without a script and without another page; False where it does nothing."""
    kind = attribute(tag, "type").lower()
    if tag.name == "summary" and tag.parent is not None and tag.parent.name == "details":
        _toggle(tag.parent, "open")
    elif tag.name == "input" and kind == "checkbox":
        _toggle(tag, "checked")
    elif tag.name == "input" and kind == "radio":
        _choose_radio(tag)
    else:
        return False
    return True


def _toggle(tag: Tag, name: str) -> None:
    if tag.has_attr(name):
        del tag[name]
    else:
        tag[name] = ""


def _choose_radio(tag: Tag) -> None:
    form = tag.find_parent("form") or list(tag.parents)[-1]
    for other in form.find_all("input", attrs={"name": attribute(tag, "name")}):
        if isinstance(other, Tag) and attribute(other, "type").lower() == "radio":
            del other["checked"]
    tag["checked"] = ""


def _fields(control: Tag, is_pressed: bool, *, named: bool = True) -> list[tuple[str, str]]:
    """What a control adds to its form."""
    name, kind = attribute(control, "name"), attribute(control, "type").lower()
    fieldset = control.find_parent("fieldset")
    if control.has_attr("disabled") or (fieldset is not None and fieldset.has_attr("disabled")):
        return []
    if named and not name:
        return []
    if control.name == "select":
        return [
            (name, attribute(o, "value") if o.has_attr("value") else option_text(o))
            for o in _enabled(control)
        ]
    if control.name == "textarea":
        return [(name, re.sub(r"\r\n|\r|\n", "\r\n", control.get_text()))]
    if control.name == "button" or kind in ("submit", "image", "reset", "button", "file"):
        return [(name, attribute(control, "value"))] if is_pressed else []
    if kind in ("checkbox", "radio"):
        value = attribute(control, "value") if control.has_attr("value") else "on"
        return [(name, value)] if control.has_attr("checked") else []
    return [(name, attribute(control, "value"))]


def _enabled(select: Tag) -> list[Tag]:
    return [option for option in chosen_options(select) if not option.has_attr("disabled")]
