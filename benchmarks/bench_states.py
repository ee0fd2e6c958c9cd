"""Whether a small model can write an invalid action in any state: random results, pages and schemas.

    python benchmarks/bench_states.py --pack nano --n-states 1000

For each tool pack: a random set of results of random types, a random request, and of `web` a page of 10 to 2,000
elements, of `sql` a schema of 1 to 60 tables. The model is asked without examples and at a high temperature, so that
nothing but the grammar keeps it valid. Of `web` also every choice of an element and of an option is checked. Measured
besides: building the grammar of the largest states, and what the constraint costs for each token. The last line of
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from lumos_edge.engine import Completion, Engine, Prompt, Sampling
from lumos_edge.engine.constraint import GrammarCache
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.parallel import ParallelEngine, Work
from lumos_edge.errors import ElementNotFound
from lumos_edge.grammar import actions_grammar, choice_grammar
from lumos_edge.grounder import Grounder, Grounding
from lumos_edge.loading import choose, load_modules
from lumos_edge.reader import Reader
from lumos_edge.sql.database import Database
from lumos_edge.sql.schema import Column, Reference, Schema, Table
from lumos_edge.templates import Choosing, Reading
from lumos_edge.toolbox import Resource, Toolbox, ValueTypes
from lumos_edge.trajectory import Formulation, Step, Subgoal, Task
from lumos_edge.values import VALUE_TYPES, PageAction
from lumos_edge.web.document import Document, Element, Operation
from lumos_edge.web.ranking import ranked
from lumos_edge.web.site import Site

_N_PARALLEL = 16

PACKS = ("maths", "qa", "shop", "sql", "vision", "web")
MAX_ELEMENTS = 2000
MAX_TABLES = 60

_WORDS = re.findall(
    r"\S+",
    """add basket black book by cheapest check-in choose city count customer date delete delivery does each find first
    from highest how in large last lamp left list log long many maximum name new next of open order per price average
    the rate room sale search select show small sort table than ticket time to total train type user who with year York
    Größe 東京 R2-D2 (sic) 1,200 3/4 50% x^2 a=b; "quoted" it's <|im_end|>""",
)


class BareTemplate:
    """The request and nothing else."""

    def planner(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.planner`."""
        return (task.question,)

    def grounder(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], current: Step, formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.grounder`."""
        return (f"{current.subgoals[0].text}\n",)

    def reader(self, reading: Reading) -> Prompt:
        """See `ReaderTemplate.reader`."""
        return (reading.question,)

    def choice(self, choosing: Choosing) -> Prompt:
        """See `ReaderTemplate.choice`."""
        return ("\n".join([*choosing.lines, choosing.request, ""]),)


@dataclass
class PageInMemory:
    """A page that notes what is done to it."""

    document: Document
    done: list[tuple[Operation, Element, str]] = field(default_factory=list)

    def observe(self) -> Document:
        """See `Environment.observe`."""
        return self.document

    def act(self, operation: Operation, element: Element, text: str) -> None:
        """See `Environment.act`."""
        self.done.append((operation, element, text))

    def close(self) -> None:
        """See `Environment.close`."""


def main() -> None:
    """Run the states and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--n-states", type=int, default=1000)
    parser.add_argument("--tools", nargs="+", default=PACKS, choices=PACKS)
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--n-threads", type=int, default=0)
    options = parser.parse_args()
    engine = load_modules(choose(options.pack), options.n_threads).engine
    engine.adapters.clear()
    results = {}
    for pack in options.tools:
        states = States(engine, pack, Sampling(options.temperature, seed=1))
        states.run(options.n_states)
        results[pack] = states.summary()
        print(json.dumps({pack: results[pack]}), flush=True)
    print(
        json.dumps(
            {"benchmark": "states", **vars(options), "packs": results, "build_ms": build_times(engine)}
        )
    )


class States:
    """Random states of one tool pack, and what became of them."""

    def __init__(self, engine: LlamaEngine, pack: str, sampling: Sampling) -> None:
        self.engine = engine
        self.pack = pack
        self.sampling = sampling
        self.counts: Counter[str] = Counter()
        self.completions: list[Completion] = []
        self.reader = Reader(engine, BareTemplate(), sampling, 16)

    def run(self, n_states: int) -> None:
        """Ground a random subgoal in each of that many random states, some at a time."""
        drawn = (Random(f"{self.pack} {number}") for number in range(n_states))
        with closing(ParallelEngine(self.engine, _N_PARALLEL)) as parallel:
            for grounding in parallel.run(map(self._grounded, drawn)):
                self.counts["states"] += 1
                self.counts["actions"] += len(grounding.actions)
                self.counts["invalid turns"] += bool(grounding.error)
                self.completions.append(grounding.completion)
        if self.pack == "web":
            for number in range(n_states):
                self._choose(Random(f"choice {number}"))

    def _grounded(self, random: Random) -> Work[Grounding]:
        toolbox = Toolbox.of_packs([self.pack], random_resources(self.pack, random))
        types, step = random_types(random), Step((Subgoal(1, random_request(random)),), ())

        def ground(engine: Engine) -> Generator[object, None, Grounding]:
            grounder = Grounder(engine, BareTemplate(), toolbox, self.sampling, 192)
            return grounder.ground(Task("any"), (), step, types, formulation="iterative", max_actions=3)

        return ground

    def _choose(self, random: Random) -> None:
        """Do something random on a random page; what was done must be on it."""
        (site,) = random_resources("web", random)
        assert isinstance(site, Site)
        operation: Operation = random.choice(("CLICK", "TYPE", "SELECT"))
        query, text = random_request(random), random_request(random)
        try:
            done = site.act(operation, "Env", query, text, self.reader).done
        except ElementNotFound:
            return
        self.counts["choices"] += 1
        assert isinstance(site.environment, PageInMemory)
        self.counts["invalid choices"] += not is_on_page(site.environment, done)

    def summary(self) -> dict[str, Any]:
        """The counts, and the constraint's cost."""
        n_tokens = max(sum(made.n_completion for made in self.completions), 1)
        constraint_s = sum(made.constraint_s for made in self.completions)
        compile_s = sum(made.compile_s for made in self.completions)
        return {
            "states": self.counts["states"],
            "actions": self.counts["actions"],
            "invalid_turns": self.counts["invalid turns"],
            "choices": self.counts["choices"],
            "invalid_choices": self.counts["invalid choices"],
            "cut_off_turns": sum(made.finish_reason == "length" for made in self.completions),
            "tokens": n_tokens,
            "constraint_ms_per_token": round(1e3 * constraint_s / n_tokens, 3),
            "compile_ms_per_turn": round(1e3 * compile_s / len(self.completions), 2),
        }


def is_on_page(page: PageInMemory, done: PageAction | None) -> bool:
    """Whether the last action was done to an element of the page that it can be done to, with one of its options."""
    operation, element, text = page.done[-1]
    return (
        done is not None
        and done.element_id == element.id
        and element in page.document.elements
        and operation in element.operations
        and (operation != "SELECT" or text in element.options)
    )


def random_types(random: Random) -> dict[str, ValueTypes]:
    """Up to twelve results of random types."""
    return {f"R{n}": frozenset({random.choice(VALUE_TYPES)}) for n in range(1, random.randint(1, 13))}


def random_request(random: Random) -> str:
    """A few words."""
    return " ".join(random.choices(_WORDS, k=random.randint(2, 12))).replace(";", ",")


def random_resources(pack: str, random: Random) -> list[Resource]:
    """What the pack's tools work on."""
    if pack == "sql":
        return [Database(random_schema(random, random.randint(1, MAX_TABLES)))]
    if pack == "web":
        return [Site.begin(PageInMemory(random_page(random, random.randint(10, MAX_ELEMENTS))))]
    return []


def random_page(random: Random, n_elements: int) -> Document:
    """Elements of all kinds with random names."""
    return Document("http://a/", "Page", (), (), tuple(_element(random, n) for n in range(1, n_elements + 1)))


def _element(random: Random, number: int) -> Element:
    name = " ".join(random.choices(_WORDS, k=random.randint(1, 4)))
    kind = random.choice(("link", "button", "textbox", "combobox"))
    around = (" ".join(random.choices(_WORDS, k=5)),)
    if kind == "combobox":
        options = tuple(dict.fromkeys(random.choices(_WORDS, k=random.randint(1, 40))))
        return Element(number, kind, name, options=options, ancestors=around, operations=("CLICK", "SELECT"))
    if kind == "textbox":
        return Element(number, kind, name, ancestors=around, operations=("CLICK", "TYPE"))
    return Element(number, kind, name, ancestors=around)


def random_schema(random: Random, n_tables: int) -> Schema:
    """Tables with foreign keys between some of them; names are words, spaces and other characters included."""
    tables = []
    for number in range(n_tables):
        names = dict.fromkeys(word.lower() for word in random.choices(_WORDS, k=random.randint(1, 12)))
        columns = [Column(f"id_{random.randrange(n_tables)}", "INTEGER")]
        columns += [Column(name, random.choice(("INTEGER", "TEXT", "REAL", ""))) for name in names]
        tables.append(Table(f"{random.choice(_WORDS)} {number}", tuple(columns)))
    references = []
    for table in tables[1:]:
        target = random.choice(tables)
        if target != table and random.random() < 0.7:
            pair = random.choice(table.columns).name, random.choice(target.columns).name
            references.append(Reference(table.name, pair[0], target.name, pair[1]))
    return Schema(tuple(tables), tuple(references))


def build_times(engine: LlamaEngine) -> dict[str, float]:
    """Milliseconds of processor time to build what the largest states need: medians of 9, each new to the cache."""
    times: dict[str, list[float]] = {
        "schema of 60 tables": [],
        "choice of 2,000": [],
        "ranking 2,000 elements": [],
    }
    for seed in range(9):
        random = Random(seed)
        database = Database(random_schema(random, MAX_TABLES))
        toolbox = Toolbox.of_packs(["sql"], [database])
        times["schema of 60 tables"].append(_statement_ms(engine, toolbox))
        numbers = [str(n) for n in range(seed + 1, seed + MAX_ELEMENTS + 1)]
        times["choice of 2,000"].append(_compile_ms(engine, choice_grammar(*numbers)("") or ""))
        page = random_page(random, MAX_ELEMENTS)
        started = time.thread_time()
        ranked(page.elements, "CLICK", random_request(random), 16)
        times["ranking 2,000 elements"].append(1e3 * (time.thread_time() - started))
    return {name: round(median(found), 2) for name, found in times.items()}


def _statement_ms(engine: LlamaEngine, toolbox: Toolbox) -> float:
    """The first part of an action, in which every column of the schema may come."""
    started = time.thread_time()
    lark = actions_grammar(toolbox, {}, formulation="iterative", max_actions=3)("") or ""
    return 1e3 * (time.thread_time() - started) + _compile_ms(engine, lark)


def _compile_ms(engine: LlamaEngine, lark: str) -> float:
    cache = GrammarCache(engine._vocabulary.grammars.tokenizer)
    started = time.thread_time()
    cache.matcher(lark)
    return 1e3 * (time.thread_time() - started)


if __name__ == "__main__":
    main()
