"""The maths actions of Agent Lumos, with the meaning they were meant to have: exact, offline, no WolframAlpha.

Source of names and interface texts: allenai/lumos at 146dd9d, eval/gsm/run_eval.py.
"""

from __future__ import annotations

from lumos_edge.errors import ToolError
from lumos_edge.maths.counting import count
from lumos_edge.maths.domain import domain_of
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Formula, Listing, Relation, Symbol, assign
from lumos_edge.maths.inequalities import solve_inequality
from lumos_edge.maths.solving import Solution, solve
from lumos_edge.toolbox import (
    Calculation,
    Context,
    Definition,
    Equations,
    Example,
    Inequality,
    ItemList,
    PseudoCode,
    tool,
)
from lumos_edge.values import Boolean, Equation, Expression, Interval, Items, Number, Value, value_of

# Solving has no bound of its own, and the user waits for it.
_TIMEOUT_S = 1.5


@tool(interface="Calculator(formula): Calculate the input formula", timeout_s=_TIMEOUT_S)
def Calculator(formula: Calculation) -> Number | Expression | Equation | Boolean:
    return value_of(evaluate(formula))  # type: ignore[return-value]


@tool(interface="SetEquation(equation): Set up an equation to be solved", timeout_s=_TIMEOUT_S)
def SetEquation(equations: Equations) -> Equation | Boolean:
    """What follows the first equation are assignments, `SetEquation(y = 2*x, x = 3)`."""
    equation, *assignments = _items(equations)
    value = value_of(evaluate(assign(equation, dict(map(_assignment, assignments)))))
    if not isinstance(value, (Equation, Boolean)):
        raise ToolError(f"an equation is needed, found {value}")
    return value


@tool(interface="SolveEquation(equation): Solve the previous set equation", timeout_s=_TIMEOUT_S)
def SolveEquation(equations: Equations, context: Context) -> tuple[Number | Expression | Items, ...]:
    """All real solutions that the question's words allow, in ascending order."""
    solutions = solve(_items(equations), domain_of(context.question))
    unknowns = list(dict.fromkeys(name for solution in solutions for name in solution))
    if context.n_targets == 1:
        return (_one_result(solutions, unknowns),)
    if any(len(solution) < len(unknowns) for solution in solutions):
        raise ToolError(f"some solutions leave an unknown open: {_one_result(solutions, unknowns)}")
    if len(unknowns) == 1:
        roots = tuple(value_of(solution[unknowns[0]]) for solution in solutions)
        if len(roots) != context.n_targets:
            raise ToolError(f"there are {len(roots)} roots for {context.n_targets} results")
        return roots  # type: ignore[return-value]
    if len(unknowns) != context.n_targets:
        raise ToolError(f"there are {len(unknowns)} unknowns for {context.n_targets} results")
    return tuple(_together([value_of(solution[name]) for solution in solutions]) for name in unknowns)


@tool(interface="Count(list): Count the number of elements in the given list", timeout_s=_TIMEOUT_S)
def Count(elements: ItemList) -> Number:
    return value_of(count(elements))  # type: ignore[arg-type, return-value]


@tool(interface="SolveInequality(inequality): Solve the previous set inequality", timeout_s=_TIMEOUT_S)
def SolveInequality(inequality: Inequality) -> Interval:
    return Interval(str(solve_inequality(inequality)))


@tool(
    interface="Code(pseudo_code): Generate a Python function that corresponds to the pseudo code",
    timeout_s=_TIMEOUT_S,
)
def Code(pseudo_code: PseudoCode) -> Number | Expression | Equation | Boolean:
    """Conditions and functions of the formula language; no program is ever made of it."""
    return value_of(evaluate(pseudo_code))  # type: ignore[return-value]


@tool(
    interface="Define(variable/number): Define a variable or a number for latter usage", timeout_s=_TIMEOUT_S
)
def Define(definition: Definition) -> Number | Expression | Equation | Boolean:
    return value_of(evaluate(definition))  # type: ignore[return-value]


def _items(formulas: Formula) -> tuple[Formula, ...]:
    items = formulas.items if isinstance(formulas, Listing) else (formulas,)
    return tuple(item for item in items if item is not None)


def _assignment(formula: Formula) -> tuple[str, Formula]:
    if isinstance(formula, Relation) and formula.operator == "=" and isinstance(formula.left, Symbol):
        return formula.left.name, formula.right
    raise ToolError("after the equation an assignment such as x = 3 is needed")


def _one_result(solutions: tuple[Solution, ...], unknowns: list[str]) -> Number | Expression | Items:
    """The roots of one unknown, or of several unknowns the equations `x = 2, y = 3`."""
    if len(unknowns) == 1:
        return _together([value_of(solution[unknowns[0]]) for solution in solutions])
    equations = [Equation(Symbol(name), value) for solution in solutions for name, value in solution.items()]
    return Items(tuple(equations))


def _together(values: list[Value]) -> Number | Expression | Items:
    return values[0] if len(values) == 1 else Items(tuple(values))  # type: ignore[return-value]


# The subgoals say how each result comes about, in words: a small model's plan is its only reasoning.
EXAMPLES = (
    Example(
        "A baker made 36 rolls in the morning and a third as many in the afternoon. He sold 40 of them. "
        "How many rolls are left?",
        (
            (
                "Calculate the rolls made in the afternoon by dividing the 36 of the morning by 3.",
                "R1 = Calculator(36 / 3)",
                "12",
            ),
            (
                "Calculate all the rolls by adding the 36 of the morning and those of the afternoon.",
                "R2 = Calculator(36 + R1)",
                "48",
            ),
            (
                "Calculate the rolls left by subtracting the 40 sold from all the rolls.",
                "R3 = Calculator(R2 - 40)",
                "8",
            ),
        ),
    ),
    Example(
        "A jacket costs $80 and is sold at 25% off. Nora buys 2 of them and pays with $150. "
        "How much change does she get?",
        (
            ("Calculate the discount on a jacket, 25% of $80.", "R1 = Calculator(80 * 25%)", "20"),
            (
                "Calculate the price of a jacket by subtracting the discount from $80.",
                "R2 = Calculator(80 - R1)",
                "60",
            ),
            (
                "Calculate the cost of 2 jackets by multiplying the price of a jacket by 2.",
                "R3 = Calculator(2 * R2)",
                "120",
            ),
            (
                "Calculate the change by subtracting the cost of 2 jackets from $150.",
                "R4 = Calculator(150 - R3)",
                "30",
            ),
        ),
    ),
    Example(
        "Tom reads 15 pages in 30 minutes. How many hours does he need for a book of 240 pages?",
        (
            (
                "Calculate the minutes for one page by dividing 30 minutes by 15 pages.",
                "R1 = Calculator(30 / 15)",
                "2",
            ),
            (
                "Calculate the minutes for the book by multiplying the minutes for one page by 240 pages.",
                "R2 = Calculator(R1 * 240)",
                "480",
            ),
            (
                "Calculate the hours by dividing the minutes for the book by 60.",
                "R3 = Calculator(R2 / 60)",
                "8",
            ),
        ),
    ),
    Example(
        "A farmer has 90 kg of apples. He sells 2/5 of them, gives half of the rest away, and fills boxes of 9 kg with "
        "what he keeps. How many boxes does he fill?",
        (
            ("Calculate the apples sold, 2/5 of 90 kg.", "R1 = Calculator(90 * 2 / 5)", "36"),
            (
                "Calculate the rest by subtracting the apples sold from 90 kg.",
                "R2 = Calculator(90 - R1)",
                "54",
            ),
            ("Calculate the apples given away, half of the rest.", "R3 = Calculator(R2 / 2)", "27"),
            (
                "Calculate the apples kept by subtracting the apples given away from the rest.",
                "R4 = Calculator(R2 - R3)",
                "27",
            ),
            (
                "Calculate the boxes by dividing the apples kept by 9 kg.",
                "R5 = Calculator(R4 / 9)",
                "3",
            ),
        ),
    ),
    Example(
        "Mia buys a book for $12 and spends half of the money that she has left on a bag. Then she has $9. "
        "How much money did she have at first?",
        (
            (
                "Calculate the money before she bought the bag by multiplying $9 by 2.",
                "R1 = Calculator(9 * 2)",
                "18",
            ),
            (
                "Calculate the money at first by adding the $12 of the book to the money before she bought the bag.",
                "R2 = Calculator(R1 + 12)",
                "30",
            ),
        ),
    ),
    Example(
        "Lena is 4 times as old as her son. In 6 years she will be 3 times as old as him. How old is Lena?",
        (
            (
                "Set up and solve the equation for the son's age x, with their ages in 6 years.",
                "R1 = SolveEquation(4 * x + 6 = 3 * (x + 6))",
                "12",
            ),
            ("Calculate Lena's age by multiplying the son's age by 4.", "R2 = Calculator(4 * R1)", "48"),
        ),
    ),
)
