"""Actions become typed values or typed errors, whatever a tool does."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.errors import OfflineError, ToolPackError
from lumos_edge.executor import Executor
from lumos_edge.toolbox import Context, Resource, Toolbox, tool
from lumos_edge.trajectory import Result, Task
from lumos_edge.values import Boolean, Equation, Items, Number, Text, Value

TASK = Task("The square of a positive number is 9. What is the number?")


def run(text: str, bindings: dict[str, Value] | None = None, *, task: Task = TASK) -> dict[str, Any]:
    """The results of actions of the maths pack by name, values as text, errors as `Result`."""
    executor = Executor(Toolbox.of_packs(["maths"]))
    known = dict(bindings or {})
    shown: dict[str, Any] = {}
    for action in parse_actions(text):
        result = executor.execute(action, known, task)
        known |= dict(zip(action.targets, result.values, strict=False))
        shown |= dict.fromkeys(action.targets, result) if result.error else {}
        shown |= {name: str(value) for name, value in zip(action.targets, result.values, strict=False)}
    return shown


def test_the_papers_square_example() -> None:
    """Reference code: loses the task (M4, M5, M7, M8)."""
    task = Task(
        "The sum of the squares of three consecutive positive even numbers is $12296$. Find the product."
    )
    shown = run(
        "R1 = Define(n-2); R2 = Define(n); R3 = Define(n+2); R4 = Calculator(R1^2); R5 = Calculator(R2^2); "
        "R6 = Calculator(R3^2); R8 = SolveEquation(R4 + R5 + R6 = 12296); R9 = Code(If R8 > 0, R8, -R8); "
        "R10 = Calculator(R1(R9)); R11 = Calculator(R2(R9)); R12 = Calculator(R3(R9)); "
        "R13 = Calculator(R10 * R11 * R12); R14 = Calculator(R13 / 8)",
        task=task,
    )
    assert shown["R6"] == "n^2 + 4*n + 4"
    assert (shown["R8"], shown["R13"], shown["R14"]) == ("64", "261888", "32736")


def test_solutions_that_leave_an_unknown_open() -> None:
    task = Task("Solve it.")
    assert run("R1 = SolveEquation(x*y = 0)", task=task) == {"R1": "x = 0, y = 0"}
    shown = run("R1, R2 = SolveEquation(x*(y - 1) = 0, x*(x - 2) = 0)", task=task)
    assert shown["R1"].message == "some solutions leave an unknown open: x = 0, x = 2, y = 1"


def test_the_papers_income_example() -> None:
    shown = run(
        "R1 = Define(p); R2 = Calculator(40% * p); R3 = Calculator(p + 600); R4 = Calculator(25% * R3); "
        "R5 = SolveEquation(R2 = R4)"
    )
    assert list(shown.values()) == ["p", "2*p/5", "p + 600", "(p + 600)/4", "1000"]


def test_the_papers_sequence_example() -> None:
    shown = run(
        "R1 = Calculator((x-y) - (x+y)); R2 = Calculator((x+y) + 2*R1); R3 = Calculator((x+y) + 3*R1); "
        "R4 = Calculator((x+y) + 4*R1); R5, R6 = SolveEquation(R2=xy, R3=x/y); Output = Calculator(R4(R5, R6))",
        task=Task("The first four terms in an arithmetic sequence are ... What is the fifth term?"),
    )
    assert (shown["R5"], shown["R6"], shown["Output"]) == ("-1.125", "-0.6", "3.075")


def test_r1_is_not_part_of_r12() -> None:
    """Reference code: `R1 + R12` becomes `(5) + (5)2` (M1)."""
    bindings: dict[str, Value] = {"R1": Number(Fraction(5)), "R12": Number(Fraction(7))}
    assert run("R13 = Calculator(R1 + R12)", bindings)["R13"] == "12"


def test_several_roots_into_several_results() -> None:
    """Reference code: every equation with two roots is lost (M6, M11)."""
    free = Task("Solve it.")
    assert run("R1, R2 = SolveEquation(x^2 - 5x + 6 = 0)", task=free) == {"R1": "2", "R2": "3"}
    assert run("R1 = SolveEquation(x^2 = 9)", task=free)["R1"] == "-3, 3"
    assert run("R1 = SolveEquation(x^2 = 9)")["R1"] == "3"  # the question says positive
    assert "1 roots for 2 results" in run("R1, R2 = SolveEquation(2x = 6)")["R1"].message
    assert run("R1 = SolveEquation(x + y = 3, x - y = 1)")["R1"] == "x = 2, y = 1"
    assert "2 unknowns for 3 results" in run("R1, R2, R3 = SolveEquation(x + y = 3, x - y = 1)")["R1"].message


def test_equations_are_combined_on_both_sides() -> None:
    """Reference code: NameError, or one side only (M2, M3)."""
    shown = run("R1 = SetEquation(x + y = 10); R2 = SetEquation(x - y = 2); R3 = Calculator((R1 + R2) / 2)")
    assert shown["R3"] == "x = 6"
    assert run("R1 = SetEquation(y = 2x, x = 3)")["R1"] == "y = 6"


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("R1 = Calculator(1 / 3)", "1/3"),
        ("R1 = Calculator(0.1 + 0.2)", "0.3"),
        ("R1 = Calculator(sqrt(8))", "2*sqrt(2)"),
        ("R1 = Calculator(3 - 3)", "0"),
        ("R1 = Calculator(2 > 3)", "False"),
        ("R1 = Code(If 148 % 8 == 0, 1, 0)", "0"),
        ("R1 = Count(3, 6, ..., 99)", "33"),
        ("R1 = Count(x, y, z)", "3"),
        ("R1 = SolveInequality(x^2 > 4)", "x < -2 or x > 2"),
        ("R1 = Define(12,296)", "12296"),
    ],
)
def test_values_print_as_people_write_them(action: str, value: str) -> None:
    assert run(action)["R1"] == value


def test_an_alias_is_its_result() -> None:
    assert run("R1 = Calculator(2 + 3); Output = R1")["Output"] == "5"


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("1 / 0", "division by zero"),
        ("2^10^10", "digits"),
        ("factorial(10^9)", "digits"),
        ("(" * 100 + "1" + ")" * 100, "nested too deep"),
        ("(x+1)^10000", "too many terms"),
        ("__import__('os')", "found '_'"),
    ],
)
def test_what_is_too_much_is_refused_and_not_computed(formula: str, message: str) -> None:
    result = run(f"R1 = Calculator({formula})")["R1"]
    assert message in result.message
    assert result.error in ("ToolError", "ActionError")  # and no ToolTimeout


def test_a_solver_that_takes_too_long_is_stopped() -> None:
    """sin and an exponent keep sympy busy far longer than the limit, or it gives up: both are typed errors."""
    text = "sin(x)^7 + cos(x^3) + x^11 - exp(x*y) = y, y^5*sin(y) - cos(x)^3 = x, exp(x) + y^7 = 3"
    result = run(f"R1 = SolveEquation({text})")["R1"]
    assert result.error in ("ToolTimeout", "ToolError")
    assert result.elapsed_s < 30  # 1.5 s of work; to load what sympy needs for it takes longer


def execute(function: Any, text: str = "R1 = f()", bindings: dict[str, Value] | None = None) -> Result:
    toolbox = Toolbox([tool(function) if callable(function) else function])
    return Executor(toolbox).execute(parse_actions(text)[0], bindings or {}, TASK)


def test_an_exception_of_a_tool_is_a_tool_error() -> None:
    def f() -> Text:
        raise KeyError("lost")

    assert execute(f).message == "f failed: KeyError: 'lost'"


def test_a_python_loop_without_end_is_stopped_with_its_thread() -> None:
    @tool(name="f", timeout_s=0.2)
    def f() -> Text:
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # a library that catches everything must not keep the thread alive
                continue

    result = execute(f)
    assert (result.error, result.message) == ("ToolTimeout", "f took longer than 0.2 s")
    _wait_for_end("f")


def _wait_for_end(name: str) -> None:
    deadline = time.monotonic() + 10
    while any(thread.name == f"tool {name}" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the tool's thread goes on"
        time.sleep(0.01)


@pytest.fixture
def slow_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that takes longer to load than its tool may, in two modules of which the first needs the second."""
    package = tmp_path / "slow_library"
    package.mkdir()
    (package / "__init__.py").write_text("from slow_library.part import half\nwhole = half * 2\n")
    lines = ["import time", "for _ in range(40): time.sleep(0.01)", "half = 21"]
    (package / "part.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for module in ("slow_library", "slow_library.part"):
        sys.modules.pop(module, None)


@pytest.mark.usefixtures("slow_library")
def test_loading_a_library_does_not_count_and_is_not_interrupted() -> None:
    """As of sympy, which takes a second on a slow machine; half-loaded, it would fail every later action."""

    @tool(name="f", timeout_s=0.1)
    def f() -> Text:
        return Text(str(importlib.import_module("slow_library").whole))

    assert execute(f).values == (Text("42"),)


def test_a_thread_that_loses_its_interrupt_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised in a destructor it ends nothing, and nothing of it is printed (pytest would fail on that)."""
    lost: list[bool] = []
    monkeypatch.setattr("lumos_edge.executor._INTERRUPT_AGAIN_S", 0.05)

    class Callback:
        def __del__(self) -> None:
            with contextlib.suppress(Exception):
                while not lost:
                    time.sleep(0.001)

    @tool(name="f", timeout_s=0.05)
    def f() -> Text:
        callback = Callback()
        try:
            del callback
        finally:
            lost.append(True)
        while True:
            time.sleep(0.001)

    assert execute(f).error == "ToolTimeout"
    _wait_for_end("f")


def test_what_is_left_of_an_interrupted_solver_hurts_no_later_question() -> None:
    """sympy keeps caches and mpmath a precision for the whole process; both must survive an interrupt anywhere."""
    assert run("R1 = Calculator(sqrt(2))") == {"R1": "sqrt(2)"}
    hard = parse_actions("R1 = SolveEquation(sin(x)^3 + cos(x^2) + x^5 = y, y^3*sin(y) - cos(x) = x)")[0]
    maths = Toolbox.of_packs(["maths"]).tools["SolveEquation"]
    for timeout_s in (0.01, 0.05, 0.1, 0.2, 0.3):
        toolbox = Toolbox([replace(maths, timeout_s=timeout_s)])
        assert Executor(toolbox).execute(hard, {}, TASK).error == "ToolTimeout"
        _wait_for_end("SolveEquation")
        task = Task("Solve it.")
        assert run("R1 = SolveEquation(x^5 = x + 1)", task=task) == {"R1": "1.167303978"}
        assert run("R1 = SolveEquation(x^2 + y^2 = 25, x - y = 1)", task=task) == {
            "R1": "x = -3, y = -4, x = 4, y = 3"
        }
        assert run("R1 = Calculator(ln(8)/ln(2) + sqrt(18)/sqrt(2))") == {"R1": "6"}


def test_errors_of_the_users_switches_are_raised() -> None:
    def f() -> Text:
        raise OfflineError("no network")

    with pytest.raises(OfflineError):
        execute(f)


def test_a_tool_is_told_the_question_and_the_number_of_results() -> None:
    def f(context: Context) -> tuple[Text, ...]:
        return tuple(Text(context.question) for _ in range(context.n_targets))

    assert execute(f, "R1, R2 = f()").values == (Text(TASK.question),) * 2


def test_too_many_or_too_few_results_are_an_error() -> None:
    def f() -> tuple[Text, ...]:
        return (Text("one"),)

    assert "f has 1 results for 2 names" in execute(f, "R1, R2 = f()").message


def test_a_number_argument_is_evaluated() -> None:
    def f(amount: Number) -> Number:
        return Number(amount.value * 2)

    bindings: dict[str, Value] = {"R1": Number(Fraction(3))}
    assert execute(f, "R2 = f(R1 / 2 + 1)", bindings).values == (Number(Fraction(5)),)
    assert execute(f, "R2 = f(x + 1)").message == "amount must be a number, it is x + 1"


def test_results_reach_a_tool_as_they_are() -> None:
    def f(one: Text, many: tuple[Text | Items, ...]) -> Items:
        return Items((one, *many))

    bindings: dict[str, Value] = {"R1": Text("R2"), "R2": Text("b")}
    assert execute(f, "R3 = f(R1, [R2, R1])", bindings).values == (
        Items((Text("R2"), Text("b"), Text("R2"))),
    )


def test_a_result_that_no_formula_can_use_is_named() -> None:
    bindings: dict[str, Value] = {"R1": Items((Number(Fraction(1)),)), "R2": Boolean(True)}
    assert "R1" in run("R3 = Calculator(R1 + 1)", bindings)["R3"].message
    assert run("R3 = Code(If R2, 1, 2)", bindings)["R3"] == "1"
    assert isinstance(run("R3 = Calculator(R2 + 1)", bindings)["R3"], Result)
    equation: dict[str, Value] = {"R1": Equation(*_sides())}
    assert run("R2 = Calculator(2*R1)", equation)["R2"] == "2*x = 6"


def _sides() -> Any:
    from lumos_edge.maths.formula import Constant, Symbol

    return Symbol("x"), Constant(Fraction(3))


class Shelf(Resource):
    """A resource of this test: books by title."""

    wanted = "a shelf"

    def __init__(self, **pages: int) -> None:
        self.pages = pages


@tool
def PagesOf(title: str, shelf: Shelf) -> Number:  # noqa: N802
    """Count the pages of a book"""
    return Number(Fraction(shelf.pages[title]))


def test_a_tool_is_handed_the_resource_that_it_names() -> None:
    toolbox = Toolbox([PagesOf], resources=[Shelf(Ulysses=730)])
    assert toolbox.tools["PagesOf"].interface == "PagesOf(title): Count the pages of a book"
    (action,) = parse_actions("R1 = PagesOf(Ulysses)")
    assert Executor(toolbox).execute(action, {}, TASK).values == (Number(Fraction(730)),)


def test_a_missing_resource_is_named_with_the_tools_that_need_it() -> None:
    toolbox = Toolbox([PagesOf])
    with pytest.raises(ToolPackError, match="PagesOf needs a shelf"):
        toolbox.check_resources()


def test_what_a_tool_found_in_a_resource_is_taken_from_the_record() -> None:
    known, unknown = parse_actions("R1 = PagesOf(Ulysses); R2 = PagesOf(Dubliners)")
    recorded = Result((Number(Fraction(730)),))
    executor = Executor(Toolbox([PagesOf]), [(known, recorded)])
    assert executor.execute(known, {}, TASK) is recorded
    assert "no result of R2 = PagesOf(Dubliners)" in executor.execute(unknown, {}, TASK).message
