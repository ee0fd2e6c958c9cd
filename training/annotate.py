"""Annotations for training, as JSONL in the paper's format, with a card of what was kept and why not the rest.

    python -m training.annotate --gsm8k train.jsonl --n-gsm8k 7000 --n-synthetic 9000 -o annotations
    python -m training.annotate --intercode intercode/tasks.jsonl -o annotations
    python -m training.annotate --data my_rationales.jsonl -o annotations

A line of `--data` is `{"question": ..., "answer": 72, "steps": [["Calculate ...", "R1 = Calculator(48/2)"], ...]}`;
without "answer" any result is taken. Lines that do not do are counted by reason, named on stderr, and left out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

from lumos_edge.sql.database import Database
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import FORMULATIONS, Module
from lumos_edge.values import Number
from training.annotations import Annotation, Annotator, messages, plain_formula
from training.chains import Problem, RejectedItemError, chain, numbers_of, problems, read_lines
from training.operations import explained
from training.renumbering import is_like, renumber
from training.statements import describe, read_statement, schema_of, sql_annotator, statement_text
from training.subgoals import word_subgoal
from training.synthetic import SyntheticProblem, generate

MODULES: tuple[Module, ...] = ("planner", "grounder")
LICENCES = {
    "gsm8k": "MIT (Cobbe et al. 2021, github.com/openai/grade-school-math)",
    "renumbered": "MIT (GSM8K with other numbers)",
    "synthetic": "Apache-2.0 (made by training/synthetic.py)",
    "intercode": "MIT (InterCode), its questions and databases CC BY-SA 4.0 (Spider, Yu et al. 2018)",
    "data": "the user's own",
}


@dataclass
class Tally:
    """What became of the items of each data set."""

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)

    def reject(self, dataset: str, where: str, error: RejectedItemError) -> None:
        """Count an item by its reason and name it."""
        self.rejected[dataset, error.reason] += 1
        print(f"{dataset} {where}: {error}", file=sys.stderr)


def gsm8k(file: Path, n_items: int, annotator: Annotator, tally: Tally) -> Iterator[Annotation]:
    """The first items of a GSM8K file whose chain reaches the answer."""
    for number, problem in problems(read_lines(file)[:n_items]):
        try:
            if isinstance(problem, RejectedItemError):
                raise problem
            annotation = annotator.annotate(
                "gsm8k", f"gsm8k-{number}", problem.question, solution(problem), problem.answer
            )
        except RejectedItemError as error:
            tally.reject("gsm8k", f"line {number}", error)
            continue
        yield annotation


def solution(problem: Problem) -> tuple[tuple[str, str], ...]:
    """Each line of a problem's chain as a subgoal and its actions; raises RejectedItemError."""
    given = numbers_of(problem.question)
    found = []
    for line in chain(problem):
        actions = [str(replace(a, arguments=plain_formula(a.arguments))) for a in line.actions]
        found.append((word_subgoal(line, given), "; ".join(actions)))
    return explained(found)


def synthetic(n_items: int, seed: int, annotator: Annotator, tally: Tally) -> Iterator[Annotation]:
    """That many problems made by program, all different and with sensible results."""
    seen: set[str] = set()
    for problem in generate(seed):
        if len(seen) == n_items:
            return
        if problem.question in seen:
            continue
        item_id = f"synthetic-{seed}-{len(seen) + 1}"
        try:
            annotation = annotator.annotate(
                "synthetic", item_id, problem.question, explained(problem.solution), None
            )
            _check_sensible(problem, annotation)
        except RejectedItemError as error:
            tally.rejected["synthetic", error.reason] += 1
            continue
        seen.add(problem.question)
        yield annotation


def _check_sensible(problem: SyntheticProblem, annotation: Annotation) -> None:
    """Things are counted in whole numbers and money has cents; raises RejectedItemError."""
    unit = 100 if "$" in problem.question else 1
    for step in annotation.steps:
        for value in step.attempts[0].results[-1].values:
            is_sensible = not isinstance(value, Number) or (
                value.value > 0 and (value.value * unit).denominator == 1
            )
            if not (is_sensible or problem.any_result):
                raise RejectedItemError("not sensible", f"{value} in {problem.question!r}")


def renumbered(
    originals: list[Annotation], n_items: int, seed: int, annotator: Annotator, tally: Tally
) -> Iterator[Annotation]:
    """Up to that many variants with other numbers, drawn from all the originals in turn."""
    rng = random.Random(seed)
    n_kept = 0
    for number in range(4 * n_items if originals else 0):
        original = originals[number % len(originals)]
        try:
            variant = renumber(original, rng)
            item_id = f"{original.id}-renumbered-{number}"
            annotation = annotator.annotate("renumbered", item_id, variant.question, variant.solution, None)
            if not is_like(_numbers(original), _numbers(annotation)):
                raise RejectedItemError("not sensible", variant.question)
        except RejectedItemError as error:
            tally.rejected["renumbered", error.reason] += 1
            continue
        yield annotation
        n_kept += 1
        if n_kept == n_items:
            return


def _numbers(annotation: Annotation) -> list[Fraction]:
    results = [result for step in annotation.steps for result in step.attempts[0].results]
    return [value.value for result in results for value in result.values if isinstance(value, Number)]


def own_rationales(file: Path, annotator: Annotator, tally: Tally) -> Iterator[Annotation]:
    """The user's own solved tasks."""
    for number, line in enumerate(read_lines(file), 1):
        try:
            yield _own_rationale(line, f"{file.stem}-{number}", annotator)
        except RejectedItemError as error:
            tally.reject("data", f"line {number}", error)


def _own_rationale(line: str, item_id: str, annotator: Annotator) -> Annotation:
    try:
        entry = json.loads(line)
        question, answer = str(entry["question"]), entry.get("answer")
        steps = [(str(subgoal), str(actions)) for subgoal, actions in entry["steps"]]
        wanted = None if answer is None else Fraction(str(answer))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RejectedItemError(
            "broken line", f"expected question and steps as JSON, found {line[:60]!r}"
        ) from error
    if not steps:
        raise RejectedItemError("broken line", "there is no step")
    return annotator.annotate("data", item_id, question, steps, wanted)


def intercode(file: Path, tally: Tally) -> Iterator[Annotation]:
    """InterCode's tasks whose gold query is in our language; as `training.intercode` writes them."""
    for number, line in enumerate(read_lines(file), 1):
        try:
            yield _intercode_task(line, f"intercode-{number}", file.parent)
        except RejectedItemError as error:
            tally.reject("intercode", f"line {number}", error)


def _intercode_task(line: str, item_id: str, folder: Path) -> Annotation:
    try:
        task = json.loads(line)
        question, sql, database = str(task["question"]), str(task["sql"]), folder / task["db"]
    except (ValueError, KeyError, TypeError) as error:
        raise RejectedItemError(
            "broken line", f"expected question, sql and db as JSON, found {line[:60]!r}"
        ) from error
    annotator = sql_annotator(database)
    query = read_statement(sql, schema_of(annotator))
    solution = [(describe(query), f"R1 = SQL({statement_text(query)})")]
    return annotator.annotate("intercode", item_id, question, solution, None)


def write_conversations(annotations: list[Annotation], folder: Path) -> None:
    """One file for each module and formulation."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        for formulation in FORMULATIONS:
            with (folder / f"{module}_{formulation}.jsonl").open("w", encoding="utf-8") as file:
                for annotation in annotations:
                    _write_line(file, annotation, messages(annotation, module, formulation))


def _write_line(file: TextIO, annotation: Annotation, turns: list[dict[str, str]]) -> None:
    entry: dict[str, Any] = {"dataset": annotation.dataset, "id": annotation.id, "messages": turns}
    for resource in annotation.toolbox.resources:
        if isinstance(resource, Database):
            entry["db"] = str(resource.path)
    file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def card(annotations: list[Annotation], tally: Tally, command: str) -> str:
    """What was kept, what was not and why, and under which licences, as Markdown."""
    datasets = sorted({a.dataset for a in annotations} | {dataset for dataset, _ in tally.rejected})
    lines = ["# Annotations", "", f"Made by `{command}`.", ""]
    lines += [
        "| data set | kept | subgoals | actions | rejected | licence |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for dataset in datasets:
        members = [a for a in annotations if a.dataset == dataset]
        reasons = [f"{n} {why}" for (name, why), n in tally.rejected.items() if name == dataset]
        subgoals, actions = sum(len(a.plan) for a in members), sum(len(a.actions) for a in members)
        lines.append(
            f"| {dataset} | {len(members)} | {subgoals} | {actions} | {', '.join(reasons) or 'none'} "
            f"| {LICENCES[dataset]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", type=Path, help="GSM8K's training file")
    parser.add_argument(
        "--n-gsm8k", type=int, default=7000, help="items of it (the last 473 are for development)"
    )
    parser.add_argument("--n-synthetic", type=int, default=0, help="problems to make by program")
    parser.add_argument("--n-renumbered", type=int, default=0, help="GSM8K items with other numbers to make")
    parser.add_argument("--intercode", type=Path, help="the tasks.jsonl that training.intercode wrote")
    parser.add_argument("--data", type=Path, help="rationales of your own, one JSON object per line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    options = parser.parse_args()
    annotator, tally = Annotator(Toolbox.of_packs(["maths"])), Tally()
    originals = list(gsm8k(options.gsm8k, options.n_gsm8k, annotator, tally)) if options.gsm8k else []
    annotations = [
        *originals,
        *renumbered(originals, options.n_renumbered, options.seed, annotator, tally),
        *synthetic(options.n_synthetic, options.seed, annotator, tally),
        *(intercode(options.intercode, tally) if options.intercode else ()),
        *(own_rationales(options.data, annotator, tally) if options.data else ()),
    ]
    random.Random(options.seed).shuffle(annotations)
    write_conversations(annotations, options.output)
    text = card(annotations, tally, "python -m training.annotate " + " ".join(sys.argv[1:]))
    (options.output / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
