"""Training sequences are what the runtime reads and writes, token by token."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from lumos_edge.engine import Grammar
from lumos_edge.engine.binding import Model
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.engine.pieces import PieceTokens
from lumos_edge.grammar import actions_grammar, plan_grammar
from lumos_edge.templates import CompactTemplate
from lumos_edge.toolbox import Toolbox
from training.annotations import MAX_ACTIONS, MAX_SUBGOALS, Annotation, Annotator
from training.chains import RejectedItemError
from training.sequences import TrainingSequence, pack, prompt_tokens, sequences, turns
from training.synthetic import generate


@pytest.fixture(name="toolbox", scope="module")
def _toolbox() -> Toolbox:
    return Toolbox.of_packs(["maths"])


@pytest.fixture(name="annotations", scope="module")
def _annotations(toolbox: Toolbox) -> list[Annotation]:
    annotator = Annotator(toolbox)
    found = []
    for number, problem in enumerate(islice(generate(2), 40)):
        try:
            found.append(annotator.annotate("s", str(number), problem.question, problem.solution, None))
        except RejectedItemError:
            continue
    return found


@pytest.fixture(name="model")
def _model(nano_path: Path) -> Model:
    return Model(nano_path)


def _written(completion: list[int], grammar: Grammar, cache: GrammarCache) -> list[int]:
    """The tokens that a module writes that chooses those of `completion` wherever it has a choice."""
    constraint = Constraint(cache, grammar)
    written = constraint.forced_tokens()
    while len(written) < len(completion):
        constraint.consume([completion[len(written)]])
        written = [*written, completion[len(written)], *constraint.forced_tokens()]
    assert constraint.may_end
    return written


@pytest.mark.model
def test_completions_are_learned_as_the_engine_writes_them(
    model: Model, annotations: list[Annotation], toolbox: Toolbox
) -> None:
    cache = GrammarCache(model.constraint_tokenizer)
    grammars = (
        plan_grammar(MAX_SUBGOALS),
        actions_grammar(toolbox, {}, formulation="onetime", max_actions=MAX_ACTIONS),
    )
    for annotation in annotations:
        both = turns(annotation, CompactTemplate(model.eos), "onetime")
        for turn, grammar in zip(both, grammars, strict=True):
            completion = model.tokenize(turn.completion)
            assert _written(completion, grammar, cache) == completion


@pytest.mark.model
def test_prompts_are_learned_as_the_engine_reads_them(model: Model, annotations: list[Annotation]) -> None:
    template = CompactTemplate(model.eos)
    for formulation in ("onetime", "iterative"):
        for turn in turns(annotations[0], template, formulation):
            tokens = PieceTokens(model).of(turn.prompt)
            assert tokens == list(prompt_tokens(turn.prompt, model))


@pytest.mark.model
def test_one_sequence_trains_both_modules_of_the_onetime_formulation(
    model: Model, annotations: list[Annotation]
) -> None:
    template = CompactTemplate(model.eos)
    (sequence,) = sequences(turns(annotations[0], template, "onetime"), model, model.eos)
    learned = "".join(
        model.token_text(token)
        for token, learn in zip(sequence.tokens, sequence.is_target, strict=True)
        if learn
    )
    plan, actions = (turn.completion for turn in turns(annotations[0], template, "onetime"))
    assert learned.replace("Ġ", " ") == f"{plan}{model.eos}{actions}{model.eos}"


@pytest.mark.model
def test_an_iterative_conversation_is_one_sequence_for_each_module(
    model: Model, annotations: list[Annotation]
) -> None:
    longest = max(annotations, key=lambda annotation: len(annotation.steps))
    found = sequences(turns(longest, CompactTemplate(model.eos), "iterative"), model, model.eos)
    assert len(found) == 2


def _sequence(size: int) -> TrainingSequence:
    return TrainingSequence((size,) * size, (True,) * size)


def test_packing_keeps_every_sequence_that_fits_whole() -> None:
    sizes = [3, 50, 64, 64, 65, 1, 20, 30, 33, 31, 7] * 5
    rows = pack([_sequence(size) for size in sizes], 64, seed=1)
    assert all(sum(len(sequence.tokens) for sequence in row) <= 64 for row in rows)
    packed = sorted(len(sequence.tokens) for row in rows for sequence in row)
    assert packed == sorted(size for size in sizes if size <= 64)
    assert rows == pack([_sequence(size) for size in sizes], 64, seed=1)
    assert rows != pack([_sequence(size) for size in sizes], 64, seed=2)
