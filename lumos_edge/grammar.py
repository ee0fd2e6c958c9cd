"""The grammars of the modules' completions, as Lark text for llguidance.

A grounder's grammar is made one action at a time, from the toolbox and the results that exist by then: each
action may use the results of those before it in the same completion, by their types. `Toolbox.check` accepts every
action that these grammars generate. A reader's admits spans of the passages that it is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from lumos_edge.actions import parse_actions, parse_unfinished
from lumos_edge.engine import Grammar
from lumos_edge.maths.lark import lark_rules
from lumos_edge.toolbox import (
    FORMULA_TYPES,
    MAX_TEXT,
    ArgumentKind,
    ChoiceArgument,
    FormulaArgument,
    Language,
    LanguageArgument,
    NumberArgument,
    ReferenceArgument,
    ReferencesArgument,
    TextArgument,
    Tool,
    Toolbox,
    ValueTypes,
)
from lumos_edge.trajectory import Action, Formulation
from lumos_edge.values import NO_ANSWER

MAX_TARGETS = 3
"""Results that one action may name in a generated text."""

_MAX_SUBGOAL = 240  # characters; the annotations' longest has 190

# A subgoal is one line; without ";" the next "; Subgoal n: " is unambiguous. Control and format characters
# (zero-width, direction marks) would make text that does not look like what it is.
_LINE = r"[^;\n\p{C}]"

KEEP_PLANNING = "No, I will keep planning. "
STOP_PLANNING = "Yes, I will stop planning."


def plan_grammar(max_subgoals: int) -> Grammar:
    """`Subgoal 1: ...; Subgoal 2: ...`, numbered in order, at most `max_subgoals`."""
    rest = ""
    for number in range(max_subgoals, 1, -1):
        rest = f'("; Subgoal {number}: " LINE{rest})?'
    return _only(
        f'start: "Subgoal 1: " LINE{rest} "\\n"?\nLINE: /[^ ;\\n\\p{{C}}]{_LINE}{{0,{_MAX_SUBGOAL}}}/\n'
    )


def next_subgoal_grammar(number: int, keep: str = KEEP_PLANNING) -> Grammar:
    """One subgoal of that number; from the second on also the decision to keep (in the words `keep`) or to stop."""
    line = f"LINE: /[^ ;\\n\\p{{C}}]{_LINE}{{0,{_MAX_SUBGOAL}}}/\n"
    if number == 1:
        return _only(f'start: "Subgoal 1: " LINE "\\n"?\n{line}')
    return _only(f'start: ("{keep}Subgoal {number}: " LINE | "{STOP_PLANNING}") "\\n"?\n{line}')


def _only(lark: str) -> Grammar:
    return lambda text: None if text else lark


ANSWER = "Answer: "
"""How every completion of a reader begins."""

_MAX_LINE = 200  # characters; the paper's reader may write 100 tokens

# Where a span may begin and end. A number with its separators is one word: of `1,450` there is no span `1`. Scripts
# without spaces (Thai to Khmer, kana, Chinese characters) may be cut at any character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(
    rf"\d(?:[\d.,:]*\d)?(?!\w)|[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’.-][^\W{_UNSPACED}]+)*|\s+|[^\w\s]"
)
# Not at a space or at punctuation that belongs to the sentence.
_SPAN_EDGES = r"EDGES: /[$€£¥\"“(\[-]?[\p{L}\p{N}](?s:.*)/ & /(?s:.*)[\p{L}\p{N}\p{M}%$€£¥°\"”)\]]/" + "\n"


def span_grammar(texts: Sequence[str]) -> Grammar:
    """`Answer: ` and a span of whole words out of one of the texts, or `No answer`.

    Costs some 5 ms of compiling for 100 words; one space stands for any white space of a text.
    """
    rules = []
    for index, text in enumerate(texts):
        chunks = json.dumps(_WORDS.findall(" ".join(text.split())), ensure_ascii=False)
        rules.append(
            f'WORDS_{index}: %regex {{"substring_chunks": {chunks}}}\nSPAN_{index}: WORDS_{index} & EDGES'
        )
    spans = "".join(f"SPAN_{index} | " for index in range(len(texts)))
    edges = _SPAN_EDGES if texts else ""
    return _only(f'start: "{ANSWER}" ({spans}"{NO_ANSWER}") "\\n"?\n{edges}' + "\n".join(rules) + "\n")


def choice_grammar(*choices: str) -> Grammar:
    """`Answer: ` and one of these."""
    return _only(f'start: "{ANSWER}" ({" | ".join(map(_literal, choices))}) "\\n"?\n')


def line_grammar() -> Grammar:
    """`Answer: ` and one line."""
    return _only(f'start: "{ANSWER}" LINE "\\n"?\nLINE: /[^ \\n\\p{{C}}][^\\n\\p{{C}}]{{0,{_MAX_LINE}}}/\n')


_NEXT_TARGET = re.compile(r"; (R\d+|Output)$")


def actions_grammar(
    toolbox: Toolbox, bindings: Mapping[str, ValueTypes], *, formulation: Formulation, max_actions: int
) -> Grammar:
    """Up to `max_actions` actions that continue the results in `bindings`.

    Results are numbered on from the highest. Only the onetime formulation has `Output`, as its last action.
    """
    first = 1 + max((int(name[1:]) for name in bindings if name != "Output"), default=0)

    def grammar(text: str) -> str | None:
        unfinished = parse_unfinished(text)
        next_target = None if unfinished else _NEXT_TARGET.search(text)
        if text and not next_target and not unfinished:
            return None
        before = parse_actions(text[: next_target.start()]) if next_target else ()
        actions, written = unfinished or (before, None)
        number = first + sum(len(action.targets) for action in actions)
        may_output, may_continue = formulation == "onetime", len(actions) + 1 < max_actions
        if written:
            is_output = written.targets == ("Output",)
            tail = _tail(number + 1, may_output=may_output, may_continue=may_continue and not is_output)
            return _argument_part(toolbox, written, tail)
        types = dict(bindings)
        for action in actions:
            types |= dict.fromkeys(action.targets, toolbox.result_types(action, types))
        return _action_part(
            toolbox,
            types,
            number,
            target=next_target[1] if next_target else "",
            may_output=may_output,
            may_continue=may_continue,
        )

    return grammar


def _argument_part(toolbox: Toolbox, written: Action, tail: str) -> str | None:
    """What comes next of an argument in a language; None where its text was cut off anywhere else."""
    tool = toolbox.tools[written.tool]
    if tool.language is None:
        return None
    rules = toolbox.resource(tool.language).rules(tool.last_argument(written.arguments))
    return (
        "\n".join(["start: l0_argument", _in_namespace("l0", rules), f'l0_argument_end: ")" {tail}']) + "\n"
    )


def _action_part(
    toolbox: Toolbox,
    types: Mapping[str, ValueTypes],
    number: int,
    *,
    target: str,
    may_output: bool,
    may_continue: bool,
) -> str:
    """One action up to the name of the next target. `target` was written by the part before ("" at the start)."""
    tools = [tool for tool in toolbox.tools.values() if _is_callable(tool, types)]
    is_output = target == "Output"
    alternatives = []
    for count in range(1, 2 if is_output else MAX_TARGETS + 1):
        calls = [
            f"call_{index}"
            for index, tool in enumerate(tools)
            if (count == 1 or tool.many_results) and not tool.language
        ]
        if calls:
            more = "".join(f", R{number + index}" for index in range(1, count))
            tail = _tail(number + count, may_output=may_output, may_continue=may_continue and not is_output)
            alternatives.append(f'"{more} = " ({" | ".join(calls)}) {tail}')
    spoken = [f"call_{index}" for index, tool in enumerate(tools) if tool.language]
    if spoken:
        alternatives.append(f'" = " ({" | ".join(spoken)})')
    if is_output and types:
        alternatives.append(f'" = " ({_names(types)}) "\\n"?')
    begin = "" if target else f'"R{number}" '
    rules = [f"start: {begin}({' | '.join(alternatives)})"]
    languages = list(dict.fromkeys(tool.language for tool in tools if tool.language))
    for index, tool in enumerate(tools):
        rules += _call(f"call_{index}", tool, types, languages)
    tail = _tail(number + 1, may_output=may_output, may_continue=may_continue and not is_output)
    for index, language in enumerate(languages):
        rules.append(_in_namespace(f"l{index}", toolbox.resource(language).rules("")))
        rules.append(f'l{index}_argument_end: ")" {tail}')
    return "\n".join([*rules, *_argument_rules(tools, types)]) + "\n"


_IDENTIFIER = re.compile(r'"(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)*/|([A-Za-z_]\w*)')


def _in_namespace(name: str, rules: str) -> str:
    """The same Lark rules with names of their own, so that two languages can stand in one grammar."""

    def renamed(match: re.Match[str]) -> str:
        identifier: str | None = match[1]
        if identifier is None:
            return match[0]
        return f"{name.upper() if identifier[0].isupper() else name}_{identifier}"

    return _IDENTIFIER.sub(renamed, rules)


def _argument_rules(tools: list[Tool], types: Mapping[str, ValueTypes]) -> list[str]:
    """The rules that the arguments of these tools refer to."""
    kinds = {type(parameter.kind) for tool in tools for parameter in tool.parameters}
    rules = [_TEXT_RULES] if TextArgument in kinds else []
    if kinds & {FormulaArgument, NumberArgument}:
        rules.append(_formula_rules(tuple(name for name in types if types[name] & FORMULA_TYPES)))
    return rules


def _tail(number: int, *, may_output: bool, may_continue: bool) -> str:
    if not may_continue:
        return '"\\n"?'
    output = ' | "; Output"' if may_output else ""
    return f'("\\n" | "; R{number}"{output})?'


@lru_cache(maxsize=256)
def _formula_rules(names: tuple[str, ...]) -> str:
    return lark_rules(names)


def _is_callable(tool: Tool, types: Mapping[str, ValueTypes]) -> bool:
    """Whether there is a result for each parameter that must have one."""
    return all(
        any(found & parameter.kind.types for found in types.values())
        for parameter in tool.parameters
        if isinstance(parameter.kind, (ReferenceArgument, ReferencesArgument))
        and not (isinstance(parameter.kind, ReferenceArgument) and parameter.kind.words)
    )


# A text's parentheses are balanced, so that the first one too many closes the action.
_TEXT_RULES = rf"""
text: WORDS ("(" MORE_WORDS ")" MORE_WORDS?)?
WORDS: /[^ ()\n\p{{C}}][^()\n\p{{C}}]{{0,{MAX_TEXT // 2}}}/
MORE_WORDS: /[^()\n\p{{C}}]{{1,{MAX_TEXT // 4}}}/
"""


def _call(
    rule: str, tool: Tool, types: Mapping[str, ValueTypes], languages: list[type[Language]]
) -> list[str]:
    """The rule of that name for a call of the tool, and what it refers to.

    An argument in a language ends the call itself, where it is whole.
    """
    parts = [_literal(f"{tool.name}(")]
    rules: list[str] = []
    if tool.parameters and tool.parameters[0].label:
        parts.append(_literal(f"{tool.parameters[0].label}: "))
    for index, parameter in enumerate(tool.parameters):
        separator = tool.separator(index) if index + 1 < len(tool.parameters) else ""
        if isinstance(parameter.kind, TextArgument) and separator:
            # Lazy: the text ends where the separator first stands, and so contains none.
            name = f"{rule}_text_{index}"
            end = re.escape(separator).replace("/", r"\/")
            rules.append(rf"{name}[lazy]: /[^ ()\n\p{{C}}][^()\n\p{{C}}]{{0,{MAX_TEXT // 2}}}?{end}/")
            parts.append(name)
            continue
        if isinstance(parameter.kind, LanguageArgument):
            return [f"{rule}: {' '.join(parts)} l{languages.index(parameter.kind.language)}_argument", *rules]
        parts.append(_argument(parameter.kind, types))
        if separator:
            parts.append(_literal(separator))
    return [f'{rule}: {" ".join(parts)} ")"', *rules]


def _argument(kind: ArgumentKind, types: Mapping[str, ValueTypes]) -> str:
    if isinstance(kind, FormulaArgument):
        return kind.start
    if isinstance(kind, NumberArgument):
        return "calculation"
    if isinstance(kind, TextArgument):
        return "text"
    if isinstance(kind, ChoiceArgument):
        return f"({' | '.join(map(_literal, kind.words))})"
    assert not isinstance(kind, LanguageArgument)
    words = kind.words if isinstance(kind, ReferenceArgument) else ()
    fitting = [name for name, found in types.items() if found & kind.types]
    names = f"({' | '.join(map(_literal, [*words, *fitting]))})"
    return names if isinstance(kind, ReferenceArgument) else f'"[" {names} (", " {names}){{0,7}} "]"'


def _names(types: Mapping[str, ValueTypes]) -> str:
    return " | ".join(map(_literal, types))


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
