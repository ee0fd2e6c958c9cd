"""Agents in asyncio programs: the loop goes on, cancelling the task cancels the run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import pytest

from lumos_edge.agent import Agent
from lumos_edge.asynchronous import run_async
from lumos_edge.engine import Completion, Engine, Grammar, Prompt, Sampling
from lumos_edge.errors import Cancelled, TooManySubgoals
from lumos_edge.templates import LumosTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Finished, Module, TextPiece
from tests.scripted import ScriptedEngine

LUMOS = LumosTemplate("train", "<s>", "</s>")


def agent(engine: Engine) -> Agent:
    return Agent(engine, LUMOS, LUMOS, Toolbox.of_packs(["maths"]))


class Endless:
    """An engine that writes until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        while not self.cancelled.wait(0.001):
            yield "more "
        raise Cancelled("cancelled")

    def cancel(self) -> None:
        self.cancelled.set()


def n_threads() -> int:
    return sum(thread.name == "lumos-edge run" for thread in threading.enumerate())


def test_events_arrive_and_the_loop_goes_on_meanwhile() -> None:
    async def main() -> tuple[list[type], int]:
        n_ticks = 0

        async def tick() -> None:
            nonlocal n_ticks
            while True:
                n_ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        engine = ScriptedEngine("Subgoal 1: Count.", "R1 = Calculator(3 * 40)")
        kinds = [type(event) async for event in run_async(agent(engine), "How many rows?")]
        ticking.cancel()
        return kinds, n_ticks

    kinds, n_ticks = asyncio.run(main())
    assert (kinds[0], kinds[-1]) == (TextPiece, Finished)
    assert n_ticks > 1
    assert n_threads() == 0


def test_cancelling_the_task_cancels_the_run() -> None:
    engine = Endless()

    async def main() -> None:
        async def read() -> None:
            async for _ in run_async(agent(engine), "How many rows?"):
                started.set()

        started = asyncio.Event()
        reading = asyncio.create_task(read())
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(main())
    assert engine.cancelled.is_set()
    assert n_threads() == 0


def test_leaving_the_loop_early_cancels_the_run() -> None:
    engine = Endless()

    async def main() -> None:
        events = run_async(agent(engine), "How many rows?")
        async for _ in events:
            break
        await events.aclose()

    asyncio.run(main())
    assert engine.cancelled.is_set()
    assert n_threads() == 0


def test_errors_are_raised_to_the_caller() -> None:
    failing = ScriptedEngine("Subgoal 1: Divide.", "R1 = Calculator(1 / 0)", "R1 = Calculator(2 / 0)")
    limited = agent(failing)
    limited.formulation = "iterative"
    limited.budget = type(limited.budget)(max_subgoals=1)

    async def main(task: str) -> list[object]:
        return [event async for event in run_async(limited, task)]

    with pytest.raises(TooManySubgoals):
        asyncio.run(main("Divide."))
    with pytest.raises(ValueError, match="the question is empty"):
        asyncio.run(main(" "))
