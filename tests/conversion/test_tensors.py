"""Tensors read from their files in chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumos_edge.conversion.tensors import Array, StoredTensor, n_chunk_rows
from lumos_edge.errors import ConversionError, TruncatedFile

SHAPE = (600, 1024)  # three chunks


@pytest.fixture
def values() -> Array:
    return np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)


@pytest.fixture
def tensor(tmp_path: Path, values: Array) -> StoredTensor:
    (tmp_path / "file").write_bytes(b"header" + values.tobytes() + b"the next")
    return StoredTensor("w", tmp_path / "file", 6, "F32", SHAPE)


def test_the_chunks_are_the_rows(tensor: StoredTensor, values: Array) -> None:
    chunks = list(tensor.chunks())
    assert [len(chunk) for chunk in chunks] == [256, 256, 88]
    assert np.array_equal(np.concatenate(chunks), values)
    assert tensor.size_bytes == values.nbytes


@pytest.mark.parametrize("order", [np.arange(600)[::-1], np.random.default_rng(1).permutation(600)])
def test_rows_come_in_the_order_asked_for(tensor: StoredTensor, values: Array, order: Array) -> None:
    assert np.array_equal(tensor.read(order), values[order])


def test_neighbours_that_change_places_are_not_taken_for_in_order(
    tensor: StoredTensor, values: Array
) -> None:
    order = np.arange(600)
    order[[1, 2]] = 2, 1
    assert np.array_equal(tensor.read(order), values[order])


def test_a_file_that_is_cut_off_meanwhile_is_named_with_the_place(tensor: StoredTensor) -> None:
    chunks = tensor.chunks()
    assert len(next(chunks)) == n_chunk_rows(SHAPE)
    with tensor.path.open("r+b") as file:
        file.truncate(1_500_000)
    with pytest.raises(TruncatedFile, match=r"file ends within tensor w, at byte 1500000$"):
        list(chunks)


@pytest.mark.parametrize(("dtype", "shape"), [("I64", (4, 4)), ("F8_E4M3", (4, 4))])
def test_a_type_other_than_floats_is_refused(tmp_path: Path, dtype: str, shape: tuple[int, int]) -> None:
    with pytest.raises(ConversionError, match=f"tensor w has type {dtype}, expected F32, F16, BF16"):
        list(StoredTensor("w", tmp_path / "file", 0, dtype, shape).chunks())


def test_an_empty_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"tensor w is empty: shape \[0, 4\]"):
        list(StoredTensor("w", tmp_path / "file", 0, "F32", (0, 4)).chunks())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tensor: StoredTensor, values: Array, value: float) -> None:
    values[599, 1023] = value
    tensor.path.write_bytes(b"header" + values.tobytes())
    with pytest.raises(ConversionError, match="file: tensor w holds infinite values or NaN"):
        tensor.read()
