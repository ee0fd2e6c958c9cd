"""HTML to plain text: one line per paragraph, list item and table row.

One regular expression finds the tags, and only the nesting of what is left out is kept. A tree is not needed for that
(BeautifulSoup: a tenth of the speed), and the standard library's parser takes quadratic time for tags that do not
end: 49 s for 160 kB of `<a href=`.
"""

from __future__ import annotations

import html
import re

_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<raw>script|style)\b.*?(?:</(?P=raw)\s*>|\Z)"
    r"|<(?P<end>/?)(?P<name>[a-z][a-z0-9:-]{0,30})(?:[^<>\"']|\"[^\"]*\"|'[^']*'){0,5000}>"
    r"|<[!?][^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_DROPPED = re.compile("head|nav|footer|noscript|template|svg|math|button|select|textarea|iframe|object")
_LINE = re.compile(
    "address|article|aside|blockquote|br|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|form|h[1-6]|header"
    "|hr|li|main|ol|p|pre|section|summary|table|tbody|tfoot|thead|title|tr|ul"
)
_TITLE = re.compile(r"<title\b[^<>]*>([^<]{1,1000})", re.IGNORECASE)
_HEADING = re.compile(r"<h1\b[^<>]*>(.{1,1000}?)</h1", re.IGNORECASE | re.DOTALL)
_SPACE = re.compile(r"[ \t\r\f\v\xa0]+")


def html_text(page: str) -> tuple[str, str]:
    """The title (of `<title>`, else the first `<h1>`; "" without one) and the text of a page. Never raises.

    Cost is linear in the length, however elements are nested or left open.
    """
    found = _TITLE.search(page) or _HEADING.search(page)
    title = _TAG.sub("", found[1]) if found else ""
    return " ".join(html.unescape(title).split()), tidy("".join(_pieces(page)))


def tidy(text: str) -> str:
    """Without the space around lines, empty lines, and cells' marks at the ends of a row."""
    lines = (_SPACE.sub(" ", line).strip(" |") for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(page: str) -> list[str]:
    pieces: list[str] = []
    dropped, depth = "", 0  # the element that is left out, and how many of that name are open
    is_preformatted = False
    at = 0
    for found in _TAG.finditer(page):
        if not dropped:
            pieces.append(_text(page[at : found.start()], is_preformatted))
        at = found.end()
        name, is_end = (found["name"] or "").lower(), bool(found["end"])
        if dropped:
            depth += 0 if name != dropped else -1 if is_end else 1
            # An unclosed head ends where the page begins.
            if not depth or name == "body":
                dropped = ""
        elif _DROPPED.fullmatch(name) and not is_end:
            dropped, depth = name, 1
        elif name == "pre":
            is_preformatted = not is_end
        pieces.append(_break(name, is_end))
    if not dropped:
        pieces.append(_text(page[at:], is_preformatted))
    return pieces


def _break(name: str, is_end: bool) -> str:
    if _LINE.fullmatch(name):
        return "\n"
    return " | " if name in ("td", "th") and not is_end else ""


def _text(text: str, is_preformatted: bool) -> str:
    text = html.unescape(text)
    return text if is_preformatted else text.replace("\n", " ")
