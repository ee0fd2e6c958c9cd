"""The decode loop on the real llama.cpp, with tiny weights of a fixed seed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import llama_cpp
import pytest

from lumos_edge.engine import Completion, Control, Grammar, Prompt, Sampling
from lumos_edge.engine.binding import Model
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.sampling import Sampler
from lumos_edge.errors import (
    AdapterMismatch,
    Cancelled,
    ContextWindowExceeded,
    EngineError,
    GrammarError,
    ModelLoadError,
)
from lumos_edge.grammar import actions_grammar
from lumos_edge.sql.database import Database
from lumos_edge.sql.schema import Column, Schema, Table
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Module
from lumos_edge.values import Equation, Items, Number
from tests.engine.tiny import write_adapter, write_bpe_model, write_spm_model
from tests.test_grammar import check

PROMPT: Prompt = (Control("<|im_start|>"), "user\nSubgoal of 3 rows?", Control("<|im_end|>"), "\n")
GREEDY = Sampling()


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


LETTERS = only("start: /[a-z]{1,30}/\n")


def complete(
    engine: LlamaEngine,
    prompt: Prompt = PROMPT,
    grammar: Grammar = LETTERS,
    *,
    module: Module = "planner",
    max_tokens: int = 60,
    sampling: Sampling = GREEDY,
) -> tuple[str, Completion]:
    """The text as it was streamed, and the completion."""
    text = engine.complete(module, prompt, grammar, max_tokens=max_tokens, sampling=sampling)
    pieces = []
    while True:
        try:
            pieces.append(next(text))
        except StopIteration as end:
            return "".join(pieces), end.value


def test_a_completion_follows_its_grammar(engine: LlamaEngine) -> None:
    streamed, made = complete(engine, grammar=only('start: "Subgoal 1: " /[a-z]{3,20}/ ";"\n'))
    assert made.text == streamed
    assert made.text.startswith("Subgoal 1: ")
    assert made.text.endswith(";")
    assert made.finish_reason == "grammar"
    assert made.n_forced >= 4
    assert made.n_prompt == made.n_prefilled == 2 + 17 + 1


def test_a_grammar_may_go_on_by_what_was_written(engine: LlamaEngine) -> None:
    asked = []

    def grammar(text: str) -> str | None:
        asked.append(text)
        if not text:
            return 'start: /[ab]/ ";"\n'
        return f'start: "{text[0]}" "!"\n' if len(text) == 2 else None

    _, made = complete(engine, grammar=grammar)
    assert made.text in ("a;a!", "b;b!")
    assert asked == ["", made.text[:2], made.text]


def test_the_same_prompt_is_evaluated_once(engine: LlamaEngine) -> None:
    _, first = complete(engine)
    _, again = complete(engine)
    assert again.text == first.text
    assert (again.n_reused, again.n_prefilled) == (first.n_prompt - 1, 1)


def test_a_conversation_evaluates_only_what_is_new(engine: LlamaEngine) -> None:
    """The completion's own tokens stay in the cache; only the last one and the new turn are evaluated."""
    _, first = complete(engine, grammar=only("start: /[a-z]{9}/\n"))
    new: Prompt = (Control("<|im_end|>"), "\nNext?\n")
    _, second = complete(engine, (*PROMPT, first.text, *new))
    assert second.n_prompt == first.n_prompt + first.n_completion + 1 + 7
    assert second.n_prefilled <= 1 + 1 + 7


def test_a_reused_cache_gives_the_text_of_a_fresh_one(engine: LlamaEngine, tiny: Path) -> None:
    other: Prompt = (Control("<|im_start|>"), "user\nSubgoal of 3 beans!", Control("<|im_end|>"), "\n")
    complete(engine)
    _, reused = complete(engine, other)
    fresh = LlamaEngine(tiny, n_threads=1)
    assert reused.n_reused > 5
    assert complete(fresh, other)[1].text == reused.text
    fresh.close()


def test_modules_do_not_disturb_each_other(engine: LlamaEngine) -> None:
    _, planner = complete(engine)
    complete(engine, (Control("<s>"), "something else"), module="grounder")
    _, again = complete(engine)
    assert again.n_prefilled == 1
    assert again.text == planner.text


def test_adapters_belong_to_their_module(tiny: Path, tmp_path: Path) -> None:
    one = write_adapter(tmp_path / "one.gguf", 1)
    two = write_adapter(tmp_path / "two.gguf", 2)
    plain = LlamaEngine(tiny, n_threads=1)
    base = complete(plain)[1].text
    plain.close()
    engine = LlamaEngine(tiny, adapters={"planner": one, "grounder": two}, n_threads=1)
    texts = [complete(engine, module=module)[1].text for module in ("planner", "grounder", "reader")]
    assert len(set(texts)) == 3
    assert texts[2] == base
    assert [complete(engine, module=module)[1].text for module in ("planner", "grounder", "reader")] == texts
    engine.close()


def test_plain_text_is_never_a_control_token(engine: LlamaEngine) -> None:
    model = engine.model
    assert len(model.tokenize("<|im_end|>", control=True)) == 1
    assert len(model.tokenize("<|im_end|>")) == 10
    as_text = (Control("<|im_start|>"), "user\nA<|im_end|>B")
    as_control = (Control("<|im_start|>"), "user\nA", Control("<|im_end|>"), "B")
    assert complete(engine, as_text)[1].n_prompt == complete(engine, as_control)[1].n_prompt + 9


def test_a_control_token_that_is_none_is_an_error(engine: LlamaEngine) -> None:
    with pytest.raises(EngineError, match=r"'<\|nope\|>' is no control token"):
        complete(engine, (Control("<|nope|>"),))


def test_sampling_is_reproducible_under_a_seed(engine: LlamaEngine) -> None:
    def texts(seed: int) -> str:
        return complete(engine, sampling=Sampling(temperature=1.5, top_p=0.9, min_p=0.01, seed=seed))[1].text

    assert texts(1) == texts(1)
    assert len({texts(seed) for seed in range(5)}) > 1


def test_at_the_token_limit_what_is_open_is_closed_without_the_model(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = only('start: "f[" a "]"\na: "g[" a "]" | /[0-9]/\n')
    context = engine._conversation("planner").context
    batches = mock.Mock(wraps=context.evaluate)
    monkeypatch.setattr(context, "evaluate", batches)
    monkeypatch.setattr(Sampler, "choose", lambda *_: engine.model.tokenize("g")[0])
    _, made = complete(engine, grammar=nested, max_tokens=60)
    assert made.finish_reason == "length"
    assert made.text == f"f[{'g[' * 29}1{']' * 30}"
    assert made.n_completion == 60 + 31
    assert batches.call_count == made.n_completion - made.n_forced - 31


@pytest.mark.parametrize("pack", ["maths", "qa", "shop", "sql", "vision", "web"])
def test_actions_cut_short_by_the_token_limit_are_whole(engine: LlamaEngine, pack: str) -> None:
    """Whatever random text is open at the limit: nested functions, statements, queries."""
    schema = Schema((Table("sea", (Column("name", "TEXT"), Column("depth", "INT"))),), ())
    toolbox = Toolbox.of_packs([pack], [Database(schema)] if pack == "sql" else [])
    finished = set()
    for seed in range(25):
        types = {"R1": frozenset({Number}), "R2": frozenset({Equation, Items})}
        grammar = actions_grammar(toolbox, types, formulation="onetime", max_actions=12)
        sampling = Sampling(temperature=8.0, seed=seed)
        _, made = complete(engine, grammar=grammar, max_tokens=10 + seed, sampling=sampling)
        check(toolbox, made.text, types, 12)
        finished.add(made.finish_reason)
    assert "length" in finished


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_evaluated(engine: LlamaEngine) -> None:
    complete(engine)
    with pytest.raises(ContextWindowExceeded) as caught:
        complete(engine, (*PROMPT, "x" * 600))
    assert (caught.value.n_tokens, caught.value.n_ctx) == (2 + 17 + 1 + 600 + 60, 512)
    assert complete(engine)[1].n_prefilled == 1


def test_a_grammar_that_does_not_compile_is_an_error(engine: LlamaEngine) -> None:
    with pytest.raises(GrammarError, match="does not compile"):
        complete(engine, grammar=only("start: nothing_like_that\n"))
    assert complete(engine)[1].text


def test_cancel_during_prefill_and_decode_leaves_the_engine_usable(tmp_path: Path) -> None:
    engine = LlamaEngine(write_bpe_model(tmp_path / "long.gguf", n_ctx=4096), n_threads=1)
    expected = complete(engine)[1].text
    long: Prompt = (*PROMPT, "the rows of beans and the rows of corn " * 90)
    for delay_s in (0.0, 0.002, 0.01, 0.05):
        timer = threading.Timer(delay_s, engine.cancel)
        timer.start()
        with suppress(Cancelled):  # the last one may be through before
            complete(engine, long, only("start: /[a-z]{400}/\n"), max_tokens=450)
        timer.join()
        assert complete(engine)[1].text == expected
    engine.close()


def test_cancel_stops_within_a_batch(tmp_path: Path) -> None:
    engine = LlamaEngine(write_bpe_model(tmp_path / "long.gguf", n_ctx=4096), n_threads=1)
    text = engine.complete(
        "planner", PROMPT, only("start: /[a-z]{3000}/\n"), max_tokens=3500, sampling=GREEDY
    )
    next(text)
    engine.cancel()
    more: list[str] = []
    with pytest.raises(Cancelled):
        more.extend(text)
    assert not more  # not one more token
    engine.close()


def test_ctrl_c_between_two_statements_leaves_the_cache_consistent(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = complete(engine)[1].text
    context = engine._conversation("planner").context
    with monkeypatch.context() as patch:
        patch.setattr(context, "on_batch", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            complete(engine, ("another conversation",))
    assert complete(engine)[1].text == expected


def test_an_abandoned_completion_frees_the_engine(engine: LlamaEngine) -> None:
    text = engine.complete("planner", PROMPT, LETTERS, max_tokens=60, sampling=GREEDY)
    next(text)
    text.close()
    assert complete(engine)[1].text


def test_threads_wait_for_their_turn(engine: LlamaEngine) -> None:
    expected = complete(engine)[1].text
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(complete(engine)[1].text)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [expected] * 6


def test_a_closed_engine_says_so(tiny: Path) -> None:
    engine = LlamaEngine(tiny, n_threads=1)
    complete(engine)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        complete(engine)


def test_threads_are_measured_where_none_are_given(tiny: Path) -> None:
    engine = LlamaEngine(tiny)
    assert engine.n_threads == engine.speed.n_threads >= 1
    assert complete(engine)[1].text
    engine.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no GGUF file: it begins with b''"),
        (b"MZ\x90\x00rest", "no GGUF file"),
        (b"GGUF\x03\x00", "cannot be loaded"),
    ],
)
def test_a_file_that_is_no_model_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelLoadError, match=message):
        Model(file)


def test_a_truncated_or_missing_model_is_an_error(tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-1000])
    with pytest.raises(ModelLoadError, match=r"cannot be loaded: .*(corrupted|incomplete|bounds)"):
        Model(cut)
    with pytest.raises(ModelLoadError, match="cannot be read: No such file"):
        Model(tmp_path / "nope.gguf")


@pytest.mark.parametrize("wrong", [{"architecture": "qwen2"}, {"n_embd": 32}])
def test_an_adapter_of_another_model_is_an_error(tiny: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    adapter = write_adapter(tmp_path / "other.gguf", 1, **wrong)
    with pytest.raises(AdapterMismatch, match=r"does not fit tiny\.gguf"):
        LlamaEngine(tiny, adapters={"planner": adapter}, n_threads=1)
    with pytest.raises(AdapterMismatch, match=r"does not fit tiny\.gguf"):
        LlamaEngine(tiny, adapters={"planner": tiny}, n_threads=1)


def test_an_adapter_in_the_wrong_place_is_an_error(tiny: Path, tmp_path: Path) -> None:
    grounder = write_adapter(tmp_path / "g.gguf", 1, metadata={"lumos.module": "grounder"})
    with pytest.raises(AdapterMismatch, match="was trained as the grounder, here it would be the planner"):
        LlamaEngine(tiny, adapters={"planner": grounder}, n_threads=1)
    engine = LlamaEngine(tiny, adapters={"grounder": grounder}, n_threads=1)
    assert engine.adapters["grounder"].metadata("lumos.module") == "grounder"
    assert engine.adapters["grounder"].metadata("lumos.template") is None
    engine.close()


def test_sentencepiece_puts_its_space_only_where_a_text_starts(tmp_path: Path) -> None:
    model = Model(write_spm_model(tmp_path / "spm.gguf"))
    text = [model.token_text(token) for token in model.tokenize("Subgoal", starts_text=True)]
    assert text == ["▁Sub", "goal"]
    assert [model.token_text(token) for token in model.tokenize("Subgoal")] == ["Sub", "goal"]
    assert model.bos == "<s>"
    model.close()


def test_sentencepiece_prompts_continue_their_pieces(tmp_path: Path) -> None:
    engine = LlamaEngine(write_spm_model(tmp_path / "spm.gguf"), n_threads=1)
    _, made = complete(engine, (Control("<s>"), "user\n", "Subgoal", Control("</s>"), "Subgoal"))
    # <s> | ▁ user \n | Sub goal | </s> | ▁Sub goal
    assert made.n_prompt == 1 + 3 + 2 + 1 + 2
    engine.close()


def test_the_structs_that_we_fill_have_their_known_layout() -> None:
    """A binding of another version could have moved the fields; then memory would be corrupted silently."""
    assert ctypes.sizeof(llama_cpp.llama_model_params) == 80
    assert ctypes.sizeof(llama_cpp.llama_context_params) == 160
    params = llama_cpp.llama_context_default_params()
    assert (params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max) == (512, 2048, 512, 1)
    assert (params.n_threads, params.type_k, params.no_perf, params.offload_kqv) == (4, 1, True, True)
    assert llama_cpp.llama_model_default_params().use_extra_bufts is True


def test_the_library_prints_nothing(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF\x03\x00")
    program = f"""
from pathlib import Path
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import ModelLoadError
LlamaEngine(Path({str(tiny)!r}), n_threads=1).close()
try:
    LlamaEngine(Path({str(tmp_path / "bad.gguf")!r}))
except ModelLoadError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
