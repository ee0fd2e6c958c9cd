"""What a line of questions is about: knowledge packs, a database, a web page, or a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lumos_edge.cli.domain import Chooser
from lumos_edge.cli.options import AUTO, AgentOptions, open_database
from lumos_edge.cli.page import PageOptions
from lumos_edge.cli.questions import Question

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.loading import ModelChoice
    from lumos_edge.toolbox import Resource

_TOOL_PACKS = {"knowledge": "qa", "db": "sql", "page": "web", "image": "vision", "caption": "vision"}


@dataclass(frozen=True)
class Attached:
    """One attachment by its kind, a key of `_TOOL_PACKS`, and names; "" for none."""

    kind: str = ""
    names: tuple[str, ...] = ()

    @classmethod
    def read_json(cls, data: dict[str, Any], folder: Path) -> Attached:
        """What a line's keys say; files are looked for in `folder`. Raises ValueError, TypeError."""
        kinds = [kind for kind in _TOOL_PACKS if data.get(kind) not in (None, [])]
        if kinds == ["image", "caption"]:
            kinds = ["image"]
        if not kinds:
            return cls()
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} exclude each other")
        given = data[kinds[0]]
        names = tuple(given if kinds == ["knowledge"] and isinstance(given, list) else [given])
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"{kinds[0]} is a string")
        if (kinds[0] in ("page", "db") and "://" in names[0]) or kinds[0] in ("knowledge", "caption"):
            return cls(kinds[0], names)
        # One picture with two captions is two: what is said of it is opened with it.
        said = [data["caption"]] if data.get("caption") else []
        return cls(kinds[0], (str(folder / names[0]), *said))

    @property
    def tools(self) -> tuple[str, ...]:
        """The tool pack for it; none where nothing is attached."""
        return (_TOOL_PACKS[self.kind],) if self.kind else ()

    def question(self, question: str) -> str:
        """The question as it is asked: of a picture with its caption, if it has one. Raises PictureError."""
        if self.kind != "image":
            return question
        from lumos_edge.pictures import task_about

        return task_about(Path(self.names[0]), question).question

    def open(self, options: AgentOptions, question: str) -> Resource:
        """What the tools work on. Raises what opening it raises."""
        from lumos_edge.pictures import Picture, open_picture

        if self.kind == "caption":
            return Picture(self.names[0])
        if self.kind == "knowledge":
            return options.library(self.names)
        if self.kind == "db":
            return open_database(self.names[0])
        if self.kind == "page":
            # Nobody is there to be asked.
            return PageOptions((), False, None, None).open(self.names[0])
        is_seen = options.choice(self.tools).projector is not None
        return open_picture(Path(self.names[0]), question, is_seen=is_seen)[0]


@dataclass(frozen=True)
class AttachedQuestion(Question):
    """A line with what it is about."""

    attached: Attached


Q = TypeVar("Q", bound=AttachedQuestion)


class Agents:
    """The agents for some questions: one for each tool pack, all on the same weights.

    Databases and knowledge packs are opened at once, so that what is wrong with them is known before anything is
    answered; a page when its question comes, and afresh for each, because it changes.
    """

    def __init__(self, options: AgentOptions, questions: list[Q], named_in: Path) -> None:
        self._options = options
        self._chooser = Chooser(options, {}) if options.domain == AUTO else None
        self._tools = () if self._chooser else options.tool_packs()
        self._chosen: dict[int, tuple[str, ...]] = {}
        for kind, tools in {
            question.attached.kind: question.attached.tools for question in questions
        }.items():
            if tools and self._tools not in ((), tools):
                raise click.UsageError(
                    f'{named_in} names "{kind}", which is for --domain {tools[0]}, not {self._tools[0]}'
                )
            if kind == "knowledge" and not self._chooser:  # then the other lines are for all packs
                self._tools = tools
        shared = {question.attached: question.question for question in questions}
        self._opened = {
            attached: attached.open(options, question)
            for attached, question in shared.items()
            if attached.kind not in ("", "page")
        }
        self._agents: dict[tuple[str, ...], Agent] = {}
        self.choice, self.first = self._of(questions[0])
        self._first_line = questions[0].line

    def groups(self, questions: list[Q]) -> Iterator[tuple[Agent, list[Q]]]:
        """The questions in their order, those in a row that are about the same together, each with its agent."""
        for _, group in groupby(questions, key=self._group):
            members = list(group)
            is_first = members[0].line == self._first_line  # its page, if it has one, is open
            yield self.first if is_first else self._of(members[0])[1], members

    def _of(self, question: Q) -> tuple[ModelChoice, Agent]:
        attached = question.attached
        tools = self._tools_of(question)
        options = self._options.narrowed(tools[0]) if self._chooser else self._options
        choice = options.choice(tools)
        resource = self._opened.get(attached)
        if attached.kind == "page":
            resource = attached.open(self._options, question.question)
        if tools not in self._agents:
            first = self._chooser.agent if self._chooser else None
            beside = next(iter(self._agents.values()), first)
            self._agents[tools] = options.agent(
                choice, beside=beside, resources=[resource] if resource else None
            )
        agent = self._agents[tools]
        if not resource and tools == ("qa",):
            resource = self._options.library()
        return choice, agent.with_resource(resource) if resource else agent

    def _group(self, question: AttachedQuestion) -> tuple[Attached, tuple[str, ...], int]:
        line = question.line if question.attached.kind == "page" else 0
        return question.attached, self._tools_of(question), line

    def _tools_of(self, question: AttachedQuestion) -> tuple[str, ...]:
        """What is attached says them, else the user, or the weights."""
        if question.attached.tools or not self._chooser:
            return question.attached.tools or self._tools
        if question.line not in self._chosen:
            self._chosen[question.line] = (self._chooser.choose(question.question),)
        return self._chosen[question.line]
