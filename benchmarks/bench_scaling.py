"""Seconds per step against what grows: the steps before it, the tools of the toolbox, the elements of a page.

    python benchmarks/bench_scaling.py [--pack nano] [--steps 1 2 5 10 20 30] [--tools 5 20 50 100 200]
        [--elements 10 100 500 2000] [--repeats 3] [--plot benchmarks/results/scaling]

steps     the grounder's turn after so many steps, whose conversation the engine has up to the last of them
tools     the grounder's turn with so many tools, its prompt known to the engine, its grammar compiled anew
elements  one CLICK: the page is read, its elements are ranked, the model chooses among the best 16

Each is the median of --repeats. With --plot three SVG files are written (needs matplotlib). The last line of stdout
is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

from lumos_edge.engine import Completion, Sampling
from lumos_edge.functions import tool_of
from lumos_edge.grammar import actions_grammar
from lumos_edge.loading import Modules, choose, load_modules
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Action, Attempt, Result, Step, Subgoal, Task
from lumos_edge.values import Number
from lumos_edge.web.ranking import ranked
from lumos_edge.web.reading import parse, read_document
from lumos_edge.web.site import element_line

_TASK = Task("A shop sells 7 kinds of apples. How many apples are sold in a year?")
_MAX_TOKENS = 32
_N_CTX = 8192
_N_CANDIDATES = 16


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--steps", type=int, nargs="*", default=[1, 2, 5, 10, 20, 30])
    parser.add_argument("--tools", type=int, nargs="*", default=[5, 20, 50, 100, 200])
    parser.add_argument("--elements", type=int, nargs="*", default=[10, 100, 500, 2000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-threads", type=int, default=0)
    parser.add_argument("--plot", help="what the names of the SVG files begin with")
    options = parser.parse_args()
    modules = load_modules(choose(choose(options.pack).base, _N_CTX), options.n_threads)
    measured: dict[str, Callable[[int], dict[str, float]]] = {
        "steps": lambda n: after_steps(modules, n),
        "tools": lambda n: with_tools(modules, n),
        "elements": lambda n: on_page(modules, n),
    }
    report: dict[str, Any] = {"pack": options.pack, "repeats": options.repeats}
    for name, measure in measured.items():
        report[name] = []
        for n in getattr(options, name):
            runs = [measure(n) for _ in range(options.repeats)]
            row = {name: n, **{key: round(median(run[key] for run in runs), 4) for key in runs[0]}}
            report[name].append(row)
            print(row, flush=True)
    if options.plot:
        plot(report, options.plot)
    print(json.dumps(report))


def after_steps(modules: Modules, n: int) -> dict[str, float]:
    """The grounder's turn for step n + 1. The engine is shown the conversation without its last step first."""
    toolbox = Toolbox.of_packs(["maths"])
    steps = [_step(number) for number in range(1, n + 1)]
    _turn(modules, toolbox, steps[:-1], _step(n))
    return _turn(modules, toolbox, steps, _step(n + 1))


def _step(number: int) -> Step:
    action = Action((f"R{number}",), "Calculator", f"{number} * 12")
    subgoal = Subgoal(number, f"Calculate how many apples of kind {number} are sold.")
    result = Result((Number(Fraction(number * 12)),))
    return Step((subgoal,), (Attempt((action,), (result,)),))


def with_tools(modules: Modules, n: int) -> dict[str, float]:
    """The grounder's turn with n tools. The engine is shown another task with the same tools first."""
    toolbox = Toolbox([tool_of(_function(number)) for number in range(n)])
    _turn(modules, toolbox, [], Step((Subgoal(1, "Calculate the sum."),), ()))
    modules.engine._vocabulary.grammars._matchers.clear()  # type: ignore[union-attr]
    return _turn(modules, toolbox, [], _step(1))


def _function(number: int) -> Callable[..., float]:
    def function(amount: float, count: float) -> float:
        return amount * count + number

    function.__name__ = f"Compute{number}"
    function.__doc__ = f"Compute quantity {number} of an amount and a count"
    return function


def _turn(modules: Modules, toolbox: Toolbox, steps: list[Step], current: Step) -> dict[str, float]:
    started = time.perf_counter()
    current = Step(current.subgoals, ())
    prompt = modules.grounder_template.grounder(_TASK, toolbox, steps, current, "iterative")
    known = {f"R{number}": frozenset({Number}) for number in range(1, len(steps) + 1)}
    grammar = actions_grammar(toolbox, known, formulation="iterative", max_actions=2)
    text = modules.engine.complete("grounder", prompt, grammar, max_tokens=_MAX_TOKENS, sampling=Sampling())
    while True:
        try:
            next(text)
        except StopIteration as end:
            completion: Completion = end.value
            break
    return {
        "seconds": time.perf_counter() - started,
        "compile_s": completion.compile_s,
        "n_prompt": completion.n_prompt,
        "n_prefilled": completion.n_prefilled,
        "n_completion": completion.n_completion,
    }


def on_page(modules: Modules, n: int) -> dict[str, float]:
    """One CLICK on a page of n links."""
    links = "\n".join(f'<p><a href="/{number}">Read report {number} of {n}</a></p>' for number in range(n))
    html = f"<html><title>Reports</title><body><h1>Reports</h1>{links}</body></html>"
    query = f"report {n // 2}"
    reader = modules.reader(Sampling(), is_extractive=True, may_recall=False)
    started = time.perf_counter()
    elements = read_document(parse(html), "").elements
    read = time.perf_counter()
    found = ranked(elements, "CLICK", query, _N_CANDIDATES)
    in_order = time.perf_counter()
    reader.choose(f"CLICK: {query}", [element_line(element) for element, _ in found])
    ended = time.perf_counter()
    return {
        "seconds": ended - started,
        "read_s": read - started,
        "rank_s": in_order - read,
        "choose_s": ended - in_order,
    }


_AXES = {
    "steps": "steps before this one",
    "tools": "tools in the toolbox",
    "elements": "elements on the page",
}


def plot(report: dict[str, Any], prefix: str) -> None:
    """One SVG for each: seconds against what grows."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "lumos-edge"  # the same file for the same figures
    for name, label in _AXES.items():
        rows = report[name]
        if not rows:
            continue
        figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
        axes.plot([row[name] for row in rows], [row["seconds"] for row in rows], marker="o", color="#00796b")
        axes.set(xlabel=label, ylabel="seconds per step", title=f"{report['pack']} pack's base weights")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        figure.savefig(Path(f"{prefix}-{name}.svg"), metadata={"Date": None})
        pyplot.close(figure)


if __name__ == "__main__":
    main()
