"""Quantization through llama.cpp, and importance matrices."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from lumos_edge.conversion.checkpoint import read_checkpoint
from lumos_edge.conversion.importance import read_importance
from lumos_edge.conversion.model import plan_model, write_model
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.quantization import Quantization, measure, quantize
from lumos_edge.errors import ConversionError, TruncatedFile
from tests.conversion.checkpoints import add_sentencepiece, config, weights, write_checkpoint

SIZES = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "num_hidden_layers": 1}
MEANS = {"blk.0.attn_q.weight": np.linspace(0.1, 9, 256, dtype=np.float32)}


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder), **SIZES)
    write_checkpoint(folder, settings, weights(settings))
    module = ModuleMetadata("planner", "iterative")
    write_model(plan_model(read_checkpoint(folder), "f16"), tmp_path / "dense.gguf", module, lambda _: None)
    return tmp_path / "dense.gguf"


def tensor_types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def test_tensors_get_the_types_of_the_file_type(tmp_path: Path, dense: Path) -> None:
    quantize(dense, tmp_path / "small.gguf", Quantization("Q4_K_M"), lambda _: None)
    types = tensor_types(tmp_path / "small.gguf")
    assert types["blk.0.attn_q.weight"] == "Q4_K"
    assert types["output.weight"] == "Q6_K"
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_the_bytes_of_each_tensor_are_told_when_it_is_done(tmp_path: Path, dense: Path) -> None:
    done: list[int] = []
    quantize(dense, tmp_path / "small.gguf", Quantization("Q4_K_M"), done.append)
    tensors = gguf.GGUFReader(dense).tensors
    assert sorted(done) == sorted(tensor.n_bytes for tensor in tensors)
    assert sum(done) == measure(dense, Quantization("Q4_K_M")).source_bytes


def test_metadata_is_kept(tmp_path: Path, dense: Path) -> None:
    quantize(dense, tmp_path / "small.gguf", Quantization("Q4_K_M"), lambda _: None)
    fields = gguf.GGUFReader(tmp_path / "small.gguf").fields
    assert fields["lumos.module"].contents() == "planner"
    assert fields["general.file_type"].contents() == int(gguf.LlamaFileType.MOSTLY_Q4_K_M)


def test_the_measured_size_is_the_written_one(tmp_path: Path, dense: Path) -> None:
    size = measure(dense, Quantization("Q4_K_M"))
    quantize(dense, tmp_path / "small.gguf", Quantization("Q4_K_M"), lambda _: None)
    reader = gguf.GGUFReader(tmp_path / "small.gguf")
    assert size.n_tensors == len(reader.tensors)
    assert size.n_fallbacks == 0
    assert 0 < size.size_bytes - sum(int(tensor.n_bytes) for tensor in reader.tensors) < 1.1 * (1 << 20)


def test_overrides_change_the_matching_tensors(tmp_path: Path, dense: Path) -> None:
    quantization = Quantization("Q4_K_M", overrides=(("attn_[qk]", "Q6_K"), ("ffn_up", "F16")))
    quantize(dense, tmp_path / "small.gguf", quantization, lambda _: None)
    types = tensor_types(tmp_path / "small.gguf")
    assert [types[f"blk.0.{name}.weight"] for name in ("attn_q", "attn_k", "ffn_up")] == [
        "Q6_K",
        "Q6_K",
        "F16",
    ]


def test_importance_reduces_the_error_where_it_is_high(tmp_path: Path, dense: Path) -> None:
    importance = {"blk.0.attn_q.weight": np.r_[np.full(64, 1000, np.float32), np.full(192, 0.01, np.float32)]}
    errors = []
    original = read_tensor(dense, "blk.0.attn_q.weight")
    for name, given in (("without", None), ("with", importance)):
        path = tmp_path / f"{name}.gguf"
        quantize(dense, path, Quantization("Q4_K_M", importance=given), lambda _: None)
        errors.append(((read_tensor(path, "blk.0.attn_q.weight") - original)[:, :64] ** 2).mean())
    assert errors[1] < errors[0]


def read_tensor(path: Path, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    tensor = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = gguf.quants.dequantize(
        tensor.data, tensor.tensor_type
    )
    return values


def test_a_type_whose_blocks_do_not_fit_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder))
    write_checkpoint(folder, settings, weights(settings))
    write_model(
        plan_model(read_checkpoint(folder), "f16"), tmp_path / "d.gguf", ModuleMetadata(), lambda _: None
    )
    assert measure(tmp_path / "d.gguf", Quantization("Q4_K_M")).n_fallbacks > 0


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (
            Quantization("Q4_K_M", overrides=(("attn", "Q99"),)),
            "there is no tensor type Q99, expected one of F32",
        ),
        (Quantization("IQ2_XXS"), "cannot be quantized to IQ2_XXS: .*requires an imatrix"),
    ],
)
def test_what_cannot_be_quantized_is_said(
    tmp_path: Path, dense: Path, quantization: Quantization, message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        quantize(dense, tmp_path / "small.gguf", quantization, lambda _: None)
    assert not any("small" in path.name for path in tmp_path.iterdir())


def test_a_file_that_is_no_model_is_refused_with_the_reason_of_llama_cpp(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    with pytest.raises(
        ConversionError, match=r"x\.gguf cannot be quantized to Q4_K_M: .*failed to load model"
    ):
        quantize(tmp_path / "x.gguf", tmp_path / "y.gguf", Quantization("Q4_K_M"), lambda _: None)


def test_a_quantized_model_is_not_quantized_again(tmp_path: Path, dense: Path) -> None:
    quantize(dense, tmp_path / "small.gguf", Quantization("Q4_K_M"), lambda _: None)
    with pytest.raises(ConversionError, match="requantizing"):
        quantize(tmp_path / "small.gguf", tmp_path / "smaller.gguf", Quantization("Q4_0"), lambda _: None)


def write_binary(path: Path, n_calls: int) -> Path:
    data = struct.pack("<i", len(MEANS))
    for name, values in MEANS.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<2i", n_calls, values.size)
        data += (values * n_calls).tobytes()
    path.write_bytes(data + struct.pack("<i", n_calls))
    return path


def write_gguf_importance(path: Path, n_rows: int) -> Path:
    writer = gguf.GGUFWriter(path, "imatrix")
    for name, values in MEANS.items():
        writer.add_tensor(f"{name}.in_sum2", (values * n_rows).reshape(1, -1))
        writer.add_tensor(f"{name}.counts", np.array([[n_rows]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("write", [write_binary, write_gguf_importance])
def test_both_formats_of_importance_give_means(tmp_path: Path, write: object) -> None:
    assert callable(write)
    found = read_importance(write(tmp_path / "imatrix", 7))
    assert found.keys() == MEANS.keys()
    assert np.allclose(found["blk.0.attn_q.weight"], MEANS["blk.0.attn_q.weight"])


def test_importance_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_binary(tmp_path / "imatrix.dat", 7)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TruncatedFile, match=r"imatrix\.dat is cut off"):
        read_importance(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(struct.pack("<2i", 1, 99999), "a tensor name of 99999 bytes"), (struct.pack("<i", 0), "no importance")],
)
def test_a_file_that_is_no_importance_matrix_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.dat").write_bytes(data)
    with pytest.raises(ConversionError, match=message):
        read_importance(tmp_path / "x.dat")
