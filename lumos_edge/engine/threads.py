"""How many threads decode fastest: a measurement, kept for each model and machine, and fewer when the machine is busy.

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


class ThreadPace:
    """Fewer threads while something else needs the cores, and back again.

    With more threads than free cores each one waits, at every barrier of the graph, for the one that has no core. So
    decode steps that are much slower than the fastest one seen mean: give way.
    """

    _SLOWER = 1.7  # times the fastest step; noise of a quiet machine stays below
    _N_SLOW = 3  # such steps in a row: one may be an accident
    _PROBE_EVERY = 64  # steps with fewer threads between two tries with all
    _N_PROBE = 2

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._all = n_threads
        self._fastest_s = float("inf")
        self._recent_s = 0.0
        self._n_slow = 0
        self._n_steps = 0

    def step(self, seconds: float) -> int:
        """Take note of one decoded token's time; returns the number of threads for the next."""
        self._n_steps += 1
        if self.n_threads == self._all:
            self._with_all(seconds)
        else:
            self._recent_s = 0.8 * self._recent_s + 0.2 * seconds if self._recent_s else seconds
            if self._n_steps >= self._PROBE_EVERY:
                self._use(self._all)
        return self.n_threads

    def _with_all(self, seconds: float) -> None:
        if self._recent_s and self._n_steps <= self._N_PROBE:
            # A try with all threads: they stay when they are faster now than fewer were.
            if seconds < 0.9 * self._recent_s:
                self._recent_s = 0.0
            elif self._n_steps == self._N_PROBE:
                self._use(max(1, self._all // 2))
            return
        self._fastest_s = min(self._fastest_s, seconds)
        self._n_slow = self._n_slow + 1 if seconds > self._SLOWER * self._fastest_s else 0
        if self._n_slow >= self._N_SLOW and self._all > 1:
            self._recent_s = 0.0
            self._use(self._all // 2)

    def _use(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._n_steps = self._n_slow = 0


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
