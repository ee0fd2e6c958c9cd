"""HTML to a `Document`.

Covered: what HTML itself says, with hidden parts left out (`hidden`, `aria-hidden`, inline `display: none`, closed
details). Not covered: what only a browser knows, of frames, shadow trees and style sheets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from bs4 import BeautifulSoup, Tag

from lumos_edge.errors import PageTooLarge
from lumos_edge.web import names
from lumos_edge.web.document import EDITABLE, Document, Element, Operation
from lumos_edge.web.names import attribute, clean, cut, text_of

MAX_HTML_BYTES: Final = 5_000_000
"""A longer page is refused: reading it would take more than some 5 s."""

SCOPE: Final = "data-lumos-edge-scope"
"""The attribute that says which tree the ids in a tag are of, where a browser has put several into one."""

MAX_TAGS: Final = 50_000
MAX_DEPTH: Final = 512
"""As in Chromium, which puts what is deeper beside it; here the page is refused."""

_MAX_HEADINGS = 8
_MAX_ANCESTORS = 4
_MAX_CONTROLS = 6
_HEADINGS = frozenset({"h1", "h2", "h3"})
_NOT_SEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def parse(html: str) -> BeautifulSoup:
    """The tree of a page; raises PageTooLarge. Costs some 1 s for 1 MB."""
    if len(html) > MAX_HTML_BYTES:
        raise PageTooLarge(f"the page has {len(html):,} characters, at most {MAX_HTML_BYTES:,} are read")
    # Not BeautifulSoup's own limit: html.parser builds the tree without recursion, but walking back up costs.
    n_open = len(re.findall(r"<[a-zA-Z]", html))
    if n_open > MAX_TAGS:
        raise PageTooLarge(f"the page has {n_open:,} tags, at most {MAX_TAGS:,} are read")
    return BeautifulSoup(_closed(html), "html.parser")


def _closed(html: str) -> str:
    """The same page for html.parser, which looks for the end of what is not closed from each place again: 400 KB of
    `<!--` took 68 s. A marked section is a comment up to the next `>`, as in browsers.
    """
    html = html.replace("--!>", "-->").replace("<![", "<!x[")
    closed = html.rfind("-->") + 3
    html = html[:closed] + html[closed:].replace("<!--", "<!-")
    closed = html.rfind(">") + 1
    return html[:closed] + html[closed:].replace("<", "&lt;")


def read_document(
    tree: BeautifulSoup, url: str, *, mark: str = "", only: Collection[int] | None = None
) -> Document:
    """What can be seen and done on the page. Raises PageTooLarge.

    An element's position is its number among all tags, or what its attribute `mark` says; with `only`, the elements
    are those whose marks are given, whatever their tags, and the marks are their ids.
    """
    reader = _Reader(tree, mark, only)
    return Document(
        url,
        cut(clean(tree.title.get_text()), names.MAX_NAME) if tree.title else "",
        tuple(text for tag in reader.seen if tag.name in _HEADINGS and (text := text_of(tag)))[
            :_MAX_HEADINGS
        ],
        tuple(dict.fromkeys(reader.form_text(tag) for tag in reader.seen if tag.name == "form")),
        tuple(reader.elements()),
    )


def option_text(option: Tag) -> str:
    """What a selection box shows of an option; html.parser puts one that is not closed into the one before."""
    own = [str(child) for child in option.children if not isinstance(child, Tag)]
    return cut(clean(attribute(option, "label") or "".join(own)), names.MAX_NAME)


def chosen_options(select: Tag) -> list[Tag]:
    """The options that are chosen; of a box for one choice the first, when none says so."""
    options = [option for option in select.find_all("option") if isinstance(option, Tag)]
    chosen = [option for option in options if option.has_attr("selected")]
    if select.has_attr("multiple"):
        return chosen
    enabled = [option for option in options if not option.has_attr("disabled")]
    return chosen[-1:] or enabled[:1]


@dataclass
class _Reader:
    tree: BeautifulSoup
    mark: str
    only: Collection[int] | None
    seen: list[Tag] = field(default_factory=list)
    _positions: dict[int, int] = field(default_factory=dict)
    _contexts: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        depths: dict[int, int] = {id(self.tree): 0}
        hidden: set[int] = set()
        for position, tag in enumerate(_tags(self.tree)):
            parent = tag.parent
            depth = depths[id(tag)] = depths[id(parent)] + 1
            if depth > MAX_DEPTH:
                raise PageTooLarge(f"the page's tags are nested more than {MAX_DEPTH} deep")
            if id(parent) in hidden or (parent and _hides(tag, parent)):
                hidden.add(id(tag))
            else:
                self.seen.append(tag)
                self._positions[id(tag)] = self._position(tag, position)

    def _position(self, tag: Tag, position: int) -> int:
        if not self.mark:
            return position
        marked = attribute(tag, self.mark)
        return int(marked) if marked.isdecimal() else -1

    def elements(self) -> Iterator[Element]:
        """The elements that can be acted on, in the order of the page."""
        number = 0
        for tag in self.seen:
            position = self._positions[id(tag)]
            if self.only is None and names.role(tag) and not _is_disabled(tag):
                number += 1
                yield self._element(tag, number, position)
            elif self.only is not None and position in self.only:
                yield self._element(tag, position, position)

    def _element(self, tag: Tag, number: int, position: int) -> Element:
        label = self._label(tag)
        return Element(
            id=number,
            role=names.role(tag) or tag.name,
            name=self._name(tag, label),
            label=label,
            value=clean(_value(tag)),
            options=_options(tag),
            ancestors=tuple(self._ancestors(tag)),
            operations=_operations(tag),
            is_submit=is_submit(tag),
            position=position,
        )

    def _name(self, tag: Tag, label: str) -> str:
        return names.name(tag, label, lambda key: self._by_id.get((attribute(tag, SCOPE), key)))

    @cached_property
    def _by_id(self) -> dict[tuple[str, str], Tag]:
        return {_key(tag, "id"): tag for tag in reversed(self.seen) if tag.has_attr("id")}

    @cached_property
    def _labels(self) -> dict[tuple[str, str], list[Tag]]:
        labels: dict[tuple[str, str], list[Tag]] = {}
        for tag in self.seen:
            if tag.name == "label" and tag.has_attr("for"):
                labels.setdefault(_key(tag, "for"), []).append(tag)
        return labels

    def _label(self, tag: Tag) -> str:
        if tag.name not in ("input", "select", "textarea", "button"):
            return ""
        labels = self._labels.get(_key(tag, "id"), []) if tag.has_attr("id") else []
        around = tag.find_parent("label") if not labels else None
        return " ".join(text_of(label) for label in [*labels, *filter(None, [around])])

    def _ancestors(self, tag: Tag) -> Iterator[str]:
        found = 0
        for parent in tag.parents:
            text = self._context(parent)
            if text:
                found += 1
                yield text
            if found == _MAX_ANCESTORS:
                return

    def _context(self, tag: Tag) -> str:
        """What a region says of what is in it: a list entry or a table row by its text, others by their names."""
        if id(tag) not in self._contexts:
            self._contexts[id(tag)] = _region(tag)
        return self._contexts[id(tag)]

    def form_text(self, form: Tag) -> str:
        """`search: q, category`: a form's name and the names of what it asks for."""
        controls = [
            self._name(tag, self._label(tag))
            for tag in form.find_all(["input", "select", "textarea"])
            if isinstance(tag, Tag) and names.role(tag) not in ("", "button") and id(tag) in self._positions
        ]
        if not controls:
            buttons = form.find_all(["button", "input"])
            controls = [self._name(tag, "") for tag in buttons if is_submit(tag)][:1]
        asked = ", ".join(dict.fromkeys(controls[:_MAX_CONTROLS]))
        title = clean(attribute(form, "aria-label") or attribute(form, "name") or attribute(form, "id"))
        return ": ".join(filter(None, [title, asked])) or "form"


def _tags(tree: BeautifulSoup) -> Iterator[Tag]:
    return (node for node in tree.descendants if isinstance(node, Tag))


def _key(tag: Tag, name: str) -> tuple[str, str]:
    """An id that a tag has or refers to, with the tree that it is in."""
    return attribute(tag, SCOPE), attribute(tag, name)


def _hides(tag: Tag, parent: Tag) -> bool:
    if tag.name in names.UNSEEN or tag.has_attr("hidden") or attribute(tag, "aria-hidden") == "true":
        return True
    if parent.name == "details" and not parent.has_attr("open") and tag.name != "summary":
        return True
    return tag.has_attr("style") and bool(_NOT_SEEN.search(attribute(tag, "style")))


def _is_disabled(tag: Tag) -> bool:
    if tag.has_attr("disabled") or attribute(tag, "aria-disabled") == "true":
        return True
    fieldset = tag.find_parent("fieldset")
    return fieldset is not None and fieldset.has_attr("disabled")


def is_submit(tag: Tag) -> bool:
    """Whether a click submits the form that the element belongs to."""
    kind = attribute(tag, "type").lower()
    if not (tag.has_attr("form") or tag.find_parent("form")):
        return False
    return (tag.name == "input" and kind in ("submit", "image")) or (
        tag.name == "button" and kind not in ("button", "reset")
    )


def _value(tag: Tag) -> str:
    if tag.name == "select":
        return ", ".join(map(option_text, chosen_options(tag)))
    if tag.name == "textarea":
        return cut(tag.get_text(), names.MAX_NAME)
    kind = attribute(tag, "type").lower()
    if kind in ("checkbox", "radio"):
        return "checked" if tag.has_attr("checked") else "not checked"
    if kind == "password":
        return "*" * len(attribute(tag, "value"))
    if tag.name == "input" and names.role(tag) != "button":
        return cut(attribute(tag, "value"), names.MAX_NAME)
    return (
        attribute(tag, "aria-checked") or attribute(tag, "aria-selected") or attribute(tag, "aria-expanded")
    )


def _operations(tag: Tag) -> tuple[Operation, ...]:
    if tag.name == "select":
        return ("CLICK", "SELECT") if _options(tag) else ("CLICK",)
    is_editable = names.role(tag) in EDITABLE and not tag.has_attr("readonly")
    return ("CLICK", "TYPE") if is_editable and attribute(tag, "type").lower() != "file" else ("CLICK",)


def _options(tag: Tag) -> tuple[str, ...]:
    if tag.name != "select":
        return ()
    options = [option for option in tag.find_all("option") if isinstance(option, Tag)]
    texts = [option_text(option) for option in options if not option.has_attr("disabled")]
    return tuple(dict.fromkeys(filter(None, texts)))


_REGIONS = {"nav": "navigation", "main": "main", "header": "header", "footer": "footer", "dialog": "dialog"}


def _region(tag: Tag) -> str:
    if tag.name in ("li", "tr", "article"):
        return text_of(tag, 80)
    if tag.name == "fieldset":
        legend = tag.find("legend")
        return text_of(legend, 60) if isinstance(legend, Tag) else ""
    if tag.name in ("form", "section", "aside") or tag.name in _REGIONS:
        return clean(attribute(tag, "aria-label") or attribute(tag, "name")) or _REGIONS.get(tag.name, "")
    return clean(attribute(tag, "aria-label")) if tag.has_attr("role") else ""
