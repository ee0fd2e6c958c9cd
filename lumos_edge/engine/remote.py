"""The engine on a server of completions: llama-server, vLLM, or the binding's `python -m llama_cpp.server`.

The server gets each part of the grammar with the prompt; what it sends back is followed through the same grammar here,
byte for byte, so a server that constrains nothing is an error and never an action. Where it takes token ids, control
tokens are ids and text is tokenized as text; where it takes nothing but text, what looks like a control token in text
gets a space that stops it from being one.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import llguidance

from lumos_edge.engine import Completion, Control, Grammar, Prompt, Sampling
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.engine.gbnf import gbnf
from lumos_edge.engine.http_client import HttpClient
from lumos_edge.errors import EngineError, GrammarError, ServerError
from lumos_edge.images import Image
from lumos_edge.templates import MAYBE_CONTROL
from lumos_edge.trajectory import MODULES, Module

Kind = Literal["llama-server", "vLLM", "text"]

STALL_S = 300.0
"""Seconds without a byte after which a server is given up; a long prompt on a CPU takes its time."""

# Of servers that do not say how their model is asked, most serve models that are asked so.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHATML_END = "<|im_end|>"

_BYTES = llguidance.LLTokenizer("byte")


class RemoteVocabulary:
    """What templates ask of a model, answered by its server."""

    def __init__(self, engine: RemoteEngine, properties: Mapping[str, Any], chat_template: str) -> None:
        self._engine = engine
        self._chat_template = chat_template or properties.get("chat_template") or CHATML
        self.bos = str(properties.get("bos_token", ""))
        self.eos = str(properties.get("eos_token") or _CHATML_END)

    def metadata(self, key: str) -> str | None:
        """The chat template; nothing else is known of weights on a server."""
        return self._chat_template if key == "tokenizer.chat_template" else None

    def is_control(self, text: str) -> bool:
        """Whether the whole text is one control token; without token ids, whether it looks like one."""
        return self._engine.is_control(text)


class RemoteEngine:
    """An `Engine` on the server at `url`.

    `models` maps modules to the names that the server serves their weights by, such as a base with an adapter; the
    others run `model`, and without a name the only one there is. `chat_template` (Jinja) is for a server that does not
    say its own, which otherwise is taken to be ChatML. One completion runs at a time. Raises ServerError, OfflineError.
    """

    def __init__(
        self,
        url: str,
        *,
        models: Mapping[Module, str] | None = None,
        model: str = "",
        chat_template: str = "",
        stall_s: float = STALL_S,
    ) -> None:
        self._client = HttpClient(url, stall_s)
        served = _served(self._client.get("/v1/models"))
        self.kind: Kind = _KINDS.get(served[0].owner, "text")
        names = [item.name for item in served]
        self.models = {module: self._known((models or {}).get(module, model), names) for module in MODULES}
        properties = self._client.get("/props") if self.kind == "llama-server" else {}
        self.model = RemoteVocabulary(self, properties, chat_template)
        self.adapters: dict[Module, Any] = {}
        self.vision = None  # pictures are not sent anywhere
        self._ids = lru_cache(maxsize=4096)(self._asked_ids)
        self._grammars = GrammarCache(_BYTES)
        self._lock = threading.Lock()

    def _known(self, name: str, names: Sequence[str]) -> str:
        if name in names:
            return name
        if not name and len(names) == 1:
            return names[0]
        found = f"no model {name!r}" if name else "several models"
        raise ServerError(f"{self._client.url} serves {found}, expected one of {', '.join(names)}")

    def set_prefix(
        self, module: Module, prompts: Sequence[Prompt], *, continues: Module | None = None
    ) -> None:
        """Nothing: a server keeps what it has evaluated by itself."""

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`. Raises ServerError, too."""
        with self._lock:
            self._client.start()
            started = time.perf_counter()
            constraint = Constraint(self._grammars, grammar)
            run = _Run(constraint)
            finish: Literal["grammar", "end", "length"] = "length"
            while finish == "length" and run.n_tokens < max_tokens:
                request = self._request(module, (*prompt, run.text), constraint.part, sampling)
                request["max_tokens"] = max_tokens - run.n_tokens
                reason = yield from run.follow(self._client.stream("/v1/completions", request))
                if constraint.done:
                    finish = "grammar"
                elif reason == "length":
                    break
                elif not run.has_new_part:
                    finish = run.ended()
            if finish == "length":
                yield run.close()
            return run.completion(finish, started)

    def cancel(self) -> None:
        """See `Engine.cancel`. Closes the connection, which stops the server."""
        self._client.cancel()

    def close(self) -> None:
        """End what runs; the server goes on."""
        self._client.cancel()

    # -- what the server is asked ---------------------------------------------------------------------------------

    def _request(self, module: Module, prompt: Prompt, lark: str, sampling: Sampling) -> dict[str, Any]:
        request = {
            "model": self.models[module],
            "prompt": self._encoded(module, prompt),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # Servers have defaults of their own for what a `Sampling` does not name.
        if self.kind == "vLLM":
            return {
                **request,
                "top_k": -1,
                "repetition_penalty": 1.0,
                "structured_outputs": {"grammar": lark},
            }
        return {**request, "top_k": 0, "repeat_penalty": 1.0, "grammar": self._llama_grammar(lark)}

    def _llama_grammar(self, lark: str) -> str:
        try:
            return gbnf(lark)
        except GrammarError:
            if self.kind == "text":
                raise
            return f"%llguidance {{}}\n{lark}"  # for a llama-server that was built with it

    def _encoded(self, module: Module, prompt: Prompt) -> str | list[int]:
        if any(isinstance(piece, Image) for piece in prompt):
            raise EngineError("pictures are looked at on this machine alone, not on a server")
        if self.kind == "text":
            return "".join(_as_text(prompt))
        name = self.models[module]
        ids = self._ids(name, "", True) if self.kind == "vLLM" else ()  # what every prompt begins with
        for piece in prompt:
            if isinstance(piece, Control):
                ids += self._control_id(name, piece.text)
            elif isinstance(piece, str):
                ids += self._plain_ids(name, piece)
        return list(ids)

    def _control_id(self, name: str, text: str) -> tuple[int, ...]:
        ids = self._ids(name, text, True)
        if self.kind == "vLLM":  # asked for what every prompt begins with, too
            ids = ids[len(self._ids(name, "", True)) :]
        if len(ids) != 1:
            raise ServerError(f"{self._client.url}: {text!r} is no control token of {name}")
        return ids

    def _plain_ids(self, name: str, text: str) -> tuple[int, ...]:
        # vLLM knows no text that is only text, so what looks like a control token is tokenized in two.
        parts = _split(text) if self.kind == "vLLM" else [text]
        return tuple(token for part in parts if part for token in self._ids(name, part, False))

    def is_control(self, text: str) -> bool:
        """See `RemoteVocabulary.is_control`."""
        if self.kind == "text":
            return True
        name = self.models["planner"]
        try:
            return self._control_id(name, text) != self._plain_ids(name, text)
        except ServerError:
            return False

    def _asked_ids(self, name: str, text: str, is_special: bool) -> tuple[int, ...]:
        """The tokens of a text. `is_special`: control tokens are read; for vLLM, a prompt's first token is added."""
        request = (
            {"model": name, "prompt": text, "add_special_tokens": is_special}
            if self.kind == "vLLM"
            else {"content": text, "add_special": False, "parse_special": is_special}
        )
        tokens = self._client.post("/tokenize", request).get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise ServerError(f"{self._client.url}: /tokenize gave no token ids but {str(tokens)[:80]!r}")
        return tuple(tokens)


_KINDS: dict[str, Kind] = {"llamacpp": "llama-server", "vllm": "vLLM"}


@dataclass(frozen=True)
class _Served:
    name: str
    owner: str


def _served(data: dict[str, Any]) -> list[_Served]:
    try:
        served = [_Served(str(item["id"]), str(item.get("owned_by", ""))) for item in data["data"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ServerError(f"expected a list of models, found {str(data)[:80]!r}") from error
    if not served:
        raise ServerError("the server serves no model")
    return served


def _split(text: str) -> list[str]:
    """Cut behind the first character of everything that looks like a control token."""
    cuts = [match.start() + 1 for match in re.finditer(MAYBE_CONTROL, text)]
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _as_text(prompt: Prompt) -> Iterator[str]:
    """Pieces for a server that reads control tokens out of text. Neighbouring texts are one: they could form one."""
    plain = ""
    for piece in prompt:
        if isinstance(piece, str):
            plain += piece
            continue
        yield " ".join(_split(plain))
        yield piece.text
        plain = ""
    yield " ".join(_split(plain))


class _Run:
    """One completion as it comes from a server, part by part."""

    def __init__(self, constraint: Constraint) -> None:
        self.text = ""
        self.n_tokens = 0
        self._constraint = constraint
        self._part = 1
        self._n_prompt = 0
        self._n_reused = 0
        self._first_s = 0.0

    @property
    def has_new_part(self) -> bool:
        """Whether the last part is complete and another one began."""
        return self._constraint.n_parts > self._part

    def follow(self, events: Iterator[Any]) -> Generator[str, None, str]:
        """Yield the text of one answer, checked; returns why it ended. Raises ServerError."""
        self._part = self._constraint.n_parts
        reason = ""
        n_chunks = 0
        usage: dict[str, Any] = {}
        for event in events:
            text, ended = _choice(event)
            reason = ended or reason
            usage = event.get("usage") or usage
            if text:
                n_chunks += 1
                self._first_s = self._first_s or time.perf_counter()
                self._take(text)
                yield text
        self._count(usage, n_chunks)
        return reason

    def _take(self, text: str) -> None:
        for byte in text.encode("utf-8", "surrogatepass"):
            constraint = self._constraint
            if constraint.done or self.has_new_part or not constraint.allows(byte):
                raise ServerError(
                    "the server does not keep to the grammar; does it constrain decoding? "
                    f"It wrote {(self.text + text)[-120:]!r}"
                )
            constraint.consume([byte])
        self.text += text

    def _count(self, usage: Mapping[str, Any], n_chunks: int) -> None:
        """What the answer cost; servers that say nothing of it send about a token at a time."""
        try:
            self.n_tokens += max(int(usage.get("completion_tokens") or 0), n_chunks)
            self._n_prompt = int(usage.get("prompt_tokens") or 0)
            details = usage.get("prompt_tokens_details") or {}
            self._n_reused = int(details.get("cached_tokens") or 0)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ServerError(f"expected numbers of tokens, found {str(usage)[:80]!r}") from error

    def ended(self) -> Literal["end"]:
        """The server ended the text; raises ServerError where the grammar does not let it."""
        if not self._constraint.may_end:
            raise ServerError(f"the server ended where the grammar goes on, after {self.text[-120:]!r}")
        return "end"

    def close(self) -> str:
        """Close what the token limit left open, as the engine on this machine does, so that an action is whole."""
        closing = bytes(self._constraint.close()).decode("utf-8", "replace")
        self.text += closing
        return closing

    def completion(self, finish: Literal["grammar", "end", "length"], started: float) -> Completion:
        """What it came to."""
        ended = time.perf_counter()
        first = self._first_s or ended
        return Completion(
            self.text.rstrip("\n"),
            finish,
            n_prompt=self._n_prompt,
            n_reused=self._n_reused,
            n_prefilled=self._n_prompt - self._n_reused,
            n_completion=self.n_tokens,
            prefill_s=first - started,
            decode_s=ended - first,
        )


def _choice(event: dict[str, Any]) -> tuple[str, str]:
    """The text and the reason to end that an event of the stream has."""
    try:
        choices = event["choices"]
        if not choices:
            return "", ""  # the last event of a stream with nothing but the usage
        text, reason = choices[0].get("text") or "", choices[0].get("finish_reason") or ""
    except (KeyError, TypeError, AttributeError) as error:
        raise ServerError(f"expected a choice with a text, found {str(event)[:120]!r}") from error
    if not isinstance(text, str) or not isinstance(reason, str):
        raise ServerError(f"expected a choice with a text, found {str(event)[:120]!r}")
    return text, reason
