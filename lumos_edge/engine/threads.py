"""How many threads decode fastest: a measurement, kept for each model and machine.

On 2 cores and a 135M model, tokens/s of raw decode: quiet machine 139 with 2 threads and 113 with 1; with one other
busy process 38 and 97. No rule of thumb knows that.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import llama_cpp as lib

from lumos_edge.engine.binding import Model
from lumos_edge.errors import EngineError
from lumos_edge.resources import cache_folder

_N_STEPS = 8
_N_CTX = 256


def measured_n_threads(model: Model) -> int:
    """The thread count for this model on this machine: from the cache, else measured (some 8 tokens a candidate)."""
    key = f"{model.path.name}:{model.path.stat().st_size}:{os.cpu_count()}"
    file = cache_folder() / "threads.json"
    known = _read(file)
    if key not in known:
        known[key] = _measure(model)
        _write(file, known)
    return known[key]


def _candidates(n_cores: int) -> list[int]:
    """All counts up to 4, then steps of a quarter of the cores: decoding seldom gains beyond the fast cores."""
    return sorted(
        {*range(1, min(n_cores, 4) + 1), n_cores // 4, n_cores // 2, 3 * n_cores // 4, n_cores} - {0}
    )


def _measure(model: Model) -> int:
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = _N_CTX
    params.n_outputs_max = 1
    context = lib.llama_init_from_model(model.handle, params)
    if not context:
        raise EngineError(f"no context of {_N_CTX} tokens to measure threads with")
    try:
        seconds = {n: _step_seconds(context, n) for n in _candidates(os.cpu_count() or 1)}
    finally:
        lib.llama_free(context)
    return min(seconds, key=lambda n: seconds[n])


def _step_seconds(context: object, n_threads: int) -> float:
    """The median time of decoding one token."""
    lib.llama_set_n_threads(context, n_threads, n_threads)
    token = (lib.llama_token * 1)(1)
    seconds = []
    for _ in range(_N_STEPS):
        started = time.perf_counter()
        if lib.llama_decode(context, lib.llama_batch_get_one(token, 1)):
            raise EngineError("llama_decode failed while threads were measured")
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _read(file: Path) -> dict[str, int]:
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {key: n for key, n in known.items() if isinstance(n, int) and n > 0}
        if isinstance(known, dict)
        else {}
    )


def _write(file: Path, known: dict[str, int]) -> None:
    """Atomically; a cache that cannot be written costs only the next measurement."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as new:
            json.dump(known, new, indent=1)
        Path(new.name).replace(file)
    except OSError:
        return
