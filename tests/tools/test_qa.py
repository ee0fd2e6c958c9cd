"""The actions of complex question answering, on a real library and a scripted reader, and whole runs of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lumos_edge import trace
from lumos_edge.actions import parse_actions
from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Sampling
from lumos_edge.errors import Cancelled, ToolPackError, TooManyTokens
from lumos_edge.executor import Executor
from lumos_edge.knowledge.library import Library
from lumos_edge.reader import Reader
from lumos_edge.templates import LumosTemplate, interface_text
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Finished, Formulation, Result, Subgoal, Task
from lumos_edge.values import Answer, Boolean, Number, Passages, Value, read_json, write_json
from tests.knowledge.packs import build_pack
from tests.scripted import ScriptedEngine, accepts

LUMOS = LumosTemplate("eval", "", "")
TASK = Task("Did Genghis Khan have more children than Julius Caesar?")
ARTICLES = (
    ("Julius Caesar", "Julius Caesar had three children. He crossed the Rubicon in 49 BC."),
    ("Genghis Khan", "Genghis Khan had sixteen children. He founded the Mongol Empire."),
    ("Mongol Empire", "The Mongol Empire was the largest contiguous empire. Its capital was Karakorum."),
)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library([build_pack(tmp_path / "history.sqlite", *ARTICLES)])
    yield opened
    opened.close()


def toolbox(library: Library, reader: Reader) -> Toolbox:
    return Toolbox.of_packs(["qa"], [library, reader])


def asked(*texts: str, **settings: Any) -> Reader:
    return Reader(ScriptedEngine(*texts), LUMOS, Sampling(), 80, **settings)


def run(
    library: Library, reader: Reader, text: str, known: dict[str, Value] | None = None, subgoal: str = ""
) -> dict[str, Any]:
    """The values of actions by name; an error as its `Result`."""
    executor = Executor(toolbox(library, reader))
    values: dict[str, Any] = dict(known or {})
    for action in parse_actions(text):
        result = executor.execute(action, values, TASK, (Subgoal(1, subgoal),) if subgoal else ())
        values |= (
            dict(zip(action.targets, result.values, strict=False))
            if not result.error
            else {action.targets[0]: result}
        )
    return values


def answer(text: str, question: str = "?") -> Answer:
    return Answer(text, question)


def test_the_packs_interface_is_the_papers() -> None:
    text = interface_text(Toolbox.of_packs(["qa"]))
    assert text.startswith(
        "The available action list is 'KnowledgeQuery', 'ParagraphRetrieve', 'QA', 'Calculator'"
    )


def test_knowledge_is_said_to_be_needed(library: Library) -> None:
    with pytest.raises(ToolPackError, match="KnowledgeQuery, ParagraphRetrieve, QA needs knowledge packs"):
        Toolbox.of_packs(["qa"]).check_resources()


def test_a_question_is_answered_from_the_passages_of_its_entity(library: Library) -> None:
    values = run(
        library,
        asked("Answer: sixteen"),
        "R1 = KnowledgeQuery(Genghis Khan); R2 = ParagraphRetrieve(R1, Query: How many children?); "
        "R3 = QA([R2], Question: How many children did Genghis Khan have?)",
    )
    assert isinstance(values["R1"], Passages)
    assert values["R1"].passages[0].title == "Genghis Khan"
    found = values["R3"]
    assert (str(found), found.passages[0].title, found.passages[0].pack) == (
        "sixteen",
        "Genghis Khan",
        "history",
    )


def test_no_answer_falls_through_to_all_packs_and_says_each_step(library: Library) -> None:
    caesar = library.entity("Julius Caesar", 1)
    known: dict[str, Value] = {"R1": Passages(caesar, library.entity("Genghis Khan", 1))}
    reader = asked("Answer: No answer", "Answer: No answer", "Answer: Karakorum")
    found = run(
        library, reader, "R2 = QA([R1], Question: What was the capital of the Mongol Empire?)", known
    )["R2"]
    assert str(found) == "Karakorum"
    assert found.passages[0].title == "Mongol Empire"
    assert [line.partition(" ")[2] for line in found.trail] == [
        "passages of the context: No answer",
        "other passages of its articles: No answer",
        "passages of all packs: Karakorum",
    ]


def test_memory_is_asked_only_where_the_user_allows_it(library: Library) -> None:
    text = "R2 = QA([R1], Question: What is the capital of France?)"
    known: dict[str, Value] = {"R1": Passages(library.entity("Julius Caesar", 1))}
    nothing = ["Answer: No answer"] * 2
    refused = run(library, asked(*nothing), text, known)["R2"]
    assert (str(refused), refused.passages) == ("No answer", ())
    allowed = run(library, asked(*nothing, "Answer: Paris", may_recall=True), text, known)["R2"]
    assert (str(allowed), allowed.trail[-1], allowed.passages) == ("Paris", "from memory: Paris", ())


def test_an_earlier_answer_is_an_entity(library: Library) -> None:
    known: dict[str, Value] = {"R1": answer("Genghis Khan")}
    found = run(library, asked(), "R2 = KnowledgeQuery(R1); R3 = KnowledgeQuery(R2-D2 of R9)", known)
    assert found["R2"].passages[0].title == "Genghis Khan"


@pytest.mark.parametrize(
    ("left", "formula", "right", "value"),
    [
        ("sixteen", "R1 > R2", "3", "True"),
        ("1,450 metres (4,757 ft)", "R1 > R2", "4,000 feet", "True"),
        ("May 14, 1948", "R1 > R2", "14 May 1948", "False"),
        ("May 14, 1948", "R1 < R2", "November 1947", "False"),
        ("44 BC", "R1 < R2", "AD 14", "True"),
        ("May 14, 1948", "2020 - R1", "", "72"),
        ("75000", "100000 - R1", "", "25000"),
        ("10 to 15 years", "R1 < R2", "20 years", "True"),
        ("the Heel", "R1 = R2", "heel", "True"),
        ("40%", "R1 * 200", "", "80"),
    ],
)
def test_answers_compute(library: Library, left: str, formula: str, right: str, value: str) -> None:
    known: dict[str, Value] = {"R1": answer(left), "R2": answer(right)}
    assert str(run(library, asked(), f"R3 = Calculator({formula})", known)["R3"]) == value


def test_code_chooses_between_answers_in_words(library: Library) -> None:
    known: dict[str, Value] = {
        "R1": answer("16"),
        "R2": answer("3"),
        "R4": answer("Genghis Khan"),
        "R5": answer("Caesar"),
    }
    assert str(run(library, asked(), "R6 = Code(If R1 > R2, R4, R5)", known)["R6"]) == "Genghis Khan"
    assert str(run(library, asked(), "R6 = Code(If R1 = R2, R4, R5)", known)["R6"]) == "Caesar"
    known["R1"] = answer("Yes")
    assert str(run(library, asked(), "R6 = Code(If R1, R4, R5)", known)["R6"]) == "Genghis Khan"


def test_the_reader_decides_what_cannot_be_computed(library: Library) -> None:
    known: dict[str, Value] = {
        "R1": answer("his heel", "Where?"),
        "R2": answer("the foot's back part", "What?"),
    }
    reader = asked("Answer: Yes")
    found = run(library, reader, "R3 = Calculator(R1 = R2)", known, subgoal="Determine if both are the same.")
    assert found["R3"] == Boolean(True)
    engine = reader.engine
    assert isinstance(engine, ScriptedEngine)
    assert "Question: Determine if both are the same. Must answer yes/no." in engine.prompt_text()
    assert "Question: Where?; Answer: his heel" in engine.prompt_text()
    ranges: dict[str, Value] = {"R1": answer("10 to 15"), "R2": answer("12")}
    assert run(library, asked("Answer: No"), "R3 = Calculator(R1 > R2)", ranges)["R3"] == Boolean(False)


def test_a_division_by_zero_is_still_an_error(library: Library) -> None:
    known: dict[str, Value] = {"R1": answer("5"), "R2": answer("0")}
    result = run(library, asked(), "R3 = Calculator(R1 / R2)", known)["R3"]
    assert isinstance(result, Result)
    assert result.error == "ToolError"


def test_maths_tools_take_the_number_in_an_answer() -> None:
    executor = Executor(Toolbox.of_packs(["maths"]))
    (action,) = parse_actions("R2 = Calculator(R1 + 1)")
    assert executor.execute(action, {"R1": answer("16 children")}, TASK).values == (Number(Fraction(17)),)
    assert executor.execute(action, {"R1": answer("Caesar")}, TASK).error == "UndefinedResult"


def test_answers_and_passages_survive_json(library: Library) -> None:
    passages = library.entity("Genghis Khan")
    for value in (
        Passages(passages[:1], passages[1:]),
        Answer("16", "How many?", passages[:1], ("1 passage: 16",)),
    ):
        assert read_json(json.loads(json.dumps(write_json(value)))) == value


# -- whole runs -----------------------------------------------------------------------------------------------------

PLAN = ("Subgoal 1: Count the children of Caesar.", "No, I will keep planning. Subgoal 2: Compare.")
GROUND = (
    "R1 = KnowledgeQuery(Julius Caesar); R2 = ParagraphRetrieve(R1, Query: How many children?); "
    "R3 = QA([R2], Question: How many children did Caesar have?)",
    "R4 = Calculator(16 > R3)",
)
STOP = "Yes, I will stop planning."


def agent(
    library: Library, engine: ScriptedEngine, formulation: Formulation = "iterative", **budget: Any
) -> Agent:
    return Agent(
        engine,
        LUMOS,
        LUMOS,
        Toolbox.of_packs(["qa"], [library]),
        formulation=formulation,
        budget=Budget(**budget),
        reader=Reader(engine, LUMOS, Sampling(), 80),
    )


def recorded(agent: Agent, task: Task) -> tuple[Any, trace.Trace]:
    records: list[dict[str, Any]] = []
    events = list(trace.record(agent, task, {"name": "scripted"}, records.append))
    assert isinstance(events[-1], Finished)
    return events[-1].trajectory, trace.of_records(json.loads(json.dumps(records)))


def test_a_run_ends_with_yes_or_no_and_cites_its_passages(library: Library) -> None:
    engine = ScriptedEngine(PLAN[0], GROUND[0], "Answer: three", PLAN[1], GROUND[1], STOP)
    found, read = recorded(agent(library, engine), TASK)
    assert isinstance(found.answer, Answer)
    assert str(found.answer) == "Yes"
    assert [passage.title for passage in found.answer.passages] == ["Julius Caesar"]
    assert found.steps[0].done.results[2].n_tokens > 0
    assert "The executed result for Subgoal 1 is three. Should we stop" in engine.prompt_text(3)
    assert "The execution result for Subgoal 1 is three." in engine.prompt_text(4)
    assert trace.replay(read) == found


def test_other_questions_are_put_to_the_reader_once_more_over_all_results(library: Library) -> None:
    task = Task("How many children did Caesar have?")
    engine = ScriptedEngine(PLAN[0], GROUND[0], "Answer: three", STOP, "Answer: three")
    found, read = recorded(agent(library, engine), task)
    assert str(found.answer) == "three"
    assert found.answer.passages[0].title == "Julius Caesar"
    assert "Evidence 1: Question: How many children did Caesar have?; Answer: three" in engine.prompt_text()
    assert trace.replay(read) == found


def test_the_onetime_formulation_answers_with_its_last_result(library: Library) -> None:
    task = Task("How many children did Caesar have?")
    engine = ScriptedEngine("Subgoal 1: Count the children of Caesar.", GROUND[0], "Answer: three")
    assert str(agent(library, engine, "onetime").ask(task).answer) == "three"


def test_no_answer_is_no_answer_of_the_run(library: Library) -> None:
    nothing = ["Answer: No answer"] * 4
    engine = ScriptedEngine(PLAN[0], GROUND[0], *nothing[:2], STOP, "Answer: No answer")
    found = agent(library, engine).ask(Task("Where did Caesar die?"))
    assert found.answer is None
    assert found.error == "NoAnswer"


def test_what_a_reader_writes_counts_in_the_budget_and_stays_in_the_trajectory(library: Library) -> None:
    engine = ScriptedEngine(PLAN[0], GROUND[0], "Answer: three")
    n_before = len(PLAN[0].split()) + len(GROUND[0].split())
    limited = agent(library, engine, max_tokens=n_before + 1)
    records: list[dict[str, Any]] = []
    with pytest.raises(TooManyTokens):
        list(trace.record(limited, TASK, {"name": "scripted"}, records.append))
    read = trace.of_records(records)
    assert read.trajectory
    assert [len(step.attempts[0].results) for step in read.trajectory.steps] == [3]
    assert trace.replay(read) == read.trajectory


def test_a_cancelled_run_asks_the_reader_nothing_more(library: Library) -> None:
    class Cancelling(ScriptedEngine):
        def complete(self, module: Any, *args: Any, **settings: Any) -> Any:
            completion = yield from super().complete(module, *args, **settings)
            if module == "reader":
                running.cancel()
            return completion

    engine = Cancelling(PLAN[0], GROUND[0], "Answer: No answer", "Answer: three")
    running = agent(library, engine)
    with pytest.raises(Cancelled):
        running.ask(TASK)
    assert [module for module, _ in engine.prompts] == ["planner", "grounder", "reader"]


def test_the_grammar_lets_an_answer_stand_in_formulas_and_queries(library: Library) -> None:
    from lumos_edge.grammar import actions_grammar

    box = toolbox(library, asked())
    types = {"R1": frozenset({Passages}), "R2": frozenset({Answer})}
    grammar = actions_grammar(box, types, formulation="iterative", max_actions=4)
    for text in (
        "R3 = Calculator(R2 > 3)",
        "R3 = KnowledgeQuery(R2)",
        "R3 = QA([R1, R2], Question: Is it R2?)",
    ):
        assert accepts(grammar, text)
    for text in ("R3 = Calculator(R1 > 3)", "R3 = ParagraphRetrieve(R2, Query: x)"):
        assert not accepts(grammar, text)


def test_a_reader_is_the_agents_own(library: Library) -> None:
    """It asks the engine of the run, such as one that records, not the engine that it was made on."""
    engine = ScriptedEngine(PLAN[0], GROUND[0], "Answer: three", STOP, "Answer: three")
    other = replace(Reader(ScriptedEngine(), LUMOS, Sampling(), 80))
    made = Agent(
        engine, LUMOS, LUMOS, Toolbox.of_packs(["qa"], [library]), formulation="iterative", reader=other
    )
    assert str(made.ask(Task("How many children did Caesar have?")).answer) == "three"
