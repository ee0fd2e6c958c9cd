"""llama-cpp-agent's `FunctionCallingAgent`, as its documentation's "Function calling agent" has it."""

# No `from __future__ import annotations`: it reads the annotations of tools as classes.
import sys

from common import COUNTER, N_CTX, SYSTEM, answer_all
from llama_cpp import Llama
from llama_cpp_agent import MessagesFormatterType
from llama_cpp_agent.function_calling import LlamaCppFunctionTool
from llama_cpp_agent.function_calling_agent import FunctionCallingAgent
from llama_cpp_agent.providers import LlamaCppPythonProvider


def calculator(expression: str) -> str:
    """
    Calculate an arithmetic expression.

    Args:
        expression (str): Numbers with + - * / and parentheses, such as 48 / 2 + 48.
    """
    return COUNTER.calculator(expression)


def main() -> None:
    """Answer the questions on stdin; a new agent for each, on the same weights."""
    COUNTER.watch()
    provider = LlamaCppPythonProvider(Llama(sys.argv[1], n_ctx=N_CTX, verbose=False))

    def answer(question: str) -> str:
        messages: list[str] = []
        agent = FunctionCallingAgent(
            provider,
            llama_cpp_function_tools=[LlamaCppFunctionTool(calculator)],
            messages_formatter_type=MessagesFormatterType.CHATML,
            send_message_to_user_callback=messages.append,
            system_prompt=SYSTEM,
        )
        settings = provider.get_provider_default_settings()
        settings.temperature = 0.0
        agent.generate_response(question, llm_sampling_settings=settings)
        return messages[-1] if messages else ""

    answer_all(answer)


if __name__ == "__main__":
    main()
