"""Runs whose completions are evaluated together: the same texts as alone, in order, in the same batches each time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import llama_cpp
import pytest

from lumos_edge.engine import Completion, Control, Engine, Grammar, Prompt, Sampling
from lumos_edge.engine import parallel as parallel_module
from lumos_edge.engine.context import Context
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.parallel import ParallelEngine, Slot, Work
from lumos_edge.errors import Cancelled, ContextWindowExceeded
from lumos_edge.trajectory import Module
from tests.engine.tiny import write_adapter, write_bpe_model, write_recurrent_model

pytestmark = pytest.mark.usefixtures("exact_attention")

HEAD: Prompt = (Control("<|im_start|>"), "user\n")
WORDS = ("beans", "7 rows of corn", "a goal", "Sub", "x", "half of the beans and half of the corn", "?", "12")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bpe_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def engine(tiny: Path) -> Iterator[LlamaEngine]:
    made = LlamaEngine(tiny, n_threads=1)
    yield made
    made.close()


def only(lark: str) -> Grammar:
    return lambda text: None if text else lark


LETTERS = only("start: /[a-z]{1,40}/\n")
ACTION = only('start: "R1 = " /[a-z]{3,20}/ "(" /[0-9]{1,9}/ ")"\n')


def prompt_of(number: int) -> Prompt:
    return (*HEAD, f"{WORDS[number % len(WORDS)]}{number // len(WORDS) or ''}", Control("<|im_end|>"), "\n")


def work_of(
    number: int, *modules: Module, temperature: float = 0.8, max_tokens: int = 60
) -> Work[list[Completion]]:
    """A run of one completion after the other, each asked with those before it."""

    def run(engine: Engine) -> Generator[str, None, list[Completion]]:
        prompt, made = prompt_of(number), []
        for module in modules or ("planner",):
            grammar = ACTION if module == "grounder" else LETTERS
            sampling = Sampling(temperature, seed=number)
            completion = yield from engine.complete(
                module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
            )
            made.append(completion)
            prompt = (*prompt, completion.text, Control("<|im_end|>"), "\nNext\n")
        return made

    return run


def alone(engine: LlamaEngine, work: Work[list[Completion]]) -> list[str]:
    run = work(engine)
    while True:
        try:
            next(run)
        except StopIteration as end:
            return [made.text for made in end.value]


def together(
    engine: LlamaEngine, works: list[Work[list[Completion]]], n_slots: int
) -> list[list[Completion]]:
    with closing(ParallelEngine(engine, n_slots)) as parallel, checked_caches():
        return list(parallel.run(works))


def checked_caches() -> Any:
    """What each context believes of its sequences is what is in them."""
    evaluate = Context.evaluate

    def check(context: Context, *arguments: Any) -> Any:
        found = evaluate(context, *arguments)
        last = [llama_cpp.llama_memory_seq_pos_max(context.memory, s) for s in range(context.n_sequences)]
        assert last == [len(tokens) - 1 for tokens in context.tokens]
        return found

    return mock.patch.object(Context, "evaluate", check)


def texts(made: list[list[Completion]]) -> list[list[str]]:
    return [[completion.text for completion in completions] for completions in made]


@pytest.mark.parametrize("n_slots", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_texts_are_those_of_runs_alone_in_the_order_of_the_works(
    engine: LlamaEngine, n_slots: int, temperature: float
) -> None:
    works = [work_of(number, temperature=temperature) for number in range(13)]
    assert texts(together(engine, works, n_slots)) == [alone(engine, work) for work in works]


def test_each_completion_is_charged_with_its_own_grammar(engine: LlamaEngine) -> None:
    def work_with(number: int) -> Work[Completion]:
        def run(engine: Engine) -> Generator[object, None, Completion]:
            grammar = only(f"start: /[a-f]{{3,{number + 20}}}/")
            prompt = prompt_of(number)
            return (yield from engine.complete("planner", prompt, grammar, max_tokens=9, sampling=Sampling()))

        return run

    before = engine._vocabulary.grammars.compile_s
    with closing(ParallelEngine(engine, 5)) as parallel:
        made = list(parallel.run(map(work_with, range(5))))
    compiled = engine._vocabulary.grammars.compile_s - before
    assert sum(completion.compile_s for completion in made) == pytest.approx(compiled)
    assert all(completion.constraint_s >= 0 for completion in made)


@pytest.mark.parametrize("has_adapters", [False, True])
def test_planner_and_grounder_of_different_runs_are_not_confused(
    tiny: Path, tmp_path: Path, has_adapters: bool
) -> None:
    adapters: dict[Module, Path] = {
        "planner": write_adapter(tmp_path / "planner.gguf", 1),
        "grounder": write_adapter(tmp_path / "grounder.gguf", 2),
    }
    engine = LlamaEngine(tiny, n_threads=1, adapters=adapters if has_adapters else {})
    modules: list[tuple[Module, ...]] = [
        ("planner", "grounder", "planner", "grounder"),
        ("grounder",),
        ("planner",) * 3,
    ]
    works = [work_of(number, *modules[number % 3]) for number in range(9)]
    assert texts(together(engine, works, 4)) == [alone(engine, work) for work in works]
    engine.close()


def test_a_prompt_that_several_runs_have_is_evaluated_once(engine: LlamaEngine) -> None:
    def sampled(seed: int) -> Work[Completion]:
        def run(engine: Engine) -> Generator[str, None, Completion]:
            prompt = (*HEAD, "a long question of many words " * 4)
            return (
                yield from engine.complete(
                    "planner", prompt, LETTERS, max_tokens=50, sampling=Sampling(1.0, seed=seed)
                )
            )

        return run

    with closing(ParallelEngine(engine, 5)) as parallel, checked_caches():
        made = list(parallel.run([sampled(seed) for seed in range(5)]))
    assert len({completion.text for completion in made}) > 1
    assert [completion.n_prefilled for completion in made] == [made[0].n_prompt, 1, 1, 1, 1]
    assert all(completion.n_prefilled + completion.n_reused == completion.n_prompt for completion in made)


def test_what_all_prompts_begin_with_is_computed_once_or_read(tiny: Path) -> None:
    head = (*HEAD, "an example of many words " * 6)

    def ask(engine: LlamaEngine) -> list[Completion]:
        engine.set_prefix(
            "planner", [(*head, Control("<|im_end|>"), "1"), (*head, Control("<|im_end|>"), "Ann")]
        )

        def work_of(number: int) -> Work[Completion]:
            def run(engine: Engine) -> Generator[str, None, Completion]:
                prompt = (*head, Control("<|im_end|>"), WORDS[number])
                return (
                    yield from engine.complete("planner", prompt, LETTERS, max_tokens=40, sampling=Sampling())
                )

            return run

        with closing(ParallelEngine(engine, 3)) as parallel, checked_caches():
            return list(parallel.run([work_of(number) for number in range(5)]))

    made = []
    for _ in range(2):
        engine = LlamaEngine(tiny, n_threads=1)
        made.append(ask(engine))
        engine.close()
    assert [completion.text for completion in made[0]] == [completion.text for completion in made[1]]
    n_prefix = len(engine._prefixes["planner"])
    assert n_prefix > 100
    assert sum(completion.n_prefilled for completion in made[0]) - n_prefix < 5 * 20
    assert sum(completion.n_prefilled for completion in made[1]) < 5 * 20


def test_slots_are_filled_again_and_runs_are_stepped_together(engine: LlamaEngine) -> None:
    going, most, n_begun = 0, 0, 0

    def counted(number: int) -> Work[list[Completion]]:
        def run(engine: Engine) -> Generator[object, None, list[Completion]]:
            nonlocal going, most, n_begun
            going, n_begun = going + 1, n_begun + 1
            most = max(most, going)
            made = yield from work_of(number)(engine)
            going -= 1
            return made

        return run

    def n_evaluations(n_slots: int) -> int:
        with mock.patch.object(Context, "evaluate", autospec=True, side_effect=Context.evaluate) as evaluate:
            together_now = closing(ParallelEngine(engine, n_slots))
            with together_now as parallel:
                list(parallel.run([counted(number) for number in range(12)]))
        count: int = evaluate.call_count
        return count

    in_turn = n_evaluations(1)
    assert (most, n_begun) == (1, 12)
    assert n_evaluations(4) < 0.5 * in_turn
    assert (most, n_begun, going) == (4, 24, 0)


def test_a_work_is_taken_only_when_a_slot_is_free(engine: LlamaEngine) -> None:
    taken: list[int] = []

    def works() -> Iterator[Work[list[Completion]]]:
        for number in range(100):
            taken.append(number)
            yield work_of(number)

    with closing(ParallelEngine(engine, 3)) as parallel:
        next(iter(parallel.run(works())))
        assert 4 <= len(taken) < 20


def test_the_same_works_give_the_same_batches(engine: LlamaEngine) -> None:
    def batches() -> list[Any]:
        decoded = []
        decode = Context._decode

        def keep(context: Context, entries: Any) -> None:
            decoded.append(entries)
            decode(context, entries)

        works = [work_of(number, "planner", "grounder") for number in range(9)]
        with mock.patch.object(Context, "_decode", keep):
            made = together(engine, works, 4)
        return [decoded, texts(made)]

    assert batches() == batches()


def test_a_run_that_fails_ends_all_and_leaves_nothing(engine: LlamaEngine) -> None:
    ended = []

    def endless(engine: Engine) -> Generator[object, None, Any]:
        try:
            while True:
                yield from work_of(1)(engine)
        finally:
            ended.append(1)

    def failing(engine: Engine) -> Generator[object, None, Any]:
        yield from work_of(2)(engine)
        raise KeyError("a mistake")

    before = [*engine._contexts]
    with closing(ParallelEngine(engine, 3)) as parallel, pytest.raises(KeyError):
        list(parallel.run([endless, failing, endless]))
    assert ended == [1, 1]
    assert engine._contexts == before


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_evaluated(engine: LlamaEngine) -> None:
    def long(engine: Engine) -> Generator[object, None, Any]:
        with pytest.raises(ContextWindowExceeded):
            yield from engine.complete("planner", ("a " * 500,), LETTERS, max_tokens=60, sampling=Sampling())
        return "refused"

    with closing(ParallelEngine(engine, 2)) as parallel, checked_caches():
        refused, made = parallel.run([long, work_of(3)])
    assert refused == "refused"
    assert texts([made])[0] == alone(engine, work_of(3))


def test_cancelling_one_slot_leaves_the_others(engine: LlamaEngine) -> None:
    def stopped(engine: Engine) -> Generator[object, None, Any]:
        assert isinstance(engine, Slot)
        text = engine.complete("planner", prompt_of(1), LETTERS, max_tokens=60, sampling=Sampling())
        yield next(text)
        engine.cancel()
        with pytest.raises(Cancelled):
            yield from text
        return (yield from work_of(2)(engine))

    with closing(ParallelEngine(engine, 3)) as parallel, checked_caches():
        made = list(parallel.run([work_of(0), stopped, work_of(1)]))
    assert texts(made) == [alone(engine, work_of(number)) for number in (0, 2, 1)]


def test_cancelling_all_from_another_thread(engine: LlamaEngine) -> None:
    def endless(engine: Engine) -> Generator[object, None, Any]:
        while True:
            yield from work_of(1)(engine)

    parallel = ParallelEngine(engine, 2)
    timer = threading.Timer(0.2, parallel.cancel)
    timer.start()
    with closing(parallel), pytest.raises(Cancelled):
        list(parallel.run([endless, endless, endless]))
    timer.join()
    assert alone(engine, work_of(1))  # the engine itself goes on


@pytest.mark.parametrize("n_cells_more", [0, 40])
def test_completions_wait_where_the_cache_has_no_room_for_all(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch, n_cells_more: int
) -> None:
    """One may take the whole window of 512 tokens; those after it wait, and idle conversations are dropped."""
    works = [work_of(number, "planner", "grounder", "planner", max_tokens=300) for number in range(9)]
    works[4] = work_of(4, max_tokens=512 - 20)
    expected = [alone(engine, work) for work in works]
    monkeypatch.setattr(parallel_module, "_CELLS_PER_SLOT", n_cells_more)
    assert texts(together(engine, works, 4)) == expected


def test_a_reader_is_asked_at_once_from_another_thread(engine: LlamaEngine) -> None:
    def reading(number: int) -> Work[Any]:
        def run(engine: Engine) -> Generator[object, None, Any]:
            made = yield from work_of(number)(engine)
            found: list[Any] = []
            thread = threading.Thread(target=lambda: found.append(in_turn_one(engine, number)))
            thread.start()
            thread.join()
            return [*made, *found]

        return run

    def in_turn_one(engine: Engine, number: int) -> Completion:
        run = work_of(number, "reader")(engine)
        while True:
            try:
                next(run)
            except StopIteration as end:
                made: Completion = end.value[0]
                return made

    with closing(ParallelEngine(engine, 3)) as parallel:
        made = list(parallel.run([reading(number) for number in range(5)]))
    assert texts(made) == [
        alone(engine, work_of(number)) + alone(engine, work_of(number, "reader")) for number in range(5)
    ]


def test_a_recurrent_model_works_in_turn(tmp_path: Path) -> None:
    engine = LlamaEngine(write_recurrent_model(tmp_path / "mamba.gguf"), n_threads=1, n_ctx=512)
    works = [work_of(number, "planner", "grounder") for number in range(4)]
    assert texts(together(engine, works, 3)) == [alone(engine, work) for work in works]
    engine.close()


def test_a_context_that_is_freed_is_not_taken_for_one_like_it(engine: LlamaEngine) -> None:
    contexts = [engine.new_context("planner", engine._flag, n_rows=1) for _ in range(3)]
    engine.free(contexts[1])
    assert [id(context) for context in engine._contexts] == [id(contexts[0]), id(contexts[2])]


def test_threads_are_given_to_parallel_contexts_too(engine: LlamaEngine) -> None:
    engine._gives_way = True
    with closing(ParallelEngine(engine, 2)) as parallel:
        list(parallel.run([work_of(0), work_of(1)]))
        (shared,) = parallel._contexts.values()
        with mock.patch.object(shared.context, "set_n_threads") as set_n_threads:
            engine._pace.n_threads = 2
            with mock.patch.object(
                engine._pace, "note", side_effect=lambda *_: setattr(engine._pace, "n_threads", 1)
            ):
                engine._keep_pace(8, 1.0)
        set_n_threads.assert_called_once()
