"""The form of OpenAI's chat completions: what a request asks, and what a run becomes.

Source: the published OpenAPI description of /v1/chat/completions and /v1/models. `reasoning_content` is the field that
DeepSeek's API introduced and that clients show as the model's thoughts.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from lumos_edge.agent import MAX_QUESTION
from lumos_edge.engine import Completion
from lumos_edge.trajectory import Event, Executed, Grounded, Planned, TextPiece, Trajectory


class RequestError(Exception):
    """A request that is refused with this status and OpenAI's error code."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class ChatRequest:
    """What is asked: the last message of the user's. An agent answers one task; it knows no conversation."""

    question: str
    stream: bool
    include_usage: bool

    @classmethod
    def read_json(cls, data: Any, model: str) -> ChatRequest:
        """Raises RequestError: 400 for what is no such request, 404 for another model's name."""
        if not isinstance(data, dict):
            raise RequestError(400, f"the body is {_kind(data)}, expected an object")
        if data.get("model") != model:
            raise RequestError(
                404, f"there is no model {data.get('model')!r}; there is {model}", "model_not_found"
            )
        if data.get("n") not in (None, 1):
            raise RequestError(400, f"n is {data['n']!r}, expected 1")
        stream = data.get("stream") or False
        if not isinstance(stream, bool):
            raise RequestError(400, f"stream is {stream!r}, expected true or false")
        options = data.get("stream_options") or {}
        if not isinstance(options, dict):
            raise RequestError(400, f"stream_options is {_kind(options)}, expected an object")
        return cls(_question(data.get("messages")), stream, options.get("include_usage") is True)


def _question(messages: Any) -> str:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise RequestError(400, f"messages is {_kind(messages)}, expected a list of objects")
    for message in reversed(messages):
        if message.get("role") == "user":
            text = _text(message.get("content")).strip()
            if not text:
                raise RequestError(400, "the last message of the user's is empty")
            if len(text) > MAX_QUESTION:
                raise RequestError(
                    400, f"the question has {len(text):,} characters, at most {MAX_QUESTION:,} are taken"
                )
            return text
    raise RequestError(400, "messages has no message of the role user")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise RequestError(400, f"content is {_kind(content)}, expected text or a list of parts")
    for part in content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RequestError(400, f"a part of the content is of type {part.get('type')!r}, expected text")
    return "\n".join(part["text"] for part in content)


def _kind(data: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "missing"}
    return names.get(type(data), "a number")


def step_text(event: Event) -> str:
    """What an event adds to the steps as text."""
    if isinstance(event, TextPiece):
        return event.text
    if isinstance(event, (Planned, Grounded)):
        return "\n"
    if isinstance(event, Executed):
        sign = ":" if event.result.error else " ="
        return f"  {', '.join(event.action.targets)}{sign} {event.result}\n"
    return ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `answer` is None when there is none, and `refusal` then says why."""

    answer: str | None
    refusal: str | None
    finish_reason: str

    @classmethod
    def of(cls, trajectory: Trajectory, *, is_cut_short: bool) -> Outcome:
        """The outcome of a finished run; `is_cut_short` by a limit."""
        if trajectory.answer is not None:
            return cls(str(trajectory.answer), None, "stop")
        return cls(None, f"no answer: {trajectory.message}", "length" if is_cut_short else "stop")


class Reply:
    """The documents of one reply, whole or in chunks."""

    def __init__(self, model: str) -> None:
        self._shared = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, steps: str, outcome: Outcome, made: list[Completion]) -> dict[str, Any]:
        """The document of a reply that is not streamed."""
        message = {
            "role": "assistant",
            "content": outcome.answer,
            "refusal": outcome.refusal,
            "reasoning_content": steps,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": outcome.finish_reason}
        return {**self._shared, "object": "chat.completion", "choices": [choice], "usage": usage(made)}

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """A piece of a reply that is streamed."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._shared, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, made: list[Completion]) -> dict[str, Any]:
        """The last piece of a streamed reply that asked for the costs."""
        return {**self._shared, "object": "chat.completion.chunk", "choices": [], "usage": usage(made)}


def usage(made: list[Completion]) -> dict[str, Any]:
    """The tokens of all completions together; those found in the KV cache are the cached ones."""
    n_prompt = sum(completion.n_prompt for completion in made)
    n_completion = sum(completion.n_completion for completion in made)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_completion,
        "total_tokens": n_prompt + n_completion,
        "prompt_tokens_details": {"cached_tokens": sum(completion.n_reused for completion in made)},
    }
