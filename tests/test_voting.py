"""Which answer most samples gave."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lumos_edge.agent import Answered
from lumos_edge.engine import Sampling
from lumos_edge.trajectory import Task, Trajectory
from lumos_edge.values import Boolean, Number, Rows, Text, Value
from lumos_edge.voting import TEMPERATURE, Vote, samplings, vote


def number(text: str) -> Number:
    return Number(Fraction(text))


def counted(*answers: Value | None) -> Vote:
    return vote(
        [
            Answered(Trajectory(Task(f"sample {index}"), "onetime", (), answer), (), 0.0)
            for index, answer in enumerate(answers)
        ]
    )


@pytest.mark.parametrize(
    ("answers", "votes", "winner"),
    [
        ((number("3"), number("4"), number("4")), (1, 2, 2), 1),
        ((number("3"), number("4")), (1, 1), 0),
        ((number("3"), number("4"), number("4"), number("3")), (2, 2, 2, 2), 0),
        ((None, number("4"), None), (0, 1, 0), 1),
        ((None, None), (0, 0), 0),
        ((number("1/2"), Text("0.5"), Text("1/2")), (3, 3, 3), 0),
        ((number("100/3"), Text("33.33"), number("33")), (2, 2, 1), 0),
        ((Text("Paris."), Text("London"), Text("paris")), (2, 1, 2), 0),
        ((Boolean(True), Text("yes"), Boolean(False)), (2, 2, 1), 0),
        ((Rows(("a",), ((1,), (2,))), Rows(("b",), ((2,), (1,))), Rows(("a",), ((1,),))), (2, 2, 1), 0),
    ],
)
def test_the_most_frequent_answer_wins_and_of_equals_the_first(
    answers: tuple[Value | None, ...], votes: tuple[int, ...], winner: int
) -> None:
    found = counted(*answers)
    assert found.votes == votes
    assert found.winner == winner
    assert found.trajectory.task.question == f"sample {winner}"


def test_the_votes_are_data() -> None:
    assert counted(None, number("4"), number("4")).write_json() == {
        "winner": 1,
        "answers": [None, "4", "4"],
        "votes": [0, 2, 2],
    }


def test_one_sample_is_what_it_is_without() -> None:
    for sampling in (Sampling(), Sampling(0.5, 0.9, 0.1, seed=3)):
        assert samplings(sampling, 1) == [sampling]


def test_the_first_sample_stays_greedy_and_the_others_have_a_temperature_and_seeds_of_their_own() -> None:
    first, *others = samplings(Sampling(top_p=0.9), 5)
    assert first == Sampling(top_p=0.9)
    assert {(one.temperature, one.top_p) for one in others} == {(TEMPERATURE, 0.9)}
    assert len({one.seed for one in others}) == 4


def test_a_temperature_of_the_users_is_that_of_all_and_other_seeds_are_other_samples() -> None:
    one, other = (samplings(Sampling(0.3, seed=seed), 4) for seed in (7, 8))
    assert {sampling.temperature for sampling in one} == {0.3}
    assert not {sampling.seed for sampling in one} & {sampling.seed for sampling in other}
