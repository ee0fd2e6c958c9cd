"""Several runs at once: their completions are sequences of one KV cache, and what they ask for is one batch.

Evaluating a batch reads the weights once, however many tokens it has. A run is a generator that is stepped until its
completion has something to evaluate; when all runs have come so far, everything is evaluated together. One thread steps
them in the order of their slots, so the same tasks give the same batches. Modules with the same adapter share a
context: planner and grounder of different runs are then in the same batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from lumos_edge.engine import Completion, Engine, Grammar, Prompt, Sampling
from lumos_edge.engine.binding import Adapter, CancelFlag
from lumos_edge.engine.context import Context, Evaluation, Rows, n_common
from lumos_edge.engine.conversation import Conversation, drive
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import Cancelled
from lumos_edge.trajectory import Module

R = TypeVar("R")

Work: TypeAlias = Callable[[Engine], Generator[object, None, R]]
"""A run on an engine: what it yields is of no interest here, what it returns is its result."""

_BATCHED: tuple[Module, ...] = ("planner", "grounder")

_CELLS_PER_SLOT = 256
"""Tokens in the KV cache for each run more, beyond the context window: what a task takes that is not shared."""

_MIN_SHARED = 16
"""Tokens that two prompts begin with, from which on they are evaluated once, before the rest, and copied."""


def in_turn(engine: Engine, works: Iterable[Work[R]]) -> Iterator[R]:
    """The results of works that are done one after the other, on any engine."""
    for work in works:
        run = work(engine)
        try:
            while True:
                next(run)
        except StopIteration as end:
            yield end.value


@dataclass
class _SharedContext:
    """A context, and what the completions in its sequences have asked for."""

    context: Context
    prefixes: dict[int, list[int]] = field(default_factory=dict)
    pending: dict[int, Evaluation] = field(default_factory=dict)
    rows: dict[int, Rows] = field(default_factory=dict)
    n_copied: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, tuple[list[int], int]] = field(default_factory=dict)

    def reserve(self, sequence: int, tokens: list[int], max_tokens: int) -> bool:
        """Keep cells for a prompt and its completion, if need be those of idle sequences; whether there are enough."""
        idle = [other for other in self.prefixes if other not in self.reserved and other != sequence]
        held = {other: (self.context.tokens[other], 0) for other in idle}
        held |= {**self.reserved, sequence: (tokens, max_tokens)}
        while self._n_cells(held) > self.context.n_cells:
            if not idle:
                return False
            self.context.keep(idle[-1], 0)
            del held[idle.pop()]
        self.reserved[sequence] = tokens, max_tokens
        return True

    def _n_cells(self, held: Mapping[int, tuple[list[int], int]]) -> int:
        """Of sequences with so many more tokens each; a prefix is stored once."""
        n_cells, prefixes = 0, set()
        for sequence, (tokens, n_more) in held.items():
            n_shared = n_common(self.prefixes[sequence], tokens)
            n_cells += len(tokens) - n_shared + n_more
            if n_shared:
                prefixes.add(tuple(self.prefixes[sequence]))
        return n_cells + sum(map(len, prefixes))

    def release(self, sequence: int) -> int:
        """A completion has ended; returns how many tokens of its prompt were copied instead of evaluated."""
        del self.reserved[sequence]
        self.pending.pop(sequence, None)
        return self.n_copied.pop(sequence, 0)

    def evaluate(self) -> None:
        """Evaluate what is pending. Raises Cancelled, EngineError."""
        if not self.pending:
            return
        for sequence in sorted(self.pending):
            self._copy_common(sequence)
        rows = self.context.evaluate(dict(sorted(self.pending.items())))
        # A copy: the next completion may evaluate its prefix before the others have looked at theirs.
        self.rows = {sequence: [row.copy() for row in found] for sequence, found in rows.items()}
        self.pending.clear()

    def _copy_common(self, sequence: int) -> None:
        """Where an earlier sequence is about to evaluate the same tokens, let it do so, and copy them."""
        own = self._wanted(sequence)
        n_most = len(own) - self.pending[sequence].n_rows
        common = {
            other: n_common(self._wanted(other), own[:n_most]) for other in self.pending if other < sequence
        }
        longest = max(common, key=lambda other: common[other], default=sequence)
        if longest == sequence or common[longest] < self.pending[sequence].n_kept + _MIN_SHARED:
            return
        self._advance(longest, common[longest])
        self.n_copied[sequence] = common[longest] - self.pending[sequence].n_kept
        self.context.copy(longest, sequence, common[longest])
        self.pending[sequence] = self._rest(sequence, common[longest])

    def _wanted(self, sequence: int) -> list[int]:
        """The tokens of a sequence when what is pending will have been evaluated."""
        evaluation = self.pending[sequence]
        return self.context.tokens[sequence][: evaluation.n_kept] + evaluation.tokens

    def _advance(self, sequence: int, n_tokens: int) -> None:
        """Evaluate of what is pending what belongs to the first `n_tokens`, but for what logits are wanted of."""
        evaluation = self.pending[sequence]
        n_tokens = min(n_tokens, evaluation.n_kept + len(evaluation.tokens) - evaluation.n_rows)
        if n_tokens > evaluation.n_kept:
            tokens = evaluation.tokens[: n_tokens - evaluation.n_kept]
            self.context.evaluate({sequence: Evaluation(evaluation.n_kept, tokens, 0)})
            self.pending[sequence] = self._rest(sequence, n_tokens)

    def _rest(self, sequence: int, n_kept: int) -> Evaluation:
        evaluation = self.pending[sequence]
        return Evaluation(n_kept, evaluation.tokens[n_kept - evaluation.n_kept :], evaluation.n_rows)


class ParallelEngine:
    """Does at most `n_slots` runs at once, in contexts of its own; weights, grammars and readers are `engine`'s.

    Memory: in each context (one for each adapter among planner's and grounder's) the cells of a context window and 256
    more for each slot; a cell is 23 KB at 135M, 12 KB at 0.5B and 28 KB at 1.5B. A completion that finds no room waits
    till another one has ended. Nothing is drafted. A recurrent model has one slot: nothing of its past can be copied.
    """

    def __init__(self, engine: LlamaEngine, n_slots: int) -> None:
        self.engine = engine
        self._slots = [Slot(self, index) for index in range(1 if engine.model.is_recurrent else n_slots)]
        self._flag = CancelFlag()
        self._contexts: dict[Adapter | None, _SharedContext] = {}
        self._conversations: dict[tuple[Module, int], tuple[_SharedContext, Conversation]] = {}

    def run(self, works: Iterable[Work[R]]) -> Iterator[R]:
        """The results in the order of the works. A work is taken when a slot is free; what one raises ends all.

        Raises Cancelled, EngineError.
        """
        waiting = enumerate(works)
        lanes = [_Lane(slot, waiting) for slot in self._slots]
        results: dict[int, R] = {}
        n_given = 0
        try:
            while True:
                for lane in lanes:
                    results.update(lane.advance())
                while n_given in results:
                    yield results.pop(n_given)
                    n_given += 1
                if not any(lane.run for lane in lanes):
                    return
                for shared in self._contexts.values():
                    shared.evaluate()
        finally:
            for lane in lanes:
                lane.close()

    def conversation(self, module: Module, slot: int) -> tuple[_SharedContext, Conversation]:
        """A module's conversation in a slot, and the context that it is in."""
        if (module, slot) not in self._conversations:
            shared, sharing = self._context(module)
            sequence = sharing.index(module) * len(self._slots) + slot
            made = self.engine.new_conversation(module, shared.context, sequence, has_drafts=False)
            shared.prefixes[sequence] = made.prefix
            self._conversations[module, slot] = shared, made
        return self._conversations[module, slot]

    def _context(self, module: Module) -> tuple[_SharedContext, list[Module]]:
        """The context of the module's adapter, and the modules that are in it."""
        adapters = self.engine.adapters
        adapter = adapters.get(module)
        sharing = [other for other in _BATCHED if adapters.get(other) is adapter]
        if adapter not in self._contexts:
            context = self.engine.new_context(
                module,
                self._flag,
                n_rows=len(self._slots),
                n_sequences=len(sharing) * len(self._slots),
                n_cells=self.engine.n_ctx + _CELLS_PER_SLOT * len(self._slots),
            )
            self._contexts[adapter] = _SharedContext(context)
        return self._contexts[adapter], sharing

    def cancel(self) -> None:
        """Make `run` raise `Cancelled`, now or when it next evaluates; safe from any thread."""
        self._flag.set()
        self.engine.cancel()

    def close(self) -> None:
        """Free the contexts."""
        for shared in self._contexts.values():
            self.engine.free(shared.context)
        self._contexts.clear()
        self._conversations.clear()


@dataclass
class _Lane(Generic[R]):
    """A slot with the run that it does, and where the next one comes from."""

    slot: Slot
    waiting: Iterator[tuple[int, Work[R]]]
    run: Generator[object, None, R] | None = None
    number: int = 0

    def advance(self) -> Iterator[tuple[int, R]]:
        """Go on until something has to be evaluated; gives the results of the runs that end, by their numbers."""
        self.slot.is_waiting = False
        while self._has_run():
            assert self.run
            try:
                while not self.slot.is_waiting:
                    next(self.run)
                return
            except StopIteration as end:
                self.run = None
                yield self.number, end.value

    def _has_run(self) -> bool:
        if self.run is None:
            self.number, work = next(self.waiting, (0, None))
            self.run = work and work(self.slot)
        return self.run is not None

    def close(self) -> None:
        if self.run:
            self.run.close()


class Slot:
    """An `Engine` for one run after another.

    While what a completion needs is not evaluated, it yields "", and `is_waiting` is set. A reader's completions are
    evaluated at once, by themselves: a tool waits for them in its own thread.
    """

    def __init__(self, parallel: ParallelEngine, index: int) -> None:
        self.index = index
        self.is_waiting = False
        self._parallel = parallel
        self._is_cancelled = False
        self._is_reading = False
        self._lock = threading.Lock()

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`. The seconds of a completion are those of everything in its batches."""
        if module not in _BATCHED:
            with self._reading():
                text = self._parallel.engine.complete(
                    module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
                )
                return (yield from text)
        self._is_cancelled = False
        shared, conversation = self._parallel.conversation(module, self.index)
        tokens = conversation.tokens(prompt, max_tokens)
        while not shared.reserve(conversation.sequence, tokens, max_tokens):
            yield from self._wait()
        try:
            steps = conversation.steps(tokens, grammar, max_tokens, sampling)
            completion = yield from drive(steps, partial(self._evaluated, shared, conversation.sequence))
        finally:
            n_copied = shared.release(conversation.sequence)
        n_reused, n_prefilled = completion.n_reused + n_copied, completion.n_prefilled - n_copied
        return replace(completion, n_reused=n_reused, n_prefilled=n_prefilled)

    def _evaluated(
        self, shared: _SharedContext, sequence: int, evaluation: Evaluation
    ) -> Generator[str, None, Rows]:
        """The rows of an evaluation, once it was in a batch."""
        shared.pending[sequence] = evaluation
        while sequence in shared.pending:
            yield from self._wait()
        return shared.rows.pop(sequence)

    def _wait(self) -> Iterator[str]:
        self.is_waiting = True
        yield ""
        if self._is_cancelled:
            raise Cancelled("cancelled")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            self._is_reading = True
        try:
            yield
        finally:
            with self._lock:
                self._is_reading = False

    def cancel(self) -> None:
        """See `Engine.cancel`: the completion of this slot alone."""
        self._is_cancelled = True
        with self._lock:  # so that it can't stop the reading of another slot's run
            if self._is_reading:
                self._parallel.engine.cancel()
