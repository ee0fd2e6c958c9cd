"""What works in the background: one thread, one job at a time, and Qt signals for what happens.

A signal that is emitted in another thread is delivered in the window's own, so that no slot needs a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lumos_edge import Agent, BudgetExceeded, Cancelled, Event, LumosError, Run, build_knowledge, pull


class Session(QObject):
    """The agent of a window. `started` and `ended` enclose every job; methods return at once."""

    started = Signal(str)  # what is done, in words
    progressed = Signal(float)  # its share, 0 to 1
    happened = Signal(object)  # an event of a run
    attached = Signal(str, str)  # folder, knowledge pack
    failed = Signal(str)  # why, in one line
    ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="session")
        self._agent: Agent | None = None
        self._opened: tuple[str, tuple[str, ...]] | None = None
        self._run: Run[Event] | None = None
        self._is_cancelled = threading.Event()

    def pull(self, pack: str) -> None:
        """Fetch a model pack; a cancelled pull goes on where it stopped."""
        self._start(f"Pulling {pack}", lambda: pull(pack, _Progress(self)))

    def attach(self, folder: str) -> None:
        """Make a knowledge pack of a folder, or take the one that is there."""

        def work() -> None:
            self.attached.emit(folder, str(build_knowledge(folder, progress=_Progress(self))))

        self._start(f"Reading {Path(folder).name}", work)

    def ask(self, question: str, pack: str, knowledge: tuple[str, ...]) -> None:
        """Answer a question; what is loaded already is used again."""

        def work() -> None:
            self._run = self._open(pack, knowledge).run(question)
            self.check()  # from here on `cancel` finds the run
            for event in self._run:
                self.happened.emit(event)

        self._start("Answering", work)

    def cancel(self) -> None:
        """End the job in progress; `ended` comes as soon as it has."""
        self._is_cancelled.set()
        if self._run:
            self._run.cancel()

    def close(self) -> None:
        """End everything, and give the memory back."""
        self.cancel()
        self._worker.shutdown(cancel_futures=True)
        if self._agent:
            self._agent.close()

    def check(self) -> None:
        """Raise Cancelled when the job is."""
        if self._is_cancelled.is_set():
            raise Cancelled("cancelled")

    def _start(self, what: str, work: Callable[[], object]) -> None:
        self._is_cancelled.clear()
        self._run = None
        self.started.emit(what)
        self._worker.submit(self._do, work)

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (Cancelled, BudgetExceeded) as error:
            self.failed.emit(str(error))
        except (LumosError, ValueError, OSError) as error:
            self.failed.emit(f"{error} {getattr(error, 'hint', '')}".strip())
        finally:
            self.ended.emit()

    def _open(self, pack: str, knowledge: tuple[str, ...]) -> Agent:
        if self._agent and self._opened == (pack, knowledge):
            return self._agent
        if self._agent:
            self._agent.close()
            self._agent = None
        self._agent = Agent.open(pack, knowledge=knowledge)
        self._opened = (pack, knowledge)
        return self._agent


class _Progress:
    """Tells the window, and ends the job when that is cancelled."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def at(self, n_bytes: int, size_bytes: int) -> None:
        self._session.check()
        self._session.progressed.emit(n_bytes / max(size_bytes, 1))

    def say(self, message: str) -> None:
        self._session.check()
