"""The action language: `R1 = Calculator(2 + 3); R2, R3 = SolveEquation(...); Output = R1`.

Source: Agent Lumos, arXiv 2311.05657, section 2 and the annotations of allenai/lumos at 146dd9d. Here is only the
outer form; what stands between the parentheses is given its types by the `Toolbox`.
"""

from __future__ import annotations

import re

from lumos_edge.errors import ActionError
from lumos_edge.trajectory import Action

# Looking for the targets, and not for ";", finds the next action: a text argument may hold any punctuation.
_TARGETS = re.compile(r"((?:R\d+|Output)(?:, R\d+)*) = ")
_TOOL = re.compile(r"([^\W\d]\w*)\(")
_ALIAS = re.compile(r"R\d+")
_SEPARATOR = "; "


def parse_actions(text: str) -> tuple[Action, ...]:
    """The actions of a grounder's text; `"; ".join(map(str, actions))` prints them again.

    Few-shot texts may end an action with a full stop, which is dropped. Raises ActionError at the first character
    that does not fit.
    """
    actions: list[Action] = []
    position = 0
    while True:
        action, position = _parse_action(text, position)
        actions.append(action)
        if text.startswith(".", position):
            position += 1
        if position == len(text):
            return tuple(actions)
        if not text.startswith(_SEPARATOR, position):
            raise _error(text, position, "'; ' or the end")
        position += len(_SEPARATOR)


def parse_unfinished(text: str) -> tuple[tuple[Action, ...], Action] | None:
    """The whole actions of a text, and the last one as far as it is written; None unless its parenthesis is open."""
    actions: list[Action] = []
    position = 0
    while targets := _TARGETS.match(text, position):
        tool = _TOOL.match(text, targets.end())
        if tool and _end_of_call(text, tool.end()) is None:
            return tuple(actions), Action(tuple(targets[1].split(", ")), tool[1], text[tool.end() :])
        action, end = _parse_action(text, position)
        actions.append(action)
        position = end + len(_SEPARATOR)
    return None


def _parse_action(text: str, position: int) -> tuple[Action, int]:
    targets = _TARGETS.match(text, position)
    if not targets:
        raise _error(text, position, "a target such as 'R1 = '")
    names = tuple(targets[1].split(", "))
    position = targets.end()
    tool = _TOOL.match(text, position)
    if tool:
        end = _closing_parenthesis(text, tool.end())
        return Action(names, tool[1], text[tool.end() : end]), end + 1
    alias = _ALIAS.match(text, position)
    if not alias:
        raise _error(text, position, "a tool such as 'Calculator('")
    return Action(names, "", alias[0]), alias.end()


def _closing_parenthesis(text: str, position: int) -> int:
    end = _end_of_call(text, position)
    if end is None:
        raise _error(text, len(text), "')'")
    return end


def _end_of_call(text: str, position: int) -> int | None:
    """Where the first parenthesis too many stands."""
    depth = 1
    for index in range(position, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return None


def _error(text: str, position: int, expected: str) -> ActionError:
    found = repr(text[position : position + 20]) if position < len(text) else "the end"
    return ActionError(f"expected {expected}, found {found} at character {position + 1} of {text!r}")
