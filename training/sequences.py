"""Annotations as token sequences: exactly the ids that the runtime reads and writes in the same conversation."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lumos_edge.engine import Control, Prompt
from lumos_edge.engine.binding import Model
from lumos_edge.templates import CompactTemplate, planner_answer
from lumos_edge.trajectory import Formulation, Step
from training.annotations import Annotation


@dataclass(frozen=True)
class TrainingSequence:
    """Token ids, and which of them a module wrote: only those are learned."""

    tokens: tuple[int, ...]
    is_target: tuple[bool, ...]


@dataclass(frozen=True)
class Turn:
    """A module's prompt and what it has to write."""

    prompt: Prompt
    completion: str


def turns(annotation: Annotation, template: CompactTemplate, formulation: Formulation) -> Iterator[Turn]:
    """Every turn of both modules about an annotation, in the order in which the agent takes them."""
    task, toolbox = annotation.task, annotation.toolbox
    if formulation == "onetime":
        whole = annotation.onetime_step()
        yield Turn(template.planner(task, toolbox, (), "onetime"), planner_answer(whole.subgoals))
        prompt = template.grounder(task, toolbox, (), Step(whole.subgoals, ()), "onetime")
        yield Turn(prompt, "; ".join(map(str, whole.attempts[0].actions)))
        return
    for number, step in enumerate(annotation.steps):
        before = annotation.steps[:number]
        yield Turn(template.planner(task, toolbox, before, "iterative"), planner_answer(step.subgoals))
        prompt = template.grounder(task, toolbox, before, Step(step.subgoals, ()), "iterative")
        yield Turn(prompt, "; ".join(map(str, step.attempts[0].actions)))
    yield Turn(template.planner(task, toolbox, annotation.steps, "iterative"), "Yes, I will stop planning.")


def sequences(turns: Iterable[Turn], model: Model, eos: str) -> list[TrainingSequence]:
    """The turns as few sequences as possible: one that continues another becomes part of it."""
    merged: list[TrainingSequence] = []
    for turn in turns:
        prompt = prompt_tokens(turn.prompt, model)
        completion = (*model.tokenize(turn.completion), *model.tokenize(eos, control=True))
        known = [s for s in merged if s.tokens == prompt[: len(s.tokens)]]
        longest = max(known, key=lambda s: len(s.tokens), default=TrainingSequence((), ()))
        n_new = len(prompt) - len(longest.tokens)
        is_target = (*longest.is_target, *[False] * n_new, *[True] * len(completion))
        merged = [s for s in merged if s is not longest]
        merged.append(TrainingSequence((*prompt, *completion), is_target))
    return merged


def prompt_tokens(prompt: Prompt, model: Model) -> tuple[int, ...]:
    """The ids of a prompt, piece by piece as the engine tokenizes it."""
    tokens: list[int] = []
    starts_text = True
    for piece in prompt:
        if isinstance(piece, Control):
            tokens += model.tokenize(piece.text, control=True)
        elif isinstance(piece, str):  # planner and grounder are shown no pictures
            tokens += model.tokenize(piece, starts_text=starts_text)
        starts_text = isinstance(piece, Control)
    return tuple(tokens)


def pack(sequences: Sequence[TrainingSequence], row_tokens: int, seed: int) -> list[list[TrainingSequence]]:
    """The sequences in a random order, packed first-fit into rows of at most `row_tokens`; longer ones are left out."""
    order = [sequence for sequence in sequences if len(sequence.tokens) <= row_tokens]
    random.Random(seed).shuffle(order)
    rows: list[list[TrainingSequence]] = []
    open_rows: list[tuple[int, list[TrainingSequence]]] = []
    for sequence in order:
        size = len(sequence.tokens)
        index = next((i for i, (free, _) in enumerate(open_rows) if free >= size), None)
        if index is None:
            open_rows.append((row_tokens, []))
            rows.append(open_rows[-1][1])
            index = len(open_rows) - 1
        free, row = open_rows[index]
        row.append(sequence)
        open_rows[index] = (free - size, row)
        # A row nearly full, or open for long, is closed: the order stays random and the search short.
        open_rows = [entry for entry in open_rows if entry[0] >= 24][-32:]
    return rows
