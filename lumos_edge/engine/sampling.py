"""The choice of one token from the logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lumos_edge.engine import Sampling

_N_SORTED = 1024  # tokens that mostly reach a top_p


class Sampler:
    """Chooses tokens for one completion; its random numbers follow from the seed and the prompt alone."""

    def __init__(self, sampling: Sampling, prompt_digest: int) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng([sampling.seed, prompt_digest])

    def choose(self, logits: npt.NDArray[np.float32], candidates: npt.NDArray[np.intp] | None = None) -> int:
        """A token id out of `candidates` (all when None); `logits` has the shape `(n_vocab,)`.

        Choosing among all and, when that token is not allowed, again among the allowed ones gives each allowed
        token its exact share: the probability that it has given that an allowed one is chosen.
        """
        chosen = logits if candidates is None else logits[candidates]
        index = int(np.argmax(chosen)) if self._sampling.temperature == 0 else self._draw(chosen)
        return index if candidates is None else int(candidates[index])

    def _draw(self, logits: npt.NDArray[np.float32]) -> int:
        weights = np.exp((logits - np.max(logits)) / self._sampling.temperature)  # the best token's is 1
        weights[weights < self._sampling.min_p] = 0.0
        kept = None if self._sampling.top_p == 1 else self._most_probable(weights)
        total = np.cumsum(weights if kept is None else weights[kept], dtype=np.float64)
        index = int(np.searchsorted(total, self._random.random() * total[-1], side="right"))
        return index if kept is None else int(kept[index])

    def _most_probable(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """The fewest tokens that together have `top_p` of all weight. Sorting a whole vocabulary takes up to 16 ms."""
        wanted = self._sampling.top_p * np.sum(weights, dtype=np.float64)
        some = np.argpartition(-weights, _N_SORTED)[:_N_SORTED] if len(weights) > _N_SORTED else slice(None)
        if np.sum(weights[some], dtype=np.float64) < wanted:
            some = slice(None)
        found = np.arange(len(weights))[some]
        order = found[np.argsort(-weights[found], kind="stable")]
        reached = np.cumsum(weights[order], dtype=np.float64)
        return order[: int(np.searchsorted(reached, wanted, side="left")) + 1]
