"""Drafts: what a module will probably write next, looked up in what it has read and written (prompt lookup).

A subgoal repeats the question's words, an action repeats the subgoal's numbers and the examples' forms. A draft is
evaluated together with the token before it, which costs little more than that token alone, and stands as far as it is
what the model chooses. Idea: Saxena, "Prompt Lookup Decoding", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_DRAFT = 6
"""Tokens of the longest draft."""

_SIZES = (5, 4, 3)
"""Lengths of the n-grams that are looked up, the longest first: benchmarks/LOG.md, 2026-11-24."""


class Acceptance:
    """How often drafts were right, by the length of the n-gram that found them: says how long the next may be.

    A draft of d tokens behind k others saves p + p^2 + ... + p^d steps and costs what a batch of k + d tokens takes
    longer than one of k: `costs[n - 1]` is the time of n tokens in steps of one. Old drafts count less and less, and a
    length that has failed is tried again now and then, where a single token more costs less than a step.
    """

    _PRIOR = (2.0, 3.0)  # right, drafted
    _KEPT = 0.97  # of the counts, with each further draft
    _PROBE_EVERY = 16  # lookups

    def __init__(self, costs: Sequence[float]) -> None:
        self._costs = costs
        self._right = dict.fromkeys(_SIZES, self._PRIOR[0])
        self._tried = dict.fromkeys(_SIZES, self._PRIOR[1])
        self._n_skipped = dict.fromkeys(_SIZES, 0)

    def length(self, size: int, n_before: int) -> int:
        """How many tokens a draft found by an n-gram of that size should have behind `n_before` others."""
        chance = self._right[size] / self._tried[size]
        n_most = min(MAX_DRAFT, len(self._costs) - n_before)
        best, most, reached, saved = 0, 0.0, 1.0, 0.0
        for n_tokens in range(1, n_most + 1):
            reached *= chance
            saved += reached
            gain = saved - self._cost(n_before, n_tokens)
            if gain > most:
                best, most = n_tokens, gain
        if best == 0 and n_most > 0 and self._cost(n_before, 1) < 1:
            self._n_skipped[size] += 1
            best = int(self._n_skipped[size] % self._PROBE_EVERY == 0)
        return best

    def _cost(self, n_before: int, n_tokens: int) -> float:
        return self._costs[n_before + n_tokens - 1] - self._costs[n_before - 1]

    def note(self, size: int, n_drafted: int, n_right: int) -> None:
        """Of a draft, the first `n_right` tokens stood; what came behind the first wrong one says nothing."""
        n_judged = min(n_right + 1, n_drafted)
        self._right[size] = self._KEPT * self._right[size] + n_right
        self._tried[size] = self._KEPT * self._tried[size] + n_judged


class Drafts:
    """The drafts of one completion: an index of the n-grams of its prompt and of what it has written."""

    def __init__(self, acceptance: Acceptance, prompt: Sequence[int]) -> None:
        self._acceptance = acceptance
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}  # n-gram -> where its last occurrence but the newest ends
        self._size = _SIZES[0]
        self.extend(prompt)

    def extend(self, tokens: Sequence[int]) -> None:
        """Take more tokens into the index."""
        for token in tokens:
            # What ends here is entered when the next token is known: an n-gram must not find itself.
            for size in _SIZES:
                self._ends[tuple(self._tokens[-size:])] = len(self._tokens)
            self._tokens.append(token)

    def propose(self, n_before: int, n_most: int) -> list[int]:
        """What followed the last tokens the last time they stood here, as far as that is worth trying.

        It is evaluated behind `n_before` other tokens, and may have `n_most`.
        """
        for size in _SIZES if n_most > 0 else ():
            end = self._ends.get(tuple(self._tokens[-size:]))
            if end is not None and (length := self._acceptance.length(size, n_before)):
                self._size = size
                return self._tokens[end : end + min(length, n_most)]
        return []

    def note(self, n_drafted: int, n_right: int) -> None:
        """The last proposal, cut to `n_drafted` tokens by the grammar, was right for `n_right`."""
        if n_drafted:
            self._acceptance.note(self._size, n_drafted, n_right)
