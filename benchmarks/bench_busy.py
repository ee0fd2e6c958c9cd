"""Decoding while another process needs a core: with a fixed number of threads, and with our giving way.

    python benchmarks/bench_busy.py --pack nano

A process that only counts runs beside for the busy half. Rates are of decoded tokens after the prompt, medians of the
rounds, both sides in turn. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lumos_edge.engine import Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.loading import of_pack
from lumos_edge.manifest import find_manifest

PROMPT = ("Once upon a time there was a farmer who counted his rows of beans and his rows of corn.",)
N_TOKENS = 160


def main() -> None:
    """Run both sides quiet and busy and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    base = of_pack(find_manifest(options.pack)).base
    n_cores = os.cpu_count() or 1
    engines = {"fixed": LlamaEngine(base, n_ctx=512, n_threads=n_cores), "ours": adaptive(base, n_cores)}
    rates: dict[str, list[float]] = {f"{side} {when}": [] for side in engines for when in ("quiet", "busy")}
    for when in ("quiet", "busy"):
        beside = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if when == "busy" else None
        for number in range(options.rounds + 1):
            for side, engine in engines.items():
                rate = decode_rate(engine)
                rates[f"{side} {when}"] += [rate] if number else []
        if beside:
            beside.kill()
            beside.wait()
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    busy_over_quiet = {side: round(medians[f"{side} busy"] / medians[f"{side} quiet"], 3) for side in engines}
    result = {"benchmark": "busy", "pack": options.pack, "n_cores": n_cores, "tokens_per_s": medians}
    print(json.dumps({**result, "busy_over_quiet": busy_over_quiet}))


def adaptive(base: Path, n_cores: int) -> LlamaEngine:
    """An engine that starts with all cores, whatever was measured before, and gives way."""
    engine = LlamaEngine(base, n_ctx=512, n_threads=n_cores)
    engine._gives_way = True
    return engine


def decode_rate(engine: LlamaEngine) -> float:
    """Tokens/s after the first piece."""

    def grammar(text: str) -> str | None:
        return None if text else "start: /[a-z ,.]{600}/\n"

    text = engine.complete("planner", PROMPT, grammar, max_tokens=N_TOKENS, sampling=Sampling())
    next(text)
    started = time.perf_counter()
    n_pieces = sum(1 for _ in text)
    return n_pieces / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
