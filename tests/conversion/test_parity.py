"""The measures of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumos_edge.conversion.native_model import open_model
from lumos_edge.conversion.parity import (
    PROMPTS,
    compare_logits,
    compare_tokens,
    passages,
    sample_texts,
    texts_without,
)
from tests.engine.tiny import CONTROL, write_bpe_model

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((6, 10)).astype(np.float32)


def test_equal_logits_have_no_distance() -> None:
    parity = compare_logits([(LOGITS, LOGITS), (LOGITS, LOGITS.copy())])
    assert (parity.n_positions, parity.max_difference, parity.kl, parity.argmax_agreement) == (
        12,
        0.0,
        0.0,
        1.0,
    )


def test_a_constant_added_to_a_row_changes_no_probability() -> None:
    assert compare_logits([(LOGITS, LOGITS + 5)]).kl == pytest.approx(0, abs=1e-12)


def test_the_divergence_is_that_of_the_definition() -> None:
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    parity = compare_logits([(np.log(p), np.log(q))])
    assert parity.kl == pytest.approx(float((p * np.log(p / q)).sum()))
    assert parity.argmax_agreement == 0


def test_filler_rows_of_the_found_vocabulary_are_left_out() -> None:
    wider = np.concatenate([LOGITS, np.full((6, 3), 100, np.float32)], 1)
    assert compare_logits([(LOGITS, wider)]).argmax_agreement == 1


def test_nothing_or_other_positions_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="5 positions, expected 6"):
        compare_logits([(LOGITS, LOGITS[:5])])
    with pytest.raises(ValueError, match="no logits"):
        compare_logits([])


def test_the_first_text_with_other_ids_is_named() -> None:
    parity = compare_tokens(
        lambda text: [len(text)], lambda text: [min(len(text), 3)], ["a", "abcd", "abcde"]
    )
    assert (parity.n_texts, parity.n_equal, parity.first_difference) == (3, 1, "abcd")


def test_the_texts_are_the_same_each_time_and_hold_the_prompts() -> None:
    texts = list(sample_texts(1000))
    assert texts == list(sample_texts(1000))
    assert len(texts) == 1000
    assert tuple(texts[:20]) == PROMPTS
    assert len(passages()) == 20


def test_as_many_texts_are_left_when_some_are_left_out() -> None:
    texts = list(texts_without(["</s>", "<pad>"], 1000))
    assert len(texts) == 1000
    assert not any("</s>" in text or "<pad>" in text for text in texts)
    assert list(texts_without([], 1000)) == list(sample_texts(1000))


def test_the_control_tokens_of_a_model_are_known(tmp_path: Path) -> None:
    with open_model(write_bpe_model(tmp_path / "model.gguf")) as model:
        assert model.control_texts() == set(CONTROL)
