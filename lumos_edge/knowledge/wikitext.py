"""MediaWiki markup to plain text, in one pass over its brackets with a stack of our own.

Kept: prose, headings, list items, table rows (`a | b | c`), the labels of links, what infoboxes say (`key: value`).
Left out: other templates save those that only word a value, references, pictures, categories, comments, formulas.
The grammar is that of https://www.mediawiki.org/wiki/Help:Formatting and Help:Tables; templates are not expanded, a
dump does not say what they would show.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from lumos_edge.knowledge.html_text import tidy

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_DROPPED = re.compile(
    r"<(ref|gallery|timeline|imagemap|score|math|chem|templatestyles|graph|mapframe|maplink|hiero)\b"
    r"(?:[^<>]*/>|[^<>]*>.*?(?:</\1\s*>|\Z))",
    re.DOTALL | re.IGNORECASE,
)
_NOWIKI = re.compile(r"<nowiki>(.*?)(?:</nowiki>|\Z)", re.DOTALL | re.IGNORECASE)
_BRACKET = re.compile(r"\{\{|\}\}|\[\[|\]\]|^[: \t]*\{\||^[ \t]*\|\}", re.MULTILINE)
_EXTERNAL = re.compile(r"\[(?:https?:)?//[^\s\[\]]+ ?([^\[\]\n]*)\]")
_BREAK = re.compile(r"<(?:br|p|/p|li|tr|hr)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_EMPHASIS = re.compile(r"'{2,5}")
_LINE = re.compile(r"^(?:[*#:;]+[ \t]*|={1,6}([^\n]+)$)", re.MULTILINE)
_MAGIC = re.compile(r"__[A-Z]{3,30}__")
_CELL_ATTRIBUTES = re.compile(r"\s*[\w-]+\s*=[^|]*")
_LANGUAGE = re.compile(r"^[a-z]{2,3}(?:-[a-z]+)*:")
_DISAMBIGUATION = re.compile(
    r"\{\{[\w -]{0,40}(?:disambig|begriffsklärung|homonymie|desambiguación|hndis|geodis)|\{\{dab\}\}|__DISAMBIG__",
    re.IGNORECASE,
)
_MEANING = re.compile(r"^[*#]+[^\[\n]*\[\[([^\]|#\n]+)", re.MULTILINE)

_CLOSES = {"{{": "}}", "[[": "]]", "{|": "|}"}
_QUOTED = "\x02"  # before a bracket that nowiki made text


def plain_text(
    markup: str, dropped_namespaces: frozenset[str] = frozenset(("file", "image", "category"))
) -> str:
    """The text of a page; links into the namespaces (folded names) are left out. Cost is linear. Never raises."""
    markup = _NOWIKI.sub(lambda found: _quoted(found[1]), _COMMENT.sub("", markup))
    markup = _resolve(_DROPPED.sub("", markup), dropped_namespaces)
    markup = _EXTERNAL.sub(r"\1", markup)
    markup = _TAG.sub("", _BREAK.sub("\n", markup))
    markup = _LINE.sub(
        lambda found: (found[1] or "").strip("= \t"), _MAGIC.sub("", _EMPHASIS.sub("", markup))
    )
    return tidy(html.unescape(markup).replace(_QUOTED, ""))


def meanings(markup: str) -> tuple[str, ...]:
    """The titles that a disambiguation page lists; () for any other page."""
    if not _DISAMBIGUATION.search(markup):
        return ()
    return tuple(dict.fromkeys(title.strip() for title in _MEANING.findall(markup)))


def _quoted(text: str) -> str:
    return re.sub(r"[\[\]{}|'=*#:;<]", lambda sign: f"{_QUOTED}{sign[0]}", text)


@dataclass
class _Open:
    """An opened bracket, and the pieces inside it so far."""

    bracket: str
    pieces: list[str] = field(default_factory=list)


def _resolve(markup: str, dropped_namespaces: frozenset[str]) -> str:
    readers: dict[str, Callable[[str], str]] = {
        "{{": _template,
        "[[": lambda content: _link(content, dropped_namespaces),
        "{|": _table,
    }
    stack, at = [_Open("")], 0
    for found in _BRACKET.finditer(markup):
        stack[-1].pieces.append(markup[at : found.start()])
        at = found.end()
        bracket = found[0].strip(": \t\n")
        if bracket in _CLOSES:
            stack.append(_Open(bracket))
        elif bracket == _CLOSES.get(stack[-1].bracket):
            closed = stack.pop()
            before = "\n" if bracket == "|}" else ""
            stack[-1].pieces.append(before + readers[closed.bracket]("".join(closed.pieces)))
        elif bracket == "|}":
            stack[-1].pieces.append("\n")
    pieces = [piece for opened in stack for piece in opened.pieces]
    return "".join((*pieces, markup[at:]))


def _link(content: str, dropped_namespaces: frozenset[str]) -> str:
    target, _, label = content.partition("|")
    namespace, colon, _ = target.partition(":")
    if (colon and namespace.strip().lower() in dropped_namespaces) or _LANGUAGE.match(target):
        return ""
    return label.rpartition("|")[2] if label else target.lstrip(":")


def _template(content: str) -> str:
    name, *arguments = content.split("|")
    name = " ".join(name.lower().replace("_", " ").split())
    if name.startswith(("infobox", "taxobox", "chembox")):
        pairs = (argument.partition("=") for argument in arguments)
        lines = (
            f"{key.strip().replace('_', ' ')}: {' '.join(value.split())}"
            for key, _, value in pairs
            if value.strip()
        )
        return "\n" + "\n".join(lines) + "\n"
    plain = [argument for argument in arguments if "=" not in argument]
    if name in _WORDED and plain:
        return _WORDED[name](plain)
    return ""


def _first(plain: list[str]) -> str:
    return plain[0]


def _last(plain: list[str]) -> str:
    return plain[-1]


def _measure(plain: list[str]) -> str:
    return " ".join(plain[:2])


def _date(plain: list[str]) -> str:
    return "-".join(part.strip() for part in plain[:3])


# Templates of the English Wikipedia that only word a value. What they are called elsewhere is left out.
_WORDED: dict[str, Callable[[list[str]], str]] = {
    **dict.fromkeys(("convert", "cvt", "val", "nowrap begin"), _measure),
    **dict.fromkeys(
        ("nowrap", "small", "big", "nobold", "abbr", "circa", "c.", "ill", "formatnum", "sfrac"), _first
    ),
    **dict.fromkeys(
        ("lang", "transl", "transliteration", "lang-en", "langx", "color", "tooltip", "flag"), _last
    ),
    **dict.fromkeys(
        ("birth date", "death date", "birth date and age", "start date", "end date", "film date"), _date
    ),
    "death date and age": _date,
    "flagcountry": _first,
    "plainlist": _first,
    "ubl": lambda plain: ", ".join(plain),
    "unbulleted list": lambda plain: ", ".join(plain),
    "hlist": lambda plain: ", ".join(plain),
}


def _table(content: str) -> str:
    """A row per line. The first line holds the table's attributes."""
    rows: list[list[str]] = [[]]
    for line in content.split("\n")[1:]:
        line = line.strip()
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            rows.append([line[2:]])
            rows.append([])
        elif line.startswith(("|", "!")):
            rows[-1] += re.split(r"\|\||!!", line[1:])
        elif rows[-1]:
            rows[-1][-1] += f" {line}"
    return "\n" + "\n".join(" | ".join(_cell(cell) for cell in row) for row in rows if row) + "\n"


def _cell(cell: str) -> str:
    attributes, bar, text = cell.partition("|")
    return (text if bar and _CELL_ATTRIBUTES.fullmatch(attributes) else cell).strip()
