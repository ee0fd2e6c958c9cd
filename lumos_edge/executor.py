"""The executor: actions become typed values, or typed errors.

Covered: results are put into the parsed arguments, never into text; a tool has a time limit, in which the loading of
libraries does not count; whatever it raises becomes an error in the result. Not covered: a tool is Python code of this
process with all its rights; one that hangs inside a C function is left behind in its thread, and goes on there until
that function returns.
"""

from __future__ import annotations

import ctypes
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lumos_edge.errors import Cancelled, LumosError, StepError, ToolError, ToolTimeout, UndefinedResult
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Formula, references, substitute
from lumos_edge.toolbox import (
    Argument,
    Call,
    Context,
    FormulaArgument,
    NumberArgument,
    OpenFormula,
    Parameter,
    ReferenceArgument,
    ReferencesArgument,
    TextArgument,
    Tool,
    Toolbox,
)
from lumos_edge.trajectory import Action, Result, Subgoal, Task
from lumos_edge.values import Number, Passages, Value, formula_of, value_of

_INTERRUPT_AGAIN_S = 1.0


class Executor:
    """Runs actions with the tools of a toolbox.

    `recorded` are the actions and results of an earlier run: tools that work on resources, and those that are named
    `not_called`, are not called again, their results are taken from there.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        recorded: Sequence[tuple[Action, Result]] | None = None,
        not_called: Collection[str] = (),
    ) -> None:
        self._toolbox = toolbox
        self._not_called = not_called
        self._recorded = None if recorded is None else list(recorded)
        self._wake = threading.Event()

    def cancel(self) -> None:
        """Make the tool that is working, if one is, raise `Cancelled` in `execute`; safe from any thread."""
        self._wake.set()

    def execute(
        self, action: Action, bindings: Mapping[str, Value], task: Task, subgoals: Sequence[Subgoal] = ()
    ) -> Result:
        """The action's values, one for each target, or its error. Raises Cancelled, and what no tool can
        cause."""
        started = time.perf_counter()
        try:
            types = {name: frozenset({type(value)}) for name, value in bindings.items()}
            call = self._toolbox.check(action, types)
            if self._recorded is not None and call.tool and self._is_recorded(call.tool):
                return self._take_recorded(action)
            context = Context(
                task.question, len(action.targets), subgoals[0].text if len(subgoals) == 1 else ""
            )
            values = self._call(action, call, bindings, context)
        except StepError as error:
            return Result((), type(error).__name__, str(error), time.perf_counter() - started)
        return Result(values, elapsed_s=time.perf_counter() - started)

    def _is_recorded(self, tool: Tool) -> bool:
        return bool(tool.resources) or tool.name in self._not_called

    def _take_recorded(self, action: Action) -> Result:
        assert self._recorded is not None
        for index, (recorded, result) in enumerate(self._recorded):
            if recorded == action:
                del self._recorded[index]
                return result
        raise ToolError(f"the record has no result of {action}")

    def _call(
        self, action: Action, call: Call, bindings: Mapping[str, Value], context: Context
    ) -> tuple[Value, ...]:
        if call.tool is None:
            return (bindings[action.arguments],)
        arguments: dict[str, Any] = {}
        for parameter, argument in zip(call.tool.parameters, call.arguments, strict=True):
            arguments[parameter.name] = _substitute(parameter, argument, bindings)
        if call.tool.context_name:
            arguments[call.tool.context_name] = context
        for name, kind in call.tool.resources.items():
            arguments[name] = self._toolbox.resource(kind)
        function, name = call.tool.function, call.tool.name
        # One for each call: a tool that was left behind ends at some time, and must not wake the next one.
        self._wake = wake = threading.Event()
        returned = _within(lambda: function(**arguments), name, call.tool.timeout_s, wake)
        values = returned if isinstance(returned, tuple) else (returned,)
        if len(values) != len(action.targets):
            raise ToolError(f"{name} has {len(values)} results for {len(action.targets)} names: {action}")
        return values


def _substitute(parameter: Parameter, argument: Argument, bindings: Mapping[str, Value]) -> Any:
    """The argument with the results in their places."""
    kind = parameter.kind
    if isinstance(kind, ReferenceArgument):
        assert isinstance(argument, str)
        return argument if argument in kind.words else bindings[argument]
    if isinstance(kind, ReferencesArgument):
        assert isinstance(argument, tuple)
        return tuple(bindings[name] for name in argument)
    if isinstance(kind, TextArgument) and kind.is_query:
        assert isinstance(argument, str)
        return _NAME.sub(lambda match: _words(match[0], bindings), argument)
    if not isinstance(kind, (FormulaArgument, NumberArgument)):
        return argument
    assert not isinstance(argument, (str, tuple))
    if isinstance(kind, FormulaArgument) and kind.is_open:
        return OpenFormula(argument, {name: bindings[name] for name in references(argument)})
    formula = substitute(argument, {name: _formula(name, bindings[name]) for name in references(argument)})
    if isinstance(kind, FormulaArgument):
        return formula
    value = value_of(evaluate(formula))
    if not isinstance(value, Number):
        raise ToolError(f"{parameter.name} must be a number, it is {value}")
    return value


# A result's name as a word of its own: not that of a robot called R2-D2.
_NAME = re.compile(r"(?<![\w-])R\d+(?![\w-])")


def _words(name: str, bindings: Mapping[str, Value]) -> str:
    """What a name in a query stands for; one that no result has, or passages, stands for itself."""
    value = bindings.get(name)
    return name if value is None or isinstance(value, Passages) else str(value)


def _formula(name: str, value: Value) -> Formula:
    formula = formula_of(value)
    if formula is None:
        raise UndefinedResult(f"{name} is {type(value).__name__.lower()} ({value}), which no formula can use")
    return formula


class _Interrupted(BaseException):
    """Raised inside a tool's thread when its time is up; no `except Exception` of a library stops it."""


def _within(call: Callable[[], Any], name: str, timeout_s: float, wake: threading.Event) -> Any:
    """The call's result within the time limit; `wake` ends the waiting before it.

    Raises ToolTimeout, Cancelled, ToolError, and other LumosErrors as they are.
    """
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except _Interrupted:
            return
        except Exception as error:  # the one place where anything may come: a tool is foreign code
            failure.append(error)
        finally:
            wake.set()

    thread = threading.Thread(target=run, name=f"tool {name}", daemon=True)
    thread.start()
    wake.wait(timeout_s)
    while not wake.is_set() and _is_importing(thread):
        wake.wait(timeout_s)
    if not (outcome or failure):
        was_cancelled = wake.is_set()  # asked before the interrupt, which sets it
        threading.Thread(target=_interrupt, args=(thread,), daemon=True).start()
        if was_cancelled:
            raise Cancelled("cancelled")
        raise ToolTimeout(f"{name} took longer than {timeout_s:g} s")
    if not failure:
        return outcome[0]
    error = failure[0]
    if isinstance(error, LumosError):
        raise error
    raise ToolError(f"{name} failed: {type(error).__name__}: {error}") from error


def _interrupt(thread: threading.Thread) -> None:
    """End a tool's thread: Python code at its next bytecode, C code when it returns.

    Once more where the interrupt was lost: what is raised in a callback or a destructor ends nothing.
    """
    with _lost_interrupts_unreported():
        while thread.is_alive():
            if not _is_importing(thread):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Interrupted)
                )
            thread.join(_INTERRUPT_AGAIN_S)


@contextmanager
def _lost_interrupts_unreported() -> Iterator[None]:
    """The interpreter would print them on stderr as ignored exceptions."""
    report = sys.unraisablehook

    def report_others(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is not _Interrupted:
            report(lost)

    sys.unraisablehook = report_others
    try:
        yield
    finally:
        if sys.unraisablehook is report_others:  # else somebody has put another one over it
            sys.unraisablehook = report


def _is_importing(thread: threading.Thread) -> bool:
    """Whether the thread loads a library. Interrupted there, it would leave half a library to all later actions: sympy
    then fails with AttributeError until the process ends.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
