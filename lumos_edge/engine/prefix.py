"""Prefix states on disk: the keys and values of what every conversation of a module begins with.

The examples of a prompt take seconds to evaluate and are the same in every process. Their state is written once and
read by the next process; a file that is not exactly what is wanted is computed again. Nothing of a user's question is
in it. The texts of a model's vocabulary are kept likewise, under no tokens.

A file is one line of JSON (its name, and size and hash of what follows), then the tokens (int32) and llama.cpp's state.
Its name is a hash of all that decides the state: weights, adapter, tokens, settings and the version of the binding.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from lumos_edge.engine import PINNED_BINDING

MIN_TOKENS = 64
"""A shorter prefix is evaluated faster than a file is read."""

_MAX_BYTES = 1 << 29
"""Of all the states together; the ones not used for longest go first."""

_SUFFIX = ".state"
_N_SAMPLES, _SAMPLE_BYTES = 64, 4096


class PrefixStates:
    """The saved states of one set of weights and settings. No method raises for a file: a cache may fail."""

    def __init__(self, folder: Path, weights: Sequence[Path], settings: Sequence[object]) -> None:
        self._folder = folder
        self._weights = weights
        self._settings = settings
        self._key = b""

    def load(self, tokens: Sequence[int]) -> memoryview | None:
        """The state of these tokens; None when there is none that is whole.

        Cost: 1 ms for each 2 MB; a state has 20 to 30 KB a token at 135M to 1.5B.
        """
        encoded = _encode(tokens)
        try:
            file = self._file(encoded)
            with file.open("rb") as opened:
                # Mapped and not read, so that it costs no memory; privately, because ctypes wants to be able to write.
                mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
            begin = mapped.find(b"\n") + 1
            content = memoryview(mapped)[begin:]
            expected = json.loads(mapped[:begin])
            if expected != _describe(file, content) or content[: len(encoded)] != encoded:
                return None
            file.touch()  # what was used last is dropped last
        except (OSError, ValueError):
            return None
        return content[len(encoded) :]

    def save(self, tokens: Sequence[int], state: bytes) -> None:
        """Keep the state of these tokens, written whole or not at all; nothing happens where that is impossible."""
        encoded = _encode(tokens)
        content = encoded + state
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._file(encoded)
            self._write(file, json.dumps(_describe(file, content)).encode() + b"\n" + content)
            self._evict()

    def _file(self, encoded: bytes) -> Path:
        if not self._key:
            described = [PINNED_BINDING, *self._settings, *map(_fingerprint, self._weights)]
            self._key = json.dumps(described).encode()
        return self._folder / f"{_hash(self._key + encoded)[:40]}{_SUFFIX}"

    def _write(self, file: Path, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as part:
            try:
                part.write(content)
                part.close()
                Path(part.name).replace(file)
            except OSError:
                Path(part.name).unlink(missing_ok=True)
                raise

    def _evict(self) -> None:
        """Drop the files that were not used for longest, and what killed processes left."""
        files = [path for path in self._folder.iterdir() if path.suffix in (_SUFFIX, ".part")]
        found = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in files), reverse=True)
        total = 0
        for _, size_bytes, path in found:
            total += size_bytes
            if total > _MAX_BYTES:
                path.unlink(missing_ok=True)


def _describe(file: Path, content: bytes | memoryview) -> dict[str, object]:
    """The first line of a file; with its name, so that a renamed one is no other's."""
    return {"name": file.name, "size_bytes": len(content), "sha256": _hash(content)}


def _encode(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, dtype="<i4").tobytes()


def _hash(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def _fingerprint(path: Path) -> str:
    """What tells one file of weights from another: size, time of change and samples; hashing it all takes a second."""
    status = path.stat()
    digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for index in range(_N_SAMPLES):
            file.seek(index * max(0, status.st_size - _SAMPLE_BYTES) // (_N_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
