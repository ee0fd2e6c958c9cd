"""The choice of one token from the logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lumos_edge.engine import Sampling


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
        scaled = logits.astype(np.float64) / self._sampling.temperature
        weights = np.exp(scaled - np.max(scaled))
        weights[weights < self._sampling.min_p] = 0.0  # the best token's weight is 1
        order = np.argsort(-weights, kind="stable")
        total = np.cumsum(weights[order])
        kept = int(np.searchsorted(total, self._sampling.top_p * total[-1], side="left")) + 1
        kept = min(kept, len(order))
        return int(
            order[np.searchsorted(total[:kept], self._random.random() * total[kept - 1], side="right")]
        )
