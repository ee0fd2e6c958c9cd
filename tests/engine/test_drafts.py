"""Drafts: what is proposed, how long, and that they change no text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import llama_cpp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.engine import Completion, Control, Grammar, Prompt, Sampling
from lumos_edge.engine.drafts import MAX_DRAFT, Acceptance, Drafts
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.threads import ALIKE, Speed
from lumos_edge.grammar import actions_grammar
from lumos_edge.toolbox import Toolbox
from tests.engine.tiny import write_bpe_model

CHEAP = tuple(1 + 0.05 * n for n in range(ALIKE))
"""The costs on a machine where a batch takes hardly longer than one token."""


def drafts(tokens: list[int]) -> Drafts:
    return Drafts(Acceptance(CHEAP), tokens)


def test_what_followed_the_last_time_is_proposed() -> None:
    assert drafts([0, 1, 2, 3, 4, 9, 0, 1, 2]).propose(1, 2) == [3, 4]


def test_the_newest_occurrence_and_the_longest_n_gram_count() -> None:
    assert drafts([0, 1, 2, 3, 9, 0, 1, 2, 4, 9, 0, 1, 2]).propose(1, 1) == [4]
    assert drafts([7, 0, 1, 2, 3, 9, 0, 1, 2, 4, 7, 0, 1, 2]).propose(1, 1) == [3]


def test_nothing_is_proposed_where_nothing_was_seen() -> None:
    assert drafts([1, 2, 3, 4]).propose(1, 8) == []
    assert drafts([]).propose(1, 8) == []


def test_what_is_written_is_looked_up_too() -> None:
    index = drafts([0, 1, 2])
    index.extend([3, 4, 0, 1])
    assert index.propose(1, 8) == []
    index.extend([2])
    assert index.propose(1, 2) == [3, 4]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 12))
def test_a_draft_stood_in_the_text_behind_the_same_three_tokens(tokens: list[int], n_most: int) -> None:
    draft = drafts(tokens).propose(1, n_most)
    assert len(draft) <= min(n_most, MAX_DRAFT)
    found = [*tokens[-3:], *draft]
    assert not draft or found in [tokens[i : i + len(found)] for i in range(len(tokens) - 2)]


QUARTER = tuple(1 + 0.25 * n for n in range(ALIKE))


def test_drafts_that_stand_become_longer_and_those_that_fall_end() -> None:
    acceptance = Acceptance(QUARTER)
    for _ in range(50):
        acceptance.note(3, 4, 4)
        acceptance.note(4, 4, 0)
    assert acceptance.length(3, 1) == MAX_DRAFT
    lengths = [acceptance.length(4, 1) for _ in range(100)]
    assert set(lengths) == {0, 1}
    assert 4 <= sum(lengths) <= 8  # tried again now and then


def test_a_length_that_is_tried_again_comes_back_when_drafts_stand_again() -> None:
    acceptance = Acceptance(QUARTER)
    for _ in range(50):
        acceptance.note(3, 1, 0)
    assert acceptance.length(3, 1) == 0
    for _ in range(50):
        acceptance.note(3, 1, 1)
    assert acceptance.length(3, 1) > 1


def test_no_draft_makes_a_batch_that_is_evaluated_otherwise() -> None:
    acceptance = Acceptance(CHEAP)
    for n_before in range(1, 300):
        assert acceptance.length(3, n_before) <= max(0, ALIKE - n_before)


def test_where_a_drafted_token_costs_a_step_there_is_none() -> None:
    acceptance = Acceptance(Speed.unmeasured(2).costs)
    for _ in range(50):
        acceptance.note(3, 6, 6)
    assert [acceptance.length(3, 1) for _ in range(40)] == [0] * 40


def test_behind_forced_tokens_a_draft_may_pay_where_alone_it_does_not() -> None:
    """The costs of a 1.5B model on 2 cores: a batch of two is as slow as two steps, a third token is cheap."""
    acceptance = Acceptance((1.0, 2.01, 2.34, 2.69, 3.2, 3.71, 4.34))
    assert acceptance.length(3, 1) == 0
    assert acceptance.length(3, 2) > 0


PROMPT: Prompt = (
    Control("<|im_start|>"),
    "the rows of beans and the rows of corn",
    Control("<|im_end|>"),
    "\n",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bpe_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def engines(tiny: Path) -> Iterator[tuple[LlamaEngine, LlamaEngine]]:
    """One with drafts, one without."""
    both = LlamaEngine(tiny, n_threads=1), LlamaEngine(tiny, n_threads=1, has_drafts=False)
    both[0].speed = replace(both[0].speed, costs=CHEAP)  # so that drafts are tried
    yield both
    for engine in both:
        engine.close()


def complete(
    engine: LlamaEngine, prompt: Prompt, grammar: Grammar, sampling: Sampling, max_tokens: int = 90
) -> tuple[str, Completion]:
    text = engine.complete("planner", prompt, grammar, max_tokens=max_tokens, sampling=sampling)
    pieces = []
    while True:
        try:
            pieces.append(next(text))
        except StopIteration as end:
            check_cache(engine)
            return "".join(pieces), end.value


def check_cache(engine: LlamaEngine) -> None:
    """What the engine believes of the KV cache is what is in it."""
    context = engine._conversations["planner"].context
    last = llama_cpp.llama_memory_seq_pos_max(context.memory, 0)
    assert last == len(context.tokens[0]) - 1


def only(lark: str) -> Grammar:
    return lambda text: None if text else lark


REPEATING = only('start: ("r " /[a-d]{5}/ ","){5,10} "!"\n')
LETTERS = only("start: /[a-c]{60}/\n")


@pytest.mark.parametrize("grammar", [REPEATING, LETTERS])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafts_change_no_text(
    engines: tuple[LlamaEngine, LlamaEngine], grammar: Grammar, temperature: float
) -> None:
    n_accepted = 0
    for seed in range(12):
        prompt = (*PROMPT, f"{seed} rows of {'abcd'[seed % 4]}, ")
        sampling = Sampling(temperature, seed=seed)
        streamed, made = complete(engines[0], prompt, grammar, sampling)
        _, plain = complete(engines[1], prompt, grammar, sampling)
        assert (streamed, made.text, made.finish_reason) == (plain.text, plain.text, plain.finish_reason)
        assert made.n_completion == plain.n_completion
        assert made.n_accepted <= made.n_drafted
        assert (plain.n_drafted, plain.n_accepted) == (0, 0)
        n_accepted += made.n_accepted
    assert n_accepted > 20


def test_drafts_change_no_action(engines: tuple[LlamaEngine, LlamaEngine]) -> None:
    """Actions come in parts with a grammar each, and end at the token limit."""
    toolbox = Toolbox.of_packs(["maths"])
    for seed in range(20):
        grammar = actions_grammar(toolbox, {}, formulation="onetime", max_actions=12)
        made, plain = (
            complete(engine, PROMPT, grammar, Sampling(2.0, seed=seed), 56)[1] for engine in engines
        )
        assert made.text == plain.text
        assert made.n_completion == plain.n_completion


def test_a_prompt_at_the_end_of_the_context_window_is_drafted_within_it(
    engines: tuple[LlamaEngine, LlamaEngine],
) -> None:
    prompt = (*PROMPT, "rows of " * 53 + "x" * 7)
    assert complete(engines[0], prompt, REPEATING, Sampling(), 40)[1].n_prompt + 40 == 512


def test_a_text_that_repeats_itself_takes_fewer_evaluations(
    engines: tuple[LlamaEngine, LlamaEngine],
) -> None:
    def n_evaluations(engine: LlamaEngine) -> int:
        complete(engine, PROMPT, LETTERS, Sampling())  # learns how often drafts stand
        context = engine._conversations["planner"].context
        with mock.patch.object(context, "evaluate", wraps=context.evaluate) as evaluate:
            complete(engine, PROMPT, LETTERS, Sampling())
        return evaluate.call_count

    assert n_evaluations(engines[0]) < 0.6 * n_evaluations(engines[1])
