"""The choice of one token."""

from __future__ import annotations

import numpy as np
import pytest

from lumos_edge.engine import Sampling
from lumos_edge.engine.sampling import Sampler

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))


def shares(sampling: Sampling, candidates: list[int] | None = None, n: int = 4000) -> list[float]:
    """How often each token is chosen."""
    sampler = Sampler(sampling, prompt_digest=1)
    allowed = None if candidates is None else np.array(candidates, dtype=np.intp)
    chosen = [sampler.choose(LOGITS, allowed) for _ in range(n)]
    return [chosen.count(token) / n for token in range(4)]


def test_temperature_zero_takes_the_most_probable() -> None:
    assert shares(Sampling(), n=10) == [1, 0, 0, 0]
    assert shares(Sampling(), candidates=[1, 3], n=10) == [0, 1, 0, 0]


def test_temperature_one_follows_the_distribution() -> None:
    assert shares(Sampling(temperature=1)) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


def test_allowed_tokens_keep_their_shares() -> None:
    assert shares(Sampling(temperature=1), candidates=[1, 2]) == pytest.approx([0, 2 / 3, 1 / 3, 0], abs=0.03)


def test_rejecting_and_choosing_again_gives_the_shares_of_the_allowed() -> None:
    """What the engine does: first among all, and only on a miss among the allowed."""
    sampler = Sampler(Sampling(temperature=1), prompt_digest=1)
    allowed = np.array([0, 2], dtype=np.intp)
    chosen = []
    for _ in range(6000):
        token = sampler.choose(LOGITS)
        chosen.append(token if token in (0, 2) else sampler.choose(LOGITS, allowed))
    assert chosen.count(0) / 6000 == pytest.approx(0.5 / 0.65, abs=0.03)


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    assert shares(Sampling(temperature=1, top_p=0.79)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(Sampling(temperature=1, top_p=0.2), n=50) == [1, 0, 0, 0]


@pytest.mark.parametrize("spread", [0.1, 8.0])  # nearly all tokens reach it, or very few
def test_top_p_of_a_large_vocabulary(spread: float) -> None:
    logits = (np.random.default_rng(1).standard_normal(2000) * spread).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    order = np.argsort(-weights)
    n_kept = int(np.searchsorted(np.cumsum(weights[order]), 0.6 * weights.sum())) + 1
    sampler = Sampler(Sampling(temperature=1, top_p=0.6), prompt_digest=1)
    chosen = {sampler.choose(logits) for _ in range(6000)}
    assert chosen <= set(order[:n_kept].tolist())
    assert len(chosen) > 0.9 * n_kept


def test_min_p_cuts_by_the_best() -> None:
    assert shares(Sampling(temperature=1, min_p=0.4)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)


def test_the_same_seed_and_prompt_give_the_same_tokens() -> None:
    def chosen(seed: int, digest: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1, seed=seed), digest)
        return [sampler.choose(LOGITS) for _ in range(20)]

    assert chosen(1, 2) == chosen(1, 2)
    assert chosen(1, 2) != chosen(2, 2)
    assert chosen(1, 2) != chosen(1, 3)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": 11}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": -0.1}]
)
def test_settings_that_make_no_sense_are_value_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]
