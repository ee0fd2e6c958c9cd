"""The loop of lumos-edge written with the binding's high-level API: `binding_gbnf.py MODEL`.

Same prompts, same grammars (as GBNF), one `Llama` for both modules, `create_completion` for each part.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import llama_cpp
from common import COUNTER, MAX_STEPS, N_CTX, answer_all
from ours import count_actions

from lumos_edge import Agent, Budget, BudgetExceeded
from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.gbnf import gbnf
from lumos_edge.trajectory import Module


class BindingEngine:
    """`Engine.complete` as a user of the binding would write it."""

    def __init__(self, model: str) -> None:
        self._llama = llama_cpp.Llama(model, n_ctx=N_CTX, verbose=False)

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """Part after part, until the grammar or the model ends."""
        before = "".join(piece if isinstance(piece, str) else piece.text for piece in prompt)
        text = ""
        while (lark := grammar(text)) is not None:
            made: Any = self._llama.create_completion(
                before + text,
                grammar=llama_cpp.LlamaGrammar.from_string(gbnf(lark), verbose=False),
                max_tokens=max_tokens,
                temperature=0.0,
            )
            text += made["choices"][0]["text"]
            yield made["choices"][0]["text"]
            if made["choices"][0]["finish_reason"] == "length" or not made["choices"][0]["text"]:
                break
        return Completion(text.rstrip("\n"))

    def cancel(self) -> None:
        """The binding cannot."""


def main() -> None:
    """Ask as lumos-edge does."""
    COUNTER.watch()
    with Agent.open(Path(sys.argv[1]), n_ctx=N_CTX, budget=Budget(MAX_STEPS)) as opened:
        templates = opened.planner_template, opened.grounder_template
        toolbox, budget = opened.toolbox, opened.budget
    agent = Agent(BindingEngine(sys.argv[1]), *templates, toolbox, formulation="onetime", budget=budget)

    def answer(question: str) -> str:
        try:
            trajectory = agent.ask(question)
        except BudgetExceeded:
            return ""
        count_actions(trajectory)
        return "" if trajectory.answer is None else str(trajectory.answer)

    answer_all(answer)


if __name__ == "__main__":
    main()
