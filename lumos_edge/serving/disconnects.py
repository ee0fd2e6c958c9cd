"""Noticing that a client has gone while its run waits or works."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_POLL_S = 0.1


class Disconnects:
    """A thread that watches connections; what a connection's `gone` does has to be quick."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lumos-edge disconnects", daemon=True)
        self._thread.start()

    @contextmanager
    def calling(self, gone: Callable[[], object], connection: socket.socket) -> Iterator[None]:
        """A block during which `gone` is called, once, when the client closes its end."""
        with self._lock:
            self._selector.register(connection, selectors.EVENT_READ, gone)
        try:
            yield
        finally:
            self._forget(connection)

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()
        self._selector.close()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            if not self._selector.get_map():
                self._stopped.wait(_POLL_S)
                continue
            for key, _ in self._selector.select(_POLL_S):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if _is_closed(connection):
                    key.data()
                # Else it is the next request, which has to wait: it would be reported again and again.
                self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            if connection.fileno() in self._selector.get_map():
                self._selector.unregister(connection)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    except OSError:
        return True
