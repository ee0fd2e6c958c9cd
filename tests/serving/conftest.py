"""A real server on a free port, with an engine whose texts are given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Completion, Engine, Grammar, Prompt, Sampling
from lumos_edge.errors import Cancelled
from lumos_edge.serving.http import AgentServer
from lumos_edge.templates import LumosTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Module

TEXTS = {"planner": "Subgoal 1: Count the rows.", "grounder": "R1 = Calculator(3 * 40)"}


class Looping:
    """An engine that writes the same texts for every task, and can be told to wait before it does."""

    def __init__(self) -> None:
        self.texts = dict(TEXTS)
        self.questions: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.started = threading.Event()
        self.cancelled = threading.Event()

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        self.cancelled.clear()
        if module == "planner":
            self.questions.append("".join(piece for piece in prompt if isinstance(piece, str))[-200:].strip())
        self.started.set()
        while not self.go_on.wait(0.005):
            if self.cancelled.is_set():
                raise Cancelled("cancelled")
        text = self.texts[module]
        yield text
        return Completion(text, n_prompt=100, n_reused=80, n_completion=7)

    def cancel(self) -> None:
        self.cancelled.set()


def agent_on(engine: Engine, budget: Budget | None = None) -> Agent:
    template = LumosTemplate("train", "<s>", "</s>")
    return Agent(engine, template, template, Toolbox.of_packs(["maths"]), budget=budget)


Serve = Callable[..., AgentServer]


@pytest.fixture
def engine() -> Looping:
    return Looping()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(agent, token="...")`: a server of that agent, which is stopped and closed at the end."""
    with ExitStack() as stack:

        def start(agent: Agent, **options: Any) -> AgentServer:
            server = AgentServer(agent, "nano", **options)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(agent.close)
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server

        yield start
