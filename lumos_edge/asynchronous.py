"""Agents in asyncio programs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator

from lumos_edge.agent import Agent
from lumos_edge.trajectory import Event, Task


async def run_async(agent: Agent, task: Task | str) -> AsyncGenerator[Event, None]:
    """The events of `agent.run(task)` for `async for`; the event loop goes on meanwhile.

    Cancelling the asyncio task, or closing this generator, cancels the run. Raises what `run` and its events raise.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
    run = agent.run(task)

    def read() -> None:
        end: Exception | None = None
        try:
            for event in run:
                loop.call_soon_threadsafe(arrived.put_nowait, event)
        except Exception as error:  # any: it is raised to the caller, in the other thread
            end = error
        loop.call_soon_threadsafe(arrived.put_nowait, end)

    thread = threading.Thread(target=read, name="lumos-edge run", daemon=True)
    thread.start()
    try:
        while (item := await arrived.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        run.cancel()
        await asyncio.to_thread(thread.join)
