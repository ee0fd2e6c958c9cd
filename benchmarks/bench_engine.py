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

from lumos_edge.agent import Agent
from lumos_edge.cli.bench import spread, summary, turns
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.measuring import RateMeter, Rates
from lumos_edge.loading import of_pack
from lumos_edge.manifest import find_manifest

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
    meter = RateMeter(engine, "grounder")
    rates: list[Rates] = []
    binding: list[float] = []
    for number in range(options.rounds + 1):
        for prompt, actions in turns(agent):
            text = "".join(piece if isinstance(piece, str) else piece.text for piece in prompt)
            measured = meter.measure(prompt, actions)
            rate = binding_rate(high_level, text, grammar)
            if number:  # the first round warms up
                rates.append(measured)
                binding.append(rate)
    found = summary(rates)
    found["tokens_per_s"]["binding"] = round(statistics.median(binding), 1)
    found["binding_over_raw"] = spread([a / b.raw for a, b in zip(binding, rates, strict=True)])
    print(json.dumps({"benchmark": "engine", "pack": options.pack, "n_threads": engine.n_threads, **found}))


def binding_rate(model: Any, prompt: str, grammar: Any) -> float:
    """Tokens/s of the binding's completion after its first token."""
    started, count = 0.0, 0
    for _ in model.create_completion(prompt, max_tokens=48, temperature=0.0, grammar=grammar, stream=True):
        if not count:
            started = time.perf_counter()
        count += 1
    return (count - 1) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
