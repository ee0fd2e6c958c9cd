"""A recorded run as one HTML page that needs nothing else: no script, no font, no picture from anywhere.

Everything out of the trace is escaped by the template engine, and the page forbids the browser to load or run anything
(Content-Security-Policy), so what a model, a page or a tool wrote stays text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lumos_edge.engine import Completion
from lumos_edge.engine.recorded import Recorded
from lumos_edge.errors import TraceError
from lumos_edge.trace import Trace
from lumos_edge.trajectory import Action, Attempt, Result

if TYPE_CHECKING:
    import jinja2

_TEMPLATE = Path(__file__).with_name("trace_page.html")


@dataclass(frozen=True)
class Part:
    """A stretch of a bar: what took the time, where it begins and how long it is, in per cent of the run."""

    kind: str
    seconds: float
    left: float
    width: float


@dataclass(frozen=True)
class Row:
    """A completion or an action on the time line."""

    name: str
    text: str
    seconds: float
    parts: tuple[Part, ...]
    recorded: Recorded | None = None
    error: str = ""

    @property
    def prompt(self) -> list[tuple[str, bool]]:
        """The prompt's pieces, each with whether it is a control token or a picture."""
        pieces = self.recorded.prompt if self.recorded else ()
        return [(piece, False) if isinstance(piece, str) else (piece.text, True) for piece in pieces]


@dataclass(frozen=True)
class Totals:
    """What the run cost."""

    seconds: float
    n_prompt: int
    n_reused: int
    n_completion: int
    n_forced: int
    n_masked: int


def write_page(trace: Trace) -> str:
    """The page, as text that UTF-8 can encode. Raises TraceError when a completion's costs are no numbers."""
    model = trace.run.get("model")
    try:
        page = _template().render(
            trace=trace,
            model=model.get("name", "?") if isinstance(model, dict) else "?",
            trajectory=trace.trajectory,
            rows=_rows(trace),
            totals=_totals(trace),
        )
    except TypeError as error:
        raise TraceError(f"a completion of the trace has costs that are no numbers: {error}") from error
    # Half a surrogate pair, which JSON can hold, is no character.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _template() -> jinja2.Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text("utf-8"))


def _totals(trace: Trace) -> Totals:
    """The sums over the completions; the time is that of the tools, too."""
    made = [recorded.completion for recorded in trace.completions]
    return Totals(
        sum(_seconds(trace)),
        sum(completion.n_prompt for completion in made),
        sum(completion.n_reused for completion in made),
        sum(completion.n_completion for completion in made),
        sum(completion.n_forced for completion in made),
        sum(completion.n_masked for completion in made),
    )


def _rows(trace: Trace) -> list[Row]:
    """Completions and actions in the order in which they happened."""
    whole = sum(_seconds(trace)) or 1.0
    made: list[Row] = []
    elapsed = 0.0
    for name, text, times, recorded, error in _timed(trace):
        parts = []
        begin = elapsed
        for kind, seconds in times:
            parts.append(Part(kind, seconds, 100 * elapsed / whole, 100 * seconds / whole))
            elapsed += seconds
        made.append(Row(name, text, elapsed - begin, tuple(parts), recorded, error))
    return made


_Timed = tuple[str, str, tuple[tuple[str, float], ...], "Recorded | None", str]


def _timed(trace: Trace) -> Iterator[_Timed]:
    """Each completion, and after a grounder's the actions that it led to."""
    attempts = iter(_attempts(trace))
    for recorded in trace.completions:
        yield recorded.module, recorded.completion.text, _times(recorded.completion), recorded, ""
        if recorded.module != "grounder":
            continue
        attempt = next(attempts, None)
        for action, result in zip(attempt.actions, attempt.results, strict=False) if attempt else ():
            yield _action(action, result)


def _action(action: Action, result: Result) -> _Timed:
    shown = f"{action}  →  {result}"
    return action.tool or "alias", shown, (("tool", result.elapsed_s),), None, result.error


def _attempts(trace: Trace) -> list[Attempt]:
    steps = trace.trajectory.steps if trace.trajectory else ()
    return [attempt for step in steps for attempt in step.attempts]


def _times(completion: Completion) -> tuple[tuple[str, float], ...]:
    constraint = completion.constraint_s + completion.compile_s
    return ("prefill", completion.prefill_s), ("decode", completion.decode_s), ("constraint", constraint)


def _seconds(trace: Trace) -> Iterator[float]:
    for _, _, times, _, _ in _timed(trace):
        yield from (seconds for _, seconds in times)
