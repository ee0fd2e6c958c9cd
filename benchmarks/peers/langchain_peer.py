"""LangChain's `ChatLlamaCpp`: it can only be forced to one tool, so a call is forced, and its result put into words."""

from __future__ import annotations

import sys

from common import COUNTER, MAX_STEPS, N_CTX, SYSTEM, answer_all
from langchain_community.chat_models import ChatLlamaCpp
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool


@tool
def calculator(expression: str) -> str:
    """Calculate an arithmetic expression of numbers with + - * / and parentheses, such as 48 / 2 + 48."""
    return COUNTER.calculator(expression)


def main() -> None:
    """Answer the questions on stdin."""
    COUNTER.watch()
    llm = ChatLlamaCpp(
        model_path=sys.argv[1], n_ctx=N_CTX, temperature=0.0, max_tokens=256, n_batch=512, verbose=False
    )
    choice = {"type": "function", "function": {"name": "calculator"}}
    forced = llm.bind_tools([calculator], tool_choice=choice)

    def answer(question: str) -> str:
        messages = [SystemMessage(SYSTEM), HumanMessage(question)]
        made = forced.invoke(messages)
        assert isinstance(made, AIMessage)
        COUNTER.n_failed += len(made.invalid_tool_calls)
        messages.append(made)
        for call in made.tool_calls[:MAX_STEPS]:
            messages.append(ToolMessage(calculator.invoke(call["args"]), tool_call_id=call["id"]))
        return str(llm.invoke(messages).content)

    answer_all(answer)


if __name__ == "__main__":
    main()
