"""An agent behind JSON-RPC 2.0 on two streams, one JSON document a line.

Methods: `ask {"question"}` -> `{"answer", "error", "message", "trajectory"}`, with a notification `event {"id", ...}`
for every event before it; `cancel {"id"}` -> whether such a request waits or runs; `model` -> `{"name"}`. Requests are
answered in their order. The end of the input ends everything.

Errors: -32700 no JSON or a line above 1 MiB, -32600 no request, -32601 no such method, -32602 wrong parameters, -32000
an error of the run, with its class as `data.error`. Source: https://www.jsonrpc.org/specification.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import IO, Any

from lumos_edge import trajectory as records
from lumos_edge.agent import Agent
from lumos_edge.errors import BudgetExceeded, LumosError
from lumos_edge.runs import Run
from lumos_edge.trajectory import Event, Executed, Finished, Grounded, Planned, TextPiece, Trajectory

MAX_LINE_BYTES = 1 << 20

_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS, _RUN_ERROR = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32000,
)


class _RpcError(Exception):
    def __init__(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class RpcServer:
    """Answers the requests of one stream on another."""

    def __init__(self, agent: Agent, model: str, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._agent = agent
        self._model = model
        self._requests = requests
        self._replies = replies
        self._lock = threading.Lock()
        self._runs: dict[Any, Run[Event]] = {}
        self._waiting: queue.SimpleQueue[tuple[Any, Run[Event]] | None] = queue.SimpleQueue()
        self._methods: dict[str, Callable[[Any, Any], Any]] = {
            "ask": self._ask,
            "cancel": self._cancel,
            "model": lambda _id, _params: {"name": self._model},
        }

    def serve(self) -> None:
        """Answer until the input ends; then what waits or runs is cancelled."""
        worker = threading.Thread(target=self._work, name="lumos-edge rpc", daemon=True)
        worker.start()
        while line := self._requests.readline(MAX_LINE_BYTES + 1):
            self._receive(line)
        self._waiting.put(None)
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        worker.join()

    # -- requests ---------------------------------------------------------------------------------------------------

    def _receive(self, line: bytes) -> None:
        request_id = None
        try:
            request = self._parse(line)
            request_id = request.get("id")
            method = self._methods.get(request["method"])
            if method is None:
                raise _RpcError(
                    _NO_METHOD, f"no method {request['method']!r}; there are {', '.join(self._methods)}"
                )
            result = method(request_id, request.get("params", {}))
        except _RpcError as error:
            self._send_error(request_id, error)
        else:
            if result is not None and request_id is not None:
                self._send({"id": request_id, "result": result})

    def _parse(self, line: bytes) -> dict[str, Any]:
        if len(line) > MAX_LINE_BYTES:
            while not line.endswith(b"\n") and line:
                line = self._requests.readline(MAX_LINE_BYTES)
            raise _RpcError(_PARSE_ERROR, f"a request of more than {MAX_LINE_BYTES:,} bytes")
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _RpcError(_PARSE_ERROR, f"no JSON: {error}") from error
        if not (
            isinstance(request, dict)
            and request.get("jsonrpc") == "2.0"
            and isinstance(request.get("method"), str)
        ):
            raise _RpcError(_INVALID_REQUEST, 'expected {"jsonrpc": "2.0", "id", "method", "params"}')
        if not isinstance(request.get("id"), (str, int, type(None))):
            raise _RpcError(_INVALID_REQUEST, "an id is text or a whole number")
        return request

    def _ask(self, request_id: Any, params: Any) -> None:
        question = params.get("question") if isinstance(params, dict) else None
        if not isinstance(question, str) or request_id is None:
            raise _RpcError(_INVALID_PARAMS, 'ask takes {"question": text} and an id')
        try:
            run = self._agent.run(question)
        except ValueError as error:
            raise _RpcError(_INVALID_PARAMS, str(error)) from error
        with self._lock:
            if request_id in self._runs:
                raise _RpcError(
                    _INVALID_REQUEST, f"the id {request_id!r} is of a request that is not answered yet"
                )
            self._runs[request_id] = run
        self._waiting.put((request_id, run))

    def _cancel(self, _request_id: Any, params: Any) -> bool:
        wanted = params.get("id") if isinstance(params, dict) else None
        if not isinstance(wanted, (str, int)):
            raise _RpcError(_INVALID_PARAMS, 'cancel takes {"id": the id of a request}')
        with self._lock:
            run = self._runs.get(wanted)
        if run:
            run.cancel()
        return run is not None

    # -- runs -------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while item := self._waiting.get():
            request_id, run = item
            try:
                reply = {"id": request_id, "result": _result(self._read(request_id, run))}
            except (LumosError, ValueError) as error:
                data = {"error": type(error).__name__, "hint": getattr(error, "hint", "")}
                self._end(request_id)
                self._send_error(request_id, _RpcError(_RUN_ERROR, str(error), data))
            else:
                self._end(request_id)
                self._send(reply)

    def _read(self, request_id: Any, run: Run[Event]) -> Trajectory:
        finished = None
        try:
            for event in run:
                if isinstance(event, Finished):
                    finished = event.trajectory
                else:
                    self._send({"method": "event", "params": {"id": request_id, **write_event(event)}})
        except BudgetExceeded:
            pass  # the trajectory says so
        assert finished is not None
        return finished

    def _end(self, request_id: Any) -> None:
        with self._lock:
            del self._runs[request_id]

    # -- replies ----------------------------------------------------------------------------------------------------

    def _send_error(self, request_id: Any, error: _RpcError) -> None:
        described = {"code": error.code, "message": str(error)}
        self._send({"id": request_id, "error": described | ({"data": error.data} if error.data else {})})

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        with self._lock:
            self._replies.write(line)
            self._replies.flush()


def _result(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "answer": None if trajectory.answer is None else str(trajectory.answer),
        "error": trajectory.error,
        "message": trajectory.message,
        "trajectory": records.write_json(trajectory),
    }


def write_event(event: Event) -> dict[str, Any]:
    """An event as JSON data; actions and results are their texts."""
    if isinstance(event, TextPiece):
        return {"type": "text", "module": event.module, "text": event.text}
    if isinstance(event, Planned):
        return {"type": "planned", "subgoals": [subgoal.text for subgoal in event.subgoals]}
    if isinstance(event, Grounded):
        return {"type": "grounded", "actions": list(map(str, event.actions)), "error": event.error}
    if isinstance(event, Executed):
        return {
            "type": "executed",
            "action": str(event.action),
            "result": str(event.result),
            "error": event.result.error,
        }
    return {"type": "finished", **_result(event.trajectory)}
