"""`lumos-edge serve`: the process that other programs ask."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.cli.conftest import MODEL, Command, Start, error_line


@pytest.fixture
def serving(start: Start, tiny: Path, answers_42: None) -> tuple[subprocess.Popen[str], str]:
    """The running process and its address."""
    process = start("serve", *MODEL, tiny, "--port", "0")
    assert process.stderr is not None
    line = process.stderr.readline()
    match = re.fullmatch(r"tiny\.gguf at (http://127\.0\.0\.1:\d+/v1)\n", line)
    assert match, line
    return process, match[1]


def test_openais_client_gets_an_answer_and_ctrl_c_ends_the_process(
    serving: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = serving
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        messages: list[Any] = [{"role": "user", "content": "What is 2 + 3?"}]
        reply = client.chat.completions.create(model="tiny.gguf", messages=messages)
    assert reply.choices[0].message.content == "42"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "lumos-edge: interrupted\n")


def test_another_address_needs_a_token(run: Command, tiny: Path) -> None:
    done = run("serve", *MODEL, tiny, "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "0.0.0.0 can be reached from other machines: give a --token" in error_line(done)


def test_a_port_in_use_is_one_line(run: Command, tiny: Path, answers_42: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", *MODEL, tiny, "--port", port)
    assert done.returncode == 3
    assert f"cannot listen at 127.0.0.1, port {port}: " in error_line(done)


def test_stdio_is_json_alone_whatever_a_tool_prints(tiny: Path, tool_that: Any) -> None:
    tool_that("print('noise'); return Number(Fraction(42))")
    command = [sys.executable, "-m", "lumos_edge", "serve", "--stdio", *MODEL, str(tiny)]
    requests = [
        {"jsonrpc": "2.0", "id": 1, "method": "ask", "params": {"question": "What is 2 + 3?"}},
        {"jsonrpc": "2.0", "id": 2, "method": "model"},
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for request in requests:
            process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        replies: dict[int, Any] = {}
        while len(replies) < 2:
            message = json.loads(process.stdout.readline())
            if "id" in message:
                replies[message["id"]] = message["result"]
        out, errors = process.communicate(timeout=30)
    assert replies[1]["answer"] == "42"
    assert replies[2] == {"name": "tiny.gguf"}
    assert (process.returncode, out, set(errors.split())) == (0, b"", {b"noise"})
