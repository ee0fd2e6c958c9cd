"""What planner and grounder take of memory, and what each choice about it costs and gives.

    python benchmarks/bench_memory.py --pack base --n-ctx 2048 --n-threads 2

Each side is a process of its own that answers two questions, of which the second is timed. It runs twice, in a cache
folder of its own: the first run computes the prefix states, so the second is what a user has every day. Peak: VmHWM of
Linux, with the mapped weights. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp as lib

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion, context
from lumos_edge.engine.recorded import RecordingEngine
from lumos_edge.errors import BudgetExceeded
from lumos_edge.loading import choose

QUESTIONS = (
    "A shop sells 14 apples and twice as many pears. How many fruits does it sell?",
    "Ann has 3 boxes of 12 pencils each and gives 7 pencils to each of her 4 friends. How many pencils has she left?",
)


def _set(name: str, **values: Any) -> Callable[[], None]:
    """Makes the binding's default parameters of that name have these values."""
    default = getattr(lib, name)

    def changed() -> Any:
        params = default()
        for key, value in values.items():
            setattr(params, key, value)
        return params

    return lambda: setattr(lib, name, changed)


def _batch(n_tokens: int) -> Callable[[], None]:
    return lambda: setattr(context, "N_BATCH", n_tokens)


def _all_outputs() -> None:
    """Logits for every token of a batch, as the binding's own class reserves them."""
    make = lib.llama_init_from_model

    def changed(model: Any, params: Any) -> Any:
        params.n_outputs_max = params.n_batch
        return make(model, params)

    lib.llama_init_from_model = changed


def _repacked() -> None:
    load = lib.llama_model_load_from_file

    def changed(path: bytes, params: Any) -> Any:
        params.use_extra_bufts = True
        return load(path, params)

    lib.llama_model_load_from_file = changed


_CONTEXT = "llama_context_default_params"
SIDES: dict[str, Callable[[], None]] = {
    "as it is": lambda: None,
    "weights repacked": _repacked,
    "keys q8_0": _set(_CONTEXT, type_k=lib.GGML_TYPE_Q8_0),
    "keys and values q8_0": _set(_CONTEXT, type_k=lib.GGML_TYPE_Q8_0, type_v=lib.GGML_TYPE_Q8_0),
    "no flash attention": _set(_CONTEXT, flash_attn_type=lib.LLAMA_FLASH_ATTN_TYPE_DISABLED),
    "batches of 64": _batch(64),
    "batches of 128": _batch(128),
    "batches of 512": _batch(512),
    "logits of every token": _all_outputs,
}


def main() -> None:
    """Run the sides, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="base")
    parser.add_argument("--n-ctx", type=int, default=2048)
    parser.add_argument("--n-threads", type=int, default=0)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--in-this-process", action="store_true")
    options = parser.parse_args()
    if options.in_this_process:
        SIDES[options.sides[0]]()
        print(json.dumps(measure(options.pack, options.n_ctx, options.n_threads)))
        return
    found = {}
    for side in options.sides:
        command = [sys.executable, __file__, "--in-this-process", "--sides", side, "--pack", options.pack]
        command += ["--n-ctx", str(options.n_ctx), "--n-threads", str(options.n_threads)]
        first, found[side] = _twice(command)
        found[side]["first_start_peak_mib"] = first["peak_mib"]
        print(side, found[side], flush=True)
    weights_mib = round(choose(options.pack).base.stat().st_size / 2**20)
    print(json.dumps({"benchmark": "memory", **vars(options), "weights_mib": weights_mib, "found": found}))


def _twice(command: list[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        runs = [
            subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment) for _ in range(2)
        ]
    return [json.loads(run.stdout) for run in runs]


def measure(pack: str, n_ctx: int, n_threads: int) -> dict[str, Any]:
    """Peak memory, and the rates of the second question."""
    made: list[Completion] = []
    with Agent.open(pack, n_ctx=n_ctx, n_threads=n_threads) as agent:
        asked = agent.with_engine(RecordingEngine(agent.engine, lambda one: made.append(one.completion)))
        for question in QUESTIONS:
            made.clear()
            try:
                asked.ask(question)
            except BudgetExceeded:
                continue
        # Alone behind the prompt there is no draft, and the constraint's time is not the decoder's.
        return {
            "peak_mib": _status("VmHWM"),
            "anonymous_mib": _status("RssAnon"),
            "prefill_tokens_per_s": round(
                sum(c.n_prefilled for c in made) / sum(c.prefill_s for c in made), 1
            ),
            "decode_tokens_per_s": round(
                sum(c.n_completion for c in made) / sum(c.decode_s for c in made), 1
            ),
        }


def _status(name: str) -> int:
    """A number of kibibytes of this process's status, in MiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) // 1024


if __name__ == "__main__":
    main()
