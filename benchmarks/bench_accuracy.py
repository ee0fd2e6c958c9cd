"""Accuracy, tokens and seconds per task of a pack's ways to answer, on the same questions in one run.

    python -m benchmarks.bench_accuracy gsm8k/train.jsonl --skip 7000 --n 100 --pack nano

The questions are a JSONL file of {"question", "answer"}; GSM8K's own files do (--skip 7000 leaves the development
set). Each question goes to every system before the next one, so that a busy machine is the same to all of them.
    fewshot-onetime, fewshot-iterative   the base model with the tool packs' examples
    adapters-onetime                     the pack's adapters, or those of --planner-adapter and --grounder-adapter
    samples-1, samples-5, samples-9      the pack as it is; so many plans decoded at once, executed and voted on
    chain-of-thought                     the base model asked to think step by step, no tools
StrategyQA's train.json (--skip 1861 leaves the last 200 as the development set) goes to other systems:
    knowledge, knowledge-own-words       the agent on a pack of all facts of the file; answers quoted, or in own words
    oracle-facts, no-facts               the reader alone, with the question's own facts, and with none; yes or no
Intervals are Wilson's at 95 %. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion, Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.recorded import Recorded, RecordingEngine
from lumos_edge.errors import BudgetExceeded, ContextWindowExceeded
from lumos_edge.knowledge.library import Library
from lumos_edge.knowledge.opening import build_knowledge
from lumos_edge.knowledge.passage import Passage
from lumos_edge.loading import ModelChoice, of_pack, with_tools
from lumos_edge.manifest import find_manifest
from lumos_edge.scoring import is_correct
from lumos_edge.templates import ChatTemplate, Message
from lumos_edge.trajectory import Module, Task, Trajectory
from lumos_edge.voting import samplings, vote

_THINK = "Solve the problem step by step. End with 'The answer is' and the number."
_SAMPLES = {"samples-1": 1, "samples-5": 5, "samples-9": 9}
_OF_KNOWLEDGE = ("knowledge", "knowledge-own-words", "oracle-facts", "no-facts")
SYSTEMS = ("fewshot-onetime", "fewshot-iterative", "adapters-onetime", *_SAMPLES, "chain-of-thought")
_MAX_THOUGHT = 400  # tokens; the figure for the 1.5B base is 290 per task
_NUMBER = re.compile(r"-?\$?\d[\d,]*\.?\d*")


@dataclass(frozen=True)
class Question:
    """A question, the answer that is right, and the facts that it follows from, where they are known."""

    text: str
    answer: str
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a system did on a question."""

    answer: str | None
    is_right: bool
    n_tokens: int
    n_actions: int
    n_invalid: int
    seconds: float


System = Callable[[Question], Outcome]


def read_questions(file: Path, skip: int, n: int) -> list[Question]:
    """Some questions of a file; raises KeyError or ValueError for a line of another form."""
    if file.suffix == ".json":
        items = json.loads(file.read_text("utf-8"))[skip : skip + n]
        return [Question(item["question"], str(item["answer"]), tuple(item["facts"])) for item in items]
    lines = islice(file.read_text("utf-8").split("\n"), skip, skip + n)
    entries = [json.loads(line) for line in lines if line.strip()]
    return [Question(e["question"], str(e["answer"]).rpartition("####")[2].strip()) for e in entries]


def agent_system(agent: Agent) -> System:
    """Planner, grounder and executor."""

    def answer(question: Question) -> Outcome:
        completions: list[Recorded] = []
        recording = agent.with_engine(RecordingEngine(agent.engine, completions.append))
        started = time.perf_counter()
        try:
            trajectory: Trajectory | None = recording.ask(Task(question.text))
        except (BudgetExceeded, ContextWindowExceeded):
            trajectory = None
        seconds = time.perf_counter() - started
        found = str(trajectory.answer) if trajectory and trajectory.answer is not None else None
        n_actions, n_invalid = _count_actions(trajectory)
        n_tokens = sum(recorded.completion.n_completion for recorded in completions)
        return Outcome(found, _is_right(found, question), n_tokens, n_actions, n_invalid, seconds)

    return answer


def _count_actions(trajectory: Trajectory | None) -> tuple[int, int]:
    attempts = [attempt for step in trajectory.steps for attempt in step.attempts] if trajectory else []
    errors = [result.error for attempt in attempts for result in attempt.results]
    n_invalid = sum(error in ("ActionError", "UndefinedResult") for error in errors)
    n_unparsed = sum(bool(attempt.error) for attempt in attempts)
    return sum(len(attempt.actions) for attempt in attempts) + n_unparsed, n_invalid + n_unparsed


def voting_system(agent: Agent, n_samples: int) -> System:
    """The answer that most of so many runs have; `ask --samples`."""

    def answer(question: Question) -> Outcome:
        started = time.perf_counter()
        requests = ((Task(question.text), sampling) for sampling in samplings(agent.sampling, n_samples))
        done = vote(list(agent.run_many(requests, n_samples)))
        seconds = time.perf_counter() - started
        found = None if done.trajectory.answer is None else str(done.trajectory.answer)
        counts = [_count_actions(sample.trajectory) for sample in done.samples]
        n_actions, n_invalid = (sum(numbers) for numbers in zip(*counts, strict=True))
        completions = [recorded.completion for sample in done.samples for recorded in sample.completions]
        n_tokens = sum(completion.n_completion for completion in completions)
        return Outcome(found, _is_right(found, question), n_tokens, n_actions, n_invalid, seconds)

    return answer


def thinking_system(engine: LlamaEngine) -> System:
    """The base model's own chain of thought; the answer is the number after `answer is`, or the last one."""
    model = engine.model
    source = model.metadata("tokenizer.chat_template")
    chat = ChatTemplate.of_vocabulary(source, bos=model.bos, eos=model.eos, is_control=model.is_control)

    def answer(question: Question) -> Outcome:
        prompt = chat.lay_out([Message("user", f"{question.text}\n\n{_THINK}")])
        started = time.perf_counter()
        pieces = engine.complete("planner", prompt, _anything, max_tokens=_MAX_THOUGHT, sampling=Sampling())
        completion = _drained(pieces)
        seconds = time.perf_counter() - started
        found = final_number(completion.text)
        return Outcome(found, _is_right(found, question), completion.n_completion, 0, 0, seconds)

    return answer


def final_number(thought: str) -> str | None:
    """The number after the last `answer is`, else the last number; None when there is none."""
    _, said, conclusion = thought.rpartition("answer is")
    concluded = _NUMBER.findall(conclusion) if said else []
    numbers = concluded[:1] or _NUMBER.findall(thought)
    return numbers[-1].rstrip(".,") if numbers else None


def _anything(text: str) -> str | None:
    return None if text else "start: /(?s:.)+/\n"


def _drained(pieces: Any) -> Completion:
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            completion: Completion = end.value
            return completion


def _is_right(found: str | None, question: Question) -> bool:
    return found is not None and is_correct(found, question.answer)


def make_systems(
    names: list[str], choice: ModelChoice, adapters: Mapping[Module, Path], n_threads: int
) -> dict[str, System]:
    """The systems of those names on a pack's base model; raises what loading raises."""
    plain: Mapping[Module, str] = {"planner": "fewshot", "grounder": "fewshot"}
    compact: Mapping[Module, str] = {"planner": "compact", "grounder": "compact"}
    fewshot = replace(choice, adapters={}, templates=plain)
    makers: dict[str, Callable[[], System]] = {
        "fewshot-onetime": lambda: agent_system(
            Agent.open(fewshot, formulation="onetime", n_threads=n_threads)
        ),
        "fewshot-iterative": lambda: agent_system(
            Agent.open(fewshot, formulation="iterative", n_threads=n_threads)
        ),
        "adapters-onetime": lambda: agent_system(
            Agent.open(
                replace(choice, adapters=adapters, templates=compact),
                formulation="onetime",
                n_threads=n_threads,
            )
        ),
        **{
            name: functools.partial(_voting, replace(choice, adapters=adapters), n_samples, n_threads)
            for name, n_samples in _SAMPLES.items()
        },
        "chain-of-thought": lambda: thinking_system(
            LlamaEngine(choice.base, n_ctx=2048, n_threads=n_threads)
        ),
    }
    return {name: makers[name]() for name in names}


def _voting(choice: ModelChoice, n_samples: int, n_threads: int) -> System:
    return voting_system(Agent.open(choice, n_threads=n_threads), n_samples)


def make_knowledge_systems(
    names: list[str], choice: ModelChoice, library: Library, n_threads: int
) -> dict[str, System]:
    """The systems for questions over knowledge; raises what loading raises."""

    def opened(is_extractive: bool = True) -> Agent:
        asked = with_tools(replace(choice, adapters={}, templates={}), ("qa",))
        return Agent.open(asked, resources=[library], is_extractive=is_extractive, n_threads=n_threads)

    makers: dict[str, Callable[[], System]] = {
        "knowledge": lambda: agent_system(opened()),
        "knowledge-own-words": lambda: agent_system(opened(is_extractive=False)),
        "oracle-facts": lambda: reading_system(opened(), with_facts=True),
        "no-facts": lambda: reading_system(opened(), with_facts=False),
    }
    return {name: makers[name]() for name in names}


def reading_system(agent: Agent, with_facts: bool) -> System:
    """The reader alone, asked for yes or no, with the question's own facts or with none."""
    reader = agent.reader
    assert reader

    def answer(question: Question) -> Outcome:
        facts = tuple(Passage("", fact, "facts") for fact in question.facts) if with_facts else ()
        started = time.perf_counter()
        found = reader.answer(question.text, facts, must_decide=True).text
        seconds = time.perf_counter() - started
        n_tokens = agent.reader_engine.take_n_tokens()
        return Outcome(found, _is_right(found, question), n_tokens, 0, 0, seconds)

    return answer


def facts_library(file: Path, folder: Path) -> Library:
    """All facts of StrategyQA's file as a knowledge pack, under the terms of their questions."""
    lines = folder / "facts.jsonl"
    items = json.loads(file.read_text("utf-8"))
    facts = {fact: item["term"] for item in items for fact in item["facts"]}
    lines.write_text("".join(json.dumps({"title": t, "text": f}) + "\n" for f, t in facts.items()), "utf-8")
    return Library([build_knowledge(lines, folder / "facts.sqlite")])


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval at 95 % for a share."""
    z = 1.96
    share = n_right / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return round(max(0.0, (middle - spread) / scale), 4), round((middle + spread) / scale, 4)


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """The figures of a system."""
    n, n_right = len(outcomes), sum(outcome.is_right for outcome in outcomes)
    return {
        "n": n,
        "correct": n_right,
        "accuracy": round(n_right / n, 4),
        "interval_95": wilson(n_right, n),
        "no_answer": sum(outcome.answer is None for outcome in outcomes),
        "actions": sum(outcome.n_actions for outcome in outcomes),
        "invalid_actions": sum(outcome.n_invalid for outcome in outcomes),
        "tokens_per_task": round(sum(outcome.n_tokens for outcome in outcomes) / n, 1),
        "seconds_per_task": round(sum(outcome.seconds for outcome in outcomes) / n, 3),
    }


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="questions to leave out at the beginning")
    parser.add_argument("--n", type=int, default=50, help="questions to ask")
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--planner-adapter", type=Path)
    parser.add_argument("--grounder-adapter", type=Path)
    parser.add_argument("--systems", nargs="+", choices=(*SYSTEMS, *_OF_KNOWLEDGE))
    parser.add_argument("--n-threads", type=int, default=1)
    options = parser.parse_args()
    choice = of_pack(find_manifest(options.pack))
    given: dict[Module, Path | None] = {
        "planner": options.planner_adapter,
        "grounder": options.grounder_adapter,
    }
    adapters = {**choice.adapters, **{module: path for module, path in given.items() if path}}
    if options.file.suffix == ".json":
        with tempfile.TemporaryDirectory() as folder:
            library = facts_library(options.file, Path(folder))
            names = options.systems or list(_OF_KNOWLEDGE)
            compare(options, make_knowledge_systems(names, choice, library, options.n_threads))
            library.close()
    else:
        compare(options, make_systems(options.systems or list(SYSTEMS), choice, adapters, options.n_threads))


def compare(options: argparse.Namespace, systems: dict[str, System]) -> None:
    """Ask every system every question, and print the scores."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in systems}
    for number, question in enumerate(read_questions(options.file, options.skip, options.n), 1):
        for name, system in systems.items():
            outcomes[name].append(system(question))
        scores = ", ".join(f"{name} {sum(o.is_right for o in found)}" for name, found in outcomes.items())
        print(f"{number}: {scores}", file=sys.stderr)
    results = {name: summary(found) for name, found in outcomes.items()}
    print(
        json.dumps(
            {"file": options.file.name, "skip": options.skip, "pack": options.pack, "systems": results}
        )
    )


if __name__ == "__main__":
    main()
