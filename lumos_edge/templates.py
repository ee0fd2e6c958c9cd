"""Prompt templates: how a module's conversation is worded and laid out.

A conversation is a function of the trajectory so far, and only grows at its end: that is what lets an engine keep
each module's KV cache. `LumosTemplate` is the paper's, byte for byte; `CompactTemplate` is for adapters of our own;
`FewshotTemplate` lets any chat model be a planner and a grounder by examples, through the chat template in its own
GGUF file. A reader has one turn: a question and passages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lumos_edge.engine import Control, Prompt
from lumos_edge.errors import ModelLoadError
from lumos_edge.grammar import ANSWER, KEEP_PLANNING, STOP_PLANNING
from lumos_edge.images import Image
from lumos_edge.knowledge.passage import Passage
from lumos_edge.toolbox import Example, Toolbox
from lumos_edge.trajectory import Attempt, Formulation, Step, Subgoal, Task

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    image: Image | None = None  # shown before a user's text, so that the next question finds it in the cache


class PromptTemplate(Protocol):
    """Words the two modules' conversations."""

    def planner(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], formulation: Formulation
    ) -> Prompt:
        """What the planner has to continue after these steps."""
        ...

    def grounder(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], current: Step, formulation: Formulation
    ) -> Prompt:
        """What the grounder has to continue to ground `current`, whose attempts so far failed."""
        ...


@dataclass(frozen=True)
class Reading:
    """What a reader is asked. `must_decide`: yes or no, and nothing else. `image`: a picture to look at."""

    question: str
    passages: tuple[Passage, ...]
    must_decide: bool = False
    image: Image | None = None


@dataclass(frozen=True)
class Choosing:
    """What a reader chooses: the line, by its number from 1 on, that the request means."""

    request: str
    lines: tuple[str, ...]
    image: Image | None = None


class ReaderTemplate(Protocol):
    """Words a reader's turn."""

    def reader(self, reading: Reading) -> Prompt:
        """What the reader has to answer."""
        ...

    def choice(self, choosing: Choosing) -> Prompt:
        """What the reader has to choose."""
        ...


# -- the paper's words -----------------------------------------------------------------------------------------
# Source: allenai/lumos at 146dd9d, eval/*/run_eval.py and data/process_for_train.py.

_PLAN_HEADER = "Please provide a reasonable subgoal-based plan to solve the given task.\n"
_GROUND_HEADER = (
    "Please ground the given subgoal to corresponding executable actions for solving the given task. "
    "The grounded actions must be the one in available action list.\n\n"
)

# The interface texts that the paper's checkpoints were trained with, quirks included (complex QA has Calculator
# twice). Other toolboxes are worded alike, from their tools.
_INTERFACES: dict[tuple[str, ...], str] = {
    ("qa",): (
        "The available action list is 'KnowledgeQuery', 'ParagraphRetrieve', 'QA', 'Calculator', and 'Code'.\n"
        "Calculator(formula): Calculate the input formula; "
        "KnowledgeQuery(query): Capture the relevant webpages according to the query; "
        "ParagraphRetrieve(context, query): Given a query, retrieve the most relevant paragraphs from the given "
        "context; QA(context, query): Given context, answer the given query; "
        "Calculator(formula): Calculate the input formula; "
        "Code(pseudo_code): Generate a Python function that corresponds to the pseudo code."
    ),
    ("web",): (
        "The available action list is 'CLICK', 'TYPE', 'SELECT'.\n"
        "CLICK(Env, Query): Click the relevant html region in Env according to Query; "
        "TYPE(Env, Query, Text): Type Text into the relevant html region in Env according to Query; "
        "SELECT(Env, Query, Text): Select the value Text of the relevant selection box in Env according to Query."
    ),
    ("shop",): (
        "The available action list is 'Search', 'FeatureRetrieve', 'Pick' and 'Click'.\n"
        "Search(Query): Search related items according to the Query; "
        "FeatureRetrieve(Feature_list, Query): Select the most relevant features from Feature_list according to "
        "Query; Pick(Item_names, Item_features, Query): Pick the most relevant item from Item_names according to "
        "Query, Item_names and Item_features; Click(Item): Click the Item to check more information."
    ),
    # Out of the paper's annotations, which have the two entries; how the first sentence joins them is not known.
    ("vision",): (
        "The available action list is 'VQA' and 'QA'.\n"
        "VQA(image_context, query): Given image context, answer the given query; "
        "QA(context, query): Given context, answer the given query."
    ),
}

# Families that the paper's checkpoints never saw: there the prompt begins with solved tasks. WebShop's planner is also
# never asked whether to stop, and does not say that it keeps planning (eval/webshop/run_eval.py).
_UNSEEN = (("shop",), ("sql",))


_READ = "Please answer the following question{where}. Please answer with one brief entity, beginning with 'Answer: '."
_MAY_FAIL = {
    True: " If the answer can't be found in the context, answer 'No answer'. No more details and explanations.",
    False: " If the answer can't be answered, output 'No answer'. No more details and explanations.",
}


def reading_text(reading: Reading) -> str:
    """A reader's question in the paper's words: with a context, from memory, or to be decided."""
    where = " according to the context" if reading.passages else ""
    may_fail = "" if reading.must_decide else _MAY_FAIL[bool(reading.passages)]
    must = " Must answer yes/no." if reading.must_decide else ""
    context = f"Context: {_evidence(reading.passages)}\n" if reading.passages else ""
    return f"{_READ.format(where=where)}{may_fail}\n\nQuestion: {reading.question}{must}\n{context}"


def _evidence(passages: Sequence[Passage]) -> str:
    """The passages as the paper's retriever lists them; a title says whom a passage's pronouns mean."""
    lines = []
    for number, passage in enumerate(passages, 1):
        title = f"{passage.title}: " if passage.title else ""
        lines.append(f"Evidence {number}: {title}{' '.join(passage.text.split())}")
    return "\n".join(lines)


def interface_text(toolbox: Toolbox) -> str:
    """The list of actions and what each does, as the grounder reads it."""
    if toolbox.packs in _INTERFACES:
        return _INTERFACES[toolbox.packs]
    names = [f"'{name}'" for name in toolbox.tools]
    listed = f"{', '.join(names[:-1])}, and {names[-1]}" if len(names) > 1 else names[0]
    described = "; ".join(tool.interface for tool in toolbox.tools.values())
    return f"The available action list is {listed}.\n{described}."


def keep_planning(toolbox: Toolbox) -> str:
    """What the planner writes before a second or later subgoal of its own accord."""
    return "" if toolbox.packs == ("shop",) else KEEP_PLANNING


def planner_answer(subgoals: Sequence[Subgoal], keep: str = KEEP_PLANNING) -> str:
    """What the planner wrote when it set these subgoals; `keep` as in `keep_planning`."""
    return (keep if subgoals[0].number > 1 else "") + "; ".join(map(str, subgoals))


def _observation(step: Step, toolbox: Toolbox, *, shows_pages: bool) -> str:
    """What the planner is told of a finished step; the paper's was never shown a page."""
    subgoal = step.subgoals[-1]
    question = "" if toolbox.packs == ("shop",) else ". Should we stop planning?"
    if toolbox.packs == ("web",) and step.done and not shows_pages:
        done = subgoal.text[:1].lower() + subgoal.text[1:].removesuffix(".")
        return f"We have already {done}{question}"
    result = str(step.done.results[-1]) if step.done else "not available"
    if question:
        # A value that ends a sentence itself would double the full stop, which training never showed.
        result = result.removesuffix(".")
    return f"The executed result for Subgoal {subgoal.number} is {result}{question}"


def _planner_turns(
    first: str, toolbox: Toolbox, steps: Sequence[Step], *, shows_pages: bool = True
) -> Iterator[Message]:
    yield Message("user", first)
    for step in steps:
        yield Message("assistant", planner_answer(step.subgoals, keep_planning(toolbox)))
        yield Message("user", _observation(step, toolbox, shows_pages=shows_pages))


def _to_be_grounded(step: Step, toolbox: Toolbox, earlier: Sequence[Step], formulation: Formulation) -> str:
    plural = "s" if formulation == "onetime" else ""
    text = f"Subgoal{plural} to be grounded: {'; '.join(map(str, step.subgoals))}"
    if toolbox.packs != ("qa",) or not earlier:
        return text
    results = " ".join(
        f"The execution result for Subgoal {past.subgoals[-1].number} is {str(past.done.results[-1]).rstrip('.')}."
        for past in earlier
        if past.done
    )
    return f"{text} The grounding could be based on the following results: {results}"


def _grounder_turns(
    header: str, toolbox: Toolbox, steps: Sequence[Step], current: Step, formulation: Formulation
) -> Iterator[Message]:
    for index, step in enumerate([*steps, current]):
        text = _to_be_grounded(step, toolbox, steps[:index], formulation)
        yield Message("user", text if index else header + text)
        for number, attempt in enumerate(step.attempts, 1):
            yield Message("assistant", _attempt_text(attempt))
            if step is current or number < len(step.attempts):
                yield Message("user", f"{attempt.failure}. Please ground again. {text}")


def _attempt_text(attempt: Attempt) -> str:
    return "; ".join(map(str, attempt.actions)) or "There is no action."


def _plan_task(question: str) -> str:
    return f"{_PLAN_HEADER}Task: {question.strip()}; Initial Environment Description: None."


def _ground_task(question: str, toolbox: Toolbox) -> str:
    return f"{_GROUND_HEADER}{interface_text(toolbox)}\n\nTask: {question.strip()} \n"


def _solved(toolbox: Toolbox) -> tuple[Example, ...]:
    """The solved tasks that the paper's prompt begins with."""
    return toolbox.examples if toolbox.packs in _UNSEEN else ()


def _solved_plan(
    first: str, example: Example, toolbox: Toolbox, formulation: Formulation
) -> Iterator[Message]:
    """A solved task's plan."""
    steps = example.steps(formulation)
    if formulation == "onetime":
        yield Message("user", first)
        yield Message("assistant", planner_answer(steps[0].subgoals))
    else:
        yield from _planner_turns(first, toolbox, steps)
        yield Message("assistant", STOP_PLANNING)


def _solved_shopping(first: str, example: Example) -> Iterator[Message]:
    """A solved WebShop task's plan, whose results the paper words otherwise than those of the task itself."""
    yield Message("user", first)
    for number, (text, _, result) in enumerate(example.solution, 1):
        yield Message("assistant", str(Subgoal(number, text)))
        yield Message("user", f"The execution result for Subgoal {number} is {result.strip('.')}.")
    yield Message("assistant", "")


def _solved_grounding(
    header: str, example: Example, toolbox: Toolbox, formulation: Formulation
) -> Iterator[Message]:
    """A solved task's actions, turn by turn."""
    past = example.steps(formulation)
    untried = Step(past[-1].subgoals, ())
    yield from _grounder_turns(header, toolbox, past[:-1], untried, formulation)
    yield Message("assistant", _attempt_text(past[-1].attempts[-1]))


@dataclass(frozen=True)
class LumosTemplate:
    """The paper's template. `variant` "train" closes a turn with the end-of-sequence token, as the training text
    does; "eval" with an empty line and without a beginning-of-sequence token, as the paper's evaluation does.
    """

    variant: Literal["train", "eval"]
    bos: str
    eos: str

    def planner(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.planner`; both formulations have the same words."""
        messages: list[Message] = []
        for example in _solved(toolbox):
            shown = _plan_task(example.question)
            if toolbox.packs == ("shop",) and formulation == "iterative":
                messages += _solved_shopping(shown, example)
            else:
                messages += _solved_plan(shown, example, toolbox, formulation)
        messages += _planner_turns(_plan_task(task.question), toolbox, steps, shows_pages=False)
        return self._render(messages)

    def grounder(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], current: Step, formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.grounder`; the space before the newline is the paper's."""
        messages: list[Message] = []
        for example in _solved(toolbox):
            messages += _solved_grounding(
                _ground_task(example.question, toolbox), example, toolbox, formulation
            )
        header = _ground_task(task.question, toolbox)
        messages += _grounder_turns(header, toolbox, steps, current, formulation)
        return self._render(messages)

    def reader(self, reading: Reading) -> Prompt:
        """See `ReaderTemplate.reader`; the paper gave these words to GPT-3.5."""
        if reading.image:
            return self._render([Message("user", _looking_turn(reading), reading.image)])
        return self._render([Message("user", reading_text(reading))])

    def choice(self, choosing: Choosing) -> Prompt:
        """See `ReaderTemplate.choice`; the paper had a ranking model there, so the words are ours."""
        turn = f"{_CHOOSE_SYSTEM}\n\n{_choosing_turn(choosing)}"
        return self._render([Message("user", turn, choosing.image)])

    def _render(self, messages: list[Message]) -> Prompt:
        is_train = self.variant == "train"
        pieces: list[str | Control | Image] = [Control(self.bos)] if is_train and self.bos else []
        between = ""
        for message in messages:
            if message.image:
                pieces += [
                    f"{between}<|user|>\n",
                    message.image,
                    f"\n{message.text.strip()}\n<|assistant|>\n",
                ]
            elif message.role == "user":
                pieces.append(f"{between}<|user|>\n{message.text.strip()}\n<|assistant|>\n")
            else:
                pieces.append(message.text.strip())
                between = "\n" if is_train else "\n\n"
                pieces += [Control(self.eos)] if is_train else []
        return tuple(pieces)


# -- compact ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CompactTemplate:
    """Short prompts for adapters that were trained on them: no instructions, and no list of tools, which the grammar
    enforces anyway. The grounder's conversation begins as the planner's does, so one training sequence serves both.
    """

    eos: str

    def planner(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.planner`; the observation is the bare result."""
        pieces = self._first(task, toolbox, formulation)
        for step in steps:
            result = step.done.results[-1] if step.done else "not available"
            pieces += [
                planner_answer(step.subgoals, keep_planning(toolbox)),
                Control(self.eos),
                f"{result}\n",
            ]
        return tuple(pieces)

    def grounder(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], current: Step, formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.grounder`; after a failed attempt stands why it failed."""
        pieces = self._first(task, toolbox, formulation)
        for step in [*steps, current]:
            pieces += ["; ".join(map(str, step.subgoals)), Control(self.eos)]
            for number, attempt in enumerate(step.attempts, 1):
                pieces += [_attempt_text(attempt), Control(self.eos)]
                if step is current or number < len(step.attempts):
                    pieces.append(f"{attempt.failure}\n")
        return tuple(pieces)

    def _first(self, task: Task, toolbox: Toolbox, formulation: Formulation) -> list[str | Control]:
        # The end token also begins: the first position draws attention that belongs nowhere (arXiv 2309.17453).
        ending = "\n" if formulation == "onetime" else "\nNext:\n"
        environment = f"{toolbox.environment}\n" if toolbox.environment else ""
        return [Control(self.eos), f"{environment}{task.question.strip()}{ending}"]


# -- few-shot --------------------------------------------------------------------------------------------------

_PLAN_SYSTEM = (
    "You are a planner. Split the task into a few short subgoals that lead to its answer. "
    "Say in each what to find out and how, without computing any result. "
    "The last one must find exactly what the task asks for."
)
_NEXT_SYSTEM = (
    "You are a planner. Solve the task subgoal by subgoal. After each executed result, give the next subgoal, or "
    "stop when that result answers the task."
)
_GROUND_SYSTEM = (
    "You turn subgoals into actions. An action may use earlier results by their names: R1, R2, ...\n"
)


@dataclass(frozen=True)
class FewshotTemplate:
    """A chat model's own chat template with the tool packs' examples before the task."""

    chat: ChatTemplate

    def planner(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.planner`."""
        messages = [Message("system", _PLAN_SYSTEM if formulation == "onetime" else _NEXT_SYSTEM)]
        for example in toolbox.examples:
            given = _given(example.environment, example.question)
            messages += _solved_plan(given, example, toolbox, formulation)
        messages += _planner_turns(_given(toolbox.environment, task.question), toolbox, steps)
        return self.chat.lay_out(messages)

    def grounder(
        self, task: Task, toolbox: Toolbox, steps: Sequence[Step], current: Step, formulation: Formulation
    ) -> Prompt:
        """See `PromptTemplate.grounder`."""
        messages = [Message("system", _GROUND_SYSTEM + interface_text(toolbox))]
        for example in toolbox.examples:
            given = _given(example.environment, example.question)
            messages += _solved_grounding(f"{given}\n", example, toolbox, formulation)
        header = _given(toolbox.environment, task.question) + "\n"
        messages += _grounder_turns(header, toolbox, steps, current, formulation)
        return self.chat.lay_out(messages)

    def reader(self, reading: Reading) -> Prompt:
        """See `ReaderTemplate.reader`; the examples stay in the KV cache from one question to the next."""
        if reading.image:
            return self.chat.lay_out([Message("user", _looking_turn(reading), reading.image)])
        messages = [Message("system", _READ_SYSTEM)]
        for example, answer in _READINGS:
            messages += [Message("user", _reading_turn(example)), Message("assistant", f"{ANSWER}{answer}")]
        return self.chat.lay_out([*messages, Message("user", _reading_turn(reading))])

    def choice(self, choosing: Choosing) -> Prompt:
        """See `ReaderTemplate.choice`."""
        if choosing.image:
            turn = f"{_CHOOSE_SYSTEM}\n\n{_choosing_turn(choosing)}"
            return self.chat.lay_out([Message("user", turn, choosing.image)])
        messages = [Message("system", _CHOOSE_SYSTEM)]
        for example, answer in _CHOICES:
            messages += [Message("user", _choosing_turn(example)), Message("assistant", f"{ANSWER}{answer}")]
        return self.chat.lay_out([*messages, Message("user", _choosing_turn(choosing))])

    def pack_choice(self, question: str, packs: Mapping[str, Toolbox]) -> Prompt:
        """Which pack, by its name, a question is for; the packs' examples show it, one of each in turn."""
        lines = [f"{name}: {_what_for(toolbox)}" for name, toolbox in packs.items()]
        messages = [Message("system", "\n".join((_PACK_SYSTEM, *lines)))]
        for examples in zip_longest(*(toolbox.examples for toolbox in packs.values())):
            for name, example in zip(packs, examples, strict=True):
                if example:
                    messages += [
                        Message("user", f"Task: {example.question}"),
                        Message("assistant", f"{ANSWER}{name}"),
                    ]
        return self.chat.lay_out([*messages, Message("user", f"Task: {question.strip()}")])


_PACK_SYSTEM = "Say which of these tools a task needs. Answer with their name."


def _what_for(toolbox: Toolbox) -> str:
    """Its tools in their own words."""
    return "; ".join(tool.interface.partition("): ")[2] for tool in toolbox.tools.values())


_CHOOSE_SYSTEM = "Choose the line that the request means. Answer with its number."
_CHOICES = (
    (
        Choosing(
            "CLICK: Choose the train at 9:15",
            (
                "button 'Choose' in 08:15 Leeds - York direct 12.40",
                "link 'Trains' in navigation",
                "button 'Choose' in 09:15 Leeds - York 1 change 9.80",
                "button 'Choose' in 10:15 Leeds - York direct 12.40",
            ),
        ),
        3,
    ),
    (
        Choosing(
            "TYPE: Enter York as the destination",
            ("textbox 'To' in journey", "textbox 'From' (Leeds) in journey", "searchbox 'Search' in header"),
        ),
        1,
    ),
    (Choosing("combobox 'Sort by': the cheapest first", ("Newest", "Price: low to high", "Rating")), 2),
)


def _choosing_turn(choosing: Choosing) -> str:
    """The request last, as a reader's question is."""
    lines = "\n".join(f"{number}. {line}" for number, line in enumerate(choosing.lines, 1))
    return f"{lines}\n\nRequest: {choosing.request}"


_READ_SYSTEM = (
    "Answer the question with a few words out of the context. Say 'No answer' when they are not there. "
    "A question for yes or no is answered with Yes or No."
)
_LOOK_SYSTEM = "Look at the picture and answer the question with a few words."
_LOVELACE = Passage(
    "Ada Lovelace",
    "Ada Lovelace was born in London in December 1815. She had two sons and a daughter with William King.",
    "",
)
_TITICACA = Passage(
    "Lake Titicaca",
    "Lake Titicaca lies in the Andes, on the border of Bolivia and Peru, at 3,812 metres.",
    "",
)
_EMU = Passage("Emu", "The emu is a bird that cannot fly. It grows up to 1.9 metres tall.", "")
_READINGS = (
    (Reading("How many sons did Ada Lovelace have?", (_LOVELACE, _TITICACA)), "two"),
    (Reading("How deep is Lake Titicaca?", (_TITICACA,)), "No answer"),
    (Reading("Does an emu fly?", (_EMU,)), "No"),
    (Reading("At what height does Lake Titicaca lie?", (_TITICACA, _EMU)), "3,812 metres"),
    (Reading("Is a tall emu taller than a metre?", (_EMU,), must_decide=True), "Yes"),
)


def _reading_turn(reading: Reading) -> str:
    """The context before the question, so that the question is what a small model saw last."""
    must = " Must answer yes/no." if reading.must_decide else ""
    return f"{_evidence(reading.passages)}\n\nQuestion: {reading.question}{must}".lstrip()


def _looking_turn(reading: Reading) -> str:
    """What is asked of a picture; without examples, whose pictures would have to be looked at first."""
    known = f"{_evidence(reading.passages)}\n\n" if reading.passages else ""
    must = " Must answer yes/no." if reading.must_decide else ""
    return f"{known}{_LOOK_SYSTEM}\n\nQuestion: {reading.question}{must}"


def _given(environment: str, question: str) -> str:
    """The task after what it is set in, which is the same for the next question."""
    return f"{environment}\nTask: {question.strip()}" if environment else f"Task: {question.strip()}"


# Texts that may be control tokens; the vocabulary decides.
MAYBE_CONTROL = r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]"
_CONTENT = "\ue000(\\d+)\ue001"

# For models without a chat template of their own; these tags are plain text to every vocabulary.
_PLAIN_CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n\n{% endfor %}{{ '<|assistant|>\n' }}"
)


@dataclass(frozen=True)
class ChatTemplate:
    """Lays messages out by a GGUF file's `tokenizer.chat_template` (Jinja, run in a sandbox).

    Only the template's own text becomes control tokens, and of that only `controls`; a message's never does.
    """

    source: str
    bos: str
    eos: str
    controls: frozenset[str]

    @classmethod
    def of_vocabulary(
        cls, source: str | None, *, bos: str, eos: str, is_control: Callable[[str], bool]
    ) -> ChatTemplate:
        """The template with those control tokens that the vocabulary has. Raises ModelLoadError.

        Without a template of the model's own, turns are marked in plain text.
        """
        template = cls(source or _PLAIN_CHAT, bos, eos, frozenset())
        sample = template._render([Message("user", "1"), Message("assistant", "2"), Message("user", "3")])
        controls = frozenset(text for text in re.findall(MAYBE_CONTROL, sample) if is_control(text))
        return replace(template, controls=controls)

    def lay_out(self, messages: Sequence[Message]) -> Prompt:
        """The conversation up to where the assistant's next turn begins; raises ModelLoadError.

        A model that knows no system role is told it in the first user turn.
        """
        try:
            text = self._render(messages)
        except ModelLoadError:
            if messages[0].role != "system":
                raise
            first = Message("user", f"{messages[0].text}\n\n{messages[1].text}")
            messages = [first, *messages[2:]]
            text = self._render(messages)
        return _pieces(text, messages, self.controls)

    def _render(self, messages: Sequence[Message]) -> str:
        """The text with a mark in each message's place, so that nothing in a message is taken for the template's."""
        import jinja2

        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        lists = [[{"type": "text", "text": mark}] for mark in marks]
        try:
            # Templates of models that see take a message in parts, and some of them write nothing of a plain text.
            for contents in (marks, lists):
                turns = [{"role": m.role, "content": c} for m, c in zip(messages, contents, strict=True)]
                text = _compiled(self.source).render(
                    messages=turns, add_generation_prompt=True, bos_token=self.bos, eos_token=self.eos
                )
                if marks[-1] in text:
                    return text
        except jinja2.TemplateError as error:
            raise ModelLoadError(f"the model's chat template fails: {error}") from error
        raise ModelLoadError("the model's chat template leaves out what is asked")


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    # As transformers compiles them (utils/chat_template_utils.py).
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)


def _pieces(text: str, messages: Sequence[Message], controls: frozenset[str]) -> Prompt:
    """Cut a rendered text at its control tokens and round the assistant's turns, and put the messages in."""
    pieces: list[str | Control | Image] = []
    plain = ""
    position = 0
    for match in re.finditer(f"{_CONTENT}|{MAYBE_CONTROL}", text):
        plain += text[position : match.start()]
        position = match.end()
        message = messages[int(match[1])] if match[1] else None
        if message and message.image:
            pieces += [plain, message.image] if plain else [message.image]
            plain = f"\n{message.text}"
        elif message and message.role != "assistant":
            plain += message.text
        elif not message and match[0] not in controls:
            plain += match[0]
        else:
            pieces += [plain] if plain else []
            pieces.append(message.text if message else Control(match[0]))
            plain = ""
    plain += text[position:]
    return (*pieces, plain) if plain else tuple(pieces)


def write_json(template: PromptTemplate | ReaderTemplate) -> dict[str, Any]:
    """A template as JSON data, for a trace."""
    if isinstance(template, LumosTemplate):
        return {"template": "lumos", "variant": template.variant, "bos": template.bos, "eos": template.eos}
    if isinstance(template, CompactTemplate):
        return {"template": "compact", "eos": template.eos}
    assert isinstance(template, FewshotTemplate)
    chat = template.chat
    return {
        "template": "fewshot",
        "source": chat.source,
        "bos": chat.bos,
        "eos": chat.eos,
        "controls": sorted(chat.controls),
    }


def read_json(data: dict[str, Any]) -> LumosTemplate | CompactTemplate | FewshotTemplate:
    """The inverse of `write_json`; raises KeyError for other data."""
    if data["template"] == "lumos":
        return LumosTemplate(data["variant"], data["bos"], data["eos"])
    if data["template"] == "compact":
        return CompactTemplate(data["eos"])
    return FewshotTemplate(
        ChatTemplate(data["source"], data["bos"], data["eos"], frozenset(data["controls"]))
    )
