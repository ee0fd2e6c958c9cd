"""Runs of one agent from many threads: in order, cancelled one by one, closed together."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Generator

import pytest

from lumos_edge.errors import Cancelled, Closed
from lumos_edge.runs import Run, RunQueue


class Work:
    """Something that yields numbers for ever, remembers who worked when, and waits where the test says so."""

    def __init__(self) -> None:
        self.queue = RunQueue()
        self.log: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.n_stopped = 0

    def stop(self) -> None:
        self.n_stopped += 1
        self.go_on.set()

    def run(self, name: str, n_events: int = 3) -> Run[int]:
        return Run(self.queue, lambda: self._work(name, n_events), self.stop)

    def _work(self, name: str, n_events: int) -> Generator[int, None, None]:
        try:
            for number in range(n_events):
                self.log.append(f"{name}{number}")
                assert self.go_on.wait(10)
                yield number
        finally:
            self.log.append(f"{name} ended")


class Reader(threading.Thread):
    """Reads a run to its end in a thread of its own."""

    def __init__(self, run: Run[int]) -> None:
        super().__init__()
        self.run_read = run
        self.outcome: list[int] | Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = list(self.run_read)
        except (Cancelled, Closed) as error:
            self.outcome = error

    def end(self) -> list[int] | Exception | None:
        self.join(10)
        assert not self.is_alive()
        return self.outcome


@pytest.fixture
def work() -> Work:
    return Work()


def start_waiting(work: Work, name: str) -> Reader:
    """A reader that stands in the queue."""
    n_before = len(work.queue._waiting)
    reader = Reader(work.run(name))
    while len(work.queue._waiting) == n_before:
        time.sleep(0.001)
    return reader


def test_runs_go_one_after_another_in_the_order_of_their_calls(work: Work) -> None:
    first = work.run("a")
    next(first)
    readers = [start_waiting(work, name) for name in "bcdefgh"]
    assert work.log == ["a0"]
    assert list(first) == [1, 2]
    assert [reader.end() for reader in readers] == [[0, 1, 2]] * 7
    assert work.log == [f"{name}{what}" for name in "abcdefgh" for what in ("0", "1", "2", " ended")]


def test_a_run_that_waits_is_cancelled_alone(work: Work) -> None:
    first = work.run("a")
    next(first)
    second, third = start_waiting(work, "b"), start_waiting(work, "c")
    second.run_read.cancel()
    second.run_read.cancel()
    assert isinstance(second.end(), Cancelled)
    assert list(first) == [1, 2]
    assert third.end() == [0, 1, 2]
    assert work.n_stopped == 0


def test_cancelling_stops_the_run_that_has_its_turn(work: Work) -> None:
    work.go_on.clear()
    first = Reader(work.run("a"))
    while not work.log:
        time.sleep(0.001)
    second = start_waiting(work, "b")
    work.queue.cancel()
    assert isinstance(first.end(), Cancelled)
    assert second.end() == [0, 1, 2]
    assert work.n_stopped == 1


def test_cancelling_nothing_and_cancelling_what_is_over_do_nothing(work: Work) -> None:
    work.queue.cancel()
    run = work.run("a")
    assert list(run) == [0, 1, 2]
    run.cancel()
    work.queue.cancel()
    assert list(work.run("b")) == [0, 1, 2]
    assert work.n_stopped == 0


def test_a_run_cancelled_before_it_began_never_begins(work: Work) -> None:
    run = work.run("a")
    run.cancel()
    with pytest.raises(Cancelled):
        next(run)
    assert work.log == []


def test_a_run_that_is_dropped_or_closed_gives_its_turn_away(work: Work) -> None:
    for _ in work.run("a"):
        break
    gc.collect()
    run = work.run("b")
    next(run)
    run.close()
    run.close()
    assert list(run) == []
    assert list(work.run("c", 1)) == [0]
    assert work.log == ["a0", "a ended", "b0", "b ended", "c0", "c ended"]


def test_a_thread_that_would_wait_for_itself_is_told(work: Work) -> None:
    first = work.run("a")
    next(first)
    with pytest.raises(ValueError, match="neither read its last run"):
        next(work.run("b"))
    assert list(first) == [1, 2]


def test_closing_ends_what_runs_and_what_waits(work: Work) -> None:
    work.go_on.clear()
    first = Reader(work.run("a"))
    while not work.log:
        time.sleep(0.001)
    second = start_waiting(work, "b")
    work.queue.close()
    assert "a ended" in work.log
    assert isinstance(first.end(), Closed)
    assert isinstance(second.end(), Closed)
    with pytest.raises(Closed, match="the agent is closed"):
        next(work.run("c"))
    work.queue.close()


def test_closing_ends_a_run_that_nobody_reads_on(work: Work) -> None:
    run = work.run("a")
    next(run)
    work.queue.close()
    assert work.log == ["a0", "a ended"]
    with pytest.raises(Closed):
        next(run)


def test_closing_from_another_thread_ends_a_run_that_nobody_reads_on(work: Work) -> None:
    run = work.run("a")
    next(run)
    closer = threading.Thread(target=work.queue.close)
    closer.start()
    closer.join(10)
    assert not closer.is_alive()
    assert work.log == ["a0", "a ended"]


def test_an_error_of_the_work_gives_the_turn_away(work: Work) -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise KeyError("x")

    run = Run(work.queue, failing, work.stop)
    with pytest.raises(KeyError):
        list(run)
    assert list(work.run("b", 1)) == [0]
