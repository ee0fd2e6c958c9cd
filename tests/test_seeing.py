"""Pictures that the reader looks at: scripted runs for what is asked, and whole runs on tiny weights that see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Control, Sampling, drained
from lumos_edge.errors import Cancelled
from lumos_edge.grammar import line_grammar
from lumos_edge.images import Image
from lumos_edge.loading import of_files
from lumos_edge.pictures import Picture, open_picture
from lumos_edge.reader import Reader
from lumos_edge.templates import ChatTemplate, FewshotTemplate, LumosTemplate, PromptTemplate, Reading
from lumos_edge.toolbox import Toolbox
from lumos_edge.trace import of_records, record, replay, replay_live
from lumos_edge.trajectory import Task, Trajectory
from tests.cli.conftest import CHAT_TEMPLATE
from tests.engine.seeing import write_picture, write_projector, write_seeing_model
from tests.scripted import ScriptedEngine

QUESTION = "What pulls the cart? There're some choices: A. goat, B. horse, C. mule, D. tractor."
LUMOS = LumosTemplate("eval", "", "")
FEWSHOT = FewshotTemplate(
    ChatTemplate.of_vocabulary(
        CHAT_TEMPLATE, bos="", eos="", is_control=lambda text: text.startswith("<|im_")
    )
)
RUN = (
    "Answer: A cart on a field road.",
    "Subgoal 1: Identify what is in front of the cart.",
    "R1 = VQA([IMG], Question: What is in front of the cart?)",
    "Answer: a brown animal.",
    "No, I will keep planning. Subgoal 2: Answer what that is.",
    "R2 = QA([R1], Question: Is it a horse?)",
    "Answer: Yes",
    "No, I will keep planning. Subgoal 3: Select the choice from the four answer choices.",
    "R3 = QA([R1, R2], Question: What pulls the cart?)",
    "Answer: 2",
    "Yes, I will stop planning.",
)


def scripted(
    tmp_path: Path, template: LumosTemplate | FewshotTemplate, *texts: str
) -> tuple[Agent, ScriptedEngine, Task]:
    engine = ScriptedEngine(*texts)
    found, task = open_picture(write_picture(tmp_path / "cart.png"), QUESTION, is_seen=True)
    reader = Reader(engine, template, Sampling(), 80, sees=True)
    modules: PromptTemplate = template
    toolbox = Toolbox.of_packs(["vision"], [found])
    return Agent(engine, modules, modules, toolbox, formulation="iterative", reader=reader), engine, task


def recorded(agent: Agent, task: Task) -> tuple[list[dict[str, Any]], Trajectory]:
    records: list[dict[str, Any]] = []
    for _ in record(agent, task, {}, records.append):
        pass
    finished = of_records(records).trajectory
    assert finished is not None
    return records, finished


def values(trajectory: Trajectory) -> list[str]:
    return [
        str(value)
        for step in trajectory.steps
        for result in step.attempts[-1].results
        for value in result.values
    ]


@pytest.mark.parametrize("template", [LUMOS, FEWSHOT])
def test_the_reader_looks_and_the_planner_is_told_a_caption(
    tmp_path: Path, template: LumosTemplate | FewshotTemplate
) -> None:
    agent, engine, task = scripted(tmp_path, template, *RUN)
    assert task == Task(QUESTION)
    _, found = recorded(agent, task)
    assert str(found.answer) == "B. horse"
    assert values(found) == ["a brown animal", "Yes", "B. horse"]
    assert found.task == Task(f"{QUESTION} The image shows the following contents: A cart on a field road")
    shown = [(module, sum(isinstance(piece, Image) for piece in prompt)) for module, prompt in engine.prompts]
    assert all(n_images == (module == "reader") for module, n_images in shown)
    planner = engine.prompt_text(1)
    assert "The image shows the following contents: A cart on a field road" in planner


@pytest.mark.parametrize("template", [LUMOS, FEWSHOT])
def test_a_picture_stands_before_what_is_asked_of_it(
    tmp_path: Path, template: LumosTemplate | FewshotTemplate
) -> None:
    """So the next question finds it in the cache; and control tokens stand as without it."""
    agent, engine, task = scripted(tmp_path, template, *RUN)
    agent.ask(task)
    starts = []
    for module, prompt in engine.prompts:
        if module == "reader":
            place = next(index for index, piece in enumerate(prompt) if isinstance(piece, Image))
            starts.append(prompt[: place + 1])
            assert all(isinstance(piece, (str, Control)) for piece in prompt[place + 1 :])
            after = "".join(piece for piece in prompt[place + 1 :] if isinstance(piece, str))
            assert "Question: " in after or "Request: " in after
    assert len(starts) == 4
    assert len(set(starts)) == 1


def test_a_whole_run_replays_without_the_picture(tmp_path: Path) -> None:
    agent, _, task = scripted(tmp_path, LUMOS, *RUN)
    records, found = recorded(agent, task)
    pieces = [piece for line in records if line["record"] == "completion" for piece in line["prompt"]]
    (tmp_path / "cart.png").unlink()
    assert replay(of_records(records)) == found
    image = next(piece for piece in pieces if isinstance(piece, dict) and "picture" in piece)
    assert image == {"picture": str(tmp_path / "cart.png"), "sha256": image["sha256"]}


def test_a_caption_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "cart.txt").write_text("A cart.")
    agent, engine, task = scripted(tmp_path, LUMOS, *RUN[1:])
    assert str(agent.ask(task).answer) == "B. horse"
    assert task.question.endswith("contents: A cart.")
    assert isinstance(engine.prompts[2][1][1], Image)


def test_a_reader_that_does_not_see_reads_the_caption(tmp_path: Path) -> None:
    (tmp_path / "cart.txt").write_text("A cart and a brown horse.")
    found, task = open_picture(write_picture(tmp_path / "cart.png"), QUESTION, is_seen=True)
    engine = ScriptedEngine(*RUN[1:3], "Answer: a brown horse", "Yes, I will stop planning.")
    toolbox = Toolbox.of_packs(["vision"], [found])
    reader = Reader(engine, LUMOS, Sampling(), 80)
    agent = Agent(engine, LUMOS, LUMOS, toolbox, formulation="iterative", reader=reader)
    assert str(agent.ask(task).answer) == "a brown horse"
    assert not any(isinstance(piece, Image) for _, prompt in engine.prompts for piece in prompt)


# -- tiny weights that see ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeing")
    write_seeing_model(
        folder / "llava.gguf",
        "llava",
        chat_template=CHAT_TEMPLATE,
        n_ctx=16384,
        metadata={"lumos.template": "lumos-eval"},
    )
    write_projector(folder / "mmproj.gguf", "llava")
    return folder


def picture(tmp_path: Path, seed: int) -> Picture:
    return open_picture(write_picture(tmp_path / f"{seed}.png", seed), QUESTION, is_seen=True)[0]


def opened(files: Path, found: Picture) -> Agent:
    return Agent.open(
        of_files(files / "llava.gguf", projector=files / "mmproj.gguf"),
        tools=["vision"],
        resources=[found],
        formulation="iterative",
        budget=Budget(max_subgoals=2, max_actions_per_turn=2),
        n_ctx=16384,
        n_threads=1,
    )


@pytest.fixture
def agent(files: Path, tmp_path: Path) -> Iterator[Agent]:
    """Its weights know the maths tools beside those on pictures."""
    with opened(files, picture(tmp_path, 1)) as made:
        yield made


def captions_and_answers(agent: Agent) -> tuple[str, list[str]]:
    found = agent.ask(QUESTION)
    return found.task.question, values(found)


def test_other_pixels_are_other_answers(agent: Agent, tmp_path: Path) -> None:
    first = captions_and_answers(agent)
    other = captions_and_answers(agent.with_resource(picture(tmp_path, 2)))
    assert first[0].startswith(f"{QUESTION} The image shows the following contents: ")
    assert first[0] != other[0]
    assert captions_and_answers(agent) == first


def test_a_run_on_weights_that_see_is_recorded_and_replays(agent: Agent) -> None:
    records, found = recorded(agent, Task(QUESTION))
    trace = of_records(records)
    assert replay(trace) == found
    again, difference = replay_live(trace, agent.engine)
    assert (again, difference) == (found, None)
    first = trace.completions[0]
    assert first.module == "reader"
    assert found.task.question.endswith(
        first.completion.text.removeprefix("Answer: ").strip().removesuffix(".")
    )


def test_questions_to_the_reader_share_the_picture(agent: Agent) -> None:
    assert agent.reader
    image = next(found.image for found in agent.toolbox.resources if isinstance(found, Picture))
    assert image
    made = []
    for question in ("What is it?", "Is it a horse?", "Is there a cart?"):
        prompt = agent.reader.template.reader(Reading(question, (), image=image))
        text = agent.engine.complete("reader", prompt, line_grammar(), max_tokens=20, sampling=Sampling())
        made.append(drained(text))
    assert [completion.n_reused > 16 for completion in made] == [False, True, True]
    assert agent.reader.answer("Is it a horse?", (), image=image).text in ("Yes", "No")
    assert agent.reader.choose("The best", ("goat", "horse", "mule"), image=image) in (0, 1, 2)


def test_a_picture_that_is_cut_off_is_an_error_in_the_trajectory(agent: Agent, tmp_path: Path) -> None:
    path = write_picture(tmp_path / "cut.jpg", 3, (640, 480))
    path.write_bytes(path.read_bytes()[:-900])
    found, task = open_picture(path, QUESTION, is_seen=True)
    trajectory = agent.with_resource(found).ask(task)
    assert (trajectory.answer, trajectory.error) == (None, "ToolError")
    assert "cut.jpg cannot be read" in trajectory.message
    assert agent.ask(QUESTION).task.question != QUESTION  # the next question is answered


def test_cancelling_while_the_picture_is_described(agent: Agent) -> None:
    run = agent.run(QUESTION)
    really = agent.engine.vision.embeddings  # type: ignore[attr-defined]

    def embeddings(*arguments: Any) -> Any:
        run.cancel()
        return really(*arguments)

    agent.engine.vision.embeddings = embeddings  # type: ignore[attr-defined]
    with pytest.raises(Cancelled):
        list(run)
    agent.engine.vision.embeddings = really  # type: ignore[attr-defined]
    assert list(agent.run(QUESTION))


def test_many_pictured_questions_at_once(agent: Agent) -> None:
    """The reader's turns are taken one after another, planner's and grounder's together."""
    alone = agent.ask(QUESTION)
    both = list(agent.ask_many([QUESTION, QUESTION], n_parallel=2))
    assert [found.task for found in both] == [alone.task] * 2


def test_maths_loads_no_projector(files: Path) -> None:
    choice = of_files(files / "llava.gguf", projector=files / "nowhere.gguf")
    with Agent.open(choice, n_threads=1) as made:
        assert made.engine.vision is None  # type: ignore[attr-defined]
