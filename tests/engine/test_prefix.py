"""Prefix states on disk: what is loaded is what was saved for exactly these weights, tokens and settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from lumos_edge.engine import Control, Prompt, Sampling, prefix
from lumos_edge.engine.context import Context
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.prefix import PrefixStates
from tests.engine.tiny import write_adapter, write_bpe_model

TOKENS = list(range(100))
STATE = bytes(range(256)) * 40


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.gguf"
    file.write_bytes(bytes(100_000))
    return file


def states(weights: Path, *settings: object) -> PrefixStates:
    return PrefixStates(weights.parent / "prefixes", [weights], settings)


def only_file(weights: Path) -> Path:
    (file,) = (weights.parent / "prefixes").iterdir()
    return file


def test_a_state_is_read_as_it_was_written(weights: Path) -> None:
    assert states(weights).load(TOKENS) is None
    states(weights).save(TOKENS, STATE)
    loaded = states(weights).load(TOKENS)
    assert loaded is not None
    assert bytes(loaded) == STATE


def test_other_tokens_settings_and_weights_have_other_states(weights: Path) -> None:
    states(weights, 512).save(TOKENS, STATE)
    assert states(weights, 512).load(TOKENS[:-1]) is None
    assert states(weights, 1024).load(TOKENS) is None
    weights.write_bytes(bytes(50_000) + b"\1" * 50_000)
    assert states(weights, 512).load(TOKENS) is None


def flipped(content: bytes) -> bytes:
    return content[:-7] + bytes([content[-7] ^ 1]) + content[-6:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:40],
        lambda content: content + b"x",
        lambda content: b"[]\n" + content,
        lambda content: b"{}\n" + content,
        lambda content: b"\xff\x00" * 30,
        flipped,
    ],
)
def test_a_spoilt_file_is_no_state(weights: Path, spoil: Callable[[bytes], bytes]) -> None:
    states(weights).save(TOKENS, STATE)
    file = only_file(weights)
    file.write_bytes(spoil(file.read_bytes()))
    assert states(weights).load(TOKENS) is None


def test_a_file_under_the_name_of_another_is_no_state(weights: Path) -> None:
    states(weights).save(TOKENS, STATE)
    file = only_file(weights)
    states(weights).save(TOKENS[:70], STATE)
    other = next(path for path in file.parent.iterdir() if path != file)
    file.replace(other)
    assert states(weights).load(TOKENS[:70]) is None


def test_what_cannot_be_written_is_not_kept(weights: Path) -> None:
    (weights.parent / "prefixes").write_text("a file where the folder should be")
    states(weights).save(TOKENS, STATE)
    assert states(weights).load(TOKENS) is None


def test_a_full_disk_leaves_nothing_behind(weights: Path) -> None:
    with mock.patch.object(Path, "replace", side_effect=OSError(28, "No space left on device")):
        states(weights).save(TOKENS, STATE)
    assert list((weights.parent / "prefixes").iterdir()) == []


def test_the_states_used_last_stay(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "_MAX_BYTES", 3 * len(STATE) + 2000)
    for number in range(4):
        states(weights, number).save(TOKENS, STATE)
        for path in (weights.parent / "prefixes").iterdir():
            os.utime(path, (path.stat().st_atime - 10, path.stat().st_mtime - 10))
        assert states(weights, 0).load(TOKENS)  # the oldest, but used
    assert [bool(states(weights, number).load(TOKENS)) for number in range(4)] == [True, False, True, True]


def test_two_writers_of_one_state_leave_one_whole_file(weights: Path) -> None:
    threads = [threading.Thread(target=states(weights).save, args=(TOKENS, STATE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only_file(weights)
    assert states(weights).load(TOKENS)


# -- in the engine -----------------------------------------------------------------------------------------------

EXAMPLES = "user\nHow many rows of beans?\nassistant\n8 rows of beans.\n" * 2
PROMPTS: list[Prompt] = [
    (Control("<|im_start|>"), EXAMPLES, Control("<|im_end|>"), f"user\n{question}")
    for question in ("1", "And corn?")
]


def engine_of(path: Path, adapter: Path | None = None) -> LlamaEngine:
    engine = LlamaEngine(path, adapters={"planner": adapter} if adapter else {}, n_threads=1)
    engine.set_prefix("planner", PROMPTS)
    return engine


def run(engine: LlamaEngine, question: str = "And corn?") -> tuple[str, int, list[float]]:
    """The text, the number of prompt tokens that were evaluated, and the last logits."""
    prompt = (*PROMPTS[0][:3], f"user\n{question}")
    text = engine.complete(
        "planner",
        prompt,
        lambda text: None if text else "start: /[a-z]{20}/\n",
        max_tokens=40,
        sampling=Sampling(),
    )
    context: list[float] = []
    try:
        while True:
            next(text)
            context = engine._conversations["planner"].context._row(-1).tolist()
    except StopIteration as end:
        engine.close()
        return end.value.text, end.value.n_prefilled, context


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "tiny.gguf")


def test_a_second_process_evaluates_only_its_own_question(tiny: Path) -> None:
    first = run(engine_of(tiny))
    second = run(engine_of(tiny))
    assert first[1] > 100
    assert second[1] < 12
    assert second[0] == first[0]
    assert second[2] == first[2]  # the logits are the same to the last bit


def test_another_adapter_has_another_state(tiny: Path, tmp_path: Path) -> None:
    one, two = (write_adapter(tmp_path / f"{seed}.gguf", seed) for seed in (1, 2))
    with_one = run(engine_of(tiny, one))
    with_two = run(engine_of(tiny, two))
    assert with_two[1] == with_one[1] > 100
    assert run(engine_of(tiny, one))[0] == with_one[0]
    assert run(engine_of(tiny, two))[0] == with_two[0] != with_one[0]


def test_a_state_that_llama_cpp_refuses_is_computed_again(tiny: Path) -> None:
    first = run(engine_of(tiny))
    engine = engine_of(tiny)
    with mock.patch.object(PrefixStates, "load", return_value=memoryview(bytearray(b"\x07" * 64))):
        again = run(engine)
    assert again == first


def test_a_prompt_that_begins_otherwise_is_read_as_it_is(tiny: Path) -> None:
    engine = engine_of(tiny)
    with mock.patch.object(Context, "state", side_effect=AssertionError("nothing to save")):
        text = engine.complete(
            "planner",
            ("goal",),
            lambda text: None if text else 'start: "x"\n',
            max_tokens=5,
            sampling=Sampling(),
        )
        assert list(text) == ["x"]
    engine.close()


def test_a_short_prefix_is_not_kept(tiny: Path) -> None:
    engine = LlamaEngine(tiny, n_threads=1)
    engine.set_prefix("planner", [("goal 1",), ("goal 2",)])
    assert engine._prefixes["planner"] == []
    engine.close()
