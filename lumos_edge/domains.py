"""Which tool pack a question is for: a choice by the planner's weights among those that can work on it.

It writes the pack's name: its first token is sampled, the rest follows. The packs' own examples show what is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from lumos_edge.engine import Engine, Sampling, drained
from lumos_edge.grammar import ANSWER, choice_grammar
from lumos_edge.templates import FewshotTemplate
from lumos_edge.toolbox import Toolbox

_MAX_TOKENS = 40


def choose_pack(
    engine: Engine, template: FewshotTemplate, question: str, packs: Mapping[str, Toolbox]
) -> str:
    """The name of the pack that the question is for; the only one where there is but one.

    Raises EngineError; ContextWindowExceeded where packs and question do not fit.
    """
    if len(packs) == 1:
        return next(iter(packs))
    text = engine.complete(
        "planner",
        template.pack_choice(question, packs),
        choice_grammar(*packs),
        max_tokens=_MAX_TOKENS,
        sampling=Sampling(),
    )
    return drained(text).text.removeprefix(ANSWER)
