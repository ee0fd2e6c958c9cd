"""Files appear complete or not at all."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from lumos_edge.conversion.encoding import encode, encode_float32
from lumos_edge.conversion.gguf_file import OutputTensor, new_file, total_bytes, write_gguf
from lumos_edge.conversion.tensors import StoredTensor
from lumos_edge.errors import ConversionError

VALUES = np.linspace(-2, 2, 5 * 64, dtype=np.float32).reshape(5, 64)


def tensor(name: str, kind: Type, chunks: Callable[[], Iterable[Any]] | None = None) -> OutputTensor:
    rows = [VALUES[:2], VALUES[2:]]
    return OutputTensor(
        name, VALUES.shape, kind, chunks or (lambda: [encode_float32(part, kind) for part in rows])
    )


def stored(folder: Path, n_rows: int, n_columns: int) -> StoredTensor:
    np.random.default_rng(0).standard_normal((n_rows, n_columns)).astype("<f4").tofile(folder / "x")
    return StoredTensor("x", folder / "x", 0, "F32", (n_rows, n_columns))


def peak_bytes(action: Callable[[], object]) -> int:
    action()  # what stays in caches is counted once
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16, Type.Q8_0])
@pytest.mark.parametrize("shape", [(2048, 512), (3, 1 << 18)])
def test_no_more_memory_is_used_than_was_said(tmp_path: Path, kind: Type, shape: tuple[int, int]) -> None:
    source, order = stored(tmp_path, *shape), np.arange(shape[0])[::-1].copy()
    output = OutputTensor("x.weight", shape, kind, partial(encode, source, kind, order, factor=2.0))
    peak = peak_bytes(lambda: [None for _ in output.chunks()])
    assert 0.4 * output.working_bytes < peak < 1.01 * output.working_bytes


def test_a_tensor_that_is_encoded_at_once_needs_memory_for_all_its_rows() -> None:
    chunked = tensor("x.weight", Type.F16)
    assert chunked.working_bytes == VALUES.size * 32
    tall = OutputTensor("x.weight", (1 << 20, 4), Type.F16, list)
    assert replace(tall, is_whole=True).working_bytes == 16 * tall.working_bytes == (4 << 20) * 32


def write(path: Path, *tensors: OutputTensor) -> list[int]:
    written: list[int] = []
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_block_count(1)
    write_gguf(path, writer, tensors, written.append)
    return written


def test_the_file_is_the_one_that_the_gguf_package_writes(tmp_path: Path) -> None:
    kinds = {"a.weight": Type.F16, "b.weight": Type.Q8_0, "c.weight": Type.F32}
    write(tmp_path / "ours.gguf", *(tensor(name, kind) for name, kind in kinds.items()))
    reference = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    reference.add_block_count(1)
    for name, kind in kinds.items():
        reference.add_tensor(name, gguf.quants.quantize(VALUES, kind), raw_dtype=kind)
    reference.write_header_to_file()
    reference.write_kv_data_to_file()
    reference.write_tensors_to_file()
    reference.close()
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


def test_progress_adds_up_to_the_bytes_of_the_tensors(tmp_path: Path) -> None:
    tensors = (tensor("a.weight", Type.F16), tensor("b.weight", Type.Q8_0))
    written = write(tmp_path / "x.gguf", *tensors)
    assert sum(written) == sum(each.size_bytes for each in tensors) == total_bytes(tensors)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> Iterable[Any]:
        yield VALUES[:2]
        raise ConversionError("tensor a holds NaN")

    with pytest.raises(ConversionError, match="holds NaN"):
        write(tmp_path / "x.gguf", tensor("a.weight", Type.F32, fail))
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"precious")
    with pytest.raises(ConversionError, match=r"x\.gguf exists \(8 bytes\), expected a new file"):
        write(tmp_path / "x.gguf", tensor("a.weight", Type.F32))
    assert (tmp_path / "x.gguf").read_bytes() == b"precious"


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".x.gguf.partial").write_bytes(b"half a header")
    write(tmp_path / "x.gguf", tensor("a.weight", Type.F32))
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is no folder, expected one"):
        write(tmp_path / "nowhere" / "x.gguf", tensor("a.weight", Type.F32))


def test_too_little_room_is_found_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000))
    with (
        pytest.raises(ConversionError, match=r"has 1000 bytes free, x\.gguf needs 2000"),
        new_file(tmp_path / "x.gguf", 2000),
    ):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_disk_is_a_conversion_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ConversionError, match=r"x\.gguf was not written: .*No space"),
        new_file(tmp_path / "x.gguf", 1),
    ):
        raise OSError(28, "No space left on device")
