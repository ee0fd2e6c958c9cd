"""PyTorch files are read without running what they hold."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumos_edge.conversion.torch_file import read_torch_file
from lumos_edge.errors import ConversionError, TruncatedFile, UnsafePickle
from tests.conversion.checkpoints import stored_bytes

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


class Global:
    """Pickles as a name that is looked up when it is read, as torch's functions and storages are."""

    def __init__(self, name: str) -> None:
        self.name = name


class Call:
    """Pickles as a call of a global."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.call = (Global(name), arguments)


class Storage:
    """Pickles as torch's persistent id of a storage."""

    def __init__(self, kind: str, key: str, n_items: int) -> None:
        self.id = ("storage", Global(f"torch {kind}"), key, "cpu", n_items)


def dumps(value: Any) -> bytes:
    """A pickle in protocol 0, written by hand: the names in it exist nowhere here."""
    return _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, Global):
        module, _, name = value.name.rpartition(" ")
        return f"c{module}\n{name}\n".encode()
    if isinstance(value, Call):
        return _opcodes(value.call[0]) + _opcodes(value.call[1]) + b"R"
    if isinstance(value, Storage):
        return _opcodes(value.id) + b"Q"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_opcodes, value)) + b"t"
    if isinstance(value, dict):
        return b"}" + b"".join(_opcodes(key) + _opcodes(item) + b"s" for key, item in value.items())
    return pickle.dumps(value, 0)[:-1]


def tensor(
    kind: str, key: str, shape: tuple[int, ...], stride: tuple[int, ...], n_items: int = 12, offset: int = 0
) -> Call:
    hooks = Call("collections OrderedDict")
    return Call(
        "torch._utils _rebuild_tensor_v2", Storage(kind, key, n_items), offset, shape, stride, False, hooks
    )


def write(path: Path, table: Any, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", dumps(table))
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"), [("FloatStorage", "F32"), ("HalfStorage", "F16"), ("BFloat16Storage", "BF16")]
)
def test_tensors_are_read_in_their_type(tmp_path: Path, kind: str, dtype: str) -> None:
    path = write(
        tmp_path / "model.bin", {"w": tensor(kind, "0", (3, 4), (4, 1))}, {"0": stored_bytes(VALUES, dtype)}
    )
    found = read_torch_file(path)["w"]
    assert (found.dtype, found.shape) == (dtype, (3, 4))
    assert np.array_equal(found.read(), VALUES)


def test_two_tensors_may_share_a_storage(tmp_path: Path) -> None:
    table = {
        "all": tensor("FloatStorage", "0", (12,), (1,)),
        "rest": tensor("FloatStorage", "0", (2, 4), (4, 1), offset=4),
        "parameter": Call(
            "torch._utils _rebuild_parameter", tensor("FloatStorage", "0", (3, 4), (4, 1)), True
        ),
    }
    found = read_torch_file(write(tmp_path / "model.bin", table, {"0": stored_bytes(VALUES, "F32")}))
    assert np.array_equal(found["rest"].read(), VALUES[1:])
    assert np.array_equal(found["parameter"].read(), VALUES)


@pytest.mark.parametrize(
    "attack",
    [
        Call("os system", "true"),
        Call("builtins eval", "1"),
        Call("builtins getattr", Global("collections OrderedDict"), "__init__"),
        Call("torch.jit load", "x"),
        Call("collections namedtuple", "a"),
    ],
)
def test_a_pickle_that_names_anything_else_is_refused_before_it_is_looked_up(
    tmp_path: Path, attack: Call
) -> None:
    path = write(tmp_path / "model.bin", {"w": attack}, {})
    with pytest.raises(
        UnsafePickle, match=r"model\.bin: the pickle asks for .*, expected nothing but tensors"
    ):
        read_torch_file(path)


def test_a_pickle_cannot_change_what_was_built(tmp_path: Path) -> None:
    built = _opcodes(tensor("FloatStorage", "0", (3, 4), (4, 1)))
    state = _opcodes({"storage": "elsewhere"})
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"}" + _opcodes("w") + built + state + b"bs.")
        archive.writestr("archive/data/0", stored_bytes(VALUES, "F32"))
    with pytest.raises(ConversionError, match="cannot be read"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"w": tensor("FloatStorage", "0", (4, 3), (1, 4))}, r"strides \[1, 4\], expected \[3, 1\]"),
        ({"w": tensor("FloatStorage", "0", (3, 4), (4, 1), offset=4)}, "items 4 to 16 of a storage of 12"),
        ({"w": tensor("FloatStorage", "0", (3, 4), (4, 1), n_items=24)}, "48 bytes, expected 96"),
        ({"w": tensor("FloatStorage", "1", (3, 4), (4, 1))}, "lacks the storage 1 of tensor w"),
        ({"w": 1}, "something else than a table of tensors"),
        ([1], "something else than a table of tensors"),
    ],
)
def test_a_table_that_does_not_fit_its_storages_is_refused(tmp_path: Path, table: Any, message: str) -> None:
    path = write(tmp_path / "model.bin", table, {"0": stored_bytes(VALUES, "F32")})
    with pytest.raises(ConversionError, match=message):
        read_torch_file(path)


def test_a_compressed_storage_is_refused(tmp_path: Path) -> None:
    table = {"w": tensor("FloatStorage", "0", (3, 4), (4, 1))}
    path = write(tmp_path / "model.bin", table, {"0": stored_bytes(VALUES, "F32")}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ConversionError, match="not compressed"):
        read_torch_file(path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, keep: float) -> None:
    table = {"w": tensor("FloatStorage", "0", (3, 4), (4, 1))}
    path = write(tmp_path / "model.bin", table, {"0": stored_bytes(VALUES, "F32")})
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(TruncatedFile, match=r"model\.bin is cut off"):
        read_torch_file(path)


def test_a_pickle_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", dumps({"w": tensor("FloatStorage", "0", (3, 4), (4, 1))})[:-20])
    with pytest.raises(ConversionError, match="its table of tensors cannot be read"):
        read_torch_file(path)


def test_ordered_tables_are_read(tmp_path: Path) -> None:
    pickled = pickle.dumps(OrderedDict(), 2)[:-1] + pickle.dumps("w", 2)[2:-1]
    item = _opcodes(tensor("FloatStorage", "0", (3, 4), (4, 1)))
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled + item + b"s.")
        archive.writestr("archive/data/0", struct.pack("<12f", *VALUES.ravel()))
    assert np.array_equal(read_torch_file(path)["w"].read(), VALUES)
