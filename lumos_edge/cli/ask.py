"""`lumos-edge ask`: one question, one answer."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from lumos_edge.cli.domain import settled
from lumos_edge.cli.interrupt import interruptible
from lumos_edge.cli.live import LiveRun
from lumos_edge.cli.options import AUTO, AgentOptions, agent_options, samples_option
from lumos_edge.cli.page import PageOptions, page_options
from lumos_edge.cli.questions import check_samples
from lumos_edge.cli.table import answer_text, source_text
from lumos_edge.engine import N_PARALLEL

if TYPE_CHECKING:
    from lumos_edge.agent import Agent, Answered
    from lumos_edge.engine import Sampling
    from lumos_edge.loading import ModelChoice
    from lumos_edge.toolbox import Resource
    from lumos_edge.trajectory import Task, Trajectory
    from lumos_edge.voting import Vote


@click.command("ask")
@click.argument("question")
@agent_options
@click.option(
    "--page", metavar="URL|FILE", help="Work on this web page: an address, an HTML file, or a HAR file."
)
@page_options
@click.option(
    "--shop",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Shop in this catalogue: a JSON file of products in WebShop's format.",
)
@click.option(
    "--image",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Ask about this picture: by its caption, in the question or in a text file beside it, or as it is where the "
    "model has a projector.",
)
@click.option(
    "--trace", "trace_file", type=click.Path(dir_okay=False, path_type=Path), help="Record the run here."
)
@samples_option
@click.option("--sources", is_flag=True, help="Print the passages that support the answer below it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with the whole trajectory.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def command(
    question: str,
    options: AgentOptions,
    page: str | None,
    page_options: PageOptions,
    shop: Path | None,
    image: Path | None,
    trace_file: Path | None,
    samples: int,
    sources: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Answer QUESTION ("-" reads it from stdin).

    The answer goes to stdout, all else to stderr. Exit codes: 0 answered, 1 not answered, 2 usage, 3 model, file or
    engine, 4 budget, 130 interrupted.
    """
    from lumos_edge.pictures import open_picture
    from lumos_edge.shop.visit import Shop
    from lumos_edge.trajectory import Task

    task = Task(checked_question(_read_stdin() if question == "-" else question))
    beside: Agent | None = None
    if options.domain == AUTO:
        options, beside = settled(options, task.question, {"web": page, "shop": shop, "vision": image})
        page = page if options.domain == "web" else None
        shop = shop if options.domain == "shop" else None
        image = image if options.domain == "vision" else None
    choice = options.choice(options.tool_packs(page=page, shop=shop, image=image))
    resources: list[Resource] = []
    if page:
        resources.append(page_options.open(page))
    if shop:
        resources.append(Shop.open(shop))
    if image:
        picture, task = open_picture(image, task.question, is_seen=choice.projector is not None)
        resources.append(picture)
    live = LiveRun(color=click.get_current_context().color) if sys.stderr.isatty() and not quiet else None
    with _closed(live):
        if live:
            live.wait(f"loading {choice.name}")
            if beside:
                live.say(f"tools: {options.domain}")
        agent = options.agent(choice, live.say if live else None, beside, resources or None)
        check_samples(agent, samples)
        if live:
            live.wait("planning")
        # Opened when the model is there: a run that never began overwrites no earlier trace.
        with _trace_file(trace_file) as file:
            run = (
                _SampledRun(agent, choice, task, file, live, samples)
                if samples > 1
                else _Run(agent, choice, task, file, live)
            )
            try:
                interruptible(run.drain, run.agent.cancel)
            finally:
                if as_json and run.trajectory:
                    click.echo(json.dumps(run.document(run.trajectory), ensure_ascii=False))
    assert run.trajectory is not None
    return _end(run.trajectory, as_json, sources)


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"the question on stdin is no {error.encoding} text: {error.reason}"
        ) from error


def checked_question(question: str) -> str:
    """The question without what surrounds it; raises UsageError for what cannot be one."""
    from lumos_edge.agent import MAX_QUESTION

    # A NUL or an escape sequence in a question is a mistake of the caller's, and would reach terminals and traces.
    control = next((c for c in question if _is_control(c)), None)
    if control is not None:
        raise click.UsageError(f"the question holds the control character {control!r}")
    if not question.strip():
        raise click.UsageError("the question is empty")
    if len(question) > MAX_QUESTION:
        raise click.UsageError(
            f"the question has {len(question):,} characters, at most {MAX_QUESTION:,} are taken"
        )
    return question.strip()


def _is_control(character: str) -> bool:
    """Control characters, and the surrogates that stand for bytes of no text."""
    return character not in "\n\t\r" and unicodedata.category(character) in ("Cc", "Cs")


@contextmanager
def _closed(live: LiveRun | None) -> Iterator[None]:
    try:
        yield
    finally:
        if live:
            live.end_line()


@contextmanager
def _trace_file(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        # A full disk is noticed by a write, whose error does not know the file.
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error


class _Run:
    """One run: what it wrote into the trace file, and what `--json` says of it."""

    def __init__(
        self, agent: Agent, choice: ModelChoice, task: Task, file: TextIO | None, live: LiveRun | None
    ) -> None:
        self.agent = agent
        self.trajectory: Trajectory | None = None
        self.choice = choice
        self.task = task
        self.completions: list[dict[str, Any]] = []
        self.live = live
        self._file = file

    def drain(self) -> None:
        """Run the task to its end. Raises what `Agent.run` raises, and OSError."""
        from lumos_edge import loading, trace
        from lumos_edge.trajectory import Finished

        for event in trace.record(self.agent, self.task, loading.describe(self.choice), self.keep):
            if self.live:
                self.live.show(event)
            if isinstance(event, Finished):
                self.trajectory = event.trajectory

    def keep(self, record: dict[str, Any]) -> None:
        """Take a record of the run; raises OSError."""
        if record["record"] == "completion":
            self.completions.append({"module": record["module"], **record["completion"]})
        if self._file:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._file.flush()  # what is written so far must survive whatever ends the run

    def document(self, trajectory: Trajectory) -> dict[str, Any]:
        """The run as JSON data."""
        from lumos_edge import trajectory as records

        return {
            "answer": None if trajectory.answer is None else str(trajectory.answer),
            "pack": self.choice.name,
            "sources": [asdict(passage) for passage in trajectory.sources],
            "trajectory": records.write_json(trajectory),
            "completions": self.completions,
        }


class _SampledRun(_Run):
    """Several runs of the task, and the answer that most of them gave."""

    def __init__(
        self,
        agent: Agent,
        choice: ModelChoice,
        task: Task,
        file: TextIO | None,
        live: LiveRun | None,
        n_samples: int,
    ) -> None:
        super().__init__(agent, choice, task, file, live)
        self._n_samples = n_samples
        self._vote: Vote | None = None

    def drain(self) -> None:
        """Run all samples to their ends. Raises what `Agent.run_many` raises, and OSError."""
        from lumos_edge import loading, trace
        from lumos_edge.voting import samplings, vote

        model, samples = loading.describe(self.choice), []
        for sampling, answered in self._runs(samplings(self.agent.sampling, self._n_samples)):
            samples.append(answered)
            for record in trace.records_of(self.agent, answered, sampling, self._n_samples, model):
                self.keep(record)
            if self.live:
                self.live.say(f"sample {len(samples)}: {_answer(answered.trajectory)}")
        self._vote = vote(samples)
        self.keep({"record": "vote", **self._vote.write_json()})
        self.trajectory = self._vote.trajectory
        if self.live:
            self.live.say(f"{max(self._vote.votes)} of {self._n_samples}: {_answer(self.trajectory)}")

    def _runs(self, samplings: list[Sampling]) -> Iterator[tuple[Sampling, Answered]]:
        run = self.agent.run_many(
            ((self.task, sampling) for sampling in samplings), min(self._n_samples, N_PARALLEL)
        )
        return zip(samplings, run, strict=True)

    def document(self, trajectory: Trajectory) -> dict[str, Any]:
        """The runs as JSON data: the winner, and then all."""
        from lumos_edge import trajectory as records

        assert self._vote
        trajectories = [records.write_json(sample.trajectory) for sample in self._vote.samples]
        return {**super().document(trajectory), "samples": trajectories, "vote": self._vote.write_json()}


def _answer(trajectory: Trajectory) -> str:
    return f"no answer: {trajectory.message}" if trajectory.answer is None else answer_text(trajectory.answer)


def _end(trajectory: Trajectory, as_json: bool, sources: bool) -> int:
    if trajectory.answer is None:
        click.echo(f"lumos-edge: no answer: {trajectory.message}", err=True)
        return 1
    if not as_json:
        click.echo(answer_text(trajectory.answer))
        for passage in trajectory.sources if sources else ():
            click.echo(f"\n{source_text(passage)}")
    return 0
