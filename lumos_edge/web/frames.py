"""A page in a browser as one tree: its document, and those of its frames and open shadow trees where they are shown.

Not covered: closed shadow trees, which no script can enter, and frames that do not answer within 2 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from bs4 import BeautifulSoup, Tag

from lumos_edge.errors import PageTooLarge
from lumos_edge.web.names import attribute
from lumos_edge.web.reading import MAX_DEPTH, MAX_HTML_BYTES, MAX_TAGS, SCOPE, parse

T = TypeVar("T")

MARK: Final = "data-lumos-edge-position"
"""The attribute of each tag with the number of its node: its frame's number times `_STRIDE`, and its own there."""

MAX_FRAMES: Final = 100
"""A page with more is refused."""

ERROR_PAGE: Final = "chrome-error:"
_STRIDE: Final = 1 << 20
_FRAME_TIMEOUT_S = 2.0

# The HTML of a document with what only the browser knows of it: what is not shown is `hidden`, inputs have the values
# that they show, shadow trees stand in their hosts and hold in their slots what is shown there. The copies are made for
# a document without a window, where no custom element runs its constructor and no picture is loaded.
_COPY = """([mark, scope, first, mostTags, mostCharacters, deepest]) => {
  const nodes = [], inert = document.implementation.createHTMLDocument(''), top = inert.createElement('div');
  const scopes = new Map([[document, first || '']]);
  const flag = (node, name, on) => on ? node.setAttribute(name, '') : node.removeAttribute(name);
  const inside = node => node.shadowRoot ? node.shadowRoot.childNodes
    : node instanceof HTMLSlotElement && node.assignedNodes().length ? node.assignedNodes() : node.childNodes;
  let why = '';
  const copy = (node, into, depth) => {  // whether anything of it is shown
    if (node.nodeType === Node.TEXT_NODE) into.append(inert.importNode(node));
    if (node.nodeType !== Node.ELEMENT_NODE || why) return false;
    if (nodes.length >= mostTags) why = `has more than ${mostTags.toLocaleString('en')} tags`;
    if (depth > deepest) why = `has tags nested more than ${deepest} deep`;
    const its = inert.importNode(node, false), style = getComputedStyle(node), number = first + nodes.length;
    nodes.push(node);
    its.setAttribute(mark, number);
    if (node.shadowRoot) scopes.set(node.shadowRoot, number);
    const own = scopes.get(node.getRootNode());
    if (own) its.setAttribute(scope, own);
    into.append(its);
    let shown = style.visibility === 'visible';
    for (const child of inside(node)) shown = copy(child, its, depth + 1) || shown;
    shown = shown && style.display !== 'none';
    if (!shown) its.setAttribute('hidden', '');
    if (node instanceof HTMLInputElement) {
      if (['checkbox', 'radio'].includes(node.type)) flag(its, 'checked', node.checked);
      else if (node.value) its.setAttribute('value', node.value);
      else its.removeAttribute('value');
    } else if (node instanceof HTMLTextAreaElement) its.textContent = node.value;
    else if (node instanceof HTMLOptionElement) flag(its, 'selected', node.selected);
    return shown;
  };
  if (document.documentElement) copy(document.documentElement, top, 1);  // a script may have cleared the page
  let html = why ? '' : top.innerHTML;
  if (html.length > mostCharacters) {
    why = `has ${html.length.toLocaleString('en')} characters, at most ${mostCharacters.toLocaleString('en')} are read`;
    html = '';
  }
  return {html, why, url: location.href, nodes};
}"""
# The first input that keeps the button's form from being sent, as its number among the nodes.
_INVALID = """([nodes, index]) => {
  const button = nodes[index], form = button.form;
  if (!form || form.noValidate || button.formNoValidate) return -1;
  return nodes.indexOf([...form.elements].find(input => input.willValidate && !input.validity.valid));
}"""
_QUIET = """limit => new Promise(done => {
  let timer; const end = () => { observer.disconnect(); done(); };
  const again = () => { clearTimeout(timer); timer = setTimeout(end, 100); };
  const observer = new MutationObserver(again), roots = [document];
  for (const root of roots) {
    observer.observe(root, {subtree: true, childList: true, attributes: true, characterData: true});
    for (const node of root.querySelectorAll('*')) if (node.shadowRoot) roots.push(node.shadowRoot);
  }
  setTimeout(end, limit); again();
})"""


@dataclass(frozen=True)
class Part:
    """One document: the page's own, or a frame's. `first` is the number of its first node, `nodes` is all of them."""

    frame: Any
    first: int
    html: str
    url: str
    nodes: Any

    @cached_property
    def tree(self) -> BeautifulSoup:
        """The document. Raises PageTooLarge."""
        return parse(self.html)

    @cached_property
    def owners(self) -> dict[int, Tag]:
        """The tags that frames stand in, by their numbers."""
        found = self.tree.find_all(["iframe", "frame", "object", "embed"])
        return {int(attribute(tag, MARK)): tag for tag in found if isinstance(tag, Tag)}

    async def number(self, node: Any) -> int:
        """The number of a node; -1 when it is not there."""
        index: int = await self.frame.evaluate("([nodes, node]) => nodes.indexOf(node)", [self.nodes, node])
        return self.first + index if index >= 0 else -1


@dataclass(frozen=True)
class View:
    """A page at one moment: its parts, and the tree of all of them."""

    parts: dict[int, Part]

    @property
    def tree(self) -> BeautifulSoup:
        """The whole page."""
        return self.parts[0].tree

    @property
    def url(self) -> str:
        """The page's own address."""
        return self.parts[0].url

    def part(self, number: int) -> Part:
        """The part that a node is in."""
        return self.parts[number // _STRIDE]

    async def node(self, number: int) -> Any:
        """A node as Playwright knows it; None when its document is gone."""
        try:
            nodes = self.part(number).nodes
            return (await nodes.get_property(str(number % _STRIDE))).as_element()
        except playwright_error():
            return None

    async def number(self, frame: Any, node: Any) -> int:
        """The number of another moment's node; -1 when it is not there any more."""
        part = next((part for part in self.parts.values() if part.frame is frame), None)
        if part is None or node is None:
            return -1
        try:
            return await part.number(node)
        except playwright_error():
            return -1  # the frame has another document now

    async def invalid(self, number: int) -> Tag | None:
        """The input that keeps the form of this button from being sent."""
        part = self.part(number)
        index = await part.frame.evaluate(_INVALID, [part.nodes, number % _STRIDE])
        return self.tree.select_one(f"[{MARK}='{part.first + index}']") if index >= 0 else None


async def look(page: Any, silent: set[Any]) -> View:
    """The page as it is now, without the frames that are `silent`, to which those are added that do not answer.

    Raises PageTooLarge, and what Playwright raises.
    """
    if len(page.frames) > MAX_FRAMES:
        raise PageTooLarge(f"the page has {len(page.frames)} frames, at most {MAX_FRAMES} are read")
    within = [
        _if_it_answers(_part(frame, number), frame, silent)
        for number, frame in enumerate(page.frames)
        if frame.parent_frame and frame not in silent and not frame.url.startswith(ERROR_PAGE)
    ]
    whole, *others = await asyncio.gather(_part(page.main_frame, 0), *within)
    parts = {part.first // _STRIDE: part for part in (whole, *others) if part}
    n_characters = sum(len(part.html) for part in parts.values())
    if n_characters > MAX_HTML_BYTES:
        raise PageTooLarge(f"the page has {n_characters:,} characters, at most {MAX_HTML_BYTES:,} are read")
    view = View(parts)
    for part in reversed([*parts.values()][1:]):  # those in frames first
        await _if_it_answers(_put_in(part, view), part.frame, silent)
    return view


async def _part(frame: Any, number: int) -> Part:
    first = number * _STRIDE
    limits = [MAX_TAGS, MAX_HTML_BYTES, MAX_DEPTH]
    handle = await frame.evaluate_handle(_COPY, [MARK, SCOPE, first, *limits])
    html, url, why = await handle.evaluate("copied => [copied.html, copied.url, copied.why]")
    if why:
        raise PageTooLarge(f"the page {why}")
    return Part(frame, first, html, url, await handle.get_property("nodes"))


async def _put_in(part: Part, view: View) -> None:
    """Put a frame's content where it is shown."""
    around = next((one for one in view.parts.values() if one.frame is part.frame.parent_frame), None)
    content = part.tree.find(["body", "frameset"])
    if around is not None and isinstance(content, Tag):
        owner = around.owners.get(await around.number(await part.frame.frame_element()))
        if owner is not None:
            owner.append(content.extract())


async def wait_until_quiet(page: Any, limit_ms: float, silent: set[Any]) -> None:
    """Until scripts leave the page and its frames as they are, but no longer than that; for `silent` see `look`."""
    within = [
        _if_it_answers(frame.evaluate(_QUIET, limit_ms), frame, silent, limit_ms / 1000)
        for frame in page.frames
        if frame.parent_frame and frame not in silent
    ]
    await asyncio.gather(page.main_frame.evaluate(_QUIET, limit_ms), *within)


async def _if_it_answers(work: Awaitable[T], frame: Any, silent: set[Any], more_s: float = 0.0) -> T | None:
    """None where a frame is gone, or silent: its server does not answer, or a script in it does not end."""
    try:
        return await asyncio.wait_for(work, _FRAME_TIMEOUT_S + more_s)
    except (asyncio.TimeoutError, TimeoutError):
        silent.add(frame)
        return None
    except playwright_error():
        return None


def playwright_error() -> type[Exception]:
    """The class of Playwright's errors."""
    from playwright.async_api import Error

    return Error
