"""`lumos-edge doctor`: what this machine has, and the fix for what it lacks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.errors import ChecksumMismatch, ModelLoadError

if TYPE_CHECKING:
    from lumos_edge.manifest import Manifest
    from lumos_edge.store import Store

_BINDING = "llama-cpp-python"

_FEATURE = re.compile(r"(\w+) = 1")  # of "CPU : AVX = 1 | AVX2 = 1 | REPACK = 1 | "

# Run in a process of its own: a library built for another processor dies of an illegal instruction on import.
_PROBE = """
import llama_cpp as lib
print(lib.llama_print_system_info().decode())
print("offload" if lib.llama_supports_gpu_offload() else "cpu")
"""


@dataclass(frozen=True)
class _Finding:
    """One line of the report; `fix` is the command that mends it, empty when there is nothing to mend."""

    what: str
    found: str
    fix: str = ""


@click.command("doctor")
def command() -> int:
    """Check the binding, the processor, memory, disk and packs. Exit code 3 when something has to be fixed."""
    broken = False
    for finding in _findings():
        broken |= bool(finding.fix)
        click.echo(f"{'FIX' if finding.fix else 'ok ':3}  {finding.what}: {finding.found}")
        if finding.fix:
            click.echo(f"     {finding.fix}")
    return 3 if broken else 0


def _findings() -> Iterator[_Finding]:
    yield _Finding("python", f"{platform.python_version()} on {platform.platform()}")
    binding_works = True
    for finding in _binding():
        binding_works &= not finding.fix
        yield finding
    yield _package("llguidance")
    yield _memory()
    yield _disk()
    yield from _packs(measure=binding_works)


def _binding() -> Iterator[_Finding]:
    from lumos_edge.engine import PINNED_BINDING

    install = f'{sys.executable} -m pip install "{_BINDING}=={PINNED_BINDING}"'
    try:
        version = metadata.version(_BINDING)
    except metadata.PackageNotFoundError:
        yield _Finding(_BINDING, "not installed", install)
        return
    if version != PINNED_BINDING:
        yield _Finding(_BINDING, f"{version}, {PINNED_BINDING} is needed", install)
        return
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    if probe.returncode:
        cause = (
            f"signal {-probe.returncode}" if probe.returncode < 0 else probe.stderr.strip().splitlines()[-1]
        )
        rebuild = f"{install} --force-reinstall --no-cache-dir --no-binary {_BINDING}"
        yield _Finding(_BINDING, f"{version} does not start on this processor ({cause})", rebuild)
        return
    system, device = probe.stdout.strip().splitlines()[-2:]
    features = " ".join(_FEATURE.findall(system))
    yield _Finding(_BINDING, f"{version}, {'layers on the GPU' if device == 'offload' else 'processor only'}")
    yield _Finding("processor", f"{os.cpu_count()} cores; {features}")


def _package(name: str) -> _Finding:
    try:
        return _Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return _Finding(name, "not installed", f"{sys.executable} -m pip install {name}")


def _memory() -> _Finding:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _Finding("memory", "unknown on this system")
    return _Finding("memory", f"{pages * size / 2**30:.1f} GiB")


def _disk() -> _Finding:
    from lumos_edge.resources import data_folder

    folder = data_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return _Finding("weights", f"{folder} cannot be written", "set LUMOS_EDGE_HOME to a folder that can")
    return _Finding("weights", f"{folder}, {free:.1f} GiB free")


def _packs(*, measure: bool) -> Iterator[_Finding]:
    from lumos_edge.manifest import all_manifests, default_pack
    from lumos_edge.store import Store

    store = Store()
    for manifest in all_manifests():
        name = f"pack {manifest.name}" + (" (default)" if manifest.name == default_pack() else "")
        if manifest.base not in store:
            yield _Finding(name, "not pulled; `ask` pulls it on first use")
        elif not measure:
            yield _Finding(name, "pulled")
        else:
            yield _pulled_pack(name, manifest, store)


def _pulled_pack(name: str, manifest: Manifest, store: Store) -> _Finding:
    try:
        path = store.path(manifest.base)
        n_threads = interruptible(lambda: _threads(path))
    except (ChecksumMismatch, ModelLoadError) as error:
        again = f"lumos-edge models rm {manifest.name} && lumos-edge models pull {manifest.name}"
        return _Finding(name, str(error), again)
    return _Finding(name, f"pulled; decodes fastest with n_threads = {n_threads}")


def _threads(path: Path) -> int:
    from lumos_edge.engine.binding import Model
    from lumos_edge.engine.threads import measured_speed

    model = Model(path)
    try:
        return measured_speed(model).n_threads
    finally:
        model.close()
