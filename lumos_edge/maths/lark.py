"""The grammar of formulas that a model may write, as Lark text for llguidance: a subset of what `parser.py` reads.

llguidance's lexer takes the longest lexeme and never goes back. So no lexeme here begins with what may follow
another one: gaps belong to the operator, `(` to the name of a function, and a pair of letters is never the
beginning of a name that no `(` follows. What stands behind a formula must not begin with a letter, a digit, a
space, `.`, `%` or `(`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lumos_edge.maths.formula import FUNCTIONS

N_LEVELS: Final = 5
"""Brackets inside each other."""

# With these bounds a tree has less than 100 of its 200 levels, and 22 of the parser's 40 nested ones. Letters
# that begin `if`, `ln`, `of` and `or` begin no pair, and R no symbol.
_TERMINALS: Final = r"""
calculation: maths_sum (MATHS_RELATION maths_sum)?
definition: calculation
inequality: maths_sum MATHS_ORDER maths_sum{or_reference}
equations: maths_equation (", " maths_equation){{0,3}}
maths_equation: maths_sum MATHS_EQUALS maths_sum{or_reference}
listing: maths_sum (", " maths_sum){{0,15}} (", ..." (", " maths_sum)?)?
code: calculation | "If " calculation ", " maths_branch ", " maths_branch
maths_branch: calculation | "If " calculation ", " calculation ", " calculation
maths_sum: maths_sum_{top}
MATHS_NUMBER: /(0|[1-9][0-9]{{0,11}})(\.[0-9]{{1,6}})?/
MATHS_SYMBOL: /[a-zA-QS-Z]/
MATHS_PAIR: /[a-hjkmnp-z][a-z]/
MATHS_ADD: / ?[+\-] ?/
MATHS_MULTIPLY: / ?[*\/] ?| % /
MATHS_POWER: / ?\^ ?/
MATHS_EQUALS: / ?= ?/
MATHS_ORDER: / ?(<|<=|>|>=) ?/
MATHS_RELATION: / ?(=|==|!=|<|<=|>|>=) ?/
MATHS_OF_ONE: /({of_one})\(/
MATHS_OF_TWO: /({of_two})\(/
MATHS_OF_MANY: /({of_many})\(/
"""

_LEVEL: Final = """
maths_sum_{level}: "-"? maths_product_{level} (MATHS_ADD maths_product_{level}){{0,7}}
maths_product_{level}: maths_power_{level} (MATHS_MULTIPLY maths_power_{level}){{0,5}}
maths_power_{level}: maths_operand_{level} (MATHS_POWER "-"? maths_operand_{level})?
"""

_BRACKETS: Final = """
maths_operand_{level}: maths_leaf | "(" maths_sum_{inner} ")" | maths_call_{level}
maths_call_{level}: MATHS_OF_ONE maths_sum_{inner} ")"
  | MATHS_OF_TWO maths_sum_{inner} ", " maths_sum_{inner} ")"
  | MATHS_OF_MANY maths_sum_{inner} (", " maths_sum_{inner}){{1,3}} ")"
"""

_APPLICATION: Final = """  | MATHS_REFERENCE "(" maths_argument_{level} (", " maths_argument_{level}){{0,3}} ")"
maths_argument_{level}: (MATHS_SYMBOL "=")? maths_sum_{inner}
"""


def lark_rules(references: Sequence[str]) -> str:
    """Lark rules named as the categories of `parser.Start`, for formulas over the given results.

    Every text they generate parses in its category and refers to none but `references`; one operator has at
    most one space on each side, a comma exactly one behind it, and there is no line break. All internal names
    begin with `maths_`. llguidance compiles the rules in about 2 ms.
    """
    or_reference = " | MATHS_REFERENCE" if references else ""
    rules = [
        _TERMINALS.format(
            top=N_LEVELS,
            or_reference=or_reference,
            of_one="|".join(name for name, (least, _) in FUNCTIONS.items() if least == 1),
            of_two="|".join(name for name, arity in FUNCTIONS.items() if arity == (2, 2)),
            of_many="|".join(name for name, arity in FUNCTIONS.items() if arity == (2, None)),
        ),
        f'maths_leaf: MATHS_NUMBER (MATHS_SYMBOL | MATHS_PAIR | "%")? | MATHS_SYMBOL | MATHS_PAIR{or_reference}',
    ]
    if references:
        numbers = "|".join(name.removeprefix("R") for name in references)
        rules.append(f"MATHS_REFERENCE: /R({numbers})/")
    for level in range(N_LEVELS + 1):
        rules.append(_LEVEL.format(level=level))
        if level == 0:
            rules.append("maths_operand_0: maths_leaf")
            continue
        rules.append(_BRACKETS.format(level=level, inner=level - 1).rstrip("\n"))
        if references:
            rules.append(_APPLICATION.format(level=level, inner=level - 1))
    return "\n".join(rules) + "\n"
