"""An engine with the texts given, behind the same seam as the real one, and under the same constraint."""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from random import Random

import llguidance

from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.trajectory import Module

BYTES = llguidance.LLTokenizer("byte")


def accepts(grammar: Grammar, text: str) -> bool:
    """Whether a grammar accepts exactly this text, byte by byte."""
    constraint = Constraint(GrammarCache(BYTES), grammar)
    for token in BYTES.tokenize_str(text):
        if constraint.done or not constraint.allows(token):
            return False
        constraint.consume([token])
    return constraint.may_end


class ScriptedEngine:
    """Completes with `texts` in turn; a text that its grammar would not allow is the test's mistake."""

    def __init__(self, *texts: str, is_checked: bool = True) -> None:
        self._texts = list(texts)
        self._is_checked = is_checked
        self.prompts: list[tuple[Module, Prompt]] = []

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        self.prompts.append((module, prompt))
        text = self._texts.pop(0)
        assert not self._is_checked or accepts(grammar, text), f"the grammar does not allow {text!r}"
        yield text
        return Completion(text, n_prompt=len(self.prompt_text()), n_completion=len(text.split()))

    def cancel(self) -> None:
        pass

    def prompt_text(self, index: int = -1) -> str:
        """A prompt as one text."""
        return "".join(piece if isinstance(piece, str) else piece.text for piece in self.prompts[index][1])


_CACHE = GrammarCache(BYTES)
_CLOSING = frozenset(b")];\n,")


def closed(grammar: Grammar, written: bytes) -> str:
    """A text that was cut off, with what the constraint closes it with."""
    constraint = Constraint(_CACHE, grammar)
    for byte in written:
        constraint.consume([byte])
    closing = constraint.close()
    assert constraint.may_end
    return (written + bytes(closing)).decode("utf-8")


def random_text(grammar: Grammar, random: Random) -> str:
    """A random text of the grammar."""
    return random_cut(grammar, random, inf).decode("utf-8")


def random_cut(grammar: Grammar, random: Random, n_bytes: float) -> bytes:
    """The first bytes of a random walk over the bytes that the grammar allows; closing ones are liked better."""
    constraint = Constraint(_CACHE, grammar)
    written: list[int] = []
    while not constraint.done and len(written) < n_bytes:
        if constraint.may_end and random.random() < 0.5:
            break
        allowed = [int(token) for token in constraint.allowed_tokens() if token < 256]
        closing = [token for token in allowed if token in _CLOSING]
        token = random.choice(closing if closing and random.random() < 0.4 else allowed)
        constraint.consume([token])
        written.append(token)
    return bytes(written)
