"""Which elements, and which options, a query may mean: by BM25 over their names and what is around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lumos_edge.knowledge.bm25 import score_texts
from lumos_edge.knowledge.words import words
from lumos_edge.web.document import EDITABLE, Element, Operation

_INPUT_WEIGHT = 0.7
"""Of an input among what may be clicked: typing is what it is there for, and it is often called as its button is."""

_UNCLEAR = 0.5
"""The part of the best score from which the second best may be meant: `benchmarks/bench_elements.py`."""

_VERB_WEIGHT = 1.5
"""Of a name that begins as the query does: `Add to basket` is what adds the lamp, not the link to the lamp."""

_POINTING = frozenset({"click", "press", "tap", "push", "hit"})

_EMPTY = frozenset(
    {"a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "of", "on", "or", "the", "to", "with"}
)
"""Words that say nothing of an element; a page is too small for their frequency to show it."""


class Ranked(NamedTuple):
    """An element and how well it fits; 0 where it shares no word with the query."""

    element: Element
    score: float


def ranked(elements: Sequence[Element], operation: Operation, query: str, n_best: int) -> tuple[Ranked, ...]:
    """The best of the elements that this can be done to, the best first, else in the order of the page.

    Costs some 6 us for each element.
    """
    fitting = [element for element in elements if operation in element.operations]
    scores = _scores([_text(element) for element in fitting], query)
    if operation == "CLICK":
        verb = next((word for word in _telling(query) if word not in _POINTING), "")
        scores = [
            score and score * _click_weight(element, verb)
            for score, element in zip(scores, fitting, strict=True)
        ]
    order = sorted(range(len(fitting)), key=lambda index: -scores[index])
    return tuple(Ranked(fitting[index], scores[index]) for index in order[:n_best])


def is_clear(scores: Sequence[float]) -> bool:
    """Whether the first of these is so much better than the second that no model needs to be asked."""
    return len(scores) < 2 or scores[1] < _UNCLEAR * scores[0]


def ranked_texts(texts: Sequence[str], query: str) -> tuple[tuple[str, float], ...]:
    """The texts with how well they fit, the best first, else in their order; 0 where they share no word."""
    scores = _scores(texts, query)
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return tuple((texts[index], scores[index]) for index in order)


def ranked_options(options: Sequence[str], text: str) -> tuple[str, ...]:
    """The options that are the text, or else share a word with it, the best first."""
    equal = [option for option in options if option.casefold() == text.strip().casefold()]
    if equal:
        return (equal[0],)
    return tuple(option for option, score in ranked_texts(options, text) if score > 0)


def _click_weight(element: Element, verb: str) -> float:
    if element.role in EDITABLE:
        return _INPUT_WEIGHT
    return _VERB_WEIGHT if words(element.name)[:1] == [verb] else 1.0


def _text(element: Element) -> str:
    # The name twice: a word of it counts as two words around it.
    around = (element.role, element.label, element.value, *element.options[:50], *element.ancestors)
    return " ".join((element.name, element.name, *around))


def _scores(texts: Sequence[str], query: str) -> list[float]:
    return score_texts(_telling(query), [words(text) for text in texts])


def _telling(query: str) -> list[str]:
    """The words of a query that say something, or all when none does."""
    asked = words(query)
    return [word for word in asked if word not in _EMPTY] or asked
