"""Fewer threads on a busy machine, and back."""

from __future__ import annotations

from lumos_edge.engine.threads import ThreadPace

QUIET, BUSY, ONE = 0.007, 0.026, 0.010


def run(pace: ThreadPace, n_steps: int, *, busy: bool) -> list[int]:
    """The thread counts of these steps, with the times that a 135M model takes on 2 cores."""
    counts = []
    for _ in range(n_steps):
        counts.append(pace.n_threads)
        with_all = BUSY if busy else QUIET
        pace.step(with_all if pace.n_threads == 2 else ONE)
    return counts


def test_a_quiet_machine_keeps_all_threads() -> None:
    assert set(run(ThreadPace(2), 500, busy=False)) == {2}


def test_a_busy_machine_gets_fewer_and_all_are_tried_now_and_then() -> None:
    pace = ThreadPace(2)
    run(pace, 20, busy=False)
    counts = run(pace, 400, busy=True)
    assert counts[:3] == [2, 2, 2]
    assert counts[3:60] == [1] * 57
    assert counts.count(2) / len(counts) < 0.05


def test_all_threads_come_back_when_the_machine_is_quiet_again() -> None:
    pace = ThreadPace(2)
    run(pace, 20, busy=False)
    run(pace, 50, busy=True)
    counts = run(pace, 200, busy=False)
    assert counts.index(2) <= 64
    assert set(counts[counts.index(2) :]) == {2}


def test_single_slow_steps_are_accidents() -> None:
    pace = ThreadPace(2)
    for _ in range(100):
        pace.step(QUIET)
        pace.step(BUSY)
    assert pace.n_threads == 2


def test_one_thread_is_the_least() -> None:
    pace = ThreadPace(1)
    for seconds in (QUIET, BUSY, BUSY, BUSY, BUSY):
        assert pace.step(seconds) == 1


def test_many_threads_are_halved() -> None:
    pace = ThreadPace(8)
    for seconds in (QUIET, BUSY, BUSY, BUSY):
        pace.step(seconds)
    assert pace.n_threads == 4
