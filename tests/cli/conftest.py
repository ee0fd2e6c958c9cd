"""The real command in a process of its own, on tiny weights whose answers depend on the tools alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lumos_edge.resources import config_folder
from tests.engine.tiny import write_bpe_model

MODEL = ("--n-threads", "1", "--model")
"""What comes before the path of tiny weights: measuring threads would take longer than the run."""

CHAT_TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""

TOOLS = """
import time
from typing import Literal

from lumos_edge.errors import ToolError
from lumos_edge.toolbox import tool
from lumos_edge.values import Number
from fractions import Fraction


@tool(timeout_s=60)
def Act(word: Literal["now"]) -> Number:
    "Act"
"""

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose texts are nonsense within their grammar."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return write_bpe_model(path, chat_template=CHAT_TEMPLATE, n_ctx=8192)


@pytest.fixture
def tool_that() -> Callable[[str], None]:
    """`tool_that("return Number(...)")`: the only tool of this user does that, instead of the maths tools."""

    def write(body: str) -> None:
        folder = config_folder() / "tools"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "maths.py").write_text(f"{TOOLS}    {body}\n")

    return write


@pytest.fixture
def answers_its_packs() -> None:
    """Instead of the tools for knowledge there is one that answers with the names of the packs it searches."""
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    (folder / "qa.py").write_text(
        "from typing import Literal\n"
        "from lumos_edge.knowledge.library import Library\n"
        "from lumos_edge.toolbox import tool\n"
        "from lumos_edge.values import Answer\n"
        "@tool\n"
        'def Look(word: Literal["now"], library: Library) -> Answer:\n'
        '    "Look"\n'
        '    packs = {passage.pack for passage in library.search("Caesar", 9)}\n'
        '    return Answer(" ".join(sorted(packs)), "?")\n'
    )


@pytest.fixture
def answers_42(tool_that: Callable[[str], None]) -> None:
    """Whatever the model writes, the answer is 42."""
    tool_that("return Number(Fraction(42))")


@pytest.fixture
def run() -> Command:
    """`run("ask", ..., root=("--offline",), input="...", PATH="...")`: the command with arguments and environment."""

    def run_command(
        *arguments: object, root: tuple[str, ...] = (), input: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lumos_edge", *root, *map(str, arguments)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )

    return run_command


@pytest.fixture
def start() -> Iterator[Start]:
    """The command, running; it is killed at the end if it still runs."""
    with ExitStack() as stack:

        def start_command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "lumos_edge", *map(str, arguments)]
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start_command


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr; fails when there is another."""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("lumos-edge: "), done.stderr
    return done.stderr
