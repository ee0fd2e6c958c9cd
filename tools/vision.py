"""The actions of Agent Lumos on pictures: questions about what a caption says, and the choice of an answer.

Source of names and interface texts: the paper's annotations. There LLaVA looks at the picture; here the reader does,
where the model pack has a projector, else it reads the caption, which is what the planner is told of it, too.
"""

from __future__ import annotations

from typing import Literal

from lumos_edge.images import Image
from lumos_edge.knowledge.passage import Passage
from lumos_edge.pictures import Picture, choices_of
from lumos_edge.reader import Reader
from lumos_edge.toolbox import Context, Example, Query, tool
from lumos_edge.values import Text

_TIMEOUT_S = 600.0


@tool(
    interface="VQA(image_context, query): Given image context, answer the given query",
    labels={"question": "Question"},
    timeout_s=_TIMEOUT_S,
)
def VQA(image: Literal["[IMG]"], question: Query, picture: Picture, reader: Reader) -> Text:
    passages, seen = _shown(picture, reader)
    return Text(reader.answer(question, passages, image=seen).text)


@tool(
    interface="QA(context, query): Given context, answer the given query",
    labels={"question": "Question"},
    timeout_s=_TIMEOUT_S,
)
def QA(context: tuple[Text, ...], question: Query, picture: Picture, reader: Reader, task: Context) -> Text:
    """One of the task's choices where the subgoal or the question speaks of them, else a few words."""
    known = "; ".join(fact.text for fact in context)
    passages, seen = _shown(picture, reader)
    choices = choices_of(task.question)
    if choices and ("choice" in f"{task.subgoal} {question}".lower()):
        asked = task.question.partition("There're some choices:")[0].strip()
        said = f"{asked} {known}. {picture.caption}".strip()
        return Text(choices[reader.choose(said, choices, image=seen)])
    passages = [Passage("", f"Answer: {known}", "results"), *passages]
    return Text(reader.answer(question, passages, image=seen).text)


def _shown(picture: Picture, reader: Reader) -> tuple[list[Passage], Image | None]:
    """What the reader gets: the picture itself where it sees, else what is said of it."""
    if picture.image and reader.sees:
        return [], picture.image
    return [Passage("The image", picture.caption, "picture")], None


EXAMPLES = (
    Example(
        "What is the man about to do? There're some choices: A. cook, B. swim, C. ski, D. read. The image shows the "
        "following contents: A man with goggles and a pair of skis stands on a snowy slope beside a lift.",
        (
            (
                "Identify what the man has with him.",
                "R1 = VQA([IMG], Question: What does the man have with him?)",
                "goggles and a pair of skis",
            ),
            (
                "Answer what goggles and a pair of skis are used for.",
                "R2 = QA([R1], Question: What is done with these?)",
                "skis",
            ),
            (
                "Select the choice from the four answer choices.",
                "R3 = QA([R1, R2], Question: Which of the choices is the man about to do?)",
                "C. ski",
            ),
        ),
    ),
)
