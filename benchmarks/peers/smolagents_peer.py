"""smolagents' `ToolCallingAgent` over the binding's own server, in this process so that its memory and tokens count."""

from __future__ import annotations

import socket
import sys
import threading
import time

import uvicorn
from common import COUNTER, MAX_STEPS, N_CTX, SYSTEM, answer_all
from llama_cpp.server.app import create_app
from llama_cpp.server.settings import ModelSettings, ServerSettings
from smolagents import ActionStep, LogLevel, OpenAIServerModel, ToolCallingAgent, tool


@tool
def calculator(expression: str) -> str:
    """Calculate an arithmetic expression.

    Args:
        expression: Numbers with + - * / and parentheses, such as 48 / 2 + 48.
    """
    return COUNTER.calculator(expression)


def _serve(model: str) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ModelSettings(
        model=model, model_alias="local", n_ctx=N_CTX, chat_format="chatml-function-calling", verbose=False
    )
    app = create_app(server_settings=ServerSettings(port=port), model_settings=[settings])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.1)
    return f"http://127.0.0.1:{port}/v1"


def main() -> None:
    """Answer the questions on stdin."""
    COUNTER.watch()
    # The server takes texts as messages, and of ways to choose a tool but this one a tool's name.
    model = OpenAIServerModel(
        model_id="local",
        api_base=_serve(sys.argv[1]),
        api_key="none",
        temperature=0.0,
        flatten_messages_as_text=True,
        tool_choice="auto",
    )

    def answer(question: str) -> str:
        agent = ToolCallingAgent(
            tools=[calculator],
            model=model,
            max_steps=MAX_STEPS,
            instructions=SYSTEM,
            verbosity_level=LogLevel.OFF,
        )
        text = agent.run(question)
        steps = [step for step in agent.memory.steps if isinstance(step, ActionStep)]
        COUNTER.n_failed += sum(step.error is not None for step in steps)
        return str(text)

    answer_all(answer)


if __name__ == "__main__":
    main()
