"""`lumos-edge convert ...` from the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from lumos_edge.cli.convert import command, only_writer
from lumos_edge.errors import ConversionError
from lumos_edge.resources import config_folder, content_folder
from tests.conversion.checkpoints import (
    add_sentencepiece,
    config,
    weights,
    write_checkpoint,
    write_safetensors,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder), hidden_size=256, head_dim=64, intermediate_size=512)
    return write_checkpoint(folder, settings, weights(settings), dtype="BF16")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    root = content_folder("convert").parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def fields(path: Path) -> dict[str, object]:
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def test_the_help_names_every_conversion_without_running_one() -> None:
    files = sorted(path.stem for path in content_folder("convert").glob("*.py"))
    shown = run("--help").output
    assert files
    assert all(f"  {name} " in shown for name in files)


def test_a_checkpoint_becomes_a_model_with_its_module(checkpoint: Path, tmp_path: Path) -> None:
    module = ("--module", "planner", "--formulation", "iterative", "--template", "lumos", "--tools", "maths")
    result = run("hf", checkpoint, "-o", tmp_path / "model.gguf", *module)
    assert (result.exit_code, result.stdout) == (0, "")
    found = fields(tmp_path / "model.gguf")
    assert [found[f"lumos.{key}"] for key in ("module", "formulation", "template")] == [
        "planner",
        "iterative",
        "lumos",
    ]
    assert found["general.file_type"] == int(gguf.LlamaFileType.MOSTLY_F16)


def test_a_quantized_type_leaves_no_intermediate_file(checkpoint: Path, tmp_path: Path) -> None:
    assert run("hf", checkpoint, "-o", tmp_path / "model.gguf", "--type", "Q4_K_M").exit_code == 0
    assert fields(tmp_path / "model.gguf")["general.file_type"] == int(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["model.gguf"]


def test_quantizing_in_two_steps_gives_the_same_tensors(checkpoint: Path, tmp_path: Path) -> None:
    run("hf", checkpoint, "-o", tmp_path / "one.gguf", "--type", "Q4_K_M")
    run("hf", checkpoint, "-o", tmp_path / "dense.gguf", "--type", "bf16")
    run(
        "quantize",
        tmp_path / "dense.gguf",
        "-o",
        tmp_path / "two.gguf",
        "--type",
        "Q4_K_M",
        "--buffer-mib",
        "1",
    )
    one, two = (
        {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(tmp_path / name).tensors}
        for name in ("one.gguf", "two.gguf")
    )
    assert one == two


def test_a_dry_run_prints_the_plan_and_writes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    result = run("hf", checkpoint, "-o", tmp_path / "model.gguf", "--dry-run")
    assert "blk.1.attn_q.weight" in result.stdout
    assert result.stdout.splitlines()[-2].startswith("21 tensors, ")
    assert not (tmp_path / "model.gguf").exists()


def test_a_dry_run_names_the_peak_memory_which_for_a_quantized_type_is_the_buffer(
    checkpoint: Path, tmp_path: Path
) -> None:
    found = []
    for type_name in ("f16", "Q4_K_M"):
        result = run("hf", checkpoint, "-o", tmp_path / "model.gguf", "--type", type_name, "--dry-run")
        found.append(result.stdout.splitlines()[-1])
    largest = 512 * 256 * 32  # of the feed-forward network: elements, and bytes for each
    assert found[0].startswith(f"peak memory: {largest:,} bytes of values, ")
    assert found[1].startswith(f"peak memory: {256 << 20:,} bytes of values, ")


def test_a_dry_run_of_quantizing_names_its_buffer(checkpoint: Path, tmp_path: Path) -> None:
    run("hf", checkpoint, "-o", tmp_path / "dense.gguf")
    arguments = ("quantize", tmp_path / "dense.gguf", "-o", tmp_path / "small.gguf", "--buffer-mib", "3")
    assert f"peak memory: {3 << 20:,} bytes" in run(*arguments, "--dry-run").stdout


@pytest.mark.parametrize("type_name", ["f16", "Q4_K_M"])
def test_a_conversion_waits_for_another_one_to_the_same_file(
    checkpoint: Path, tmp_path: Path, type_name: str
) -> None:
    output = tmp_path / "model.gguf"
    arguments = ["-m", "lumos_edge", "convert", "hf", str(checkpoint), "-o", str(output), "--type", type_name]
    environment = {**os.environ, "PYTHONPATH": str(content_folder("convert").parent)}
    with only_writer(output):
        second = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert second.stderr is not None
        while "waiting" not in (line := second.stderr.readline()):
            assert line, "it ended without waiting"
        assert line == f"waiting for another conversion to {output}\n"
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == []
    _, rest = second.communicate()
    assert (second.returncode, rest) == (0, f"{output}: {output.stat().st_size:,} bytes\n")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["model.gguf"]


def test_an_adapter_is_converted_for_its_base(checkpoint: Path, tmp_path: Path) -> None:
    run("hf", checkpoint, "-o", tmp_path / "base.gguf")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    halves = {"A": np.ones((4, 256), np.float32), "B": np.ones((256, 4), np.float32)}
    write_safetensors(
        adapter / "adapter_model.safetensors", {f"{name}.lora_{half}.weight": a for half, a in halves.items()}
    )
    result = run(
        "lora", adapter, "--base", tmp_path / "base.gguf", "-o", tmp_path / "a.gguf", "--module", "grounder"
    )
    assert result.exit_code == 0
    assert fields(tmp_path / "a.gguf")["lumos.module"] == "grounder"


def test_a_file_of_the_users_is_a_conversion_too() -> None:
    folder = config_folder() / "convert"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(
        '"""My own conversion."""\nimport click\n\n\n@click.command()\ndef command():\n    click.echo("ran")\n'
    )
    assert "My own conversion." in run("--help").output
    assert run("mine").output == "ran\n"


@pytest.mark.parametrize(
    ("package", "install"), [("no_such_package", "no_such_package"), ("torch", r"'lumos-edge\[train\]'")]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, install: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    folder = config_folder() / "convert"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(f"import {package}\n")
    with pytest.raises(ConversionError, match=f"needs the Python package {package}: pip install {install}$"):
        run("mine")


def test_a_file_is_a_program_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    script = content_folder("convert") / "hf.py"
    done = run_process(script, checkpoint, "-o", tmp_path / "model.gguf")
    assert (done.returncode, done.stdout) == (0, "")
    size = (tmp_path / "model.gguf").stat().st_size
    assert done.stderr.splitlines()[-1] == f"{tmp_path / 'model.gguf'}: {size:,} bytes"
    again = run_process(script, checkpoint, "-o", tmp_path / "model.gguf")
    assert again.returncode == 3
    assert again.stderr.startswith(f"lumos-edge: {tmp_path / 'model.gguf'} exists (")
    assert again.stderr.count("\n") == 1


@pytest.fixture
def large_checkpoint(tmp_path: Path) -> Path:
    """Writing it takes long enough for a kill in the middle."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    settings = config(
        "llama", add_sentencepiece(folder), hidden_size=1024, head_dim=256, intermediate_size=4096
    )
    write_checkpoint(folder, settings | {"num_hidden_layers": 2}, weights(settings))
    return folder


def tuned(checkpoint: Path, folder: Path) -> Path:
    """The same checkpoint with other weights."""
    shutil.copytree(checkpoint, folder)
    settings = json.loads((folder / "config.json").read_text())
    write_checkpoint(folder, settings, weights(settings, 1))
    return folder


@pytest.mark.parametrize("conversion", ["hf", "quantize", "diff"])
def test_a_killed_conversion_is_started_afresh(
    tmp_path: Path, large_checkpoint: Path, conversion: str
) -> None:
    output = tmp_path / "out" / "model.gguf"
    output.parent.mkdir()
    if conversion == "hf":
        inputs = [large_checkpoint, "--type", "q8_0"]
    elif conversion == "quantize":
        assert run("hf", large_checkpoint, "-o", tmp_path / "base.gguf").exit_code == 0
        inputs = [tmp_path / "base.gguf", "--type", "Q4_K_M"]
    else:
        inputs = [tuned(large_checkpoint, tmp_path / "tuned"), "--base", large_checkpoint, "--rank", "4"]
    arguments = ["-m", "lumos_edge", "convert", conversion, *map(str, inputs), "-o", str(output)]
    while not killed_while_writing(output, arguments):
        output.unlink()  # it was through before the kill
    assert not output.exists()
    assert run_process(*arguments).returncode == 0
    assert [path.name for path in output.parent.iterdir()] == ["model.gguf"]


def killed_while_writing(output: Path, arguments: list[str]) -> bool:
    """Run a conversion and kill it as soon as it writes; whether that was in time."""
    environment = {**os.environ, "PYTHONPATH": str(content_folder("convert").parent)}
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    while not (output.parent / f".{output.name}.partial").exists() and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    return process.wait() == -signal.SIGKILL
