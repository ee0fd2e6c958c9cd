"""Safetensors files, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumos_edge.conversion.safetensors_file import read_safetensors
from lumos_edge.errors import ConversionError, TruncatedFile
from tests.conversion.checkpoints import write_safetensors

VALUES = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "v": np.ones(5, np.float32)}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_tensors_are_read_in_their_type(tmp_path: Path, dtype: str) -> None:
    write_safetensors(tmp_path / "model.safetensors", VALUES, dtype=dtype)
    found = read_safetensors(tmp_path / "model.safetensors")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        "w": (dtype, (3, 4)),
        "v": (dtype, (5,)),
    }
    assert all(np.array_equal(found[name].read(), VALUES[name]) for name in VALUES)


def test_rows_are_given_in_the_order_asked_for(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", VALUES)
    order = np.array([2, 0, 1])
    assert np.array_equal(
        read_safetensors(tmp_path / "model.safetensors")["w"].read(order), VALUES["w"][order]
    )


@pytest.mark.parametrize("keep", [0, 7, 60, -4])
def test_a_file_that_is_cut_off_is_refused_with_both_lengths(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, VALUES)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    if keep in (0, 7):
        with pytest.raises(ConversionError):
            read_safetensors(path)
        return
    with pytest.raises(TruncatedFile, match=rf"has {len(whole[:keep])} bytes, .* ends at byte \d+"):
        read_safetensors(path)


def write_header(path: Path, header: Any, n_data_bytes: int = 48) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(n_data_bytes))
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "is no safetensors file"),
        ([1], "is no table of tensors"),
        ({"w": {"dtype": "F32", "shape": [3, 4]}}, "entry for tensor w cannot be read"),
        (
            {"w": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, 48]}},
            "has 48 bytes, its shape needs 60",
        ),
        ({"w": {"dtype": "F32", "shape": [-3, -4], "data_offsets": [0, 48]}}, "negative"),
        ({"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [-8, 40]}}, "negative"),
    ],
)
def test_a_broken_header_is_refused(tmp_path: Path, header: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        read_safetensors(write_header(tmp_path / "model.safetensors", header))


@pytest.mark.parametrize(
    ("dtype", "shape", "n_bytes", "message"),
    [("I8", [48], 48, "type I8, expected F32, F16, BF16"), ("F32", [0, 4], 0, r"empty: shape \[0, 4\]")],
)
def test_a_tensor_without_plain_floats_is_refused_when_it_is_read(
    tmp_path: Path, dtype: str, shape: list[int], n_bytes: int, message: str
) -> None:
    header = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, n_bytes]}}
    found = read_safetensors(write_header(tmp_path / "model.safetensors", header))
    with pytest.raises(ConversionError, match=message):
        found["w"].read()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, dtype: str, value: float) -> None:
    write_safetensors(
        tmp_path / "model.safetensors", {"w": np.array([[1.0, value]], np.float32)}, dtype=dtype
    )
    with pytest.raises(ConversionError, match="tensor w holds infinite values or NaN"):
        read_safetensors(tmp_path / "model.safetensors")["w"].read()
