"""Roles and accessible names of HTML elements.

Source: "HTML Accessibility API Mappings" and "Accessible Name and Description Computation" of the W3C, as far as they
rest on HTML: what style sheets and scripts add is not seen here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from bs4 import Tag
from bs4.element import PageElement, PreformattedString

MAX_NAME = 120
"""Characters of a name that are kept."""

_INPUT_ROLES = {
    "button": "button",
    "submit": "button",
    "reset": "button",
    "image": "button",
    "checkbox": "checkbox",
    "radio": "radio",
    "range": "slider",
    "number": "spinbutton",
    "search": "searchbox",
    "color": "",
    "hidden": "",
}

_WIDGET_ROLES = frozenset(
    {"button", "checkbox", "combobox", "gridcell", "link", "listbox", "menuitem", "menuitemcheckbox"}
    | {
        "menuitemradio",
        "option",
        "radio",
        "searchbox",
        "slider",
        "spinbutton",
        "switch",
        "tab",
        "textbox",
        "treeitem",
    }
)

UNSEEN = frozenset({"script", "style", "template", "head", "noframes"})
"""The tags whose text nobody sees."""


def attribute(tag: Tag, name: str) -> str:
    """An attribute as text; "" when it is not there."""
    value = tag.get(name)
    return " ".join(value) if isinstance(value, list) else value or ""


def role(tag: Tag) -> str:
    """The role of an element that can be acted on; "" for all others."""
    own = attribute(tag, "role").lower().partition(" ")[0]
    if own in _WIDGET_ROLES:
        return own
    if tag.name == "input":
        return _INPUT_ROLES.get(attribute(tag, "type").lower(), "textbox")
    if tag.name == "select":
        return "listbox" if tag.has_attr("multiple") else "combobox"
    if tag.name in ("a", "area"):
        return "link" if tag.has_attr("href") else "button" if tag.has_attr("onclick") else ""
    if tag.name in ("button", "summary") or tag.has_attr("onclick"):
        return "button"
    editable = tag.has_attr("contenteditable") and attribute(tag, "contenteditable").lower() != "false"
    return "textbox" if tag.name == "textarea" or editable else ""


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text in one line, without control characters, which a terminal might obey."""
    return " ".join(_CONTROL.sub("", text).split())


def text_of(tag: Tag, limit: int = MAX_NAME) -> str:
    """The text in a tag with single spaces, pictures by their alternative text, cut at about that many characters."""
    parts: list[str] = []
    length = 0
    for node in tag.descendants:
        if isinstance(node, Tag):
            part = attribute(node, "alt") if node.name == "img" else ""
        elif isinstance(node, PreformattedString) or _is_unseen(node, tag):
            part = ""
        else:
            part = str(node)
        part = clean(part)
        if part:
            parts.append(part)
            length += len(part) + 1
            if length > limit:
                break
    return cut(" ".join(parts), limit)


def _is_unseen(text: PageElement, within: Tag) -> bool:
    parent = text.parent
    # Of a selection box only the choice is seen, and that is its value.
    unseen = UNSEEN if within.name in ("option", "select") else UNSEEN | {"option", "textarea"}
    return parent is not None and parent is not within and parent.name in unseen


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and three dots."""
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def name(tag: Tag, label: str, by_id: Callable[[str], Tag | None]) -> str:
    """The accessible name; `label` is the text of its label elements."""
    named = [by_id(key) for key in attribute(tag, "aria-labelledby").split()]
    sources: Mapping[str, Callable[[], str]] = {
        "labelledby": lambda: " ".join(text_of(other) for other in named if other),
        "aria-label": lambda: attribute(tag, "aria-label"),
        "label": lambda: label,
        "value": lambda: _button_text(tag),
        "alt": lambda: attribute(tag, "alt"),
        "text": lambda: "" if tag.name in ("select", "textarea") else text_of(tag),
        "title": lambda: attribute(tag, "title"),
        "placeholder": lambda: attribute(tag, "placeholder"),
        "name": lambda: attribute(tag, "name"),
    }
    found = (clean(source()) for source in sources.values())
    return cut(next(filter(None, found), ""), MAX_NAME)


def _button_text(tag: Tag) -> str:
    if tag.name != "input" or role(tag) != "button":
        return ""
    return attribute(tag, "value") or {"submit": "Submit", "reset": "Reset"}.get(attribute(tag, "type"), "")
