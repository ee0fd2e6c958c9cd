"""The decode loop of one completion: forced tokens, drafts, evaluation, choice.

It evaluates nothing itself: it yields each `Evaluation` that it needs and is sent the logits, so that whoever drives it
may put several completions into one batch. Between them it yields the text as it is written.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from lumos_edge.engine import Completion, Grammar
from lumos_edge.engine.binding import Model
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.engine.context import Evaluation, Row, Rows
from lumos_edge.engine.drafts import Drafts
from lumos_edge.engine.sampling import Sampler

Steps: TypeAlias = Generator[Evaluation | str, Rows | None, Completion]
"""Yields what to evaluate, and is sent its rows; and text, which needs no answer. Returns the completion."""


class Vocabulary:
    """What of a model's vocabulary the loop uses, made once."""

    def __init__(self, model: Model) -> None:
        self.grammars = GrammarCache(model.constraint_tokenizer)
        self.end_tokens = frozenset(model.end_tokens())
        self._tokenize = model.tokenize

    def text(self, tokens: Sequence[int]) -> bytes:
        """The bytes of these tokens; part of a character at either end is possible."""
        decoded: bytes = self.grammars.tokenizer.decode_bytes(list(tokens))
        return decoded

    def text_tokens(self, text: str, written: list[int]) -> list[int]:
        """The tokens of a completion as the next prompt holds it: without a last newline."""
        if written and self.text(written[-1:]).strip(b"\n") == b"":
            written = written[:-1]
        if self.text(written) == text.encode():
            return written
        return self._tokenize(text)  # the newline came merged with the last letters: ".\n"


@dataclass
class _Costs:
    """Of one completion; see `Completion`."""

    n_reused: int = 0
    n_prefilled: int = 0
    n_forced: int = 0
    n_masked: int = 0
    n_drafted: int = 0
    n_accepted: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    constraint_s: float = 0.0


class Decoding:
    """One completion in progress. `n_cached` of the prompt's tokens are in the KV cache."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: list[int],
        n_cached: int,
        sampler: Sampler,
        drafts: Drafts | None,
    ) -> None:
        self.written: list[int] = []
        self._vocabulary = vocabulary
        self._prompt = prompt
        self._n_cached = min(n_cached, len(prompt) - 1)  # the last one must be evaluated to have its logits
        self._sampler = sampler
        self._drafts = drafts
        # After an evaluation: the logits after the last written token and after each drafted one behind it.
        self._rows: Rows = []
        self._ahead: list[int] = []
        self._n_drafted = 0
        self._costs = _Costs(n_reused=self._n_cached)

    def steps(self, grammar: Grammar, max_tokens: int) -> Steps:
        """The loop, until the grammar or the model ends the text, or the limit does; then what is open is closed.

        Raises GrammarError.
        """
        started = time.perf_counter()
        constraint = Constraint(self._vocabulary.grammars, grammar)
        self._costs.constraint_s = time.perf_counter() - started
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        finish: Literal["grammar", "end", "length"] = "length"
        n_yielded = 0
        while finish == "length" and len(self.written) < max_tokens:
            self._force(constraint)
            # Forced tokens may have gone beyond the limit, and the context window.
            if not constraint.done and len(self.written) < max_tokens:
                row = yield from self._next_row(constraint, max_tokens - len(self.written))
                if self._choose(row, constraint) is None:
                    finish = "end"
            if constraint.done:
                finish = "grammar"
            elif finish == "length" and len(self.written) >= max_tokens:
                self._close(constraint)
            text = decoder.decode(self._vocabulary.text(self.written[n_yielded:]))
            n_yielded = len(self.written)
            if text:
                yield text
        return self._completion(finish, constraint.compile_s)

    def _force(self, constraint: Constraint) -> None:
        """Write the tokens that must come next."""
        started = time.perf_counter()
        forced = constraint.forced_tokens()
        self._costs.constraint_s += time.perf_counter() - started
        self._costs.n_forced += len(forced)
        self._write(forced)

    def _next_row(self, constraint: Constraint, n_most: int) -> Generator[Evaluation, Rows | None, Row]:
        """The logits after the last written token: a draft's that was right, else of a new evaluation."""
        if not self._rows:
            started = time.perf_counter()
            n_new = len(self._prompt) + len(self.written) - self._n_cached
            if self._drafts:
                self._ahead = constraint.allowed_prefix(self._drafts.propose(n_new, n_most - 1))
            self._costs.constraint_s += time.perf_counter() - started
            self._n_drafted = len(self._ahead)
            tokens = [*self._prompt, *self.written, *self._ahead]
            started = time.perf_counter()
            rows = yield Evaluation(self._n_cached, tokens[self._n_cached :], 1 + self._n_drafted)
            assert rows is not None
            self._rows = rows
            self._note_time(time.perf_counter() - started)
            self._n_cached = len(self._prompt) + len(self.written)
        return self._rows[0]

    def _note_time(self, seconds: float) -> None:
        if self._costs.n_prefilled == 0:
            self._costs.n_prefilled = len(self._prompt) - self._n_cached
            self._costs.prefill_s = seconds
        else:
            self._costs.decode_s += seconds

    def _write(self, tokens: list[int]) -> None:
        """Take tokens as written, and see whether they are what was drafted."""
        self.written += tokens
        if self._drafts:
            self._drafts.extend(tokens)
        for token in tokens:
            if not self._rows:
                return
            if self._ahead[:1] == [token]:
                del self._ahead[0], self._rows[0]
                self._n_cached += 1
            else:
                self._end_draft()

    def _end_draft(self) -> None:
        """What was evaluated ahead from here on is not what is written."""
        n_right = self._n_drafted - len(self._ahead)
        self._costs.n_drafted += self._n_drafted
        self._costs.n_accepted += n_right
        if self._drafts:
            self._drafts.note(self._n_drafted, n_right)
        self._rows, self._ahead = [], []

    def _close(self, constraint: Constraint) -> None:
        """Write what is needed for the text to be whole, without asking the model."""
        started = time.perf_counter()
        closing = constraint.close()
        self._costs.constraint_s += time.perf_counter() - started
        self._write(closing)

    def _choose(self, row: Row, constraint: Constraint) -> int | None:
        """Write the model's choice where the grammar allows it, else its best allowed one; None ends the text."""
        started = time.perf_counter()
        ends = self._vocabulary.end_tokens
        token = self._sampler.choose(row)
        self._costs.decode_s += time.perf_counter() - started
        started = time.perf_counter()
        if not (constraint.may_end if token in ends else constraint.allows(token)):
            self._costs.n_masked += 1
            token = self._sampler.choose(row, constraint.allowed_tokens())
        if token not in ends:
            constraint.consume([token])
        self._costs.constraint_s += time.perf_counter() - started
        if token in ends:
            return None
        self._write([token])
        return token

    def _completion(self, finish: Literal["grammar", "end", "length"], compile_s: float) -> Completion:
        if self._rows:
            self._end_draft()
        costs = asdict(self._costs)
        costs["constraint_s"] -= compile_s  # parts are compiled as the text reaches them
        return Completion(
            self._vocabulary.text(self.written).decode("utf-8", "replace").rstrip("\n"),
            finish,
            n_prompt=len(self._prompt),
            n_completion=len(self.written),
            compile_s=compile_s,
            **costs,
        )
