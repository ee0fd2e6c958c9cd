"""`--domain auto`: the planner's weights choose the tool pack of a question, among those that can work on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.cli.options import AgentOptions, installed_knowledge

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.templates import FewshotTemplate
    from lumos_edge.toolbox import Toolbox


def possible_packs(attached: Mapping[str, object]) -> dict[str, Toolbox]:
    """The installed packs, by name, that need nothing, or have what they need: attached (by pack), or installed.

    Raises ToolPackError.
    """
    from lumos_edge.knowledge.library import Library
    from lumos_edge.reader import Reader
    from lumos_edge.toolbox import Toolbox, pack_names

    there = {Reader, *([Library] if installed_knowledge() else [])}
    packs = {name: Toolbox.of_packs([path]) for name, path in sorted(pack_names().items())}
    return {
        name: box
        for name, box in packs.items()
        if attached.get(name)
        or all(kind in there for tool in box.tools.values() for kind in tool.resources.values())
    }


class Chooser:
    """Weights without adapters, which were trained for a pack each, and asked by the packs' examples."""

    def __init__(self, options: AgentOptions, attached: Mapping[str, object]) -> None:
        given = {"sql": options.db, "qa": options.knowledge or options.online}
        self.packs = possible_packs({**given, **attached})
        choice = options.choice(("maths",))
        # What a question is for is asked of no tool: any pack that needs nothing does.
        plain = replace(choice, adapters={}, templates={"planner": "fewshot", "grounder": "fewshot"})
        self.agent: Agent = replace(options, tools=(), mcp_servers=()).agent(plain, resources=[])

    def choose(self, question: str) -> str:
        """The name of the pack that the question is for."""
        from lumos_edge.domains import choose_pack

        template = cast("FewshotTemplate", self.agent.planner_template)
        return interruptible(
            lambda: choose_pack(self.agent.engine, template, question, self.packs), self.agent.engine.cancel
        )


def settled(
    options: AgentOptions, question: str, attached: Mapping[str, object]
) -> tuple[AgentOptions, Agent]:
    """The options with the domain that is chosen for a question, and an agent whose weights can be shared.

    `attached` is to a web page, a shop and a picture, by the packs that are for them; the rest is in the options.
    """
    chooser = Chooser(options, attached)
    return options.narrowed(chooser.choose(question)), chooser.agent
