"""A lock holds off other threads and processes, and ends with the process that holds it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from lumos_edge.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from lumos_edge.locks import exclusive
with exclusive(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_free_lock_is_taken_without_waiting_and_can_be_taken_again(tmp_path: Path) -> None:
    waits: list[int] = []
    for _ in range(2):
        with exclusive(tmp_path / "x.lock", lambda: waits.append(1)):
            pass
    assert waits == []


def test_a_second_holder_waits_for_the_first_and_says_so_once(tmp_path: Path) -> None:
    events: list[str] = []

    def hold() -> None:
        with exclusive(tmp_path / "x.lock", lambda: events.append("waits")):
            events.append("second")

    second = threading.Thread(target=hold)
    with exclusive(tmp_path / "x.lock", lambda: None):
        second.start()
        while not events:
            time.sleep(0.01)
        time.sleep(0.5)
        events.append("first")
    second.join()
    assert events == ["waits", "first", "second"]


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        waits: list[int] = []

        def on_wait() -> None:
            waits.append(1)
            holder.kill()

        with exclusive(path, on_wait):
            assert waits == [1]
