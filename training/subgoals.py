"""Subgoals worded by rules from the lines of a worked solution.

`So she sold 48/2 = <<48/2=24>>24 clips in May.` becomes `Calculate how many clips she sold in May.`: the words on
both sides of the result, and never the result. A line whose words do not do is worded by its last operation:
`Calculate the difference.` What it is calculated of, `operations` adds.
Style: the maths annotations of Agent Lumos (arXiv 2311.05657), "Calculate the number of clips sold in May."
"""

from __future__ import annotations

import re
from collections.abc import Set
from fractions import Fraction

from training.chains import ChainLine, numbers_of

_MAX_WORDS = 18
_NUMBER = r"[$€£]?\s?(?:\d[\d,]*\.?\d*|\.\d+)\s?%?"
_SIGN = r"\s*[-–+*/x×÷]\s*"
_UNITS = r"(?:\s?(?!of\b)[a-zA-Z][\w'’]*(?:/\w+)?){0,3}"
_RESULT = re.compile(r"<<[^<>]*>>\s*[$€£]?\s*[\d,]*\.?\d*")
# What stands before a result: `36 kg - 9 kg =`, `(2 + 3) * 4 =`, `$`.
_WITH_UNITS = re.compile(rf"(?:{_NUMBER}{_UNITS}{_SIGN})+{_NUMBER}{_UNITS}\s*=?\s*[$€£]?\s*$")
_ARITHMETIC = re.compile(rf"(?:{_NUMBER}\s*|[-–+*/x×÷=().$€£\[\]]\s*)+$")
_CLAUSE = re.compile(
    r"(?<=[a-z\d])[.;:]\s+(?=\S)|,?\s+(?:so|and so|which means|meaning|thus|therefore|then)\s+(?=\S)"
)
_OPENING = re.compile(
    r"^(?:so|then|thus|therefore|hence|now|next|first|second|third|finally|also|this means|that means|in total|"
    r"altogether|and|but|since then|after that|we know|step \d+|\(?[a-z\d]\))\b[,:)]?\s*(?:that\b\s*)?",
    re.IGNORECASE,
)
_PLACE = re.compile(r"^(?:in|on|for|at|after|during|from|with|by|to|between|before)\b", re.IGNORECASE)
_TOTAL = re.compile(
    r",?\s*\b(?:(?:for|with|which is|is|are|to|of) )?a?n? ?(?:final |grand |combined )?total(?: of)?$"
)
_COPULA = re.compile(
    r"\s*\b(?:is|are|was|were|will be|would be|equals?|comes? (?:out )?to|came (?:out )?to|amounts? to|"
    r"is equal to|adds? up to|totals?)\s*(?:equal to|only|just|about)?$"
)
_TOPIC = re.compile(
    r"^(?:the|his|her|their|its|each|every|all|this|that|my|our|total)\b|['’]s\b", re.IGNORECASE
)
_FINDING = re.compile(r"\b(?:to )?(?:find|figure|determine)(?: out)? (.+)$", re.IGNORECASE)
_LEADING = re.compile(r"^(?:a total of|another|an additional|additional|more|only|about|total)\b\s*")
_COMMON = re.compile(
    r"^(?:he|she|it|they|this|that|there|we|you|i|the|in|his|her|their|its|each|after|an?|for|every|all|on|by|before|"
    r"when|if|at|find)\b",
    re.IGNORECASE,
)
_UNIT_END = re.compile(
    r"\b(?:in|on|at|for|from|to|with|by|per|each|every|after|before|during|left|more|than|if|when|because|as|a|"
    r"an|the|that|who|which|total|altogether|and|are|is|were|was|had|have|has|remaining|together|over|into|worth|"
    r"so)\b|[,.;:()]"
)
_MONEY = re.compile(r"[$€£]\s*$")
_BY_OPERATION = {"-": "the difference", "/": "the share", "*": "the amount", "+": "the sum"}


def word_subgoal(line: ChainLine, given: Set[Fraction]) -> str:
    """The subgoal of a solution's line. Its words hold no number but those in `given` (the question's)."""
    words = _from_words(line.text)
    if words and numbers_of(words) <= given and len(words.split()) <= _MAX_WORDS:
        return words
    formula = line.actions[-1].arguments
    return f"Calculate {next((name for sign, name in _BY_OPERATION.items() if sign in formula[1:]), 'the result')}."


_ASKED = re.compile(
    r".*\b(how (?:many|much|far|long|old)\b.*?) ?\b(do|does|did|is|are|was|were|will|would|can|could)\b (.*)\?",
    re.IGNORECASE,
)


def word_question(question: str) -> str:
    """The subgoal that answers a question: `How many nuts does Ann have?` is `Calculate how many nuts Ann has.`"""
    last = re.split(r"(?<=[.?!]) ", question.strip())[-1]
    asked = _ASKED.fullmatch(last)
    if not asked:
        return "Calculate " + re.sub(r"^What (?:is|was|are) ", "", last).removesuffix("?") + "."
    topic, auxiliary, rest = asked[1][0].lower() + asked[1][1:], asked[2].lower(), asked[3]
    if auxiliary in ("do", "does", "did"):
        have = {"do": "have", "does": "has", "did": "had"}[auxiliary]
        statement = re.sub(r"\bhave\b", have, rest)
        return f"Calculate {topic} {statement}."
    if auxiliary in ("will", "would", "can", "could") and " be " not in rest:
        subject, _, verb = rest.partition(" ")
        return f"Calculate {topic} {subject} {auxiliary} {verb}."
    return f"Calculate {topic} {auxiliary} {rest}."


def _from_words(text: str) -> str:
    """The line's clause about its last result as `Calculate ...`; "" where no rule fits."""
    *_, last = _RESULT.finditer(text)
    left, right = text[: last.start()], text[last.end() :]
    is_money = bool(_MONEY.search(left)) or "$" in last[0] or right.lstrip().startswith("dollars")
    subject, place = _subject(_RESULT.sub("", left))
    rest = _CLAUSE.split(right.strip())[0].strip(" .,;:!)=").removeprefix("dollars").strip()
    rest = f"{rest} {place}"
    if not re.fullmatch(r"[\w\s,.'’$%/&\"-]*", f"{subject} {rest}") or not (subject or rest.strip()):
        return ""
    if subject.endswith("because"):  # the result stands before it, in the words
        return ""
    return _clean(_compose(_lower_first(subject), rest.strip(), is_money))


def _subject(left: str) -> tuple[str, str]:
    """What a line says before its arithmetic, and the circumstance that it began with (`in May`)."""
    without = _WITH_UNITS.sub("", left)
    left = _ARITHMETIC.sub("", without if without != left else left.rstrip())
    clause = _CLAUSE.split(left)[-1].strip(" ,:$=")
    clause = _OPENING.sub("", _OPENING.sub("", clause))
    opening, comma, main = clause.rpartition(", ")
    if not comma or len(main.split()) < 2 or main.startswith(("and ", "or ")):
        return clause, ""
    is_place = _PLACE.search(opening) and len(opening.split()) <= 6
    return main, _lower_first(opening) if is_place else ""


def _compose(subject: str, rest: str, is_money: bool) -> str:
    finding = _FINDING.search(subject)
    if finding:
        return f"Calculate {finding[1]}."
    topic = _COPULA.sub("", subject)
    if rest.startswith(("years old", "year old")) and topic != subject:
        return f"Calculate how old {topic} is {rest.partition('old')[2]}."
    if topic != subject and _TOPIC.search(topic):
        # "The total cost is $5": the topic says it all; "is 5 miles" would only repeat the unit.
        return f"Calculate {topic}."
    subject, is_total = _TOTAL.subn("", subject)
    rest = _LEADING.sub("", rest) + (" in total" if is_total else "")
    if is_money:
        return f"Calculate how much money {subject} {rest}."
    if not subject:
        return f"Calculate how many {rest}."
    unit_end = _UNIT_END.search(rest)
    unit, place = (rest[: unit_end.start()], rest[unit_end.start() :]) if unit_end else (rest, "")
    if not unit.strip():
        return f"Calculate how much {subject} {place}."
    return f"Calculate how many {unit} {subject} {place}."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:] if _COMMON.match(text) else text


def _clean(text: str) -> str:
    text = re.sub(r"\s+([.,])", r"\1", re.sub(r"\s+", " ", text.replace(";", ",")))
    return re.sub(r"[.,]+\.$", ".", text)
