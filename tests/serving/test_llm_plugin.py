"""The plugin in the real command line of `llm`, on the real 135M model."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import llm
import pytest

QUESTION = "Tom has 3 apples and buys 4 more. How many apples does he have?"


def run_llm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`llm ...` with its settings and logs in that folder."""
    environment = {**os.environ, "LLM_USER_PATH": str(folder), "LUMOS_EDGE_OFFLINE": "1"}
    command = [sys.executable, "-m", "llm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_packs_are_models(tmp_path: Path) -> None:
    done = run_llm(tmp_path, "models", "list", "-q", "lumos-edge", "--options")
    listed = {line.split(": ")[1] for line in done.stdout.splitlines() if line.startswith("PackModel")}
    assert {"lumos-edge/base", "lumos-edge/nano", "lumos-edge/small"} <= listed
    assert "formulation: str" in done.stdout


@pytest.mark.model
def test_the_answer_is_on_stdout_the_steps_are_reasoning_and_both_are_logged(
    tmp_path: Path, nano_path: Path
) -> None:
    done = run_llm(tmp_path, "-m", "lumos-edge/nano", QUESTION)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert "Subgoal 1: " in done.stderr
    assert "R1 = Calculator(" in done.stderr
    quiet = run_llm(tmp_path, "-m", "lumos-edge/nano", "--hide-reasoning", "--no-stream", QUESTION)
    assert (quiet.stdout, quiet.stderr) == ("7\n", "")
    logged = json.loads(run_llm(tmp_path, "logs", "--json", "-n", "1").stdout)[0]
    assert logged["response"] == "7"
    assert logged["output_tokens"] > 0
    again = run_llm(tmp_path, "-c", "and 2 more?")
    assert again.returncode == 1
    assert "does not support conversations" in again.stderr


@pytest.mark.model
@pytest.mark.filterwarnings("ignore:the adapters were not trained:UserWarning")
def test_the_formulation_is_an_option(nano_path: Path) -> None:
    response = llm.get_model("lumos-edge/nano").prompt(QUESTION, formulation="iterative")
    with contextlib.suppress(
        llm.ModelError
    ):  # its adapter was trained for the other one: any answer is chance
        list(response)
    assert response.response_json is not None
    assert response.response_json["formulation"] == "iterative"
    assert response.output_tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "lumos-edge/nano", "-s", "Be brief.", QUESTION],
            "takes a question alone, and no system prompt",
        ),
        (["-m", "lumos-edge/nano", "-o", "formulation", "twice", QUESTION], "'iterative' or 'onetime'"),
        (["-m", "lumos-edge/none", QUESTION], "Unknown model: lumos-edge/none"),
    ],
)
def test_bad_input_is_one_error(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_llm(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pack_that_is_not_pulled_says_how_to_pull_it(tmp_path: Path) -> None:
    done = run_llm(tmp_path, "-m", "lumos-edge/nano", QUESTION)
    assert done.returncode == 1
    assert "lumos-edge models pull nano" in done.stderr
