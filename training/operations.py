"""Subgoals that say how their result comes about: `Calculate the rent by multiplying the result of Subgoal 1 by 2.`

A small model plans too many steps, or the wrong ones, where it only names what each is to find: the operation and its
operands are the reasoning, and the planner's text is the only place for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lumos_edge.actions import parse_actions
from lumos_edge.maths.formula import Constant, Formula, Operation, Percent, Reference
from lumos_edge.maths.parser import parse
from lumos_edge.maths.printer import print_formula

_MAX_WORDS = 24

# What is done with the operands, with what a formula on the left has come to, and as a noun.
_DOING = {
    "+": ("adding {0} and {1}", "adding {1}", "the sum of {0} and {1}"),
    "-": ("subtracting {1} from {0}", "subtracting {1}", "{0} minus {1}"),
    "*": ("multiplying {0} by {1}", "multiplying by {1}", "{0} times {1}"),
    "/": ("dividing {0} by {1}", "dividing by {1}", "{0} divided by {1}"),
}


def explained(solution: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """A solution, each subgoal with its actions as text, whose subgoals of one calculation say what it does."""
    subgoals: dict[str, int] = {}
    found = []
    for number, (subgoal, text) in enumerate(solution, 1):
        actions = parse_actions(text)
        is_one = len(actions) == 1 and actions[0].tool == "Calculator"
        how = in_words(actions[0].arguments, subgoals) if is_one else ""
        found.append((f"{subgoal.removesuffix('.')} by {how}." if how else subgoal, text))
        subgoals |= {target: number for action in actions for target in action.targets}
    return tuple(found)


def in_words(text: str, subgoals: Mapping[str, int]) -> str:
    """What a formula does, each earlier result named by its subgoal; "" for what words would not make clearer."""
    formula = parse(text, "calculation")
    if not isinstance(formula, Operation) or not _is_arithmetic(formula, subgoals):
        return ""
    words = _doing(formula, subgoals)
    return words if len(words.split()) <= _MAX_WORDS else ""


def _is_arithmetic(formula: Formula, subgoals: Mapping[str, int]) -> bool:
    if isinstance(formula, Operation):
        is_known = formula.operator in _DOING
        return is_known and all(_is_arithmetic(part, subgoals) for part in (formula.left, formula.right))
    if isinstance(formula, Percent):
        return isinstance(formula.operand, Constant)
    return isinstance(formula, Constant) or (isinstance(formula, Reference) and formula.name in subgoals)


def _doing(formula: Operation, subgoals: Mapping[str, int]) -> str:
    both, further, _ = _DOING[formula.operator]
    same = list(_same_operands(formula))
    if len(same) > 2 and formula.operator in "+*":
        first, *middle, last = (_noun(part, subgoals) for part in same)
        joined = f"{first}, {', '.join(middle)} and {last}"
        return f"adding {joined}" if formula.operator == "+" else f"multiplying {joined}"
    right = _noun(formula.right, subgoals)
    if isinstance(formula.left, Operation) and not _is_fraction(formula.left):
        return f"{_doing(formula.left, subgoals)} and {further.format('', right)}"
    return both.format(_noun(formula.left, subgoals), right)


def _same_operands(formula: Formula, operator: str = "") -> Iterator[Formula]:
    """The operands of a chain of one operation: 2, 3 and 4 of `2 + 3 + 4`."""
    if isinstance(formula, Operation) and formula.operator == (operator or formula.operator):
        yield from _same_operands(formula.left, formula.operator)
        yield formula.right
    else:
        yield formula


def _noun(formula: Formula, subgoals: Mapping[str, int]) -> str:
    if isinstance(formula, Reference):
        return f"the result of Subgoal {subgoals[formula.name]}"
    if isinstance(formula, Operation) and not _is_fraction(formula):
        noun = _DOING[formula.operator][2]
        return noun.format(_noun(formula.left, subgoals), _noun(formula.right, subgoals))
    return print_formula(formula).replace(" ", "")


def _is_fraction(formula: Formula) -> bool:
    """Whether it reads as one number: 1/3, 20/100."""
    return (
        isinstance(formula, Operation)
        and formula.operator == "/"
        and isinstance(formula.left, Constant)
        and isinstance(formula.right, Constant)
    )
