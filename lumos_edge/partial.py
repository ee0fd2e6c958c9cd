"""A download that is not complete yet, kept such that it can be resumed after a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Piece:
    label: str
    end: int  # bytes from the start of the file


class PartialFile:
    """`NAME.part`: the first bytes of a file, their sha256, and (in `NAME.part.json`) its whole pieces.

    The length of the file is what decides how much has arrived. The pieces matter only to a source that can
    resume nowhere but at the end of one. One process holds it at a time (the store's lock).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._n_bytes = path.stat().st_size
        self._hash = hashlib.sha256()
        self._pieces_path = path.with_name(f"{path.name}.json")
        self._pieces = self._read_pieces()

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def n_bytes(self) -> int:
        """How many bytes have arrived."""
        return self._n_bytes

    @property
    def sha256(self) -> str:
        """The sha256 of what has arrived, once `resume_at` has been called."""
        return self._hash.hexdigest()

    def n_complete(self, labels: list[str]) -> int:
        """How many of these pieces, from the first on, are there."""
        known = [piece.label for piece in self._pieces]
        return next((i for i, label in enumerate(labels) if known[i : i + 1] != [label]), len(labels))

    def end_of(self, n_pieces: int) -> int:
        """Where the first `n_pieces` pieces end, in bytes."""
        return self._pieces[n_pieces - 1].end if n_pieces else 0

    def resume_at(self, n_bytes: int) -> None:
        """Forget what lies beyond `n_bytes`, and hash what stays (about 2 s per GB)."""
        # The pieces first: a kill between the two must not leave a piece beyond the end of the file.
        self._write_pieces([piece for piece in self._pieces if piece.end <= n_bytes])
        self._file.truncate(n_bytes)
        self._n_bytes = n_bytes
        self._hash = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            self._hash.update(chunk)

    def write(self, chunk: bytes) -> None:
        """Append, and hash; OSError when the disk is full."""
        self._file.write(chunk)
        self._file.flush()
        self._hash.update(chunk)
        self._n_bytes += len(chunk)

    def complete_piece(self, label: str) -> None:
        """Record that the file now ends where the piece `label` ends."""
        self.sync()
        self._write_pieces([*self._pieces, _Piece(label, self._n_bytes)])

    def sync(self) -> None:
        """Make sure that what has arrived survives a loss of power."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def move_to(self, target: Path) -> None:
        """Give the complete file its final name, atomically."""
        self.sync()
        self._file.close()
        self.path.replace(target)
        self._pieces_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the file and the record of its pieces."""
        self._file.close()
        self.path.unlink()
        self._pieces_path.unlink(missing_ok=True)

    def _read_pieces(self) -> list[_Piece]:
        if not self._pieces_path.exists():
            return []
        try:
            pieces = [
                _Piece(str(label), int(end)) for label, end in json.loads(self._pieces_path.read_bytes())
            ]
        except (ValueError, TypeError):
            # An unreadable record costs only time: the pieces are fetched again, and the sha256 decides.
            return []
        return [piece for piece in pieces if piece.end <= self._n_bytes]

    def _write_pieces(self, pieces: list[_Piece]) -> None:
        self._pieces = pieces
        new = self._pieces_path.with_suffix(".new")
        new.write_text(json.dumps([[piece.label, piece.end] for piece in pieces]), encoding="utf-8")
        new.replace(self._pieces_path)
