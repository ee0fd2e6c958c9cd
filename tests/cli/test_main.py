"""The command line as a whole: help, completion, exit codes, pipes that break."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lumos_edge import __version__
from tests.cli.conftest import MODEL, Command, Start, error_line

COMMANDS = (
    "ask",
    "batch",
    "bench",
    "chat",
    "completion",
    "convert",
    "doctor",
    "eval",
    "knowledge",
    "mcp",
    "models",
    "serve",
    "tools",
    "trace",
)


@pytest.fixture
def on_path(tmp_path: Path) -> str:
    """A PATH with a `lumos-edge` on it, as an installation has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "lumos-edge"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lumos_edge "$@"\n')
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_help_lists_every_command(run: Command) -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: lumos-edge [OPTIONS] COMMAND [ARGS]...")
    listed = done.stdout.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == list(COMMANDS)
    assert run("-h").stdout == done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Command, command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: lumos-edge {command} ")


def test_version(run: Command) -> None:
    assert run("--version").stdout == f"lumos-edge, version {__version__}\n"


def test_nothing_asked_for_is_the_help_and_exit_code_2(run: Command) -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("aks",), "No such command 'aks'"),
        (("ask",), "Missing argument 'QUESTION'"),
        (("completion", "ksh"), "'ksh' is not one of 'bash', 'zsh', 'fish'"),
        (("completion",), "Choose from: bash, zsh, fish"),
        (("trace", "show"), "Missing argument 'FILE'"),
        (("tools", "show", "maths", "more"), "unexpected extra argument (more)"),
        (("--verbose",), "No such option '--verbose'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    run: Command, arguments: tuple[str, ...], message: str
) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in error_line(done)
    assert done.stderr.endswith(" --help`)\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    for arguments in ("tools list", "models list --json", "tools show maths"):
        shell = f'"{sys.executable}" -m lumos_edge {arguments} | true; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
        # The pipe may also have taken everything before its reader went.
        assert done.stdout in (f"{128 + signal.SIGPIPE}\n", "0\n")
        assert done.stderr == ""


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lumos_edge", "tools", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "lumos-edge: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("module", ["click", "lumos_edge.engine.llama"])
def test_ctrl_c_while_modules_load_is_one_line(
    start: Start, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """The first is loaded by the main thread before any command runs, the second by the thread that loads models."""
    marker = tmp_path / "loading"
    slow = f"""
import sys, time
from importlib.abc import MetaPathFinder
from pathlib import Path

class Slow(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            Path({str(marker)!r}).touch()
            time.sleep(30)

sys.meta_path.insert(0, Slow())
"""
    (tmp_path / "sitecustomize.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = start("ask", *MODEL, tiny, "What is 2 + 3?")
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (130, "", "lumos-edge: interrupted\n")


def _completions_of(line: str, path: str) -> list[str]:
    """What bash proposes at the end of the line, with our script sourced as the help says."""
    shell = f"""
        eval "$(lumos-edge completion bash)"
        COMP_WORDS=({line}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        $(complete -p lumos-edge | sed 's/.*-F //; s/ .*//') lumos-edge
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_options(on_path: str) -> None:
    assert _completions_of("lumos-edge as", on_path) == ["ask"]
    assert _completions_of("lumos-edge models p", on_path) == ["path", "pull"]
    assert _completions_of("lumos-edge ask --max-s", on_path) == ["--max-subgoals"]
    assert _completions_of("lumos-edge ask --formulation it", on_path) == ["iterative"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script_that_names_our_command(run: Command, shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_LUMOS_EDGE_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)
