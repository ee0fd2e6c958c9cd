"""One process at a time.

The lock is the operating system's: it ends with the process that holds it, so that no kill leaves it behind.
That takes one call on each system, which is why it is here and not another dependency.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.2

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the file `path` (made if need be, never removed: others may be waiting on it).

    Calls `on_wait` once if another process or thread holds it, and waits without limit. Raises OSError when
    the file cannot be made or the file system has no locks.
    """
    # Closing the file is what releases the lock.
    with path.open("ab") as file:
        if not _try_lock(file.fileno()):
            on_wait()
            while not _try_lock(file.fileno()):
                time.sleep(_POLL_S)
        yield
