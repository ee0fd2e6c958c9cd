"""What every test gets: its own empty home, and the real 135M model where it asks for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings

from lumos_edge import resources
from lumos_edge.manifest import ModelFile, Part, find_manifest
from lumos_edge.store import Store

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("lumos-edge", deadline=None)
# The same examples in every run of CI: a change is judged by what it changed. New ones are found outside it.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "lumos-edge")

# Read before any test moves the home: the weights are pulled once per machine, not once per test.
_REAL_MODELS = resources.data_folder() / "models"


@pytest.fixture(scope="session")
def nano_path() -> Path:
    """The base file of the nano pack, pulled (98 MB) into the user's own data folder if it is not there."""
    return Store(_REAL_MODELS).pull(find_manifest("nano"))


@pytest.fixture
def exact_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention in float32: flash attention rounds otherwise in large batches than token by token, and of two tokens
    that are nearly alike another may then be chosen."""
    import llama_cpp

    default = llama_cpp.llama_context_default_params

    def exact() -> Any:
        params = default()
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
        return params

    monkeypatch.setattr(llama_cpp, "llama_context_default_params", exact)


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive() -> None:
    """A shell starts what runs in its background with Ctrl-C ignored, and every process below inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _isolated_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """No test sees the user's settings, packs or weights, save those that ask for `nano_path`."""
    with mock.patch.dict(os.environ):
        keeps_home = "nano_path" in request.fixturenames
        for name in [name for name in os.environ if name.startswith("LUMOS_EDGE_")]:
            if not (keeps_home and name == "LUMOS_EDGE_HOME"):
                del os.environ[name]
        if not keeps_home:
            os.environ["LUMOS_EDGE_HOME"] = str(tmp_path / "lumos-edge-home")
        yield


class Publisher:
    """A real web server with one file, which can be told to misbehave."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.statuses: list[int] = []  # answers to give before the file
        self.cuts: list[int] = []  # after how many bytes to break the next connections
        self.ignores_range = False
        self.says_length = True
        self.pause_s = 0.0  # after every 64 KiB
        self.ranges: list[str | None] = []  # what was asked for
        handler = type("Handler", (_PublisherHandler,), {"publisher": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/model.gguf"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop answering; what is being sent ends first."""
        self.pause_s = 0.0
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _PublisherHandler(BaseHTTPRequestHandler):
    publisher: Publisher

    def do_GET(self) -> None:
        publisher = self.publisher
        publisher.ranges.append(self.headers["Range"])
        if publisher.statuses:
            self.send_error(publisher.statuses.pop(0))
            return
        start = 0
        if self.headers["Range"] and not publisher.ignores_range:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self._send_headers(start, len(publisher.content))
        end = start + publisher.cuts.pop(0) if publisher.cuts else len(publisher.content)
        with contextlib.suppress(ConnectionError):  # a client that was killed
            for offset in range(start, end, 1 << 16):
                self.wfile.write(publisher.content[offset : min(offset + (1 << 16), end)])
                time.sleep(publisher.pause_s)

    def _send_headers(self, start: int, end: int) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        if self.publisher.says_length:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A server of 3 MB that compress badly."""
    server = Publisher(random.Random(7).randbytes(3_000_000))
    yield server
    server.close()


class WheelIndex:
    """A folder of wheels that pip really downloads from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, package: str, members: dict[str, bytes]) -> Path:
        """A wheel of version 1.0 with these members."""
        name = package.replace("-", "_")
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        wheel_file = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel = self.folder / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
            archive.writestr(f"{name}-1.0.dist-info/METADATA", metadata)
            archive.writestr(f"{name}-1.0.dist-info/WHEEL", wheel_file)
            archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
        return wheel

    def split(self, content: bytes, n_parts: int) -> tuple[Part, ...]:
        """The content as members of `n_parts` wheels."""
        size = -(-len(content) // n_parts)
        for i in range(n_parts):
            self.add(f"piece-{i}", {f"piece_{i}/data/x.bin": content[i * size : (i + 1) * size]})
        return tuple(
            Part(package=f"piece-{i}", version="1.0", member=f"piece_{i}/data/*.bin") for i in range(n_parts)
        )


@pytest.fixture
def wheel_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelIndex:
    """An empty index, and pip told by its own settings to use no other."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return WheelIndex(folder)


class Watcher:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.n_bytes: list[int] = []
        self.messages: list[str] = []

    def at(self, n_bytes: int, size_bytes: int) -> None:
        self.n_bytes.append(n_bytes)

    def say(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


def _describe(content: bytes, **fields: Any) -> ModelFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile(pack="test", file="model.gguf", size_bytes=len(content), sha256=sha256, **fields)


@pytest.fixture
def model_file() -> Callable[..., ModelFile]:
    """`model_file(content, url=..., parts=...)`: what a manifest says of a file with that content."""
    return _describe
