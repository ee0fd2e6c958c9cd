"""llama.cpp's log, kept for as long as a call of it lasts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp

ERROR = 4  # ggml.h, ggml_log_level
Line = tuple[int, str]  # level and text


@contextmanager
def record_log(on_line: Callable[[str], None] = lambda _: None) -> Iterator[list[Line]]:
    """The lines that llama.cpp logs in the block, each also given to `on_line`; the old receiver gets the
    next.
    """
    lines: list[Line] = []

    def record(level: int, text: bytes, _user: Any) -> None:
        line = text.decode("utf-8", "replace")
        lines.append((level, line))
        on_line(line)

    previous, user = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(previous), ctypes.byref(user))
    callback = llama_cpp.llama_log_callback(record)
    llama_cpp.llama_log_set(callback, None)
    try:
        yield lines
    finally:
        llama_cpp.llama_log_set(previous, user)


def last_error(lines: list[Line]) -> str:
    """The last error among the lines."""
    errors = [line.strip() for level, line in lines if level == ERROR]
    return errors[-1] if errors else "llama.cpp gives no reason"
