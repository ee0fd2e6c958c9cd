"""PyTorch's `.bin` files, read without torch and without running anything that they hold.

Covered: the zip format that `torch.save` writes since 1.6, holding a table of dense contiguous tensors. The
pickle inside may name an ordered table, tensors and their storages; any other name is refused before it is
looked up. Not covered: the older non-zip format, views with other strides, tensors that are not in the table
itself.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from itertools import accumulate
from math import prod
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

from lumos_edge.conversion.tensors import StoredTensor
from lumos_edge.errors import ConversionError, TruncatedFile, UnsafePickle

# Storage class -> (type as safetensors names it, bytes of an item).
_STORAGE_TYPES = {
    "BFloat16Storage": ("BF16", 2),
    "HalfStorage": ("F16", 2),
    "FloatStorage": ("F32", 4),
    "DoubleStorage": ("F64", 8),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # the zip format's "local file header", APPNOTE.TXT 4.3.7


class _StorageType(NamedTuple):
    dtype: str
    item_bytes: int


class _Storage(NamedTuple):
    member: str
    type: _StorageType
    n_items: int


class _View(NamedTuple):
    """A tensor of the pickle. A tuple, because a pickle may set attributes of what it built, and a tuple has
    none.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _View:
    return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _rebuild_parameter(view: _View, *_: object) -> _View:
    return view


_ALLOWED: dict[tuple[str, str], Callable[..., Any] | _StorageType] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): _StorageType(*entry) for name, entry in _STORAGE_TYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafePickle(f"the pickle asks for {module}.{name}, expected nothing but tensors")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, n_items = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise UnsafePickle(f"the pickle refers to {str(kind)[:40]!r}, expected the storage of a tensor")
        return _Storage(str(key), storage_type, int(n_items))


def read_torch_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a PyTorch file, by name; reads only its table.

    Raises UnsafePickle when the file asks for anything but tensors, TruncatedFile when it is cut off,
    ConversionError when it is no such file or a tensor in it is not contiguous.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            table, prefix = _load_table(path, archive)
            return {name: _locate(path, archive, prefix, name, view) for name, view in table.items()}
    except zipfile.BadZipFile as error:
        raise TruncatedFile(f"{path} is cut off, or no PyTorch file of version 1.6 or later") from error


def _load_table(path: Path, archive: zipfile.ZipFile) -> tuple[dict[str, _View], str]:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ConversionError(f"{path} holds {len(pickles)} tables of tensors, expected 1")
    try:
        with archive.open(pickles[0]) as file:
            table = _TensorUnpickler(file).load()
    except UnsafePickle as error:
        raise UnsafePickle(f"{path}: {error}") from error
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise ConversionError(f"{path}: its table of tensors cannot be read: {error}") from error
    if not isinstance(table, dict) or not all(isinstance(view, _View) for view in table.values()):
        raise ConversionError(f"{path} holds something else than a table of tensors")
    return table, pickles[0].removesuffix("data.pkl")


def _locate(path: Path, archive: zipfile.ZipFile, prefix: str, name: str, view: _View) -> StoredTensor:
    storage, n_items = view.storage, prod(view.shape)
    _require_contiguous(path, name, view)
    if view.offset < 0 or min(view.shape, default=0) < 0 or view.offset + n_items > storage.n_items:
        raise ConversionError(
            f"{path}: tensor {name} spans items {view.offset} to {view.offset + n_items} of a storage of "
            f"{storage.n_items}"
        )
    try:
        member = archive.getinfo(f"{prefix}data/{storage.member}")
    except KeyError:
        raise TruncatedFile(f"{path} lacks the storage {storage.member} of tensor {name}") from None
    item_bytes = storage.type.item_bytes
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != storage.n_items * item_bytes:
        raise ConversionError(
            f"{path}: the storage of tensor {name} has {member.file_size} bytes, expected "
            f"{storage.n_items * item_bytes}, not compressed"
        )
    offset = _member_offset(path, member) + view.offset * item_bytes
    return StoredTensor(name, path, offset, storage.type.dtype, view.shape)


def _require_contiguous(path: Path, name: str, view: _View) -> None:
    steps = tuple(accumulate(reversed(view.shape[1:]), mul, initial=1))[::-1] if view.shape else ()
    # The stride of a dimension of one item says nothing.
    if any(
        size > 1 and found != step for size, found, step in zip(view.shape, view.stride, steps, strict=True)
    ):
        raise ConversionError(
            f"{path}: tensor {name} has strides {list(view.stride)}, expected {list(steps)}"
        )


def _member_offset(path: Path, member: zipfile.ZipInfo) -> int:
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    n_name_bytes, n_extra_bytes = int(header[-2]), int(header[-1])
    return member.header_offset + _LOCAL_HEADER.size + n_name_bytes + n_extra_bytes
