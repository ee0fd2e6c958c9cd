"""Importance from activations, against an independent computation of the first layer."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import numpy as np
import pytest

from lumos_edge.conversion import calibration
from lumos_edge.conversion.calibration import N_CHUNK, calibrate
from lumos_edge.conversion.native_model import open_model
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import ConversionError
from tests.engine.tiny import N_EMBD, N_FF, N_LAYER, write_bpe_model

TEXTS = ("Subgoal 1: half of 48", "R1 = Calculator(48 / 2)")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "model.gguf", n_ctx=2048)


def first_inputs(model: Path, texts: tuple[str, ...]) -> Array:
    """The mean squared input of the first layer's attention: the embeddings, RMS-normalized with weights of 1."""
    embedding = next(
        tensor.data for tensor in gguf.GGUFReader(model).tensors if tensor.name == "token_embd.weight"
    )
    with open_model(model) as native:
        rows = np.concatenate([embedding[native.tokenize(text)] for text in texts]).astype(np.float64)
    normalized = rows / np.sqrt(np.square(rows).mean(1, keepdims=True) + 1e-5)
    means: Array = np.square(normalized).mean(0)
    return means


def test_the_inputs_of_the_first_layer_are_the_normalized_embeddings(model: Path) -> None:
    found = calibrate(model, TEXTS, lambda _: None).importance
    for name in ("attn_q", "attn_k", "attn_v"):
        assert np.allclose(found[f"blk.0.{name}.weight"], first_inputs(model, TEXTS), rtol=1e-4)


def test_every_weight_of_a_layer_has_its_input_channels_and_no_other_tensor(model: Path) -> None:
    counted: list[int] = []
    found = calibrate(model, TEXTS, counted.append).importance
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert found.keys() == {f"blk.{layer}.{name}.weight" for layer in range(N_LAYER) for name in names}
    sizes = {name.split(".")[2]: values.size for name, values in found.items()}
    assert sizes == dict.fromkeys(names, N_EMBD) | {"ffn_down": N_FF}
    assert all(values.dtype == np.float32 and (values > 0).any() for values in found.values())
    assert counted == [1, 1]


def test_a_long_text_is_read_in_chunks(model: Path) -> None:
    text = "x" * (2 * N_CHUNK + 1)
    found = calibrate(model, (text,), lambda _: None)
    assert (found.n_chunks, found.n_tokens) == (3, 2 * N_CHUNK + 1)
    assert np.allclose(found.importance["blk.0.attn_q.weight"], first_inputs(model, (text,)), rtol=1e-4)


def test_a_text_without_tokens_is_refused(model: Path) -> None:
    with pytest.raises(ConversionError, match="has no tokens"):
        calibrate(model, ("",), lambda _: None)


def test_another_layout_of_tensors_is_noticed_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    class Other(ctypes.Structure):
        _fields_ = (("new", ctypes.c_int64), *calibration._Tensor._fields_)

    monkeypatch.setattr(calibration, "_Tensor", Other)
    with pytest.raises(ConversionError, match="another layout than ours; use --imatrix"):
        calibrate(model, TEXTS, lambda _: None)
