"""Formulas through sympy: what polynomials cannot do.

sympy gets objects made by its constructors from our tree, never text. It is imported by the first call (0.2
to 0.5 s). Symbols are real, and a result that is not real is an error.

Checked before sympy computes: the digits of powers, the terms of expanded sums, the size of exponents. Not
checked: how long solving and simplifying take, which the caller's time limit ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

from lumos_edge.errors import ToolError
from lumos_edge.maths import arithmetic
from lumos_edge.maths.formula import (
    Constant,
    Formula,
    Function,
    Negation,
    Operation,
    Percent,
    Symbol,
    fold,
)
from lumos_edge.maths.polynomial import MAX_TERMS, Term, quotient, sum_of_terms
from lumos_edge.maths.printer import print_formula

N_DIGITS: Final = 10
"""Significant digits of a number that has no exact form."""

_KEPT: Final = frozenset({"round", "mod", "gcd", "lcm", "factorial", "binomial"})
"""Functions that stay as they are while their arguments have symbols."""

_MAX_DEGREE: Final = 200
_MAX_ROUNDS: Final = 4
_SURELY_NOT_ZERO: Final = Fraction(1, 10**20)


def simplified(formula: Formula) -> Formula:
    """The canonical form of an expression: expanded, reduced, roots simplified, one denominator.

    Logarithms, sines and the like stay exact where they have no rational value: `ln(2)`, `2*pi`.
    Raises `ToolError` for a result that is not a real number, too large, or not writable as a formula.
    """
    import sympy

    with bounded():
        expression = to_sympy(formula)
        if expression.is_number:
            expression = sympy.radsimp(sympy.expand(sympy.sqrtdenest(expression)))
        else:
            expression = _cancelled(expression)
        return from_sympy(expression)


def _cancelled(expression: Any) -> Any:
    """One denominator. A round may leave what the next one reduces: `ln(sqrt(2))` becomes `ln(2)/2` in the first."""
    import sympy

    for _ in range(_MAX_ROUNDS):
        before, expression = expression, sympy.cancel(sympy.together(expression))
        if expression == before:
            break
    return expression


def approximate(formula: Formula, n_digits: int = N_DIGITS) -> Fraction:
    """A number without symbols to so many significant digits; a rational one is given exactly."""
    if isinstance(formula, Constant):
        return formula.value
    with bounded():
        return decimal_of(to_sympy(formula), n_digits)


def estimate(formula: Formula) -> Fraction:
    """A number without symbols to about 30 significant digits, without sympy where it has square roots only."""
    if isinstance(formula, Constant):
        return formula.value
    with localcontext(Context(prec=60)):
        number = fold(formula, _estimated)
    return approximate(formula, 30) if number is None else Fraction(number)


def sign(formula: Formula) -> int:
    """-1, 0 or 1 for a number without symbols."""
    number = estimate(formula)
    if not isinstance(formula, Constant) and abs(number) < _SURELY_NOT_ZERO:
        with bounded():
            if to_sympy(formula).equals(0):
                return 0
    return (number > 0) - (number < 0)


def _estimated(node: Formula, parts: tuple[Decimal | None, ...]) -> Decimal | None:
    numbers = [part for part in parts if part is not None]
    if len(numbers) < len(parts):
        return None
    match node:
        case Constant(value):
            return Decimal(value.numerator) / Decimal(value.denominator)
        case Negation():
            return -numbers[0]
        case Operation("+"):
            return numbers[0] + numbers[1]
        case Operation("-"):
            return numbers[0] - numbers[1]
        case Operation("*"):
            return numbers[0] * numbers[1]
        case Operation("/") if numbers[1]:
            return numbers[0] / numbers[1]
        case Function("sqrt") if numbers[0] >= 0:
            return numbers[0].sqrt()
    return None


@contextmanager
def bounded() -> Iterator[None]:
    """Turn into `ToolError` that sympy recurses over nested roots, and what it cannot tell from 0."""
    try:
        yield
    except RecursionError:
        raise ToolError("the expression is nested too deep for algebra") from None
    except ArithmeticError as error:
        raise ToolError(f"the number cannot be computed exactly enough ({type(error).__name__})") from error


def to_sympy(formula: Formula) -> Any:
    """The sympy expression of a formula that is no relation, list, application or truth value."""
    return fold(formula, _checked_node)


def _checked_node(node: Formula, parts: tuple[Any, ...]) -> Any:
    import sympy

    expression = _node(node, parts)
    if expression.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
        raise ToolError("division by zero")
    if expression.has(sympy.I):
        raise ToolError("the result is not a real number")
    return expression


def _node(node: Formula, parts: tuple[Any, ...]) -> Any:
    import sympy

    match node:
        case Constant(value):
            return rational(value)
        case Symbol(name):
            return sympy.pi if name == "pi" else sympy.Symbol(name, real=True)
        case Negation():
            return -parts[0]
        case Percent():
            return parts[0] / 100
        case Operation(operator):
            return _operation(operator, *parts)
        case Function(name):
            return _function(name, parts)
        case _:
            raise ToolError(f"`{print_formula(node)}` cannot be part of an expression")


def _operation(operator: str, left: Any, right: Any) -> Any:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "/":
        if right.is_zero:
            raise ToolError("division by zero")
        return left / right
    return _power(left, right)


def _power(base: Any, exponent: Any) -> Any:
    import sympy

    _check_power(base, exponent)
    if not (base.is_number and base.is_negative and exponent.is_Rational and exponent.q > 1):
        return sympy.Pow(base, exponent)
    if exponent.q % 2 == 0:
        raise ToolError(f"a root of a negative number, {base}, is not a real number")
    return sympy.Pow(-base, exponent) * (-1) ** exponent.p


def _check_power(base: Any, exponent: Any) -> None:
    """Raise `ToolError` before sympy multiplies out what gets too large."""
    import sympy

    if not exponent.is_number:
        return
    size = abs(float(decimal_of(exponent, 15)))
    numerals = base.atoms(sympy.Rational)
    n_digits = sum(math.log10(max(abs(number.p), number.q)) for number in numerals if number)
    arithmetic.check_digits(n_digits * size)
    if base.free_symbols and size > _MAX_DEGREE:
        raise ToolError(f"the exponent {exponent} is too large, at most {_MAX_DEGREE} is allowed here")
    n_terms = len(sympy.Add.make_args(base))
    if n_terms > 1 and (size > _MAX_DEGREE or math.comb(n_terms + int(size) - 1, int(size)) > MAX_TERMS):
        raise ToolError(f"a sum of {n_terms} terms to the power {exponent} has too many terms")


def _function(name: str, arguments: tuple[Any, ...]) -> Any:
    import sympy

    if all(argument.is_Rational for argument in arguments):
        exact = arithmetic.FUNCTIONS[name](*(Fraction(int(a.p), int(a.q)) for a in arguments))
        if exact is not None:
            return rational(exact)
    if name in _KEPT:
        return _kept(name, arguments)
    functions: dict[str, Callable[..., Any]] = {
        "sqrt": lambda x: _power(x, sympy.Rational(1, 2)),
        "cbrt": lambda x: _power(x, sympy.Rational(1, 3)),
        "exp": _exponential,
        "log": lambda x, base=10: sympy.log(x) / sympy.log(base),
        "ln": sympy.log,
        "abs": sympy.Abs,
        "floor": sympy.floor,
        "ceil": sympy.ceiling,
        "min": sympy.Min,
        "max": sympy.Max,
        "sum": sympy.Add,
        "sin": sympy.sin,
        "cos": sympy.cos,
        "tan": sympy.tan,
    }
    return functions[name](*arguments)


def _kept(name: str, arguments: tuple[Any, ...]) -> Any:
    import sympy

    if not all(argument.is_number for argument in arguments):
        return sympy.Function(name, real=True)(*arguments)
    if name == "mod":
        left, right = arguments
        return left - right * sympy.floor(left / right)
    if name == "round":
        value, places = (*arguments, sympy.Integer(0))[:2]
        scale = rational(Fraction(10) ** int(places))
        nearest = sympy.floor(abs(value) * scale + sympy.Rational(1, 2)) / scale
        return nearest if value.is_nonnegative else -nearest
    found = ", ".join(str(argument) for argument in arguments)
    raise ToolError(f"{name} needs whole numbers, found {found}")


def _exponential(exponent: Any) -> Any:
    import sympy

    if exponent.is_number:
        arithmetic.check_digits(abs(float(decimal_of(exponent, 15))) / math.log(10))
    return sympy.exp(exponent)


def rational(value: Fraction) -> Any:
    """sympy's number of the same value."""
    import sympy

    return sympy.Rational(value.numerator, value.denominator)


def decimal_of(expression: Any, n_digits: int) -> Fraction:
    """A sympy number to so many significant digits; `ToolError` when it is not real."""
    import sympy

    number = sympy.N(expression, n_digits)
    if not number.is_Float and not number.is_Rational:
        raise ToolError(f"{expression} has no real value")
    return Fraction(Decimal(str(sympy.Float(number, n_digits))))


def from_sympy(expression: Any) -> Formula:
    """The formula of a sympy expression; a number that no formula writes exactly to 10 digits.

    Raises `ToolError` for an expression with symbols that no formula writes.
    """
    import sympy

    if expression.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
        raise ToolError(f"{expression} is not a real number")
    numerator, denominator = sympy.fraction(expression)
    if denominator.is_Add:
        return quotient(_sum(numerator), _sum(denominator))
    return _sum(numerator, denominator)


def _sum(expression: Any, divisor: Any = 1) -> Formula:
    import sympy

    terms = sympy.Add(*(term / divisor for term in sympy.Add.make_args(sympy.expand(expression))))
    return sum_of_terms([_term(term) for term in terms.as_ordered_terms() if term != 0])


def _term(expression: Any) -> Term:
    import sympy

    coefficient, rest = expression.as_coeff_Mul()
    factors = [_factor(factor) for factor in sympy.Mul.make_args(rest) if factor != 1]
    return Fraction(int(coefficient.p), int(coefficient.q)), tuple(factors)


def _factor(expression: Any) -> tuple[Formula, int]:
    """A formula and the whole exponent it stands under."""
    import sympy

    base, exponent = expression.as_base_exp()
    if base is sympy.E:
        return Function("exp", (from_sympy(exponent),)), 1
    if exponent == 1:
        return _atom(base), 1
    if exponent.is_Integer:
        return from_sympy(base), int(exponent)
    if exponent.is_Rational and exponent.q in (2, 3):
        return Function("sqrt" if exponent.q == 2 else "cbrt", (from_sympy(base),)), int(exponent.p)
    if exponent.could_extract_minus_sign():
        return Operation("^", from_sympy(base), from_sympy(-exponent)), -1
    return Operation("^", from_sympy(base), from_sympy(exponent)), 1


def _atom(expression: Any) -> Formula:
    import sympy

    if expression.is_Symbol:
        return Symbol(expression.name)
    if expression is sympy.pi:
        return Symbol("pi")
    if expression.is_Add:
        return from_sympy(expression)
    name = _function_name(expression)
    if name is not None:
        return Function(name, tuple(from_sympy(argument) for argument in expression.args))
    if expression.is_number:
        return Constant(decimal_of(expression, N_DIGITS))
    raise ToolError(f"{expression} cannot be written as a formula")


def _function_name(expression: Any) -> str | None:
    import sympy

    names = {
        sympy.Abs: "abs",
        sympy.floor: "floor",
        sympy.ceiling: "ceil",
        sympy.Min: "min",
        sympy.Max: "max",
        sympy.log: "ln",
        sympy.sin: "sin",
        sympy.cos: "cos",
        sympy.tan: "tan",
    }
    own_name = str(expression.func)
    return names.get(expression.func) or (own_name if own_name in _KEPT else None)
