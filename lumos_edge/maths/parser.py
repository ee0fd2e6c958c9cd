"""Text to formula.

Operators bind, loosest first: relations; `+ -`; a leading minus (`-2^2` is -4, `-7 % 5` is 3); `* /` with
modulo and multiplication without a sign; `^`, from the right; and what ends its operand: `!`, `%`, `²`, `°`.

- Multiplication without a sign binds like `*`: `1/2x` is x/2, as WolframAlpha reads it, which the reference
  implementation of Lumos evaluates with. A number is never its right side: `x 2` is an error.
- `%` before an operand is the modulo function (`148 % 8`), otherwise a percentage (`40% * p`). Where a space
  follows but none goes before, it is a percentage in any case: `40% p` is 40% of p.
- A parenthesis after a reference always applies it: `R1(2)` puts 2 in the place of R1's variable.
- A comma between digits belongs to the number (`12,296`) where no list is open. In a list of equations it
  does if no equation begins behind it.
- `a//b` is the quotient without its rest, `floor(a/b)`.
- `log` has base 10 unless a second argument says otherwise, `ln` has base e; angles are in radians, those
  with `°` in degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from lumos_edge.errors import ActionError
from lumos_edge.maths.formula import (
    FUNCTIONS,
    MAX_DEPTH,
    Application,
    Conditional,
    Constant,
    Formula,
    Function,
    Listing,
    Negation,
    Operation,
    Percent,
    Reference,
    Relation,
    Symbol,
    Truth,
    measure,
    references,
)
from lumos_edge.maths.scanner import Token, scan, unexpected

Start: TypeAlias = Literal["calculation", "equations", "inequality", "listing", "code", "definition"]
"""The syntactic categories: what a maths action takes as its argument."""

MAX_CHARACTERS: Final = 4_000
MAX_NESTING: Final = 40
"""Levels of brackets, signs and exponents; six Python frames each."""

_RELATIONS: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
_CLOSING: Final[Mapping[str, str]] = {"(": ")", "[": "]", "{": "}"}
_SUM, _PRODUCT, _POWER = 1, 2, 3
_OPERAND: Final = "a number, a symbol or '('"
_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def parse(text: str, start: Start) -> Formula:
    """Parse the argument of a maths action as the category `start`.

    "calculation" and "definition" are an expression or one relation; "equations" a `Listing` of equations and
    references; "inequality" a relation or a reference; "listing" a `Listing` with `None` for `...`; "code"
    `If c, a, b` with further `If`s in its branches, or a calculation. Under 1 ms per 100 characters.

    Raises `ActionError` for every other text, with the position, what was expected there and what was found,
    and for one longer than `MAX_CHARACTERS` or nested deeper than `MAX_NESTING`.
    """
    if len(text) > MAX_CHARACTERS:
        raise ActionError(f"a formula of {len(text)} characters, at most {MAX_CHARACTERS} are allowed")
    parser = _Parser(text)
    categories: dict[Start, Callable[[], Formula]] = {
        "calculation": parser.relation,
        "definition": parser.relation,
        "inequality": parser.inequality,
        "equations": parser.equations,
        "listing": parser.listing,
        "code": parser.code,
    }
    formula = categories[start]()
    parser.expect_end()
    _, depth = measure(formula)
    if depth > MAX_DEPTH:
        raise ActionError(f"the formula is {depth} levels deep, at most {MAX_DEPTH} are allowed")
    return formula


class _Parser:
    """Precedence climbing over the tokens; one method per part of the syntax."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = scan(text)
        self.position = 0
        self.nesting = 0
        self.in_list = False
        self.in_equations = False
        self.in_bars = False

    # Tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        token = self.token
        self.position += 1
        return token

    def at(self, *signs: str) -> bool:
        return self.token.kind == "sign" and self.token.text in signs

    def at_word(self, word: str) -> bool:
        return self.token.kind == "word" and self.token.text == word

    def accept(self, sign: str) -> bool:
        found = self.at(sign)
        self.position += found
        return found

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            raise self.unexpected(repr(sign))

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise self.unexpected("an operator or the end")

    def unexpected(self, expected: str) -> ActionError:
        return unexpected(self.text, self.token.start, self.token.end, expected)

    @contextmanager
    def nested(self, *, in_list: bool | None = None, in_bars: bool = False) -> Iterator[None]:
        """One level deeper; brackets say whether a comma separates there and whether `|` closes."""
        before = (self.in_list, self.in_equations, self.in_bars)
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            found = f"{self.nesting} levels at position {self.token.start}"
            raise ActionError(f"the formula is nested too deep: {found}, at most {MAX_NESTING} are allowed")
        if in_list is not None:
            self.in_list, self.in_equations, self.in_bars = in_list, False, in_bars
        yield
        self.in_list, self.in_equations, self.in_bars = before
        self.nesting -= 1

    # Categories

    def inequality(self) -> Formula:
        formula = self.relation()
        if isinstance(formula, Relation) or references(formula):
            return formula
        raise self.unexpected("'<', '<=', '>', '>=' or '!='")

    def equations(self) -> Formula:
        self.in_equations = True
        items = [self.equation()]
        while self.accept(","):
            items.append(self.equation())
        return Listing(tuple(items))

    def equation(self) -> Formula:
        formula = self.relation()
        if isinstance(formula, Relation) and formula.operator != "=":
            raise self.unexpected(f"an equation before this, found {formula.operator!r}")
        if isinstance(formula, Relation) or references(formula):
            return formula
        raise self.unexpected("'='")

    def listing(self) -> Formula:
        bracket = self.token.text if self.at("[", "{") else ""
        if bracket:
            self.take()
        self.in_list = True
        items = [self.item()]
        while self.accept(","):
            items.append(self.item())
        if bracket:
            self.expect(_CLOSING[bracket])
        return Listing(tuple(items))

    def item(self) -> Formula | None:
        return None if self.accept("...") else self.expression()

    def code(self) -> Formula:
        if not self.at_word("if"):
            return self.relation()
        self.take()
        with self.nested(in_list=True):
            condition = self.relation()
            self.expect(",")
            then = self.code()
            self.expect(",")
            return Conditional(condition, then, self.code())

    # Expressions

    def relation(self) -> Formula:
        left = self.expression()
        if not self.at(*_RELATIONS):
            return left
        operator = self.take().text
        return Relation(operator, left, self.expression())

    def expression(self, level: int = _SUM, *, with_modulo: bool = True) -> Formula:
        left = self.prefixed(level)
        while True:
            if level <= _SUM and self.at("+", "-"):
                left = Operation(self.take().text, left, self.expression(_PRODUCT))
            elif level <= _PRODUCT and self.at("*", "/"):
                left = Operation(self.take().text, left, self.expression(_POWER))
            elif level <= _PRODUCT and self.at("//"):
                self.take()
                left = Function("floor", (Operation("/", left, self.expression(_POWER)),))
            elif with_modulo and level <= _PRODUCT and (self.at("%") or self.at_word("mod")):
                self.take()
                left = Function("mod", (left, self.expression(_POWER)))
            elif self.at("^"):
                self.take()
                with self.nested():
                    left = Operation("^", left, self.expression(_POWER))
            elif level <= _PRODUCT and self.begins_factor():
                left = Operation("*", left, self.expression(_POWER))
            else:
                return left

    def prefixed(self, level: int) -> Formula:
        if not self.at("-", "+"):
            return self.suffixed(self.operand())
        sign = self.take().text
        with self.nested():
            operand = self.expression(max(level, _PRODUCT), with_modulo=False)
        return Negation(operand) if sign == "-" else operand

    def suffixed(self, operand: Formula) -> Formula:
        while True:
            if self.accept("!"):
                operand = Function("factorial", (operand,))
            elif self.accept("°"):
                half_turn = Operation("*", operand, Symbol("pi"))
                operand = Operation("/", half_turn, Constant(Fraction(180)))
            elif self.token.kind == "superscript":
                exponent = int(self.take().text.translate(_SUPERSCRIPTS))
                operand = Operation("^", operand, Constant(Fraction(exponent)))
            elif self.at("%") and self.is_percentage():
                self.take()
                operand = Percent(operand)
            else:
                return operand

    def is_percentage(self) -> bool:
        """Whether the `%` here ends its operand; otherwise it is the modulo operator."""
        before, sign, after = self.tokens[self.position - 1 : self.position + 2]
        if before.end == sign.start and after.start > sign.end:
            return True
        return after.kind == "end" or (after.kind == "sign" and after.text not in ("(", "[", "{", "√"))

    def begins_factor(self) -> bool:
        """Whether an operand begins here that is multiplied with what goes before, without a sign."""
        if self.at("|"):
            return not self.in_bars
        if self.token.kind == "word":
            return self.token.text not in ("if", "true", "false", "mod")
        return self.token.kind in ("symbol", "reference") or self.at("(", "[", "{", "√")

    # Operands

    def operand(self) -> Formula:
        kind = self.token.kind
        if kind == "number":
            return self.number()
        if kind == "symbol":
            return Symbol(self.take().text)
        if kind == "reference":
            return self.reference()
        if kind == "word":
            return self.named()
        if self.at(*_CLOSING):
            return self.group()
        if self.at("|"):
            return self.bars()
        if self.accept("√"):
            with self.nested():
                return Function("sqrt", (self.operand(),))
        raise self.unexpected(_OPERAND)

    def number(self) -> Formula:
        token = self.take()
        digits = token.text
        while len(token.text) <= 3 and self.at_thousands():
            self.take()
            token = self.take()
            digits += token.text
        return Constant(Fraction(digits))

    def at_thousands(self) -> bool:
        """Whether `,` and exactly three digits follow the digits before, without a gap, as part of them."""
        if self.in_list or not self.at(","):
            return False
        before, comma, after = self.tokens[self.position - 1 : self.position + 2]
        if after.kind != "number" or not (before.end == comma.start and comma.end == after.start):
            return False
        if "." in before.text or len(after.text.partition(".")[0]) != 3:
            return False
        return not (self.in_equations and self.equation_follows())

    def equation_follows(self) -> bool:
        """Whether the text between this comma and the next is an equation of its own."""
        for token in self.tokens[self.position + 1 :]:
            if token.kind == "sign" and token.text in (",", "="):
                return token.text == "="
        return False

    def reference(self) -> Formula:
        callee = Reference(self.take().text)
        if not self.accept("("):
            return callee
        with self.nested(in_list=True):
            names, arguments = [], []
            while True:
                names.append(self.argument_name())
                arguments.append(self.expression())
                if not self.accept(","):
                    break
        self.expect(")")
        return Application(callee, tuple(arguments), tuple(names))

    def argument_name(self) -> str | None:
        """Take the `x =` of an argument given by name."""
        after = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if self.token.kind != "symbol" or (after.kind, after.text) != ("sign", "="):
            return None
        name = self.take().text
        self.take()
        return name

    def named(self) -> Formula:
        name = self.token.text
        if name == "if":
            raise self.unexpected(_OPERAND)
        start = self.take()
        if name == "pi":
            return Symbol("pi")
        if name in ("true", "false"):
            return Truth(name == "true")
        if name == "frac":
            return Operation("/", self.braced(), self.braced())
        if name == "sqrt" and self.at("["):
            return self.root()
        return self.call(start)

    def call(self, name: Token) -> Formula:
        if name.text == "binomial" and self.at("{"):
            return Function("binomial", (self.braced(), self.braced()))
        if not self.at("(", "{"):
            raise self.unexpected(f"'(' after {name.text}")
        closing = _CLOSING[self.take().text]
        with self.nested(in_list=True):
            arguments = [self.expression()]
            while self.accept(","):
                arguments.append(self.expression())
        self.expect(closing)
        least, greatest = FUNCTIONS[name.text]
        if len(arguments) < least or (greatest is not None and len(arguments) > greatest):
            raise ActionError(f"{name.text} takes {_arity(least, greatest)}, found {len(arguments)}")
        return Function(name.text, tuple(arguments))

    def root(self) -> Formula:
        """`\\sqrt[n]{x}`."""
        index = self.group()
        radicand = self.braced()
        if index == Constant(Fraction(3)):
            return Function("cbrt", (radicand,))
        return Operation("^", radicand, Operation("/", Constant(Fraction(1)), index))

    def braced(self) -> Formula:
        if not self.at("{"):
            raise self.unexpected("'{'")
        return self.group()

    def group(self) -> Formula:
        closing = _CLOSING[self.take().text]
        with self.nested(in_list=False):
            formula = self.expression()
        self.expect(closing)
        return formula

    def bars(self) -> Formula:
        """`|x|`."""
        self.take()
        with self.nested(in_list=False, in_bars=True):
            operand = self.expression()
        self.expect("|")
        return Function("abs", (operand,))


def _arity(least: int, greatest: int | None) -> str:
    if greatest is None:
        return f"{least} or more arguments"
    if least == greatest:
        return f"{least} argument{'s' * (least != 1)}"
    return f"{least} to {greatest} arguments"
