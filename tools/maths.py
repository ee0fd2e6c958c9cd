"""The maths actions of Agent Lumos, with the meaning they were meant to have: exact, offline, no WolframAlpha.

Source of names and interface texts: allenai/lumos at 146dd9d, eval/gsm/run_eval.py.
"""

from __future__ import annotations

from lumos_edge.maths.evaluation import evaluate
from lumos_edge.toolbox import (
    Calculation,
    Definition,
    Example,
    tool,
)
from lumos_edge.values import Boolean, Equation, Expression, Number, value_of


@tool(interface="Calculator(formula): Calculate the input formula")
def Calculator(formula: Calculation) -> Number | Expression | Equation | Boolean:
    return value_of(evaluate(formula))


@tool(interface="Define(variable/number): Define a variable or a number for latter usage")
def Define(definition: Definition) -> Number | Expression | Equation:
    return value_of(evaluate(definition))


EXAMPLES = (
    Example(
        "A baker made 36 rolls in the morning and a third as many in the afternoon. He sold 40 of them. "
        "How many rolls are left?",
        (
            ("Calculate the number of rolls made in the afternoon.", "R1 = Calculator(36 / 3)", "12"),
            ("Calculate the total number of rolls.", "R2 = Calculator(36 + R1)", "48"),
            ("Calculate the number of rolls left after 40 were sold.", "R3 = Calculator(R2 - 40)", "8"),
        ),
    ),
    Example(
        "A jacket costs $80 and is sold at 25% off. Nora buys 2 of them and pays with $150. "
        "How much change does she get?",
        (
            (
                "Calculate the price of a jacket after the discount.",
                "R1 = Calculator(80 * 25%); R2 = Calculator(80 - R1)",
                "60",
            ),
            ("Calculate the cost of 2 jackets.", "R3 = Calculator(2 * R2)", "120"),
            ("Calculate the change from $150.", "R4 = Calculator(150 - R3)", "30"),
        ),
    ),
)
