"""Ctrl-C during native code."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1  # Windows answers Ctrl-C only between waits
_GRACE_S = 0.5


def interruptible(work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
    """The result of `work`, done in another thread, while this one does nothing but wait for Ctrl-C.

    Python answers a signal when the main thread is back from native code: after a prefill of seconds, or inside a
    callback of llama.cpp, where the interrupt is lost. Raises what `work` raises, and KeyboardInterrupt: then
    `cancel` was called, and `work` had half a second to end; what hangs is left behind in its thread.
    """
    with_thread = ThreadPoolExecutor(1)
    done = with_thread.submit(work)
    try:
        while not done.done():
            wait([done], _POLL_S)
    except KeyboardInterrupt:
        if cancel:
            cancel()
            wait([done], _GRACE_S)
        raise
    finally:
        with_thread.shutdown(wait=False)
    return done.result()
