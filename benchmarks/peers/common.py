"""What peers share: the protocol with `bench_peers.py`, a calculator, and counting. Standard library only.

A script gets the path of the weights as its argument and questions as JSON strings on stdin, a line each. It prints a
JSON object for each, and one with the peak of its resident memory.
"""

from __future__ import annotations

import ast
import json
import operator
import resource
import signal
import sys
import time
from collections.abc import Callable

N_CTX = 4096
MAX_STEPS = 6
LIMIT_S = 300
"""Seconds of one question; some peers have no limit of their own."""

SYSTEM = "You solve arithmetic word problems. Use the calculator for every calculation. Answer with a number."

_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def calculate(expression: str) -> float:
    """The value of an arithmetic expression of numbers; raises ValueError for anything else."""
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"cannot calculate {expression!r}: {error}") from error


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    raise ValueError(f"no arithmetic: {ast.unparse(node)}")


class Counter:
    """Tool calls and how many failed; tokens that the binding decoded and evaluated while it was watched."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin a question."""
        self.n_calls = self.n_failed = self.n_decoded = self.n_evaluated = 0

    def watch(self) -> None:
        """Count what the binding's high-level class does from now on."""
        import llama_cpp

        evaluate, generate = llama_cpp.Llama.eval, llama_cpp.Llama.generate

        def counted_eval(llama, tokens):  # type: ignore[no-untyped-def]
            self.n_evaluated += len(tokens)
            return evaluate(llama, tokens)

        def counted_generate(llama, *arguments, **options):  # type: ignore[no-untyped-def]
            for token in generate(llama, *arguments, **options):
                self.n_decoded += 1
                yield token

        llama_cpp.Llama.eval, llama_cpp.Llama.generate = counted_eval, counted_generate

    def calculator(self, expression: str) -> str:
        """The tool itself: text in, text out, failures counted."""
        self.n_calls += 1
        try:
            return f"{calculate(str(expression)):g}"
        except ValueError as error:
            self.n_failed += 1
            return f"Error: {error}"


COUNTER = Counter()


def answer_all(answer: Callable[[str], str], *, has_own_limit: bool = False) -> None:
    """Answer the questions on stdin; an exception is an answer that was not given, and a failed call."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"no answer within {LIMIT_S} s")

    signal.signal(signal.SIGALRM, too_long)
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is not the protocol
    for line in sys.stdin:
        COUNTER.clear()
        started = time.perf_counter()
        text, error = "", ""
        signal.alarm(0 if has_own_limit else LIMIT_S)
        try:
            text = str(answer(json.loads(line)))
        except Exception as caught:  # whatever a peer raises is its result
            error = " ".join(f"{type(caught).__name__}: {caught}".split())[:300]
            COUNTER.n_failed += 1
        signal.alarm(0)
        record = {"answer": text, "error": error, "seconds": time.perf_counter() - started, **vars(COUNTER)}
        print(json.dumps(record), file=out, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_mb": round(peak / 1e6)}), file=out, flush=True)
