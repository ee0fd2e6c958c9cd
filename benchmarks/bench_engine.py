"""Our constrained decoding against raw decoding, and against the binding's own grammar, with the same weights.

Decoding one token reads all the weights, so tokens/s of the plain `llama_decode` loop is what the machine can do.
Three sides take turns on the same prompts, in one process and with the same number of threads:

    raw         llama_decode, argmax, no constraint
    ours        the grounder's turns under their grammar (llguidance; forced tokens ride in the next batch)
    binding     llama-cpp-python's create_completion with a GBNF grammar of about the same language

    python benchmarks/bench_engine.py --pack nano

The last line of stdout is one JSON document. Quote the ratios: absolute times depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import llama_cpp as lib
import numpy as np

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion, Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.grammar import actions_grammar
from lumos_edge.loading import of_pack
from lumos_edge.manifest import find_manifest
from lumos_edge.trajectory import Step, Subgoal, Task

TASKS = [
    ("A shop sells 14 apples and twice as many pears.", "Calculate the number of pears, then of all fruits."),
    ("Ann reads 12 pages a day for 3 weeks.", "Calculate the number of days, then of all pages."),
    ("A bus holds 48 people and is a quarter empty.", "Calculate the free seats, then the people in it."),
    ("Eggs cost $3 a dozen, and 60 are needed.", "Calculate the number of dozens, then the cost."),
    ("A rope of 90 m is cut in 6 parts, 2 are used.", "Calculate the length of a part, then what is left."),
]

GBNF = r"""
root ::= action ("; " action){0,3}
action ::= "R" [0-9]{1,2} " = " tool "(" sum ")"
tool ::= "Calculator" | "SetEquation" | "SolveEquation" | "Count" | "SolveInequality" | "Code" | "Define"
sum ::= product (" "? [-+=<>] " "? product){0,7}
product ::= atom (" "? [*/^] " "? atom){0,5}
atom ::= [0-9]{1,12} ("." [0-9]{1,6})? "%"? | "R" [0-9]{1,2} | [a-z] | "(" sum ")"
"""


def main() -> None:
    """Run the sides in turn and print their rates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n-threads", type=int, default=0)
    options = parser.parse_args()
    choice = of_pack(find_manifest(options.pack))
    agent = Agent.open(choice, formulation="iterative", n_threads=options.n_threads)
    engine = agent.engine
    assert isinstance(engine, LlamaEngine)
    high_level = lib.Llama(
        str(choice.base),
        n_ctx=2048,
        n_batch=256,
        n_threads=engine.n_threads,
        n_threads_batch=engine.n_threads,
        verbose=False,
    )
    grammar = lib.LlamaGrammar.from_string(GBNF, verbose=False)
    rates: dict[str, list[float]] = {"raw": [], "ours": [], "binding": []}
    completions: list[Completion] = []
    for number in range(options.rounds + 1):
        for question, subgoal in TASKS:
            step = Step((Subgoal(1, subgoal),), ())
            prompt = agent.grounder_template.grounder(Task(question), agent.toolbox, [], step, "iterative")
            text = "".join(piece if isinstance(piece, str) else piece.text for piece in prompt)
            ours, made = our_rate(engine, agent, prompt)
            measured = {
                "ours": ours,
                "raw": raw_rate(engine, made.n_prompt),
                "binding": binding_rate(high_level, text, grammar),
            }
            if number:  # the first round warms up
                completions.append(made)
                for side, rate in measured.items():
                    rates[side].append(rate)
    print(json.dumps(summary(options.pack, engine.n_threads, rates, completions)))


def our_rate(engine: LlamaEngine, agent: Any, prompt: Any) -> tuple[float, Completion]:
    """Tokens/s after the first evaluation, which is the prompt's."""
    grammar = actions_grammar(agent.toolbox, {}, formulation="iterative", max_actions=4)
    text = engine.complete("grounder", prompt, grammar, max_tokens=160, sampling=Sampling())
    first = next(text)
    started = time.perf_counter()
    while True:
        try:
            next(text)
        except StopIteration as end:
            seconds = time.perf_counter() - started
            made: Completion = end.value
            # The token that ends a text is decoded like others, and stands in no text.
            n_tokens = made.n_completion + (made.finish_reason == "end") - len(engine.model.tokenize(first))
            return n_tokens / seconds, made


def raw_rate(engine: LlamaEngine, n_prompt: int, n_tokens: int = 32) -> float:
    """Tokens/s of the bare loop, from the end of the prompt that the grounder's context holds."""
    context = engine._conversations["grounder"].context
    context.keep(0, n_prompt - 1)
    batch = context._batch
    batch.n_tokens, batch.logits[0], batch.seq_id[0][0], token = 1, 1, 0, 5
    for position in range(n_prompt - 1, n_prompt + n_tokens):
        if position == n_prompt:
            started = time.perf_counter()
        batch.token[0], batch.pos[0] = token, position
        assert lib.llama_decode(context.handle, batch) == 0
        logits = lib.llama_get_logits_ith(context.handle, -1)
        token = int(np.ctypeslib.as_array(logits, shape=(engine.model.n_vocab,)).argmax())
    lib.llama_memory_seq_rm(context.memory, 0, n_prompt - 1, -1)
    return n_tokens / (time.perf_counter() - started)


def binding_rate(model: Any, prompt: str, grammar: Any) -> float:
    """Tokens/s of the binding's completion after its first token."""
    started, count = 0.0, 0
    for _ in model.create_completion(prompt, max_tokens=48, temperature=0.0, grammar=grammar, stream=True):
        if not count:
            started = time.perf_counter()
        count += 1
    return (count - 1) / (time.perf_counter() - started)


def summary(
    pack: str, n_threads: int, rates: dict[str, list[float]], completions: list[Completion]
) -> dict[str, Any]:
    """Medians, the ratios pair by pair, and what the constraint cost."""
    n_tokens = sum(made.n_completion for made in completions)

    def ratio(side: str) -> dict[str, float]:
        pairs = sorted(a / b for a, b in zip(rates[side], rates["raw"], strict=True))
        return {
            "median": round(statistics.median(pairs), 3),
            "min": round(pairs[0], 3),
            "max": round(pairs[-1], 3),
        }

    return {
        "benchmark": "engine",
        "pack": pack,
        "n_threads": n_threads,
        "tokens_per_s": {side: round(statistics.median(values), 1) for side, values in rates.items()},
        "ours_over_raw": ratio("ours"),
        "binding_over_raw": ratio("binding"),
        "forced_share": round(sum(made.n_forced for made in completions) / n_tokens, 3),
        "constraint_us_per_token": round(1e6 * sum(made.constraint_s for made in completions) / n_tokens, 1),
        "reused_share_of_prompt": round(
            sum(made.n_reused for made in completions) / sum(made.n_prompt for made in completions), 3
        ),
    }


if __name__ == "__main__":
    main()
