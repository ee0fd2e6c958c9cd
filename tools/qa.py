"""The actions of Agent Lumos for questions over knowledge, offline: passages out of knowledge packs, a reader for them.

Source of names and interface texts: allenai/lumos at 146dd9d, eval/strategyqa/run_eval.py. There `Calculator` deletes
the operators and asks GPT-3.5; here it computes with the numbers, dates and truths in the answers, and asks the reader
only where there is nothing to compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lumos_edge.errors import ToolError
from lumos_edge.knowledge.library import Library
from lumos_edge.knowledge.passage import Passage
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Conditional, Formula, Reference, Relation, Truth, references, substitute
from lumos_edge.quantities import Operand, comparable, read_operand
from lumos_edge.reader import Reader
from lumos_edge.toolbox import Context, Example, OpenCalculation, OpenCode, OpenFormula, Query, tool
from lumos_edge.values import (
    NO_ANSWER,
    Answer,
    Boolean,
    Equation,
    Expression,
    Number,
    Passages,
    Value,
    formula_of,
    value_of,
)

_N_BEST = 5  # passages that the reader is given at first, as in the paper
_N_OTHERS = 10

# A passage is evaluated in about a second on a slow laptop, and the reader is asked up to four times.
_READER_TIMEOUT_S = 600.0
_SEARCH_TIMEOUT_S = 30.0


@tool(
    interface="KnowledgeQuery(query): Capture the relevant webpages according to the query",
    timeout_s=_SEARCH_TIMEOUT_S,
)
def KnowledgeQuery(query: Query, library: Library) -> Passages:
    return Passages(library.entity(query))


@tool(
    interface="ParagraphRetrieve(context, query): Given a query, retrieve the most relevant paragraphs from the "
    "given context",
    labels={"query": "Query"},
    timeout_s=_SEARCH_TIMEOUT_S,
)
def ParagraphRetrieve(context: Passages, query: Query, library: Library) -> Passages:
    best = library.rank(query, context.passages, _N_BEST)
    others = tuple(p for p in (*context.passages, *context.others) if p not in best)
    return Passages(best, others)


@tool(
    interface="QA(context, query): Given context, answer the given query",
    labels={"question": "Question"},
    timeout_s=_READER_TIMEOUT_S,
)
def QA(
    context: tuple[Passages | Answer | Number | Boolean, ...],
    question: Query,
    library: Library,
    reader: Reader,
) -> Answer:
    """The answer of the first place that has one: the context, the rest of its articles, all packs, the weights."""
    trail: list[str] = []
    for place, passages in _places(context, question, library):
        answer = reader.answer(question, passages)
        trail += [*answer.trail, f"{len(passages)} {place}: {answer}"]
        if answer.is_found:
            return replace(answer, trail=tuple(trail))
    if reader.may_recall:
        answer = reader.answer(question, ())
        return replace(answer, trail=(*trail, f"from memory: {answer}"))
    return Answer(NO_ANSWER, question, (), tuple(trail))


def _places(
    context: tuple[Value, ...], question: str, library: Library
) -> Iterator[tuple[str, tuple[Passage, ...]]]:
    """Where an answer may be, in the order of the paper's tool; each is searched only when it is asked for."""
    given = [value for value in context if isinstance(value, Passages)]
    retrieved = [passage for value in given for passage in value.passages]
    known = [_fact(value) for value in context if not isinstance(value, Passages)]
    # A whole article that was not retrieved from is too much at once.
    best = library.rank(question, retrieved, _N_OTHERS) if len(retrieved) > _N_OTHERS else tuple(retrieved)
    seen = {*best, *known}
    if seen:
        yield "passages of the context", (*known, *best)
    rest = [p for p in (*retrieved, *(p for value in given for p in value.others)) if p not in seen]
    others = library.rank(question, rest, _N_OTHERS) if rest else ()
    if others:
        yield "other passages of its articles", others
    found = tuple(p for p in library.search(question, _N_BEST) if p not in {*seen, *others})
    if found:
        yield "passages of all packs", found


def _fact(value: Value) -> Passage:
    """An earlier result as something to read."""
    asked = f"Question: {value.question}; " if isinstance(value, Answer) else ""
    return Passage("", f"{asked}Answer: {value}", "results")


@tool(interface="Calculator(formula): Calculate the input formula", timeout_s=_READER_TIMEOUT_S)
def Calculator(
    formula: OpenCalculation, reader: Reader, context: Context
) -> Number | Expression | Equation | Boolean | Answer:
    return _computed(formula.formula, formula.results) or _read(formula, reader, context)  # type: ignore[return-value]


@tool(
    interface="Code(pseudo_code): Generate a Python function that corresponds to the pseudo code",
    timeout_s=_READER_TIMEOUT_S,
)
def Code(
    pseudo_code: OpenCode, reader: Reader, context: Context
) -> Number | Expression | Equation | Boolean | Answer:
    """Conditions over results; a branch may be an answer in words."""
    return _computed(pseudo_code.formula, pseudo_code.results) or _read(pseudo_code, reader, context)  # type: ignore[return-value]


def _computed(formula: Formula, results: Mapping[str, Value]) -> Value | None:
    """The formula's value; None when an answer in it holds nothing that can be computed with."""
    if isinstance(formula, Conditional):
        condition = _computed(formula.condition, results)
        truth = condition and formula_of(condition)
        if not isinstance(truth, Truth):
            return None
        return _computed(formula.then if truth.value else formula.otherwise, results)
    if isinstance(formula, Reference):
        return results[formula.name]
    answers = {name: value for name, value in results.items() if name in references(formula)}
    operands: dict[str, Operand] = {}
    fixed: dict[str, Formula] = {}
    for name, value in answers.items():
        operand = read_operand(value.text) if isinstance(value, Answer) else None
        known = formula_of(value)
        if known is None:
            return _compared_words(formula, results)
        if operand is None:
            fixed[name] = known
        else:
            operands[name] = operand
    return _evaluated(formula, operands, fixed)


def _evaluated(
    formula: Formula, operands: Mapping[str, Operand], fixed: Mapping[str, Formula]
) -> Value | None:
    """The value for all choices of what the operands may be; None when they differ, or do not belong together."""
    choices = comparable(operands.values(), exact_dates=_compares_results(formula) and not fixed)
    if choices is None:
        return None
    values = set()
    for choice in choices:
        try:
            values.add(evaluate(substitute(formula, {**fixed, **dict(zip(operands, choice, strict=True))})))
        except ToolError:
            if not any(isinstance(operand, bool) for operand in operands.values()):
                raise
            return None  # yes and no are no numbers; what was meant is in the words
    return value_of(values.pop()) if len(values) == 1 else None


def _compares_results(formula: Formula) -> bool:
    return (
        isinstance(formula, Relation)
        and isinstance(formula.left, Reference)
        and isinstance(formula.right, Reference)
    )


def _compared_words(formula: Formula, results: Mapping[str, Value]) -> Value | None:
    """Equal words are equal; whether different ones mean the same is the reader's to say."""
    if not (_compares_results(formula) and isinstance(formula, Relation) and formula.operator in ("=", "!=")):
        return None
    left, right = (str(results[name]).casefold().removeprefix("the ") for name in references(formula))
    return Boolean(formula.operator == "=") if left == right else None


def _read(formula: OpenFormula, reader: Reader, context: Context) -> Value:
    """The reader's answer to the subgoal out of the results; yes or no, where the formula compares."""
    facts = tuple(_fact(value) for value in formula.results.values())
    compares = isinstance(formula.formula, Relation)
    answer = reader.answer(context.subgoal or context.question, facts, must_decide=compares)
    return Boolean(answer.text == "Yes") if compares else answer


EXAMPLES = (
    Example(
        "Did Johannes Kepler live to see more birthdays than Tycho Brahe?",
        (
            (
                "Find out how old Johannes Kepler was when he died.",
                "R1 = KnowledgeQuery(Johannes Kepler); "
                "R2 = ParagraphRetrieve(R1, Query: How old was Johannes Kepler when he died?); "
                "R3 = QA([R2], Question: How old was Johannes Kepler when he died?)",
                "58",
            ),
            (
                "Find out how old Tycho Brahe was when he died.",
                "R4 = KnowledgeQuery(Tycho Brahe); "
                "R5 = ParagraphRetrieve(R4, Query: How old was Tycho Brahe when he died?); "
                "R6 = QA([R5], Question: How old was Tycho Brahe when he died?)",
                "54",
            ),
            ("Determine if Johannes Kepler was older.", "R7 = Calculator(R3 > R6)", "True"),
        ),
    ),
    Example(
        "Would a vegetarian enjoy a traditional haggis?",
        (
            (
                "Find out what haggis is made of.",
                "R1 = KnowledgeQuery(Haggis); R2 = ParagraphRetrieve(R1, Query: What is haggis made of?); "
                "R3 = QA([R2], Question: What is haggis made of?)",
                "sheep's heart, liver and lungs",
            ),
            (
                "Determine if vegetarians eat that.",
                "R4 = KnowledgeQuery(Vegetarianism); "
                "R5 = ParagraphRetrieve(R4, Query: Do vegetarians eat R3?); "
                "R6 = QA([R5], Question: Do vegetarians eat R3?)",
                "No",
            ),
        ),
    ),
    Example(
        "What is the capital of the country in which Mount Ararat lies?",
        (
            (
                "Find out in which country Mount Ararat lies.",
                "R1 = KnowledgeQuery(Mount Ararat); "
                "R2 = ParagraphRetrieve(R1, Query: In which country does Mount Ararat lie?); "
                "R3 = QA([R2], Question: In which country does Mount Ararat lie?)",
                "Turkey",
            ),
            (
                "Find out the capital of that country.",
                "R4 = KnowledgeQuery(R3); R5 = ParagraphRetrieve(R4, Query: What is the capital of R3?); "
                "R6 = QA([R5], Question: What is the capital of R3?)",
                "Ankara",
            ),
        ),
    ),
)
