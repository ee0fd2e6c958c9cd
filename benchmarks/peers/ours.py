"""lumos-edge itself: `ours.py MODEL onetime|iterative`. By examples: the base weights alone, as the peers have them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from common import COUNTER, LIMIT_S, MAX_STEPS, N_CTX, answer_all

from lumos_edge import Agent, Budget, BudgetExceeded, Trajectory
from lumos_edge.engine.recorded import Recorded, RecordingEngine


def count_actions(trajectory: Trajectory) -> None:
    """Actions are calls; those that did not parse, type-check or execute have failed."""
    for step in trajectory.steps:
        for attempt in step.attempts:
            COUNTER.n_calls += len(attempt.actions)
            COUNTER.n_failed += bool(attempt.error) + sum(bool(result.error) for result in attempt.results)


def _count_tokens(recorded: Recorded) -> None:
    completion = recorded.completion
    COUNTER.n_decoded += completion.n_completion
    COUNTER.n_evaluated += completion.n_prefilled + completion.n_completion


def main() -> None:
    """Answer the questions on stdin."""
    formulation: Any = sys.argv[2]
    budget = Budget(MAX_STEPS, timeout_s=LIMIT_S)
    opened = Agent.open(Path(sys.argv[1]), formulation=formulation, n_ctx=N_CTX, budget=budget)
    agent = opened.with_engine(RecordingEngine(opened.engine, _count_tokens))

    def answer(question: str) -> str:
        try:
            trajectory = agent.ask(question)
        except BudgetExceeded:
            return ""
        count_actions(trajectory)
        return "" if trajectory.answer is None else str(trajectory.answer)

    answer_all(answer, has_own_limit=True)
    opened.close()


if __name__ == "__main__":
    main()
