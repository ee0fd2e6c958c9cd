"""A partial file knows how much of it is there, what its sha256 is, and which whole pieces it has."""

from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.partial import PartialFile


@given(chunks=st.lists(st.binary(min_size=1, max_size=50), min_size=1), data=st.data())
def test_a_file_written_in_two_runs_equals_one_written_at_once(
    chunks: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(chunks)
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf.part"
        with PartialFile(path) as partial:
            partial.resume_at(0)
            for chunk in chunks:
                partial.write(chunk)
        with PartialFile(path) as partial:
            assert partial.n_bytes == len(content)
            partial.resume_at(cut)
            assert partial.sha256 == hashlib.sha256(content[:cut]).hexdigest()
            partial.write(content[cut:])
            assert (partial.n_bytes, partial.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            partial.move_to(path.with_suffix(""))
        assert path.with_suffix("").read_bytes() == content
        assert [found.name for found in Path(folder).iterdir()] == ["model.gguf"]


def _with_pieces(path: Path, *sizes: int) -> None:
    with PartialFile(path) as partial:
        partial.resume_at(0)
        for i, size in enumerate(sizes):
            partial.write(random.Random(i).randbytes(size))
            partial.complete_piece(f"p{i}")


def test_pieces_survive_the_process_that_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10, 20)
    with PartialFile(path) as partial:
        assert partial.n_complete(["p0", "p1", "p2"]) == 2
        assert [partial.end_of(n) for n in (0, 1, 2)] == [0, 10, 30]


def test_only_pieces_of_the_same_names_count(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10, 20)
    with PartialFile(path) as partial:
        assert partial.n_complete(["p0", "other"]) == 1
        assert partial.n_complete(["other", "p1"]) == 0


def test_what_lies_beyond_the_last_piece_is_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10, 20)
    with path.open("ab") as file:
        file.write(b"half a piece")
    with PartialFile(path) as partial:
        assert partial.n_bytes == 42
        partial.resume_at(partial.end_of(2))
        assert partial.n_bytes == path.stat().st_size == 30
        assert partial.n_complete(["p0", "p1"]) == 2


def test_a_piece_beyond_the_end_of_the_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10, 20)
    with path.open("r+b") as file:
        file.truncate(29)
    with PartialFile(path) as partial:
        assert partial.n_complete(["p0", "p1"]) == 1


def test_starting_over_forgets_the_pieces_for_good(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10, 20)
    with PartialFile(path) as partial:
        partial.resume_at(0)
        partial.write(b"z" * 40)
    with PartialFile(path) as partial:
        assert partial.n_complete(["p0", "p1"]) == 0


@pytest.mark.parametrize(
    "record", [b"", b"[1", b"\xff", b"[1, 2]", b'[["p0"]]', b'{"p0": 1}', b'[["p0", "x"]]']
)
def test_an_unreadable_record_of_pieces_costs_time_and_nothing_else(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10)
    (tmp_path / "x.part.json").write_bytes(record)
    with PartialFile(path) as partial:
        assert partial.n_bytes == 10
        assert partial.n_complete(["p0"]) == 0


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    _with_pieces(path, 10)
    with PartialFile(path) as partial:
        partial.discard()
    assert list(tmp_path.iterdir()) == []
