"""A page as the agent sees it: its title, headings and forms, and the elements that can be acted on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Operation: TypeAlias = Literal["CLICK", "TYPE", "SELECT"]
"""What can be done to an element: the actions of Mind2Web (arXiv 2306.06070, section 2.1)."""

EDITABLE = frozenset({"textbox", "searchbox", "spinbutton"})
"""The roles of elements that take a text; a date's is a textbox, too."""


@dataclass(frozen=True)
class Element:
    """An element that can be acted on, and what can be done to it.

    `id` is unique on its page and names it in a choice. `role` and `name` are those of WAI-ARIA, computed as far as
    HTML alone says them; `ancestors` are the regions that it is in, the nearest first; `position` is where its
    environment finds it.
    """

    id: int
    role: str
    name: str
    label: str = ""
    value: str = ""
    options: tuple[str, ...] = ()
    ancestors: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ("CLICK",)
    is_submit: bool = False
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.role} {self.name!r}"


@dataclass(frozen=True)
class Document:
    """A page at one moment. `forms` says of each form how it is called and what it asks for; `screenshot` is the name
    of its picture's file.
    """

    url: str
    title: str
    headings: tuple[str, ...]
    forms: tuple[str, ...]
    elements: tuple[Element, ...]
    screenshot: str = ""
