"""Which of several solutions a task means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lumos_edge.maths.formula import Formula, symbols
from lumos_edge.maths.symbolic import estimate, sign

_NOUN: Final = r"(?:\w+ ){0,2}?(?:integers?|numbers?|reals?|values?|solutions?|roots?)\b"
_POSITIVE: Final = re.compile(rf"\bpositive {_NOUN}|\bnatural numbers?\b", re.IGNORECASE)
_NEGATIVE: Final = re.compile(rf"(?<!non)(?<!non-)\bnegative {_NOUN}", re.IGNORECASE)
_NONNEGATIVE: Final = re.compile(
    rf"\bnon-?negative {_NOUN}|\bwhole numbers?\b|\bhow (?:many|old|long|far|tall)\b", re.IGNORECASE
)
_INTEGER: Final = re.compile(
    r"(?<!nearest )(?<!non-)(?<!greatest )\b(?:integers?|whole numbers?|natural numbers?)\b"
    r"|\b(?:even|odd|prime|consecutive) numbers?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Domain:
    """What every unknown is known to be; without any of it, a real number."""

    positive: bool = False
    negative: bool = False
    nonnegative: bool = False
    integer: bool = False

    def __str__(self) -> str:
        return " ".join(name for name, known in vars(self).items() if known) or "real"

    def allows(self, value: Formula) -> bool:
        """Whether a solution is in the domain; one that still has symbols always is."""
        if symbols(value):
            return True
        direction = sign(value)
        if (self.positive and direction <= 0) or (self.negative and direction >= 0):
            return False
        if self.nonnegative and direction < 0:
            return False
        return not self.integer or estimate(value).denominator == 1


def domain_of(task: str) -> Domain:
    """The domain that a task's words promise; words that may speak of something else promise nothing.

    "positive", "negative" and "non-negative" count only with a noun for the unknown within three words
    ("positive even numbers", not "positive difference"), and none of them when the task has both signs.
    "how many", "how old", "how long", "how far" and "how tall" ask for what is never negative, yet may be
    broken; "how much" may be a loss. "integer", "whole number" and "natural number" count but for "nearest
    integer" and "greatest integer", as do even, odd, prime and consecutive numbers.
    """
    positive, negative = bool(_POSITIVE.search(task)), bool(_NEGATIVE.search(task))
    return Domain(
        positive=positive and not negative,
        negative=negative and not positive,
        nonnegative=bool(_NONNEGATIVE.search(task)) and not negative,
        integer=bool(_INTEGER.search(task)),
    )
