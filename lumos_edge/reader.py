"""The reader: a short answer to a question, out of passages, or one of several lines.

Extractive, the grammar admits only spans of the passages, yes or no to a yes/no question, and `No answer`; free, it
admits any one line. Source of the contract: Agent Lumos, arXiv 2311.05657, where GPT-3.5 is the reader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lumos_edge.engine import Completion, Engine, Grammar, Prompt, Sampling, drained
from lumos_edge.errors import ContextWindowExceeded, PictureError, ToolError
from lumos_edge.grammar import ANSWER, choice_grammar, line_grammar, span_grammar
from lumos_edge.images import Image
from lumos_edge.knowledge.passage import Passage
from lumos_edge.templates import Choosing, ReaderTemplate, Reading
from lumos_edge.toolbox import Resource
from lumos_edge.trajectory import Step
from lumos_edge.values import NO_ANSWER, Answer, Passages


@dataclass(frozen=True)
class Reader(Resource):
    """Answers questions from passages.

    `is_extractive` False lets it use its own words. `may_recall` lets its callers ask without any passage, for what
    the weights remember; `sees` lets them show it a picture.
    """

    wanted: ClassVar[str] = "a reader, the third module of an agent"

    engine: Engine
    template: ReaderTemplate
    sampling: Sampling
    max_tokens: int
    is_extractive: bool = True
    may_recall: bool = False
    sees: bool = False

    def answer(
        self,
        question: str,
        passages: Sequence[Passage],
        *,
        must_decide: bool = False,
        image: Image | None = None,
    ) -> Answer:
        """The answer, with the passage that supports it; its text is `No answer` where the passages have none.

        With `must_decide` it is yes or no. Of an `image`, which is looked at beside the passages, it is
        in the reader's own words. Passages that do not fit into the context window are left out whole, the
        last ones first, and the answer's `trail` says how many. Costs the evaluation of the passages, some 1.4
        tokens a word. Raises EngineError; ContextWindowExceeded when the question alone does not fit; ToolError for a
        picture that cannot be read.
        """
        kept = tuple(passages)
        trail: tuple[str, ...] = ()
        size = room = sum(_size(passage) for passage in passages)
        while True:
            try:
                completion = self._complete(Reading(question, kept, must_decide, image))
                break
            except ContextWindowExceeded as error:
                if not kept:
                    raise
                # The excess is known in tokens; a little more goes, so that few tries are needed.
                room = min(int(0.9 * room), size * error.n_ctx // error.n_tokens)
                kept = _fitting(passages, room)
                trail = (_left_out(len(passages), len(kept), error),)
            if not kept:
                return Answer(NO_ANSWER, question, (), trail)
        text = completion.text.removeprefix(ANSWER).strip()
        if image or not self.is_extractive:
            text = text.removesuffix(".")
        return Answer(text, question, supporting(kept, question, text), trail)

    def caption(self, image: Image) -> str:
        """What a picture shows, in a sentence. Raises what `answer` raises."""
        return self.answer("What does the picture show? Answer in one sentence.", (), image=image).text

    def choose(self, request: str, lines: Sequence[str], *, image: Image | None = None) -> int:
        """The index of the line that the request means; of the first ones, where all do not fit in the window.

        Raises EngineError; ContextWindowExceeded when the request and one line do not fit.
        """
        shown = tuple(lines)
        while True:
            numbers = map(str, range(1, len(shown) + 1))
            try:
                prompt = self.template.choice(Choosing(request, shown, image))
                completion = self._decode(prompt, choice_grammar(*numbers))
            except ContextWindowExceeded:
                if len(shown) < 2:
                    raise
                shown = shown[: len(shown) // 2]
            else:
                return int(completion.text.removeprefix(ANSWER)) - 1

    def _complete(self, reading: Reading) -> Completion:
        return self._decode(self.template.reader(reading), self._grammar(reading))

    def _decode(self, prompt: Prompt, grammar: Grammar) -> Completion:
        text = self.engine.complete(
            "reader", prompt, grammar, max_tokens=self.max_tokens, sampling=self.sampling
        )
        try:
            return drained(text)
        except (
            PictureError
        ) as error:  # it was a picture when it was opened: the world's fault, not the user's
            raise ToolError(str(error)) from error

    def _grammar(self, reading: Reading) -> Grammar:
        if reading.must_decide:
            return choice_grammar("Yes", "No")
        if reading.image:
            return choice_grammar("Yes", "No") if is_yes_no(reading.question) else line_grammar()
        if not self.is_extractive:
            return line_grammar()
        if is_yes_no(reading.question):
            return choice_grammar("Yes", "No", NO_ANSWER)
        if not reading.passages:  # from memory there is nothing to extract
            return line_grammar()
        return span_grammar([text for p in reading.passages for text in (p.title, p.text) if text])


def _size(passage: Passage) -> int:
    return len(passage.title) + len(passage.text)


def _fitting(passages: Sequence[Passage], room: int) -> tuple[Passage, ...]:
    """The first passages that have that many characters together; one that alone is too long is passed over."""
    kept = []
    for passage in passages:
        if _size(passage) <= room:
            kept.append(passage)
            room -= _size(passage)
    return tuple(kept)


def _left_out(n_passages: int, n_kept: int, error: ContextWindowExceeded) -> str:
    return f"{n_passages - n_kept} of {n_passages} passages left out: {error}"


_AUXILIARY = (
    r"(?:is|are|am|was|were|do|does|did|can|could|will|would|shall|should|may|might|must|has|have|had)"
    r"(?:n['’]t)?"
)
_YES_NO = re.compile(rf"(?:[^?]*[,;:] )?(?:(?:and|but|so|then|also|hypothetically),? )?{_AUXILIARY} ", re.I)
_ASKS_WHAT = re.compile(r"\b(?:what|which|who|whom|whose|where|when|why|how)\b", re.I)
_CHOICE = re.compile(r"\w or \w+\?$", re.I)


def is_yes_no(question: str) -> bool:
    """Whether a question can be answered with yes or no: 2,060 of StrategyQA's 2,061 train questions are found.

    A choice ("Is it sweet or salty?") is none.
    """
    text = question.strip()
    if _CHOICE.search(text):
        return False
    return bool(_YES_NO.match(text)) or (text.endswith("?") and not _ASKS_WHAT.search(text))


def supporting(passages: Sequence[Passage], question: str, answer: str) -> tuple[Passage, ...]:
    """The passage that says the answer, of several the one with most of the question's words.

    For yes and no it is the one with most of the question's words; none where no passage has a word of the answer.
    """
    if answer == NO_ANSWER:
        return ()
    saying = [
        p for p in passages if answer in " ".join(p.text.split()) or answer in " ".join(p.title.split())
    ]
    decided = answer in ("Yes", "No")
    near = [p for p in passages if decided or _words(answer) & _words(f"{p.title} {p.text}")]
    asked = _words(f"{question} {answer}")
    best = max(saying or near, key=lambda p: len(asked & _words(f"{p.title} {p.text}")), default=None)
    return (best,) if best else ()


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def results_as_passages(steps: Sequence[Step]) -> tuple[Passage, ...]:
    """What the steps came to, each as `Question: ...; Answer: ...`: the context of the last question to a reader.

    Source: allenai/lumos at 146dd9d, eval/strategyqa/run_eval.py.
    """
    lines: dict[str, None] = {}
    for step in steps:
        results = step.done.results if step.done else ()
        values = [value for result in results for value in result.values]
        for value in values:
            if isinstance(value, Answer):
                lines[f"Question: {value.question}; Answer: {value.text}"] = None
        if values and not isinstance(values[-1], (Answer, Passages)):
            lines[f"Question: {step.subgoals[-1].text}; Answer: {values[-1]}"] = None
    return tuple(Passage("", line, "results") for line in lines)
