"""How often the element that a query means is found: by the ranking alone, and by a pack's choice among the best.

    python benchmarks/bench_elements.py --pack base

The pages and queries in `benchmarks/pages` are our own. The model is asked every query; from its answers follow the
figures for asking it only where the ranking's second best scores at least that part of the best. The last line of
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bs4 import Tag

from lumos_edge.engine import Sampling
from lumos_edge.loading import choose, load_modules
from lumos_edge.reader import Reader
from lumos_edge.web.document import Element
from lumos_edge.web.names import attribute
from lumos_edge.web.ranking import ranked
from lumos_edge.web.reading import parse, read_document
from lumos_edge.web.site import element_line

_PAGES = Path(__file__).parent / "pages"
_PARTS = (1.01, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0)


@dataclass(frozen=True)
class Case:
    """A query, the elements it may be done to, and the HTML id of the one that it means."""

    operation: Any
    query: str
    gold: str
    elements: tuple[Element, ...]
    html_ids: dict[int, str]


def main() -> None:
    """Ask the queries and print how often each way is right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="base")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--n-threads", type=int, default=0)
    options = parser.parse_args()
    modules = load_modules(choose(options.pack), options.n_threads)
    reader = modules.reader(Sampling(), is_extractive=True, may_recall=False)
    outcomes = [answer(case, reader, options.candidates) for case in read_cases()[: options.limit]]
    print(json.dumps(summary(options, outcomes)))


def read_cases() -> list[Case]:
    """The queries of `cases.jsonl`."""
    pages = {path.stem: _page(path) for path in _PAGES.glob("*.html")}
    lines = (_PAGES / "cases.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [Case(one["operation"], one["query"], one["gold"], *pages[one["page"]]) for one in found]


def _page(path: Path) -> tuple[tuple[Element, ...], dict[int, str]]:
    tree = parse(path.read_text("utf-8"))
    tags = [tag for tag in tree.descendants if isinstance(tag, Tag)]
    elements = read_document(tree, "").elements
    return elements, {element.id: attribute(tags[element.position], "id") for element in elements}


def answer(case: Case, reader: Reader, n_candidates: int) -> dict[str, Any]:
    """What the ranking and the model say to one query."""
    found = ranked(case.elements, case.operation, case.query, n_candidates)
    ids = [case.html_ids[element.id] for element, _ in found]
    scores = [score for _, score in found]
    started = time.perf_counter()
    chosen = reader.choose(f"{case.operation}: {case.query}", [element_line(element) for element, _ in found])
    outcome = {
        "query": case.query,
        "ranking": scores[0] > 0 and ids[0] == case.gold,
        "model": ids[chosen] == case.gold,
        "is_candidate": case.gold in ids,
        "rest": scores[1] / scores[0] if scores[0] and len(scores) > 1 else float(not scores[0]),
        "seconds": time.perf_counter() - started,
    }
    print(json.dumps(outcome), flush=True)
    return outcome


def summary(options: argparse.Namespace, outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The counts; `asked` and `right` by the part of the best score from which the second best leaves it unclear."""
    by_part = {}
    for part in _PARTS:
        right = [outcome["model" if outcome["rest"] >= part else "ranking"] for outcome in outcomes]
        by_part[str(part)] = {"asked": sum(o["rest"] >= part for o in outcomes), "right": sum(right)}
    return {
        "pack": options.pack,
        "n": len(outcomes),
        "candidates": options.candidates,
        "ranking_right": sum(outcome["ranking"] for outcome in outcomes),
        "model_right": sum(outcome["model"] for outcome in outcomes),
        "is_candidate": sum(outcome["is_candidate"] for outcome in outcomes),
        "by_part": by_part,
        "median_s": round(median(outcome["seconds"] for outcome in outcomes), 2),
    }


if __name__ == "__main__":
    main()
