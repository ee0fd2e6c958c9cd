"""`lumos-edge doctor`: what there is, and the exact command that mends what is not."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from lumos_edge.engine import PINNED_BINDING
from lumos_edge.resources import config_folder, content_folder, data_folder
from tests.cli.conftest import Command, error_line


@pytest.fixture
def pulled(run: Command, tiny: Path) -> Path:
    """The weights of a pack `own` of this user's, in the store."""
    size, sha256 = tiny.stat().st_size, hashlib.sha256(tiny.read_bytes()).hexdigest()
    text = (content_folder("models") / "nano.toml").read_text().partition("[[base.parts]]")[0]
    text = re.sub(r"size_bytes = \S+", f"size_bytes = {size}", text)
    text = re.sub(r'sha256 = "\w+"', f'sha256 = "{sha256}"', text)
    folder = config_folder() / "models"
    folder.mkdir(parents=True)
    (folder / "own.toml").write_text(text)
    return Path(run("models", "pull", "own", "--from", tiny).stdout.strip())


def _package(folder: Path, name: str, version: str, source: str) -> None:
    """A package that is found before the installed one when `folder` is on PYTHONPATH."""
    (folder / name.replace("-", "_")).mkdir(parents=True)
    (folder / f"{name.replace('-', '_')}-{version}.dist-info").mkdir()
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "llama_cpp").mkdir(exist_ok=True)
    (folder / "llama_cpp" / "__init__.py").write_text(source)


@pytest.mark.usefixtures("pulled")
def test_a_sound_machine_is_exit_code_0(run: Command) -> None:
    done = run("doctor")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith("ok   ") for line in lines)
    found = dict(line[5:].split(": ", 1) for line in lines)
    assert found["llama-cpp-python"].startswith(f"{PINNED_BINDING}, ")
    assert re.fullmatch(rf"{os.cpu_count()} cores; (\w+ ?)+", found["processor"])
    assert re.fullmatch(r"[\d.]+ GiB", found["memory"])
    assert re.fullmatch(r"pulled; decodes fastest with n_threads = [1-9]\d*", found["pack own"])
    assert found["pack base (default)"] == "not pulled; `ask` pulls it on first use"


@pytest.mark.usefixtures("pulled")
@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise OSError('libllama.so: cannot open')", "OSError: libllama.so: cannot open"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "signal 4"),
    ],
)
def test_a_binding_that_does_not_start_is_built_anew(
    run: Command, tmp_path: Path, source: str, cause: str
) -> None:
    _package(tmp_path / "fake", "llama-cpp-python", PINNED_BINDING, source)
    done = run("doctor", PYTHONPATH=str(tmp_path / "fake"))
    pip = f'{sys.executable} -m pip install "llama-cpp-python=={PINNED_BINDING}"'
    assert (done.returncode, done.stderr) == (3, "")
    assert (
        f"FIX  llama-cpp-python: {PINNED_BINDING} does not start on this processor ({cause})" in done.stdout
    )
    assert f"     {pip} --force-reinstall --no-cache-dir --no-binary llama-cpp-python\n" in done.stdout
    assert "ok   pack own: pulled\n" in done.stdout


def test_a_binding_of_another_version_is_replaced(run: Command, tmp_path: Path) -> None:
    _package(tmp_path / "fake", "llama-cpp-python", "0.2.90", "")
    done = run("doctor", PYTHONPATH=str(tmp_path / "fake"))
    assert done.returncode == 3
    assert f"FIX  llama-cpp-python: 0.2.90, {PINNED_BINDING} is needed\n" in done.stdout
    assert f'     {sys.executable} -m pip install "llama-cpp-python=={PINNED_BINDING}"\n' in done.stdout


def test_weights_that_were_damaged_are_pulled_again(run: Command, pulled: Path) -> None:
    fix = "     lumos-edge models rm own && lumos-edge models pull own\n"
    pulled.write_bytes(b"GGUF" + bytes(pulled.stat().st_size - 4))
    done = run("doctor")
    assert (done.returncode, done.stderr) == (3, "")
    assert "FIX  pack own: " in done.stdout
    assert fix in done.stdout
    pulled.write_bytes(b"GGUF")
    done = run("doctor")
    assert done.returncode == 3
    assert "has 4 bytes, expected" in done.stdout
    assert fix in done.stdout


def test_a_data_folder_that_cannot_be_written_is_named(run: Command) -> None:
    shutil.rmtree(data_folder(), ignore_errors=True)
    data_folder().parent.mkdir(parents=True)
    data_folder().write_text("a file where a folder should be")
    done = run("doctor")
    assert done.returncode == 3
    assert f"FIX  weights: {data_folder()} cannot be written\n" in done.stdout
    assert "     set LUMOS_EDGE_HOME to a folder that can\n" in done.stdout


def test_a_manifest_that_does_not_parse_is_one_line(run: Command) -> None:
    folder = config_folder() / "models"
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_text("title = \n")
    done = run("doctor")
    assert done.returncode == 3
    assert "broken.toml" in error_line(done)
