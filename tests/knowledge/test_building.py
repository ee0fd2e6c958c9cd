"""Building: atomic, resumable, incremental; whatever goes wrong, the previous pack stays."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lumos_edge.errors import DamagedKnowledge, KnowledgeError, KnowledgeNotFound, SourceError
from lumos_edge.knowledge import building
from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.building import add, build, verify
from lumos_edge.knowledge.jsonl import JsonLines
from lumos_edge.knowledge.library import Library
from lumos_edge.knowledge.pack import MOST_TEXT_BYTES, Pack
from lumos_edge.knowledge.source import Item, Say
from tests.knowledge.packs import Given, Said, build_pack

# Builds, or adds to what is there; as on a disk that has room for `limit` bytes of a file, unless it is 0.
BUILD = """
import resource, sys
from pathlib import Path
from lumos_edge.knowledge import building
from lumos_edge.knowledge.jsonl import JsonLines
from tests.knowledge.packs import Said
building._COMMIT_ARTICLES = 50
source, target, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if target.exists():
    building.add(JsonLines(source), target, "more", Said())
else:
    building.build(JsonLines(source), target, "", "", Said())
"""


def _many(n: int) -> list[Item]:
    return [Article(f"Whale {i}", f"The whale number {i} lives in the sea of index{i}.") for i in range(n)]


def _titles(pack: Path, query: str) -> list[str]:
    with closing(Library([pack])) as library:
        return [passage.title for passage in library.search(query, 5)]


def _source(pack: Path) -> str:
    with closing(Pack(pack)) as opened:
        return str(opened.facts["source"])


class Broken(Given):
    """A source that ends with an error after its articles."""

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        yield from super().read(say)
        raise SourceError("the dump ends within an article")


def test_a_failed_build_leaves_the_previous_pack_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_COMMIT_ARTICLES", 10)
    pack = build_pack(tmp_path / "seas.sqlite", ("Cod", "A fish."))
    before = pack.read_bytes()
    articles = _many(35)
    broken, whole = Broken(articles[:25]), Given(articles)
    monkeypatch.setattr(broken, "identity", whole.identity)
    with pytest.raises(SourceError, match="ends within an article"):
        build(broken, pack, "", "", Said())
    assert pack.read_bytes() == before
    said = Said()
    build(whole, pack, "", "", said)
    assert said.messages[0] == "going on after 22 articles and redirects"
    assert verify(pack) == 35
    assert _titles(pack, "index24") == ["Whale 24"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seas.sqlite", "seas.sqlite.lock"]


def test_what_was_read_of_another_source_is_not_resumed(tmp_path: Path) -> None:
    target = tmp_path / "seas.sqlite"
    with pytest.raises(SourceError):
        build(Broken(_many(5)), target, "", "", Said())
    build(Given(_many(3)), target, "", "", Said())
    assert verify(target) == 3


def _whales(path: Path, n: int) -> Path:
    lines = (f'{{"title": "Whale {i}", "text": "It lives in the sea of index{i}."}}\n' for i in range(n))
    path.write_text("".join(lines))
    return path


def _kill(source: Path, target: Path, n_bytes: int) -> None:
    """Build or add in another process, killed when so much is written."""
    process = subprocess.Popen([sys.executable, "-c", BUILD, source, target, "0"])
    part = target.with_name(f"{target.name}.part")
    while process.poll() is None and not (part.exists() and part.stat().st_size > n_bytes):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    source, target = _whales(tmp_path / "whales.jsonl", 30_000), tmp_path / "whales.sqlite"
    _kill(source, target, n_bytes=200_000)
    assert not target.exists(), "the build was over before it could be killed"
    said = Said()
    build(JsonLines(source), target, "", "", said)
    assert said.messages[0].startswith("going on after")
    assert verify(target) == 30_000
    assert _titles(target, "index7 index29999")[:2] in (
        ["Whale 7", "Whale 29999"],
        ["Whale 29999", "Whale 7"],
    )


def test_a_killed_add_leaves_the_pack_and_goes_on(tmp_path: Path) -> None:
    source, target = _whales(tmp_path / "whales.jsonl", 30_000), tmp_path / "seas.sqlite"
    before = build_pack(target, ("Cod", "A fish.")).read_bytes()
    _kill(source, target, n_bytes=len(before) + 200_000)
    assert target.read_bytes() == before, "all was added before it could be killed"
    said = Said()
    add(JsonLines(source), target, "more", said)
    assert said.messages[0].startswith("going on after")
    assert verify(target) == 30_001
    assert _source(target) == "a test; more"


def test_a_disk_that_fills_up_leaves_the_pack(tmp_path: Path) -> None:
    source, target = _whales(tmp_path / "whales.jsonl", 5_000), tmp_path / "seas.sqlite"

    def last_line() -> str:
        command = [sys.executable, "-c", BUILD, str(source), str(target), "300000"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr.strip().splitlines()[-1]

    failed = f"lumos_edge.errors.KnowledgeError: {target}.part cannot be written: "
    assert last_line().startswith(failed)
    assert not target.exists()
    before = build_pack(target, ("Cod", "A fish.")).read_bytes()
    assert last_line().startswith(failed)
    assert target.read_bytes() == before
    add(JsonLines(source), target, "more", Said())
    assert verify(target) == 5_001


def test_a_pack_does_not_say_where_its_sources_lay(tmp_path: Path) -> None:
    source, target = _whales(tmp_path / "whales.jsonl", 3), tmp_path / "seas.sqlite"
    build(JsonLines(source), target, source.name, "", Said())
    add(JsonLines(_whales(tmp_path / "more.jsonl", 4)), target, "more.jsonl", Said())
    assert _source(target) == "whales.jsonl; more.jsonl"
    assert str(tmp_path).encode() not in target.read_bytes()


def test_two_builders_of_one_pack_exclude_each_other(tmp_path: Path) -> None:
    target = tmp_path / "seas.sqlite"

    class Second(Given):
        def read(self, say: Say) -> Iterator[tuple[int, Item]]:
            with pytest.raises(KnowledgeError, match="another process is building seas"):
                build(Given(_many(1)), target, "", "", Said())
            yield from super().read(say)

    build(Second(_many(2)), target, "", "", Said())
    assert verify(target) == 2


def test_adding_takes_only_what_is_new(tmp_path: Path) -> None:
    kept, changed = Article("Kept", "It stays.", "kept.txt"), Article("Changed", "Before.", "changed.txt")
    pack = build_pack(tmp_path / "notes.sqlite", kept, changed, Redirect("Same", "Kept"))
    newer = Article("Changed", "Afterwards.", "changed.txt", aliases=("Renamed",))
    source = Given([kept, newer, Article("New", "It comes.", "new.txt"), Redirect("Same", "Kept")])
    add(source, pack, "more", Said())
    assert verify(pack) == 3
    assert _titles(pack, "before") == []
    assert _titles(pack, "afterwards") == ["Changed"]
    with closing(Library([pack])) as library:
        assert [passage.text for passage in library.entity("renamed", 1)] == ["Afterwards."]
        assert [passage.text for passage in library.entity("same", 1)] == ["It stays."]
    add(source, pack, "more", Said())
    with closing(Pack(pack)) as opened:
        assert (opened.facts["n_articles"], opened.facts["n_names"]) == ("3", "5")


def test_whoever_reads_a_pack_goes_on_reading_the_old_one(tmp_path: Path) -> None:
    pack = build_pack(tmp_path / "notes.sqlite", ("Old", "The old text."))
    with closing(Library([pack])) as library:
        add(Given([Article("New", "The new text.")]), pack, "more", Said())
        assert [passage.title for passage in library.search("text", 5)] == ["Old"]
    assert sorted(_titles(pack, "text")) == ["New", "Old"]


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    circle = [Redirect(f"Ring {i}", f"Ring {(i + 1) % 10_000}") for i in range(10_000)]
    pack = build_pack(tmp_path / "rings.sqlite", *circle, ("Cod", "A fish."), Redirect("Torsk", "Cod"))
    with closing(Library([pack])) as library:
        assert [passage.title for passage in library.entity("Torsk", 5)] == ["Cod"]
        assert library.entity("Ring 7", 5) == ()


def test_control_signs_and_halves_of_pairs_are_left_out(tmp_path: Path) -> None:
    pack = build_pack(tmp_path / "odd.sqlite", Article("N\0ul", "One\0 two\ud800 thr\x1bee.", "a\0b"))
    with closing(Library([pack])) as library:
        found = library.search("three", 1)
    assert [(p.title, p.text, p.source) for p in found] == [("Nul", "One two three.", "ab")]


def test_an_article_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Whale: 67,108,865 letters"):
        build(Given([Article("Whale", "x" * (MOST_TEXT_BYTES + 1))]), tmp_path / "big.sqlite", "", "", Said())
    assert not (tmp_path / "big.sqlite").exists()


def test_a_part_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "full.sqlite.part").mkdir()
    with pytest.raises(KnowledgeError, match=r"full.sqlite.part cannot be written: unable to open"):
        build(Given(_many(1)), tmp_path / "full.sqlite", "", "", Said())


def test_what_is_no_pack_is_told_apart(tmp_path: Path) -> None:
    pack = build_pack(tmp_path / "seas.sqlite", *_many(300))
    with pytest.raises(KnowledgeNotFound):
        Pack(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("not SQLite at all" * 100)
    with pytest.raises(DamagedKnowledge, match="file is not a database"):
        Pack(tmp_path / "text.sqlite")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("CREATE TABLE other(x)")
    with pytest.raises(DamagedKnowledge, match="no knowledge pack"):
        Pack(tmp_path / "other.sqlite")
    content = pack.read_bytes()
    (tmp_path / "cut.sqlite").write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedKnowledge):
        verify(tmp_path / "cut.sqlite")
    with closing(sqlite3.connect(pack)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(KnowledgeError, match="has schema 99, this lumos-edge reads schema 1"):
        Pack(pack)


def test_one_changed_letter_is_found(tmp_path: Path) -> None:
    pack = build_pack(tmp_path / "seas.sqlite", *_many(50))
    content = pack.read_bytes()
    at = content.index(b"sea of index31.")
    pack.write_bytes(content[:at] + b"S" + content[at + 1 :])
    with pytest.raises(DamagedKnowledge, match="checksum"):
        verify(pack)


def test_searching_writes_nothing_beside_a_pack(tmp_path: Path) -> None:
    pack = build_pack(tmp_path / "seas.sqlite", *_many(3))
    pack.chmod(0o444)
    before = sorted(tmp_path.iterdir())
    assert _titles(pack, "index2") == ["Whale 2"]
    assert sorted(tmp_path.iterdir()) == before
