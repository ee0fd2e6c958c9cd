"""LangChain's `ChatLlamaCpp`: it can only be forced to one tool, so a call is forced, and its result put into words."""

from __future__ import annotations

import sys

from common import COUNTER, N_CTX, SYSTEM, answer_all
from langchain_community.chat_models import ChatLlamaCpp
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
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
        # As texts: with a call in a message its content is None, which chat templates fail on.
        for call in made.tool_calls:
            result = calculator.invoke(call["args"])
            messages += [AIMessage(f"calculator({call['args']})"), HumanMessage(f"The result is {result}.")]
        return str(llm.invoke(messages).content) if made.tool_calls else ""

    answer_all(answer)


if __name__ == "__main__":
    main()
