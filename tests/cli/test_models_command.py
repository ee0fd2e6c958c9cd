"""`lumos-edge models`: answers on stdout, the rest on stderr, and the documented exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lumos_edge.resources import config_folder, content_folder, data_folder

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MANIFEST = f"""title = "Mine"
description = "a test"
formulation = "onetime"
template = "fewshot"
tools = ["maths"]
n_ctx = 2048

[base]
file = "mine.gguf"
file_type = "F16"
size_bytes = {len(CONTENT)}
sha256 = "{SHA256}"
licence = "MIT"
"""

if TYPE_CHECKING:
    from tests.conftest import Publisher

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run() -> Run:
    def run_models(
        *arguments: object, root_options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lumos_edge", *root_options, "models", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run_models


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's pack `mine`; returns a copy of its weights."""
    folder = config_folder() / "models"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(MANIFEST)
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    return own


def test_list_is_aligned_and_marks_the_default(run: Run) -> None:
    done = run("list")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].split() == ["name", "size", "file", "type", "state", "default", "description"]
    assert lines[1].split()[:6] == ["base", "1.12", "GB", "Q4_K_M", "not", "pulled"]
    assert len({line.index(word) for line, word in zip(lines[1:3], ("not", "not"), strict=True)}) == 1
    assert [line.split()[0] for line in lines if " * " in line] == ["base"]
    assert not any(line.endswith(" ") for line in lines)


def test_list_as_json_is_one_document(run: Run, mine: Path) -> None:
    run("pull", "mine", "--from", mine)
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows["mine"] == {
        "name": "mine",
        "size_bytes": 7000,
        "file_type": "F16",
        "state": "pulled",
        "default": False,
        "description": "a test",
    }
    assert rows["nano"]["state"] == "not pulled"
    assert (rows["lumos-maths-onetime-7b"]["state"], rows["base"]["default"]) == ("recipe", True)


def test_list_on_a_terminal_is_a_table() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lumos_edge", "models", "list"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = os.read(ours, 100_000)
        assert process.wait() == 0
    os.close(ours)
    assert b"\x1b[1m" in shown
    assert b"nano" in shown


def test_pull_prints_the_path_and_reports_on_stderr(run: Run, mine: Path) -> None:
    done = run("pull", "mine", "--from", mine)
    path = data_folder() / "models" / SHA256[:16] / "mine.gguf"
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert path.read_bytes() == CONTENT
    assert done.stderr.splitlines() == [
        f"pulling mine: {len(CONTENT):,} bytes",
        "pulling mine: complete",
    ]
    assert run("path", "mine").stdout == f"{path}\n"


def test_verify_says_what_was_compared_or_exits_3(run: Run, mine: Path) -> None:
    path = Path(run("pull", "mine", "--from", mine).stdout.strip())
    done = run("verify", "mine")
    assert (done.returncode, done.stdout) == (0, f"{path}: sha256 {SHA256}, as expected\n")
    path.write_bytes(CONTENT[::-1])
    done = run("verify", "mine")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"expected {SHA256}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("path", "nano"), 3, "pull it with `lumos-edge models pull nano`"),
        (("verify", "nano"), 3, "pull it with `lumos-edge models pull nano`"),
        (("show", "nanno"), 3, "did you mean nano?"),
        (("pull", "lumos-maths-onetime-7b"), 3, "has to be built first"),
        (("pull", "nano", "--from", "/no/such/file"), 2, "does not exist"),
        (("rm",), 2, "Missing argument"),
        (("default", "nanno"), 3, "did you mean nano?"),
    ],
)
def test_what_cannot_be_done_is_one_error_and_an_exit_code(
    run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_pulls_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("pull", "nano", root_options=("--offline",)).returncode == 3
    monkeypatch.setenv("LUMOS_EDGE_OFFLINE", "1")
    done = run("pull", "nano")
    assert (done.returncode, done.stdout) == (3, "")
    assert "offline: pulling SmolLM2-135M-Instruct.Q4_1.gguf needs the network" in done.stderr


def test_rm_says_what_it_freed(run: Run, mine: Path) -> None:
    run("pull", "mine", "--from", mine)
    assert run("rm", "mine").stdout == "mine.gguf: 7,000 bytes freed\n"
    assert run("rm", "mine").stdout == "mine.gguf: was not there\n"
    assert run("path", "mine").returncode == 3


def test_rm_keeps_what_another_pack_uses_until_that_is_named_too(run: Run, mine: Path) -> None:
    (config_folder() / "models" / "twin.toml").write_text(MANIFEST)
    run("pull", "mine", "--from", mine)
    assert run("rm", "mine").stdout == "mine.gguf: kept, twin uses it too\n"
    assert run("path", "twin").returncode == 0
    assert run("rm", "mine", "twin").stdout == "mine.gguf: 7,000 bytes freed\n"


def test_default_is_printed_and_changed(run: Run) -> None:
    assert run("default").stdout == "base\n"
    assert run("default", "nano").stdout == "nano\n"
    assert run("show").stdout.splitlines()[0].split() == ["name", "nano"]


def test_show_tells_the_facts_and_prints_the_manifest(run: Run) -> None:
    facts = dict(line.split(maxsplit=1) for line in run("show", "small").stdout.splitlines())
    assert facts["licence"] == "Apache-2.0"
    assert facts["size"] == "491,400,064 bytes"
    assert facts["planner"].startswith("template compact, adapter ")
    assert facts["planner"].endswith("maths-onetime.gguf")
    assert run("show", "small", "--manifest").stdout == (content_folder("models") / "small.toml").read_text()


def test_show_of_a_recipe_ends_with_its_commands(run: Run) -> None:
    shown = run("show", "lumos-unified-iterative-13b").stdout
    assert "ai2lumos/lumos_unified_plan_iterative-13B" in shown
    assert "2 x 26.0 GB" in shown
    assert shown.splitlines()[-1].startswith("  lumos-edge convert pack lumos-unified-iterative-13b ")


def test_ctrl_c_ends_a_pull_cleanly_and_keeps_what_has_arrived(mine: Path, publisher: Publisher) -> None:
    sha256 = hashlib.sha256(publisher.content).hexdigest()
    text = MANIFEST.replace(SHA256, sha256).replace(f"= {len(CONTENT)}", f"= {len(publisher.content)}")
    (config_folder() / "models" / "mine.toml").write_text(f'{text}url = "{publisher.url}"\n')
    publisher.pause_s = 0.1
    part = data_folder() / "models" / sha256[:16] / "mine.gguf.part"
    command = [sys.executable, "-m", "lumos_edge", "models", "pull", "mine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert errors.splitlines()[-1] == "lumos-edge: interrupted"
    assert part.stat().st_size
