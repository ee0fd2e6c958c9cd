"""Runs of an agent, one at a time in the order in which they were asked for."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Generic, TypeVar

from lumos_edge.errors import Cancelled, Closed

E = TypeVar("E")

_POLL_S = 0.01
_STOP_AGAIN_S = 0.05


@contextmanager
def stopping_after(timeout_s: float, stop: Callable[[], None]) -> Iterator[None]:
    """A block in which `stop` is called after so many seconds, and again until the block ends.

    Again, because one that comes between two completions has nothing to stop.
    """
    ended = threading.Event()
    lock = threading.Lock()  # so that it can't stop the run after this one

    def watch() -> None:
        ended.wait(min(timeout_s, threading.TIMEOUT_MAX))
        while True:
            with lock:
                if ended.is_set():
                    return
                stop()
            ended.wait(_STOP_AGAIN_S)

    threading.Thread(target=watch, name="time limit", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            ended.set()


class _Turn:
    """A run's place in the queue; `stop` stops what it is doing, from any thread."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop
        self.cancelled = threading.Event()
        self.left = threading.Event()
        self.thread = 0
        self.events: weakref.ref[Generator[object, None, None]] | None = None


class RunQueue:
    """Gives one run after another its turn."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Turn] = deque()
        self._running: _Turn | None = None
        self.is_closed = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the run that has its turn is cancelled."""
        turn = self._running
        return turn is not None and turn.cancelled.is_set()

    def cancel(self) -> None:
        """Cancel the run that has its turn, if there is one; those that wait go on."""
        with self._changed:
            turn = self._running
        if turn is not None:
            self.cancel_turn(turn)

    def cancel_turn(self, turn: _Turn) -> None:
        """Cancel this run, whether it has its turn or waits for it."""
        with self._changed:
            turn.cancelled.set()
            self._changed.notify_all()
            # Under the lock, so that it can't stop the run after this one.
            if turn is self._running:
                turn.stop()

    def close(self) -> None:
        """End all runs, and give no turn any more; returns when nothing runs. Idempotent."""
        with self._changed:
            self.is_closed = True
            turn = self._running
            self._changed.notify_all()
        if turn is None:
            return
        while not turn.left.wait(_POLL_S):
            self.cancel_turn(turn)
            events = turn.events and turn.events()
            try:
                # One that nobody reads on would keep its turn for ever.
                if events:
                    events.close()
            except ValueError:
                continue  # it is working in another thread, which now notices that it is cancelled

    def enter(self, turn: _Turn) -> None:
        """Wait for the turn, first come, first served. Raises Closed, Cancelled, ValueError (this thread has it)."""
        turn.thread = threading.get_ident()
        with self._changed:
            if self._running and self._running.thread == turn.thread:
                raise ValueError(
                    "this thread has neither read its last run of the agent to the end nor closed it"
                )
            self._check(turn)
            self._waiting.append(turn)
            try:
                while self._running or self._waiting[0] is not turn:
                    self._changed.wait()
                    self._check(turn)
                self._running = turn
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def _check(self, turn: _Turn) -> None:
        if self.is_closed:
            raise Closed("the agent is closed")
        if turn.cancelled.is_set():
            raise Cancelled("cancelled")

    def leave(self, turn: _Turn) -> None:
        """Give the turn to the next."""
        with self._changed:
            self._running = None
            self._changed.notify_all()
        turn.left.set()


class Run(Generic[E]):
    """A run as the iterator of its events.

    It waits for its turn when its first event is asked for, and has it until the last one is read, or until it is
    cancelled, closed or no longer used. Read it in one thread at a time.
    """

    def __init__(
        self, queue: RunQueue, work: Callable[[], Generator[E, None, None]], stop: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._turn = _Turn(stop)
        self._events = _in_turn(queue, self._turn, work)
        self._turn.events = weakref.ref(self._events)

    def __iter__(self) -> Iterator[E]:
        return self

    def __next__(self) -> E:
        try:
            return next(self._events)
        except StopIteration:
            if self._queue.is_closed and self._turn.cancelled.is_set():
                raise Closed("the agent was closed") from None
            raise

    def cancel(self) -> None:
        """Make the run raise `Cancelled`, also one that waits; safe from any thread, any number of times."""
        self._queue.cancel_turn(self._turn)

    def close(self) -> None:
        """End the run where it is, and give its turn to the next; safe from any thread."""
        self.cancel()
        try:
            self._events.close()
        except ValueError:
            return  # another thread waits for the next event, and gets Cancelled


def _in_turn(
    queue: RunQueue, turn: _Turn, work: Callable[[], Generator[E, None, None]]
) -> Generator[E, None, None]:
    queue.enter(turn)
    try:
        with closing(work()) as events:
            for event in events:
                # A `stop` that came between two completions had nothing to stop.
                if turn.cancelled.is_set():
                    raise Cancelled("cancelled")
                yield event
    except Cancelled:
        if queue.is_closed:
            raise Closed("the agent was closed") from None
        raise
    finally:
        queue.leave(turn)
