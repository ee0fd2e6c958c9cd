"""Planner and grounder as one conversation in one KV cache: the same texts, and nothing of the planner's twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from lumos_edge.engine import Completion, Control, Grammar, Prompt, Sampling, drained
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import Cancelled
from lumos_edge.trajectory import Module
from tests.engine.tiny import write_adapter, write_bpe_model

pytestmark = pytest.mark.usefixtures("exact_attention")

END = Control("<|im_end|>")
QUESTIONS = ("7 rows of beans", "7 rows of corn and a goal", "half of the beans", "7 rows of beans")
PLAN: Grammar = lambda text: None if text else 'start: "Subgoal 1: " /[a-z ]{20,40}/ ";"\n'  # noqa: E731
ACTIONS: Grammar = lambda text: None if text else 'start: "R1 = " /[a-z]{3,20}/ "(" /[0-9]{1,9}/ ")"\n'  # noqa: E731


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "tiny.gguf")


def engine_of(
    tiny: Path, *, is_one: bool = True, adapters: dict[Module, Path] | None = None, has_drafts: bool = True
) -> LlamaEngine:
    engine = LlamaEngine(tiny, n_threads=1, adapters=adapters, has_drafts=has_drafts)
    prompts: list[Prompt] = [(END, "1\n"), (END, "Ann\n")]
    engine.set_prefix("planner", prompts)
    engine.set_prefix("grounder", [(*p, "x", END) for p in prompts], continues="planner" if is_one else None)
    return engine


@pytest.fixture
def engine(tiny: Path) -> Iterator[LlamaEngine]:
    made = engine_of(tiny)
    yield made
    made.close()


def complete(engine: LlamaEngine, module: Module, prompt: Prompt, temperature: float = 0.0) -> Completion:
    grammar = PLAN if module == "planner" else ACTIONS
    return drained(
        engine.complete(module, prompt, grammar, max_tokens=100, sampling=Sampling(temperature, seed=3))
    )


def ask(engine: LlamaEngine, question: str, temperature: float = 0.0) -> tuple[Completion, Completion]:
    prompt: Prompt = (END, f"{question}\n")
    plan = complete(engine, "planner", prompt, temperature)
    return plan, complete(engine, "grounder", (*prompt, plan.text, END), temperature)


@pytest.mark.parametrize("has_drafts", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_texts_are_those_of_two_caches(tiny: Path, temperature: float, has_drafts: bool) -> None:
    texts = []
    for is_one in (True, False):
        engine = engine_of(tiny, is_one=is_one, has_drafts=has_drafts)
        texts.append([made.text for q in QUESTIONS for made in ask(engine, q, temperature)])
        engine.close()
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 4


def test_what_the_planner_evaluated_is_not_evaluated_again(engine: LlamaEngine) -> None:
    plan, actions = ask(engine, QUESTIONS[1])
    assert plan.n_prefilled == plan.n_prompt
    assert actions.n_prompt == plan.n_prompt + plan.n_completion + 1
    assert actions.n_prefilled <= 2  # the plan's last token, and the one that ends its turn
    assert len(engine._contexts) == 1


def test_a_planner_that_is_asked_more_goes_back_to_where_both_began(engine: LlamaEngine, tiny: Path) -> None:
    """As in the iterative formulation: what each was told is not in the other's prompt."""
    plan, actions = ask(engine, QUESTIONS[0])
    more: Prompt = (END, f"{QUESTIONS[0]}\n", plan.text, END, "12\n")
    second = complete(engine, "planner", more)
    assert second.n_reused >= plan.n_prompt + plan.n_completion
    fresh = engine_of(tiny, is_one=False)
    assert complete(fresh, "planner", more).text == second.text
    assert ask(fresh, QUESTIONS[0])[1].text == actions.text == ask(engine, QUESTIONS[0])[1].text
    fresh.close()


def test_modules_on_different_weights_keep_a_cache_each(tiny: Path, tmp_path: Path) -> None:
    adapters: dict[Module, Path] = {
        "planner": write_adapter(tmp_path / "planner.gguf", 1),
        "grounder": write_adapter(tmp_path / "grounder.gguf", 2),
    }
    engine = engine_of(tiny, adapters=adapters)
    _, actions = ask(engine, QUESTIONS[0])
    assert actions.n_prefilled == actions.n_prompt
    assert len(engine._contexts) == 2
    engine.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled])
@pytest.mark.parametrize("module", ["planner", "grounder"])
def test_an_interrupted_module_leaves_the_other_ones_cache_right(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], module: Module
) -> None:
    expected = [[made.text for made in ask(engine, question)] for question in QUESTIONS[:2]]
    context = engine._conversation("planner").context
    with monkeypatch.context() as patch:
        patch.setattr(context, "on_batch", mock.Mock(side_effect=error))
        with pytest.raises(error):
            complete(engine, module, (END, "7 rows of a goal\n"))
    assert [[made.text for made in ask(engine, question)] for question in QUESTIONS[:2]] == expected
