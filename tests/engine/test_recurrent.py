"""Models with one state for all of their past, such as Mamba: nothing can be taken away from it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lumos_edge.engine import Completion, Prompt, Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import Cancelled
from tests.engine.tiny import write_recurrent_model

WORDS = "start: /[a-z ]{60}/\n"
ROWS: Prompt = ("How many rows of beans are there?\n",)
CORN: Prompt = ("How many rows of corn are there?\n",)


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recurrent_model(tmp_path_factory.mktemp("mamba") / "mamba.gguf")


@pytest.fixture
def engine(mamba: Path) -> Iterator[LlamaEngine]:
    made = LlamaEngine(mamba, n_threads=1)
    yield made
    made.close()


def complete(engine: LlamaEngine, prompt: Prompt) -> Completion:
    text = engine.complete(
        "planner", prompt, lambda text: None if text else WORDS, max_tokens=100, sampling=Sampling()
    )
    while True:
        try:
            next(text)
        except StopIteration as end:
            made: Completion = end.value
            return made


def test_another_question_gets_the_text_of_a_fresh_engine(engine: LlamaEngine, mamba: Path) -> None:
    complete(engine, ROWS)
    fresh = LlamaEngine(mamba, n_threads=1)
    assert complete(engine, CORN).text == complete(fresh, CORN).text
    fresh.close()


def test_a_conversation_that_only_grows_is_reused(engine: LlamaEngine, mamba: Path) -> None:
    first = complete(engine, ROWS)
    conversation: Prompt = (*ROWS, first.text, "\nAnd of corn?\n")
    second = complete(engine, conversation)
    assert second.n_reused >= first.n_prompt
    fresh = LlamaEngine(mamba, n_threads=1)
    assert second.text == complete(fresh, conversation).text
    fresh.close()


def test_after_a_cancel_the_engine_can_be_used(engine: LlamaEngine) -> None:
    expected = complete(engine, CORN).text
    long: Prompt = ("the rows of beans and the rows of corn " * 80,)
    for delay_s in (0.0, 0.005, 0.02):
        timer = threading.Timer(delay_s, engine.cancel)
        timer.start()
        with suppress(Cancelled):
            complete(engine, long)
        timer.join()
        assert complete(engine, CORN).text == expected
