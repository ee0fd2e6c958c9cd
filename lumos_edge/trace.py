"""Traces: JSONL files that hold everything needed to run again.

Line 1 is the `run` (version, model, formulation, templates, tools, budget, sampling, question), then comes one line
for each `completion` as it is finished, last the `trajectory`. A run that was interrupted lacks the last line.

Of a task that was sampled several times each sample is there in this way, and last the `vote`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lumos_edge import __version__, templates, trajectory
from lumos_edge.agent import Agent, Answered, Budget
from lumos_edge.engine import Engine, Sampling
from lumos_edge.engine.recorded import Recorded, RecordingEngine, ReplayEngine
from lumos_edge.errors import BudgetExceeded, ToolPackError, TraceError
from lumos_edge.executor import Executor
from lumos_edge.reader import Reader
from lumos_edge.toolbox import Tool, Toolbox
from lumos_edge.trajectory import Action, Event, Finished, Result, Task, Trajectory


def record(
    agent: Agent, task: Task, model: dict[str, Any], keep: Callable[[dict[str, Any]], None]
) -> Iterator[Event]:
    """Run the task and hand each record to `keep` as it comes; yields and raises what `Agent.run` does.

    `model` says which weights run: whatever `trace replay --live` needs to load them again.
    """
    keep({"record": "run", **_describe(agent, task, model)})
    engine = RecordingEngine(
        agent.engine, lambda recorded: keep({"record": "completion", **recorded.write_json()})
    )
    for event in agent.with_engine(engine).run(task):
        if isinstance(event, Finished):
            keep({"record": "trajectory", **trajectory.write_json(event.trajectory)})
        yield event


def records_of(
    agent: Agent, answered: Answered, sampling: Sampling, n_samples: int, model: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The records of one of a task's samples."""
    description = _describe(agent, answered.trajectory.task, model)
    yield {"record": "run", **description, "sampling": asdict(sampling), "n_samples": n_samples}
    for recorded in answered.completions:
        yield {"record": "completion", **recorded.write_json()}
    yield {"record": "trajectory", **trajectory.write_json(answered.trajectory)}


def _describe(agent: Agent, task: Task, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "lumos_edge": __version__,
        "model": model,
        "formulation": agent.formulation,
        "planner_template": templates.write_json(agent.planner_template),
        "grounder_template": templates.write_json(agent.grounder_template),
        "reader": agent.reader and _describe_reader(agent.reader),
        "tools": [str(pack) for pack in agent.toolbox.sources],
        "tool_names": list(agent.toolbox.tools),
        "resources": {
            type(resource).__name__: data
            for resource in agent.toolbox.resources
            if (data := resource.write_json()) is not None
        },
        "budget": asdict(agent.budget),
        "sampling": asdict(agent.sampling),
        "question": task.question,
    }


def _describe_reader(reader: Reader) -> dict[str, Any]:
    return {
        "template": templates.write_json(reader.template),
        "sampling": asdict(reader.sampling),
        "max_tokens": reader.max_tokens,
        "is_extractive": reader.is_extractive,
        "may_recall": reader.may_recall,
        "sees": reader.sees,
    }


def _read_reader(data: dict[str, Any], engine: Engine) -> Reader:
    template = templates.read_json(data["template"])
    if isinstance(template, templates.CompactTemplate):
        raise ValueError("a reader has no compact template")
    return Reader(
        engine,
        template,
        Sampling(**data["sampling"]),
        data["max_tokens"],
        data["is_extractive"],
        data["may_recall"],
        data.get("sees", False),  # traces of earlier versions do not say
    )


@dataclass(frozen=True)
class Trace:
    """A trace as read. `trajectory` is None when the recorded run did not finish.

    Of a task that was sampled several times it is the sample whose answer won; `samples` are all of them, and `vote` is
    what was counted (see `voting.Vote.write_json`), None where the samples are not all there.
    """

    run: dict[str, Any]
    completions: tuple[Recorded, ...]
    trajectory: Trajectory | None
    samples: tuple[Trace, ...] = ()
    vote: dict[str, Any] | None = None

    def agent(self, engine: Engine, tools: Sequence[Tool] = ()) -> Agent:
        """The agent of the recorded run on another engine; `tools` are those that it had from no pack.

        Raises TraceError, ToolPackError.
        """
        run = self.run
        try:
            agent = Agent(
                engine,
                templates.read_json(run["planner_template"]),
                templates.read_json(run["grounder_template"]),
                self._toolbox(tools),
                formulation=run["formulation"],
                # Its time limit was the recorded machine's; a replay ends where the record does.
                budget=replace(Budget(**run["budget"]), timeout_s=0.0),
                sampling=Sampling(**run["sampling"]),
                reader=_read_reader(run["reader"], engine) if run.get("reader") else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"the trace's first line does not describe a run: {error}") from error
        # A library or a database may have changed, or not be here: what tools found there is part of the record. So is
        # what functions and servers returned, which may do more than return.
        agent.executor = Executor(agent.toolbox, self._executed, [tool.name for tool in tools])
        return agent

    def _toolbox(self, given: Sequence[Tool]) -> Toolbox:
        """The tools of the run, with what was recorded of their resources in the place of these."""
        away = [pack for pack in self.run["tools"] if pack.endswith(".py") and not Path(pack).is_file()]
        if away:
            raise ToolPackError(
                f"the run's tools in {', '.join(away)} are not there: give them with --tools FILE"
            )
        packs = Toolbox.of_packs(self.run["tools"])
        tools = {**packs.tools, **{tool.name: tool for tool in given}}
        # Traces of earlier versions do not name them all.
        names = self.run.get("tool_names", [*packs.tools, *dict.fromkeys(self._called)])
        missing = [name for name in names if name not in tools]
        if missing:
            raise ToolPackError(
                f"the run's tools {', '.join(missing)} are in none of its packs: give them with --tools FILE "
                "or --mcp COMMAND"
            )
        kinds = {kind.__name__: kind for tool in tools.values() for kind in tool.resources.values()}
        recorded = self.run.get("resources", {})
        resources = [kinds[name].read_json(data) for name, data in recorded.items()]
        # In the order in which the modules were told of them.
        return Toolbox([tools[name] for name in names], packs.sources, packs.examples, resources)

    @property
    def _called(self) -> Iterator[str]:
        yield from (action.tool for action, _ in self._executed if action.tool)

    @property
    def _executed(self) -> list[tuple[Action, Result]]:
        steps = self.trajectory.steps if self.trajectory else ()
        attempts = (attempt for step in steps for attempt in step.attempts)
        return [pair for attempt in attempts for pair in zip(attempt.actions, attempt.results, strict=False)]

    @property
    def task(self) -> Task:
        """What was asked."""
        return Task(self.run["question"])


def read(path: Path) -> Trace:
    """The trace in a file; raises TraceError with the line at fault."""
    try:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = list(file)
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise TraceError(f"{path}, line {number}: no JSON: {error}") from error
    try:
        return of_records(records)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error


def of_records(records: Iterable[Mapping[str, Any]]) -> Trace:
    """The trace that `record` made of a run; raises TraceError with the number of the record at fault."""
    runs: list[Trace] = []
    vote: dict[str, Any] | None = None
    winner: Trace | None = None
    for number, record in enumerate(records, 1):
        try:
            data = dict(record)
            kind = data.pop("record")
            if kind == "run" and isinstance(data["question"], str):
                runs.append(Trace(data, (), None))
            elif kind == "completion":
                item = Recorded.read_json(data)
                runs[-1] = replace(runs[-1], completions=(*runs[-1].completions, item))
            elif kind == "trajectory":
                runs[-1] = replace(runs[-1], trajectory=trajectory.read_json(data))
            elif kind == "vote":
                vote, winner = data, runs[data["winner"]]
                list(zip(runs, data["answers"], data["votes"], strict=True))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise TraceError(f"record {number} is not of a run: {error}") from error
    if not runs:
        raise TraceError("there is no run record; expected it first")
    if runs[-1].run.get("n_samples", 1) == 1:
        return runs[-1]
    if winner is None:
        return replace(runs[0], trajectory=None, samples=tuple(runs))
    return replace(winner, samples=tuple(runs), vote=vote)


def replay(trace: Trace, tools: Sequence[Tool] = ()) -> Trajectory:
    """Run the task again with the recorded completions, without a model; `tools` are those that it had from no pack.

    Planner, grounder, grammar and tools work as in any run, so a difference to the record is a difference of the
    code. Raises TraceError where the run leaves the record.
    """
    return _run(trace, ReplayEngine(trace.completions), tools)


def _run(trace: Trace, engine: Engine, tools: Sequence[Tool]) -> Trajectory:
    finished = None
    try:
        for event in trace.agent(engine, tools).run(trace.task):
            if isinstance(event, Finished):
                finished = event.trajectory
    except BudgetExceeded:
        pass  # the trajectory says so, as the recorded one does
    assert finished is not None
    return finished


@dataclass(frozen=True)
class Difference:
    """Where two sequences of completions part: the first index with different texts, None for a missing one."""

    index: int
    module: str
    recorded: str | None
    live: str | None


def first_difference(recorded: tuple[Recorded, ...], live: tuple[Recorded, ...]) -> Difference | None:
    """The first completion whose text differs; None when there is none."""
    for index, (old, new) in enumerate(zip_longest(recorded, live)):
        old_text = old.completion.text if old else None
        new_text = new.completion.text if new else None
        if old_text != new_text:
            return Difference(index, (old or new).module, old_text, new_text)
    return None


def replay_live(
    trace: Trace, engine: Engine, tools: Sequence[Tool] = ()
) -> tuple[Trajectory, Difference | None]:
    """Decode the recorded task again on a real engine; raises what `Agent.ask` raises.

    The reader is not asked again: it is a tool's. The results of tools on resources, and of `tools`, are the recorded
    ones.
    """
    live: list[Recorded] = []
    result = _run(trace, RecordingEngine(engine, live.append), tools)
    recorded, again = (
        tuple(item for item in items if item.module != "reader") for items in (trace.completions, live)
    )
    return result, first_difference(recorded, again)
