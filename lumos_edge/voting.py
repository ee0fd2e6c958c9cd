"""Self-consistency: several runs of one task with plans sampled at random, and the answer that most of them gave.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", arXiv 2203.11171.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lumos_edge.agent import Answered
from lumos_edge.engine import Sampling
from lumos_edge.scoring import is_same_answer
from lumos_edge.trajectory import Trajectory

TEMPERATURE = 0.7
"""Of the samples where the user named none; a usual value for voting, not yet measured with these models."""

MAX_SAMPLES = 64


def samplings(sampling: Sampling, n_samples: int) -> list[Sampling]:
    """How each sample is decoded, with a seed of its own. At temperature 0 the first one stays greedy."""
    seeds = range(n_samples * sampling.seed, n_samples * (sampling.seed + 1))
    if sampling.temperature > 0 or n_samples == 1:
        return [replace(sampling, seed=seed) for seed in seeds]
    return [sampling, *(replace(sampling, temperature=TEMPERATURE, seed=seed) for seed in seeds[1:])]


@dataclass(frozen=True)
class Vote:
    """The samples of a task, and for each the number of those with its answer; 0 for one without an answer."""

    samples: tuple[Answered, ...]
    votes: tuple[int, ...]

    @property
    def winner(self) -> int:
        """The first of the samples whose answer most gave; the first one when none has an answer."""
        return self.votes.index(max(self.votes))

    @property
    def trajectory(self) -> Trajectory:
        """The winner's."""
        return self.samples[self.winner].trajectory

    def write_json(self) -> dict[str, Any]:
        """Which sample won, and each one's answer with its votes, as JSON data."""
        answers = [sample.trajectory.answer for sample in self.samples]
        return {
            "winner": self.winner,
            "answers": [None if answer is None else str(answer) for answer in answers],
            "votes": list(self.votes),
        }


def vote(samples: Sequence[Answered]) -> Vote:
    """Count the answers; a sample without one does not vote. Answers are the same as `scoring` compares them."""
    firsts: list[int] = []
    chosen: list[int | None] = []
    for index, sample in enumerate(samples):
        answer = sample.trajectory.answer
        first = None
        if answer is not None:
            first = next((n for n in firsts if is_same_answer(answer, samples[n].trajectory.answer)), index)
            firsts += [index] if first == index else []
        chosen.append(first)
    return Vote(tuple(samples), tuple(chosen.count(first) if first is not None else 0 for first in chosen))
