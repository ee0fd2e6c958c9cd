from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.errors import ActionError
from lumos_edge.maths.parser import MAX_CHARACTERS, MAX_NESTING, Start, parse
from lumos_edge.maths.printer import print_formula

STARTS: tuple[Start, ...] = ("calculation", "equations", "inequality", "listing", "code", "definition")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (" 2+3 * R1 ", "2 + 3*R1"),
        ("3×4·5÷6−7", "3*4*5/6 - 7"),
        ("2**3", "2^3"),
        ("560//10", "floor(560/10)"),
        ("x²+y³", "x^2 + y^3"),
        ("x¹²", "x^12"),
        ("√2x + √(x+1)", "sqrt(2)*x + sqrt(x + 1)"),
        ("2πr", "2*pi*r"),
        ("x≤3", "x <= 3"),
        ("x ≠ 3", "x != 3"),
        ("148 % 8 == 0", "mod(148, 8) = 0"),
        ("17 mod 5", "mod(17, 5)"),
        ("-17 % 5", "mod(-17, 5)"),
        ("x % (y + 1) * 2", "mod(x, y + 1)*2"),
        ("40% * p", "40%*p"),
        ("40% p", "40%*p"),
        ("25% of R3", "25%*R3"),
        ("100 - 20%", "100 - 20%"),
        ("(a+b)%", "(a + b)%"),
        (r"3\% + 1", "3% + 1"),
        ("12,296 + 1,000,000.5", "12296 + 1000000.5"),
        ("max(1,200)", "max(1, 200)"),
        ("$12,296$ / $8$", "12296/8"),
        (r"\$600 + \$5", "600 + 5"),
        (r"\frac{1}{2}x + \dfrac{a+b}{3}", "1/2*x + (a + b)/3"),
        (r"\sqrt{x} + \sqrt[3]{8} + \sqrt[5]{y}", "sqrt(x) + cbrt(8) + y^(1/5)"),
        (r"3 \cdot 4 \times 5 \div 6", "3*4*5/6"),
        (r"\left( x + 1 \right)^{2}", "(x + 1)^2"),
        (r"x \leq 3", "x <= 3"),
        (r"x\ne 3", "x != 3"),
        (r"\pi r^2", "pi*r^2"),
        (r"\binom{5}{2}", "binomial(5, 2)"),
        (r"\sin(30^\circ)", "sin(30*pi/180)"),
        ("cos(60°) + sin(2 degrees)", "cos(60*pi/180) + sin(2*pi/180)"),
        ("2x", "2*x"),
        ("xy", "x*y"),
        ("2xy^2", "2*x*y^2"),
        ("2(x+1)", "2*(x + 1)"),
        ("(a)(b)", "a*b"),
        ("3 sqrt(2)", "3*sqrt(2)"),
        ("x R12", "x*R12"),
        ("2R1", "2*R1"),
        ("xR12", "x*R12"),
        ("2(R1)", "2*R1"),
        ("R1 (2)", "R1(2)"),
        ("R1(R9) + R2(R9)", "R1(R9) + R2(R9)"),
        ("R4(R5,R6)", "R4(R5, R6)"),
        ("R1( x = 2 )", "R1(x=2)"),
        ("1/2x", "1/2*x"),
        ("2p/5", "2*p/5"),
        ("5!", "factorial(5)"),
        ("n!/(n-1)!", "factorial(n)/factorial(n - 1)"),
        ("|x-3| + 2|x|", "abs(x - 3) + 2*abs(x)"),
        ("Sqrt(4) + ceiling(x) + choose(4, 2)", "sqrt(4) + ceil(x) + binomial(4, 2)"),
        ("[2 + {3 + x}]*2", "(2 + (3 + x))*2"),
        ("--x", "-(-x)"),
        ("2*-3", "2*(-3)"),
        ("2^-3", "2^(-3)"),
        ("-2^2", "-2^2"),
        ("+x", "x"),
        (".5 + 0.1", "0.5 + 0.1"),
    ],
)
def test_spellings_mean_the_same(text: str, meaning: str) -> None:
    assert print_formula(parse(text, "calculation")) == meaning
    assert parse(text, "code") == parse(text, "definition") == parse(meaning, "calculation")


@pytest.mark.parametrize(
    ("text", "start", "meaning"),
    [
        ("R2=xy, R3=x/y", "equations", "R2 = x*y, R3 = x/y"),
        ("R1, R2", "equations", "R1, R2"),
        ("x + 5 = 12,296, y = 3", "equations", "x + 5 = 12296, y = 3"),
        ("x=1,200=y", "equations", "x = 1, 200 = y"),
        ("2x > R3", "inequality", "2*x > R3"),
        ("R3", "inequality", "R3"),
        ("2^0, 2^1, …, 2^10", "listing", "2^0, 2^1, ..., 2^10"),
        ("[1,234,5]", "listing", "1, 234, 5"),
        ("If R8 > 0, R8, -R8", "code", "If R8 > 0, R8, -R8"),
        ("If 148 % 8 == 0, 1, 0", "code", "If mod(148, 8) = 0, 1, 0"),
        ("if a, if b, 1, 2, 3", "code", "If a, If b, 1, 2, 3"),
        ("x = 3", "definition", "x = 3"),
    ],
)
def test_each_category_has_its_own_syntax(text: str, start: Start, meaning: str) -> None:
    assert print_formula(parse(text, start)) == meaning


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("", "calculation", r"expected a number, a symbol or '\(', found the end at position 0: '' \^ ''"),
        ("2 + )", "calculation", r"found '\)' at position 4: '2 \+ ' \^ '\)'"),
        ("(2", "calculation", r"expected '\)', found the end at position 2"),
        ("48 clips", "calculation", r"unknown name 'clips'"),
        (r"\foo{2}", "calculation", r"unknown name '\\\\foo'"),
        ("x > 0 and x < 5", "code", r"unknown name 'and'"),
        ("x 2", "calculation", r"expected an operator or the end, found '2' at position 2"),
        ("1 < 2 < 3", "inequality", r"found '<' at position 6"),
        ("x + 3", "inequality", r"expected '<', '<=', '>', '>=' or '!=', found the end"),
        ("x + 3", "equations", r"expected '=', found the end at position 5"),
        ("x = 1, y > 2", "equations", r"expected an equation before this, found '>'"),
        ("gcd(4)", "calculation", r"gcd takes 2 or more arguments, found 1"),
        ("sqrt(4, 2)", "calculation", r"sqrt takes 1 argument, found 2"),
        ("round(1, 2, 3)", "calculation", r"round takes 1 to 2 arguments, found 3"),
        ("sqrt 2", "calculation", r"expected '\(' after sqrt, found '2'"),
        ("2 + If 1, 2, 3", "code", r"found 'If'"),
        ("If 1, 2", "code", r"expected ',', found the end"),
        ("1, 2", "calculation", r"found ','"),
        ("x & y", "calculation", r"found '&' at position 2"),
        ("R1()", "calculation", r"found '\)'"),
        (r"\frac12", "calculation", r"expected '\{', found '12'"),
        ("__import__('os')", "calculation", r"found '_' at position 0"),
        ("2\x00", "calculation", r"found '\\x00'"),
    ],
)
def test_what_is_no_formula_is_refused_with_the_place(text: str, start: Start, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        parse(text, start)


@pytest.mark.parametrize(
    "text", ["(" * 100 + "1" + ")" * 100, "-" * 300 + "1", "√" * 300 + "1", "2^" * 300 + "1"]
)
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(ActionError, match=f"{MAX_NESTING + 1} levels .* at most {MAX_NESTING}"):
        parse(text, "calculation")
    assert time.monotonic() - began < 10


def test_nesting_up_to_the_limit_is_read() -> None:
    assert print_formula(parse("(" * MAX_NESTING + "x" + ")" * MAX_NESTING, "calculation")) == "x"


def test_length_and_depth_are_limited() -> None:
    with pytest.raises(ActionError, match=f"5000 characters, at most {MAX_CHARACTERS}"):
        parse("x" * 5_000, "calculation")
    with pytest.raises(ActionError, match="301 levels deep, at most 200"):
        parse("1+" * 300 + "1", "calculation")


@given(
    st.text(alphabet=st.sampled_from("0123R1xy+-*/^%()=<>., ²√π|!$\\{}[]fracsqrtIfmod…°&_'\n"), max_size=40)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    for start in STARTS:
        try:
            formula = parse(text, start)
        except ActionError:
            continue
        assert parse(print_formula(formula), start) == formula
