"""Knowledge packs: how fast they are built and searched, how large they are, and what they find.

    python -m benchmarks.bench_knowledge strategyqa/train.json --sizes 10000 100000 1000000

`generated`: packs of generated text, words drawn as often as they are in the file, a third of the sentences with a
rare word; a query is ten words of a passage. Times are of the processor, which other work disturbs less.
`recall`: of the steps of StrategyQA's questions that need facts (most annotators say so), in how many one of the
question's facts is among the first five found in a pack of all facts, the article's title being the question's term.
A reference to an earlier answer (`#1`), which the data does not have, stands for the words of that step's fact that
its question lacks, or of the best passage where the fact was not found; that fact itself then does not count. With
`--reader PACK` it stands for the answer of that pack's reader out of the passages found, as in a run of an agent.
Baselines on the same passages: SQLite's FTS5 without names, inflections and spellings (title and text, words joined by
OR, its own BM25), and bm25s if it is installed. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.bench_soak import resident_mb
from lumos_edge.engine import Sampling
from lumos_edge.knowledge import splitting
from lumos_edge.knowledge.article import Article
from lumos_edge.knowledge.building import build
from lumos_edge.knowledge.jsonl import JsonLines
from lumos_edge.knowledge.library import Library
from lumos_edge.knowledge.pack import TOKENIZER, Pack
from lumos_edge.knowledge.passage import Passage
from lumos_edge.knowledge.words import words
from lumos_edge.loading import load_modules, of_pack
from lumos_edge.manifest import find_manifest

Find = Callable[[str], list[str]]
Answer = Callable[[str, list[str], str], str]
"""What a later step refers to: of a question, the passages found for it, and the one that answers it."""
_N = 5
_WORDS_PER_QUERY = 10


class _Quiet:
    def at(self, n_bytes: int, n_articles: int) -> None:
        pass

    def say(self, message: str) -> None:
        print(message, file=sys.stderr)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="StrategyQA's train.json")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000], help="passages of generated packs")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--limit", type=int, help="questions for recall; 0 leaves it out")
    parser.add_argument("--reader", help="the model pack whose reader answers what later steps refer to")
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        print(json.dumps(search_costs(Path(options.search[0]), json.loads(options.search[1]))))
        return
    items = json.loads(options.file.read_text("utf-8"))
    vocabulary = " ".join(" ".join((*item["facts"], *item["decomposition"])) for item in items).split()
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {
            "generated": [
                measured(Path(folder), vocabulary, n, options.queries, options.file) for n in options.sizes
            ]
        }
        if options.limit != 0:
            results["recall"] = recall(Path(folder), items, options.limit, options.reader)
    print(json.dumps(results))


# -- building and searching ------------------------------------------------------------------------------------------


def measured(
    folder: Path, vocabulary: list[str], n_passages: int, n_queries: int, file: Path
) -> dict[str, Any]:
    """A pack of about that many passages: built here, searched in a process of its own, whose memory is its own."""
    source, target = folder / f"{n_passages}.jsonl", folder / f"{n_passages}.sqlite"
    n_bytes, queries = generate(source, vocabulary, n_passages, n_queries)
    started, wall = time.process_time(), time.perf_counter()
    build(JsonLines(source), target, "generated", "", _Quiet())
    seconds, wall_s = time.process_time() - started, time.perf_counter() - wall
    plain_seconds = plain_build(source, folder / "plain.sqlite")
    pack = Pack(target)
    n_articles = int(pack.facts["n_articles"])
    pack.close()
    command = [sys.executable, "-m", "benchmarks.bench_knowledge", str(file)]
    searched = subprocess.run(
        [*command, "--search", str(target), json.dumps(queries)], capture_output=True, check=True
    )
    row = {
        "n_passages": pack.n_passages,
        "text_mb": round(n_bytes / 1e6, 1),
        "build_mb_per_cpu_s": round(n_bytes / 1e6 / seconds, 1),
        "build_mb_per_s": round(n_bytes / 1e6 / wall_s, 1),
        "plain_fts5_mb_per_cpu_s": round(n_bytes / 1e6 / plain_seconds, 1),
        "articles_per_cpu_s": round(n_articles / seconds),
        "pack_over_text": round(target.stat().st_size / n_bytes, 2),
        "build_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **json.loads(searched.stdout),
    }
    print(row, file=sys.stderr)
    source.unlink()
    target.unlink()
    return row


def plain_build(source: Path, target: Path) -> float:
    """Processor seconds that SQLite's FTS5 alone needs for the same passages, which it keeps, merged at the end."""
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute(f"CREATE VIRTUAL TABLE passage USING fts5(title, text, tokenize='{TOKENIZER}')")
    connection.execute("BEGIN")
    articles = (item for _, item in JsonLines(source).read(print) if isinstance(item, Article))
    rows = ((article.title, piece) for article in articles for piece in splitting.passages(article.text))
    seconds = 0.0
    while batch := list(islice(rows, 4000)):
        started = time.process_time()
        connection.executemany("INSERT INTO passage VALUES(?, ?)", batch)
        seconds += time.process_time() - started
    started = time.process_time()
    connection.execute("INSERT INTO passage(passage) VALUES('optimize')")
    connection.execute("COMMIT")
    seconds += time.process_time() - started
    connection.close()
    target.unlink()
    return seconds


def generate(path: Path, vocabulary: list[str], n_passages: int, n_queries: int) -> tuple[int, list[str]]:
    """Articles of one to ten passages in a JSON Lines file; gives the bytes of their text, and queries."""
    random = Random(n_passages)
    n_bytes = n_written = 0
    queries: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        while n_written < n_passages:
            n = random.randint(1, 10)
            text = " ".join(sentence(random, vocabulary) for _ in range(6 * n))
            title = f"{random.choice(vocabulary)} {random.choice(vocabulary)} {n_written}"
            file.write(json.dumps({"title": title, "text": text}) + "\n")
            n_bytes += len(text.encode())
            n_written += n
            if len(queries) < n_queries and random.random() < 20 * n_queries / n_passages:
                at = random.randrange(max(1, len(text) - 80))
                queries.append(" ".join(text[at:].split()[1 : _WORDS_PER_QUERY + 1]))
    return n_bytes, queries


def sentence(random: Random, vocabulary: list[str]) -> str:
    """Some 17 words, now and then with a rare one."""
    found = random.choices(vocabulary, k=random.randint(10, 24))
    if random.random() < 1 / 3:
        found.append(f"{random.choice('bcdfghklmnprst')}{random.randint(0, 99_999)}")
    return " ".join(found) + "."


def search_costs(pack: Path, queries: list[str]) -> dict[str, float]:
    """Processor time of searches in a pack, and by how much they make the process larger."""
    resident = resident_mb()
    library = Library([pack])
    costs = []
    for query in queries:
        started = time.process_time()
        library.search(query, _N)
        costs.append(1000 * (time.process_time() - started))
    costs.sort()
    return {
        "search_p50_cpu_ms": round(costs[len(costs) // 2], 2),
        "search_p99_cpu_ms": round(costs[int(0.99 * (len(costs) - 1))], 2),
        "search_resident_mb": round(resident_mb() - resident, 1),
    }


# -- what is found ---------------------------------------------------------------------------------------------------


def recall(folder: Path, items: list[Any], limit: int | None, reader: str | None = None) -> dict[str, Any]:
    """Recall at 5 of ours and the baselines, without references, with them, and together."""
    facts: dict[str, str] = {}
    for item in items:
        for fact in item["facts"]:
            facts.setdefault(fact.strip(), item["term"])
    passages = [(title, text) for text, title in facts.items()]
    finders = {
        "lumos-edge": ours(folder, passages),
        "fts5": plain_fts5(sqlite3.connect(":memory:"), passages),
    }
    if bm25s := bm25s_finder(passages):
        finders["bm25s"] = bm25s
    answer = read_by(reader, facts) if reader else missing_words
    counts = {name: {"without": [0, 0], "with": [0, 0]} for name in finders}
    for item in items[:limit]:
        for name, find in finders.items():
            for kind, is_found in steps_found(item, find, answer):
                counts[name][kind][0] += is_found
                counts[name][kind][1] += 1
    return {name: _shares(kinds) for name, kinds in counts.items()}


def steps_found(item: Any, find: Find, answer: Answer) -> Iterator[tuple[str, bool]]:
    """For each step that needs facts: whether it refers to another one, and whether a fact was found."""
    facts = {fact.strip() for fact in item["facts"]}
    answers: dict[str, str] = {}
    used: dict[str, str] = {}
    for number, step in enumerate(item["decomposition"], 1):
        named = re.findall(r"#(\d+)", step)
        query = re.sub(r"#(\d+)", lambda found: answers.get(found[1], ""), step)
        wanted = facts - {used.get(name, "") for name in named}
        hits = find(query)
        own = [text for text in hits if text in wanted]
        if wanted and not _is_operation(item, number - 1):
            yield "with" if named else "without", bool(own)
        used[str(number)] = (own or hits or [""])[0]
        if re.search(rf"#{number}\b", " ".join(item["decomposition"])):
            answers[str(number)] = answer(query, hits, used[str(number)])


def missing_words(question: str, hits: list[str], fact: str) -> str:
    """The words of the fact that the question lacks."""
    known = set(words(question))
    return " ".join(word for word in fact.split() if not known.issuperset(words(word)))


def read_by(pack: str, titles: Mapping[str, str]) -> Answer:
    """What the extractive reader of a model pack answers; nothing where it finds no answer."""
    modules = load_modules(replace(of_pack(find_manifest(pack)), adapters={}), 0)
    reader = modules.reader(Sampling(), is_extractive=True, may_recall=False)

    def answer(question: str, hits: list[str], fact: str) -> str:
        found = reader.answer(question, [Passage(titles[text], text, "facts") for text in hits])
        return found.text if found.is_found else ""

    return answer


def _is_operation(item: Any, i: int) -> bool:
    """Whether most annotators say that the step needs no facts."""
    marks = [step[i] for step in item["evidence"] if i < len(step)]
    return 2 * sum("operation" in mark for mark in marks) > len(marks)


def _shares(kinds: dict[str, list[int]]) -> dict[str, float]:
    together = [sum(counts[i] for counts in kinds.values()) for i in (0, 1)]
    shares = {f"{kind}_references": found / max(1, n) for kind, (found, n) in kinds.items()}
    shares["together"] = together[0] / max(1, together[1])
    return {"n": together[1], **{name: round(share, 4) for name, share in shares.items()}}


def ours(folder: Path, passages: list[tuple[str, str]]) -> Find:
    """This project's search."""
    source, target = folder / "facts.jsonl", folder / "facts.sqlite"
    source.write_text("".join(json.dumps({"title": t, "text": x}) + "\n" for t, x in passages), "utf-8")
    build(JsonLines(source), target, "facts", "", _Quiet())
    library = Library([target])
    return lambda query: [passage.text for passage in library.search(query, _N)]


def plain_fts5(connection: sqlite3.Connection, passages: list[tuple[str, str]]) -> Find:
    """FTS5 as it comes, in an empty database."""
    connection.execute("CREATE VIRTUAL TABLE passage USING fts5(title, text)")
    connection.executemany("INSERT INTO passage VALUES(?, ?)", passages)
    sql = "SELECT text FROM passage WHERE passage MATCH ? ORDER BY rank LIMIT ?"

    def find(query: str) -> list[str]:
        asked = " OR ".join(f'"{word}"' for word in words(query))
        return [row[0] for row in connection.execute(sql, (asked, _N))] if asked else []

    return find


def bm25s_finder(passages: list[tuple[str, str]]) -> Find | None:
    """bm25s with its English stop words, as its documentation shows it; None where it is not installed."""
    try:
        import bm25s
    except ModuleNotFoundError:
        return None
    texts = [text for _, text in passages]
    index = bm25s.BM25()
    index.index(bm25s.tokenize([f"{t}\n{x}" for t, x in passages], stopwords="en", show_progress=False))

    def find(query: str) -> list[str]:
        tokens = bm25s.tokenize([query], stopwords="en", show_progress=False)
        found, _ = index.retrieve(tokens, k=_N, show_progress=False)
        return [texts[int(i)] for i in islice(found[0], _N)]

    return find


if __name__ == "__main__":
    main()
