"""Servers of completions: the binding's own with the real model, and one that does what a test says."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[["Handler"], None]
"""What the server does with a request for a completion."""

IM_END = 256
IM_START = 257
BOS = 258
_CONTROLS = {"<|im_end|>": IM_END, "<|im_start|>": IM_START}
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<|im_start|>"


class ScriptedServer:
    """Speaks as llama-server ("llamacpp"), vLLM ("vllm") or any other owner's; a byte is a token."""

    def __init__(self, owner: str = "llamacpp", names: tuple[str, ...] = ("tiny",)) -> None:
        self.owner = owner
        self.names = names
        self.answers: list[Answer] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        handler = type("Handler", (Handler,), {"script": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def tokenize(self, request: dict[str, Any]) -> list[int]:
        """As llama-server and vLLM do: the one reads control tokens on demand, the other always."""
        is_vllm = self.owner == "vllm"
        text = request["prompt" if is_vllm else "content"]
        tokens = [BOS] if is_vllm and request["add_special_tokens"] else []
        while text:
            found = next((c for c in _CONTROLS if text.startswith(c)), None)
            if found and (is_vllm or request["parse_special"]):
                tokens.append(_CONTROLS[found])
                text = text.removeprefix(found)
            else:
                tokens += text[0].encode()
                text = text[1:]
        return tokens


class Handler(BaseHTTPRequestHandler):
    """One request."""

    script: ScriptedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.script.paths.append(self.path)
        self.script.keys.append(self.headers["Authorization"])
        if self.path == "/v1/models":
            names = self.script.names
            self.document({"data": [{"id": name, "owned_by": self.script.owner} for name in names]})
        elif self.path == "/props" and self.script.owner == "llamacpp":
            self.document({"chat_template": TEMPLATE, "bos_token": "", "eos_token": "<|im_end|>"})
        else:
            self.document({"error": {"message": "File Not Found"}}, 404)

    def do_POST(self) -> None:
        self.script.paths.append(self.path)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self.document({"tokens": self.script.tokenize(request)})
            return
        self.script.requests.append(request)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.script.answers.pop(0)(self)

    def document(self, data: Any, status: int = 200) -> None:
        self.reply(json.dumps(data).encode(), status)

    def reply(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, data: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def text(self, text: str, reason: str | None = None) -> None:
        self.event({"choices": [{"text": text, "finish_reason": reason}]})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def writes(text: str, reason: str = "stop", n_prompt: int = 7) -> Answer:
    """An answer as servers give them, a word at a time."""

    def answer(handler: Handler) -> None:
        handler.begin()
        words = text.split(" ")
        for index, word in enumerate(words):
            handler.text(word if index == 0 else f" {word}")
        handler.text("", reason)
        usage = {"prompt_tokens": n_prompt, "completion_tokens": len(words)}
        handler.event({"choices": [], "usage": usage})
        handler.wfile.write(b"data: [DONE]\n\n")

    return answer


@contextmanager
def binding_server(model: Path) -> Iterator[str]:
    """The address of `python -m llama_cpp.server` on that model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "nano"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--n_threads", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"{url}/v1/models", timeout=60).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()
