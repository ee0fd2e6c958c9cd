"""How many threads are fastest, and what a batch costs: measured once for each model and machine, and kept; and fewer
threads while the machine is busy.

On 2 cores and a 135M model, tokens/s of raw decode: quiet machine 139 with 2 threads and 113 with 1; with one other
busy process 38 and 97. No rule of thumb knows that.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import llama_cpp as lib

from lumos_edge.engine.binding import Model
from lumos_edge.errors import EngineError
from lumos_edge.resources import cache_folder

_N_STEPS = 8
_N_CTX = 256
_N_PREFILL = 64
_ENOUGH_S = 0.3  # of one kind of batch: the longer a batch takes, the less noise there is in its time
_BUSY_S = 3600.0

ALIKE = 7
"""Up to so many tokens of a batch are evaluated one by one, and only more of them by kernels that round otherwise
(llama.cpp, ggml/src/ggml-cpu/tiled/tiled.cpp, ggml_tiled_min_batch)."""


@dataclass(frozen=True)
class Speed:
    """Threads for a single token and for a prompt; seconds that a prompt's token takes (0 when that is not known).

    `costs[n - 1]` is the time of a batch of n tokens, in steps of one token. `expires_at` (seconds since 1970) is when
    to measure again.
    """

    n_threads: int
    n_threads_prefill: int
    prefill_token_s: float
    costs: tuple[float, ...]
    expires_at: float | None = None

    @classmethod
    def unmeasured(cls, n_threads: int) -> Speed:
        """Of a number that the user chose; a batch is taken to gain nothing."""
        return cls(n_threads, n_threads, 0.0, tuple(map(float, range(1, ALIKE + 1))))


def measured_speed(model: Model) -> Speed:
    """The fastest thread counts for this model on this machine, and the costs with them.

    From the cache, else measured: at most the time of some 60 tokens, and for each candidate of four short prompts;
    half of that for a model of 1 GB. What was measured beside other work is kept for an hour only, because it may name
    too few threads. Raises EngineError.
    """
    key = f"{model.path.name}:{model.path.stat().st_size}:{os.cpu_count()}"
    file = cache_folder() / "speed.json"
    known = _read(file)
    if key not in known or (known[key].expires_at or math.inf) < time.time():
        cores = _Cores()
        speed = _measure(model, cores)
        known[key] = speed if cores.were_free else replace(speed, expires_at=time.time() + _BUSY_S)
        _write(file, known)
    return known[key]


class ThreadPace:
    """Fewer threads while something else needs the cores, and back again.

    With more threads than free cores each one waits, at every barrier of the graph, for the one that has no core. So
    decode steps that are much slower than the fastest one seen, or a prompt that is much slower than measured, mean:
    give way.
    """

    _SLOWER = 1.7  # times the fastest step; noise of a quiet machine stays below
    _SLOWER_PREFILL = 4.0  # times the measured time: a long context and small batches stay below
    _N_SLOW = 3  # such steps in a row: one may be an accident
    _PROBE_EVERY = 64  # steps with fewer threads between two tries with all
    _N_PROBE = 2

    def __init__(self, speed: Speed) -> None:
        self.n_threads = self._all = speed.n_threads
        self._speed = speed
        self._unit_s: dict[int, float] = {}  # for each number of tokens, in which the times below are
        self._fastest: dict[int, float] = {}
        self._recent = 0.0
        self._n_slow = 0
        self._n_steps = 0

    @property
    def n_threads_prefill(self) -> int:
        """Threads for the next batch of a prompt."""
        return self._speed.n_threads_prefill if self.n_threads == self._all else self.n_threads

    def note(self, n_tokens: int, seconds: float) -> None:
        """Take note of how long a batch took."""
        if n_tokens < _N_PREFILL:
            self.step(seconds, n_tokens)
        else:
            self.prefill(seconds, n_tokens)

    def prefill(self, seconds: float, n_tokens: int) -> None:
        """Take note of a prompt's batch of many tokens."""
        expected_s = n_tokens * self._speed.prefill_token_s
        if expected_s and seconds > self._SLOWER_PREFILL * expected_s and self.n_threads == self._all > 1:
            self._recent = 0.0
            self._use(self._all // 2)

    def step(self, seconds: float, n_tokens: int = 1) -> int:
        """Take note of the time of few tokens, of one run or of several; returns the number of threads for the next."""
        self._n_steps += 1
        time = seconds / self._unit_s.setdefault(n_tokens, seconds)
        if self.n_threads == self._all:
            self._with_all(time, n_tokens)
        else:
            self._recent = 0.8 * self._recent + 0.2 * time if self._recent else time
            if self._n_steps >= self._PROBE_EVERY:
                self._use(self._all)
        return self.n_threads

    def _with_all(self, time: float, n_tokens: int) -> None:
        if self._recent and self._n_steps <= self._N_PROBE:
            # A try with all threads: they stay when they are faster now than fewer were.
            if time < 0.9 * self._recent:
                self._recent = 0.0
            elif self._n_steps == self._N_PROBE:
                self._use(max(1, self._all // 2))
            return
        self._fastest[n_tokens] = min(self._fastest.get(n_tokens, time), time)
        self._n_slow = self._n_slow + 1 if time > self._SLOWER * self._fastest[n_tokens] else 0
        if self._n_slow >= self._N_SLOW and self._all > 1:
            self._recent = 0.0
            self._use(self._all // 2)

    def _use(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._n_steps = self._n_slow = 0


class _Cores:
    """Whether threads had the cores to themselves: while they work, or wait for each other, their time is counted."""

    _FREE_SHARE = 0.95  # 0.98 and more on a quiet machine, 0.5 to 0.9 beside one busy process

    def __init__(self) -> None:
        self._wanted_s = self._had_s = 0.0

    @contextmanager
    def timed(self, n_threads: int) -> Iterator[None]:
        """Take note of a batch that so many threads evaluate."""
        started, had = time.perf_counter(), time.process_time()
        yield
        self._wanted_s += n_threads * (time.perf_counter() - started)
        self._had_s += time.process_time() - had

    @property
    def were_free(self) -> bool:
        """Of all that was timed."""
        return self._had_s > self._FREE_SHARE * self._wanted_s


def _candidates(n_cores: int) -> list[int]:
    """All counts up to 4, then steps of a quarter of the cores: decoding seldom gains beyond the fast cores."""
    return sorted(
        {*range(1, min(n_cores, 4) + 1), n_cores // 4, n_cores // 2, 3 * n_cores // 4, n_cores} - {0}
    )


def _measure(model: Model, cores: _Cores) -> Speed:
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = _N_CTX
    params.n_outputs_max = ALIKE
    context = lib.llama_init_from_model(model.handle, params)
    if not context:
        raise EngineError(f"no context of {_N_CTX} tokens to measure threads with")
    try:
        candidates = _candidates(os.cpu_count() or 1)
        prefill = {n: _batch_seconds(context, cores, n, _N_PREFILL, n_repeats=3) for n in candidates}
        decode = {n: _batch_seconds(context, cores, n, 1, n_repeats=_N_STEPS) for n in candidates}
        fastest = min(decode, key=lambda n: decode[n])
        costs = {
            n: _batch_seconds(context, cores, fastest, n, n_repeats=3) / decode[fastest]
            for n in (2, 4, ALIKE)
        }
    finally:
        lib.llama_free(context)
    for_prefill = min(prefill, key=lambda n: prefill[n])
    return Speed(fastest, for_prefill, prefill[for_prefill] / _N_PREFILL, _between({1: 1.0, **costs}))


def _between(costs: dict[int, float]) -> tuple[float, ...]:
    """A cost for every number of tokens, on straight lines between those that were measured; never less for more."""
    known = sorted(costs)
    found = [1.0]
    for n in range(2, ALIKE + 1):
        upper = next(other for other in known if other >= n)
        lower = max(other for other in known if other < n)
        share = (n - lower) / (upper - lower)
        found.append(max(found[-1], costs[lower] + share * (costs[upper] - costs[lower])))
    return tuple(round(cost, 3) for cost in found)


def _batch_seconds(context: object, cores: _Cores, n_threads: int, n_tokens: int, *, n_repeats: int) -> float:
    """The shortest time of evaluating so many tokens: other work on the machine only makes it longer."""
    lib.llama_set_n_threads(context, n_threads, n_threads)
    memory = lib.llama_get_memory(context)
    tokens = (lib.llama_token * n_tokens)(*[1] * n_tokens)
    seconds = []
    for _ in range(n_repeats + 1):
        lib.llama_memory_clear(memory, False)
        started = time.perf_counter()
        with cores.timed(n_threads):
            code = lib.llama_decode(context, lib.llama_batch_get_one(tokens, n_tokens))
        if code:
            raise EngineError("llama_decode failed while threads were measured")
        seconds.append(time.perf_counter() - started)
        if len(seconds) > 2 and sum(seconds) > _ENOUGH_S:
            break
    return min(seconds[1:])


def _read(file: Path) -> dict[str, Speed]:
    """What was measured before; what is no measurement is measured anew."""
    try:
        known = json.loads(file.read_text("utf-8"))
        return {key: _speed(**fields) for key, fields in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _speed(
    n_threads: int,
    n_threads_prefill: int,
    prefill_token_s: float,
    costs: list[float],
    expires_at: float | None = None,
) -> Speed:
    if min(n_threads, n_threads_prefill) < 1 or len(costs) != ALIKE:
        raise ValueError("no measurement")
    expires_at = None if expires_at is None else float(expires_at)
    return Speed(n_threads, n_threads_prefill, float(prefill_token_s), tuple(map(float, costs)), expires_at)


def _write(file: Path, known: dict[str, Speed]) -> None:
    """Atomically; a cache that cannot be written costs only the next measurement."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as new:
            json.dump({key: asdict(speed) for key, speed in known.items()}, new, indent=1)
        Path(new.name).replace(file)
    except OSError:
        return
