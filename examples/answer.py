"""The smallest application: `python examples/answer.py PACK QUESTION`. CI freezes it with `pyinstaller`."""

from __future__ import annotations

import sys

from lumos_edge import Agent, BudgetExceeded, LumosError


def main() -> int:
    """Print the answer; exit code 0 answered, 1 not answered, 2 usage, 3 an error."""
    if len(sys.argv) != 3:
        print("usage: answer PACK QUESTION", file=sys.stderr)
        return 2
    try:
        with Agent.open(sys.argv[1]) as agent:
            trajectory = agent.ask(sys.argv[2])
    except BudgetExceeded as error:
        print(f"no answer: {error}", file=sys.stderr)
        return 1
    except LumosError as error:
        print(f"{error} {error.hint}", file=sys.stderr)
        return 3
    print(trajectory.answer if trajectory.answer is not None else f"no answer: {trajectory.message}")
    return 0 if trajectory.answer is not None else 1


if __name__ == "__main__":
    sys.exit(main())
