"""Word problems made by program from `schemas.toml`: what GSM8K lacks, above all problems of one and two steps."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant
from lumos_edge.maths.parser import parse
from training.subgoals import word_question

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SCHEMAS = Path(__file__).with_name("schemas.toml")
_SLOT = re.compile(r"\{(\w+)\}")
_DISTRACTOR_SHARE = 0.25
_OPENING_SHARE = 0.2
_SPELLED_SHARE = 0.15
_LARGE_SHARE = 0.15


@dataclass(frozen=True)
class Schema:
    """A kind of word problem; the fields are explained in `schemas.toml`."""

    kind: str
    numbers: tuple[str, ...]
    questions: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    weight: float
    any_result: bool


@dataclass(frozen=True)
class SyntheticProblem:
    """A question and its solution: each subgoal with its actions as text."""

    kind: str
    question: str
    solution: tuple[tuple[str, str], ...]
    any_result: bool


@dataclass(frozen=True)
class Words:
    """What the slots are filled with; a distractor is a sentence whose number does not matter."""

    women: tuple[str, ...]
    men: tuple[str, ...]
    items: tuple[str, ...]
    places: tuple[str, ...]
    numbers: tuple[str, ...]
    tens: tuple[str, ...]
    adjectives: tuple[str, ...]
    people: tuple[str, ...]
    openings: tuple[str, ...]
    distractors: tuple[str, ...]


def read_schemas() -> tuple[Words, tuple[Schema, ...]]:
    """What `schemas.toml` holds."""
    entries = tomllib.loads(_SCHEMAS.read_text("utf-8"))
    words = {
        name: tuple(text if isinstance(text, list) else text.split())
        for name, text in entries["words"].items()
    }
    return Words(**words), tuple(
        Schema(
            kind=entry["kind"],
            numbers=tuple(entry["numbers"]),
            questions=tuple(entry["questions"]),
            steps=tuple((subgoal, actions) for subgoal, actions in entry["steps"]),
            weight=entry.get("weight", 1.0),
            any_result=entry.get("any", False),
        )
        for entry in entries["schema"]
    )


def generate(seed: int) -> Iterator[SyntheticProblem]:
    """Problems without end, the same ones for the same seed."""
    words, schemas = read_schemas()
    rng = random.Random(seed)
    while True:
        (schema,) = rng.choices(schemas, [schema.weight for schema in schemas])
        yield _problem(schema, words, rng)


def _problem(schema: Schema, words: Words, rng: random.Random) -> SyntheticProblem:
    numbers = _numbers(schema, rng)
    slots = {**_drawn(words, rng), **numbers}
    question = rng.choice(schema.questions)
    sentences = _sentences(question)
    if "{name}" in question and len(sentences) > 1 and rng.random() < _DISTRACTOR_SHARE:
        sentences.insert(-1, rng.choice(words.distractors))
    if "{name}" in question and rng.random() < _OPENING_SHARE:
        sentences.insert(0, rng.choice(words.openings))
    may_spell = schema.weight == 1 and "$" not in question
    spelled = {
        name: _spelled(number, words, rng) if may_spell else number for name, number in numbers.items()
    }
    text = " ".join(_capitalized(_fill(sentence, {**slots, **spelled})) for sentence in sentences)
    slots["asked"] = word_question(_fill(sentences[-1], slots))
    solution = tuple((_fill(subgoal, slots), _fill(actions, slots)) for subgoal, actions in schema.steps)
    return SyntheticProblem(schema.kind, text, solution, schema.any_result)


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?]) (?=[A-Z{])", text)


def _capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _spelled(number: str, words: Words, rng: random.Random) -> str:
    """Some numbers below a hundred in words."""
    value = int(number)
    if value >= 100 or rng.random() >= _SPELLED_SHARE:
        return number
    if value < len(words.numbers):
        return words.numbers[value]
    ten, one = words.tens[value // 10 - 2], value % 10
    return f"{ten}-{words.numbers[one]}" if one else ten


def _drawn(words: Words, rng: random.Random) -> dict[str, str]:
    is_woman = rng.random() < 0.5
    name = rng.choice(words.women if is_woman else words.men)
    other, third = rng.sample([person for person in words.women + words.men if person != name], 2)
    item, item2, item3 = (_kind_of(item, words, rng) for item in rng.sample(words.items, 3))
    if rng.random() < 0.15:
        name = f"the {rng.choice(words.people)}"
    he, him, his = ("she", "her", "her") if is_woman else ("he", "him", "his")
    return {
        "name": name,
        "other": other,
        "third": third,
        "item": item,
        "item2": item2,
        "item3": item3,
        "place": rng.choice(words.places),
        "he": he,
        "He": he.capitalize(),
        "him": him,
        "his": his,
    }


def _kind_of(item: str, words: Words, rng: random.Random) -> str:
    return f"{rng.choice(words.adjectives)} {item}" if rng.random() < 0.25 else item


def _numbers(schema: Schema, rng: random.Random) -> dict[str, str]:
    """Numbers for the schema's slots, drawn until all of them are positive."""
    while True:
        values: dict[str, int] = {"z": rng.randint(2, 60)}
        for rule in schema.numbers:
            name, _, rest = rule.partition(" = ")
            low, dots, high = rest.partition("..")
            values[name] = _drawn_number(int(low), int(high), rng) if dots else _computed(rest, values)
        if all(value > 0 for value in values.values()):
            return {name: str(value) for name, value in values.items()}


def _drawn_number(low: int, high: int, rng: random.Random) -> int:
    # Ranges up to 20 are those of groups, ages and percentages, which do not become larger.
    is_large = high > 20 and rng.random() < _LARGE_SHARE
    return rng.randint(low, 10 * high if is_large else high)


def _computed(text: str, values: Mapping[str, int]) -> int:
    formula = parse(re.sub(r"[a-z]", lambda match: f"({values[match[0]]})", text), "calculation")
    value = evaluate(formula)
    if not isinstance(value, Constant) or value.value.denominator != 1:
        raise ValueError(f"{text} with {values} is {value}, a whole number was expected")
    return int(value.value)


def _fill(text: str, slots: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda match: slots[match[1]], text)
