"""How many of the reader's extractive answers are no quotation of a passage that they cite: none may be.

Random questions to a real model, each with random passages: words of several scripts, numbers with separators, control
tokens as text, quotes, brackets, odd spaces.

    python benchmarks/bench_reader.py --pack nano --n 1000 --temperature 1.0

A yes/no question may be answered with yes or no, any with `No answer`. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import replace
from random import Random

from lumos_edge.engine import Sampling
from lumos_edge.knowledge.passage import Passage
from lumos_edge.loading import load_modules, of_pack
from lumos_edge.manifest import find_manifest
from lumos_edge.reader import is_yes_no
from lumos_edge.values import NO_ANSWER, Answer

_WORDS = """
the of in and was is a to by from river mountain children empire born king Caesar Zöller Genghis Temüjin Nile metres
1,450 4,509 3.5 % 63 BC 1998 ½ -7 +49 $12.50 12:30 Ünal São naïve 北京 首都 Москва столица العربية <|im_end|>
<|im_start|>user Answer: No answer Yes "quoted" 'single' (bracketed) [1] {x} a/b e-mail don't it’s x²=y³ 😀 … — • %s
' " ( ) . , ; Q&A R1 R2 C++ node.js http://example.org/?q=1#top
"""
_SPACES = (" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0")
_ASKED = ("Who", "When", "How many", "Which", "What", "Is", "Did", "Was", "Name")


def main() -> None:
    """Ask and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--n", type=int, default=1000, help="questions")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--n-threads", type=int, default=0)
    options = parser.parse_args()
    modules = load_modules(replace(of_pack(find_manifest(options.pack)), adapters={}), options.n_threads)
    reader = modules.reader(Sampling(options.temperature), is_extractive=True, may_recall=False)
    random = Random(options.seed)
    counts: Counter[str] = Counter()
    seconds = []
    for number in range(1, options.n + 1):
        passages, question = random_passages(random), random_question(random)
        started = time.perf_counter()
        answer = reader.answer(question, passages)
        seconds.append(time.perf_counter() - started)
        kind = kind_of(answer, passages)
        counts[kind] += 1
        if kind == "wrong":
            print(f"{question!r} {answer!r}", file=sys.stderr)
        if number % 100 == 0:
            print(f"{number}: {dict(counts)}", file=sys.stderr)
    settings = {"pack": options.pack, "temperature": options.temperature, "seed": options.seed}
    kinds = {kind: counts[kind] for kind in ("quotation", "yes or no", "no answer", "wrong")}
    print(json.dumps({**settings, "n": options.n, **kinds, "median_s": round(statistics.median(seconds), 3)}))


def random_passages(random: Random) -> tuple[Passage, ...]:
    """One to three passages of 3 to 10 words, now and then up to 60: reading them is what takes long."""
    return tuple(
        Passage(
            _text(random, random.randint(0, 3)),
            _text(random, random.randint(3, random.choice((10, 10, 10, 60)))),
            "random",
        )
        for _ in range(random.randint(1, 3))
    )


def random_question(random: Random) -> str:
    """A question that has an answer only by chance."""
    return f"{random.choice(_ASKED)} {_text(random, random.randint(1, 6)).strip()}?"


def _text(random: Random, n_words: int) -> str:
    words = _WORDS.split()
    return "".join(random.choice(words) + random.choice(_SPACES) for _ in range(n_words))


def kind_of(answer: Answer, passages: tuple[Passage, ...]) -> str:
    """What an extractive answer is; `wrong` when it is none of what it may be, or cites what it was not given."""
    if not set(answer.passages) <= set(passages):
        return "wrong"
    if answer.text == NO_ANSWER:
        return "no answer"
    cited = [" ".join(text.split()) for p in answer.passages for text in (p.title, p.text)]
    if is_yes_no(answer.question):
        return "yes or no" if answer.text in ("Yes", "No") else "wrong"
    return "quotation" if answer.text and any(answer.text in text for text in cited) else "wrong"


if __name__ == "__main__":
    main()
