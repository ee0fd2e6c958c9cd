"""Tools: a typed function becomes an action of the grounder's language.

    @tool
    def convert_unit(amount: Number, unit: str) -> Number:
        "Convert an amount in metres to another unit"

From the signature follow the interface text that the grounder reads, the grammar of the arguments (`grammar.py`),
their parser and their type check. What a parameter's annotation means in an action:

    Calculation, Equations, ...   a formula with numbers, symbols and results: 48 / 2 + R1
    OpenCalculation, OpenCode     the same, handed over as it is with the results that it uses
    str                           free text without newlines, its parentheses balanced
    Query                         the same, with the names of results in it: population of R3
    Number                        a formula whose value is a number
    Text, ... or a union          an earlier result of that type: R1
    Page | Literal["Env"]         such a result, or one of these words
    tuple[Number, ...]            earlier results in brackets: [R1, R2]
    Literal["a", "b"]             one of these words
    Annotated[str, Database]      a text in the language of that resource, such as a statement
    Context, a Resource           nothing: the executor fills it in
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import types
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from lumos_edge.actions import parse_actions
from lumos_edge.errors import ActionError, ToolPackError, UndefinedResult
from lumos_edge.maths.formula import Formula, references
from lumos_edge.maths.parser import Start, parse
from lumos_edge.resources import content_files
from lumos_edge.trajectory import Action, Attempt, Formulation, Result, Step, Subgoal
from lumos_edge.values import VALUE_TYPES, Answer, Boolean, Equation, Expression, Number, Text, Value

Calculation: TypeAlias = Annotated[Formula, "calculation"]
Equations: TypeAlias = Annotated[Formula, "equations"]
Inequality: TypeAlias = Annotated[Formula, "inequality"]
ItemList: TypeAlias = Annotated[Formula, "listing"]
PseudoCode: TypeAlias = Annotated[Formula, "code"]
Definition: TypeAlias = Annotated[Formula, "definition"]


@dataclass(frozen=True)
class OpenFormula:
    """A formula and the results that it refers to, for a tool that computes with them in its own way."""

    formula: Formula
    results: Mapping[str, Value]


OpenCalculation: TypeAlias = Annotated[OpenFormula, "calculation"]
OpenCode: TypeAlias = Annotated[OpenFormula, "code"]
Query: TypeAlias = Annotated[str, "query"]

ValueTypes: TypeAlias = frozenset[type[Value]]

FORMULA_TYPES: ValueTypes = frozenset({Number, Expression, Equation, Boolean, Answer})
"""The types of the results that may stand inside a formula; an answer, for the number or the truth in it."""

MAX_TEXT = 300
"""Characters that a text argument may have."""


@dataclass(frozen=True)
class Context:
    """What a tool may know besides its arguments: the user's question, how many results the action names, and the
    subgoal that it grounds (empty where several were grounded together).
    """

    question: str
    n_targets: int
    subgoal: str = ""


class Resource:
    """Something of the user's that tools work on, such as a library of passages or a database.

    A tool names a subclass as the annotation of a parameter; the executor hands over the toolbox's resource of that
    class. What such a tool returns depends on the world, not on its arguments alone: a trace records it, so that a
    replay needs no resource.
    """

    wanted: ClassVar[str] = "a resource"
    """What the user has to give, and how, for the error message when a tool finds none."""

    is_changed: ClassVar[bool] = False
    """Whether a run changes it for the next, as it does a page: then no two runs work on it at once."""

    def describe(self) -> str:
        """What the modules are told of it before the task; "" for nothing."""
        return ""

    def write_json(self) -> dict[str, Any] | None:
        """What a replay needs to describe it and to check arguments, as JSON data; None for nothing."""
        return None

    @classmethod
    def read_json(cls, data: dict[str, Any]) -> Resource:
        """What stands for it in a replay: the inverse of `write_json`. Raises KeyError, TypeError, ValueError."""
        raise ValueError(f"{cls.__name__} is not recorded")


class Language(Resource):
    """A resource that knows what may be said of it, such as the statements that fit a database's schema."""

    @abstractmethod
    def rules(self, written: str) -> str:
        """Lark rules for how an argument goes on, from the rule `argument` on, after what is written of it.

        Where it is whole they use the rule `argument_end`. A text that the rules end anywhere else is only a part: it
        goes on with the rules for what is written by then. Whatever comes of them passes `check`.
        """

    @abstractmethod
    def check(self, text: str) -> None:
        """Raise ActionError where the text does not fit the resource."""


R = TypeVar("R", bound=Resource)


@dataclass(frozen=True)
class FormulaArgument:
    """A formula in one of the syntactic categories of `maths.parser`; an open one keeps its references."""

    start: Start
    is_open: bool = False


@dataclass(frozen=True)
class NumberArgument:
    """A formula that the executor evaluates to a number."""


@dataclass(frozen=True)
class TextArgument:
    """Free text; as a query, the names of results that it holds stand for them."""

    is_query: bool = False


@dataclass(frozen=True)
class LanguageArgument:
    """A text in the language of the toolbox's resource of this class; it is a tool's last argument."""

    language: type[Language]


@dataclass(frozen=True)
class ReferenceArgument:
    """One earlier result of these types, or one of these words."""

    types: ValueTypes
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReferencesArgument:
    """One or more earlier results of these types, in brackets."""

    types: ValueTypes


@dataclass(frozen=True)
class ChoiceArgument:
    """One of these words."""

    words: tuple[str, ...]


ArgumentKind: TypeAlias = (
    FormulaArgument
    | NumberArgument
    | TextArgument
    | LanguageArgument
    | ReferenceArgument
    | ReferencesArgument
    | ChoiceArgument
)

Argument: TypeAlias = Formula | str | tuple[str, ...]
"""A parsed argument: a formula, a text, a result's name (as text), or the names of several."""


@dataclass(frozen=True)
class Parameter:
    """One argument of an action; a `label` is written before it: `Query: ...`."""

    name: str
    label: str
    kind: ArgumentKind


@dataclass(frozen=True)
class Tool:
    """A function that actions can call."""

    name: str
    interface: str
    function: Callable[..., Value | tuple[Value, ...]]
    parameters: tuple[Parameter, ...]
    context_name: str
    resources: Mapping[str, type[Resource]]
    returns: ValueTypes
    many_results: bool
    timeout_s: float

    def parse_arguments(self, text: str) -> tuple[Argument, ...]:
        """The typed arguments of the text between the parentheses; raises ActionError."""
        if text and not self.parameters:
            raise ActionError(f"{self.name} has no arguments, found {text[:40]!r}")
        return tuple(
            _parse_argument(part, parameter, self.name)
            for part, parameter in zip(self._split(text), self.parameters, strict=True)
        )

    @property
    def language(self) -> type[Language] | None:
        """The language that its last argument is in, if it is in one."""
        kind = self.parameters[-1].kind if self.parameters else None
        return kind.language if isinstance(kind, LanguageArgument) else None

    def last_argument(self, text: str) -> str:
        """The text of the last argument as far as it is written; raises ActionError."""
        return self._split(text)[-1]

    def _split(self, text: str) -> list[str]:
        """The text of each argument, without its label."""
        parts = []
        rest = text
        for index, parameter in enumerate(self.parameters):
            prefix = f"{parameter.label}: " if parameter.label else ""
            if not rest.startswith(prefix):
                raise ActionError(
                    f"{self.name} expects {prefix!r} before its {parameter.name}, found {rest[:20]!r}"
                )
            rest = rest[len(prefix) :]
            part = rest
            if index + 1 < len(self.parameters):
                part, rest = _split(rest, self.separator(index), parameter, self.name)
            parts.append(part)
        return parts

    def separator(self, index: int) -> str:
        """What stands between the parameter of that index and the next one, up to its label."""
        label = self.parameters[index + 1].label
        return f", {label}: " if label else ", "


def _split(text: str, separator: str, parameter: Parameter, tool: str) -> tuple[str, str]:
    begin = text.find("]") if isinstance(parameter.kind, ReferencesArgument) else 0
    index = text.find(separator, max(begin, 0))
    if isinstance(parameter.kind, (FormulaArgument, NumberArgument)):
        # The commas of a call such as lcm(4, 6) are the formula's own.
        while index >= 0 and text.count("(", 0, index) > text.count(")", 0, index):
            index = text.find(separator, index + 1)
    if index < 0:
        raise ActionError(f"{tool} expects {separator!r} after its {parameter.name}, found {text[:40]!r}")
    # The label itself is read again as the prefix of the next parameter.
    return text[:index], text[index + 2 :]


_NAME = re.compile(r"R\d+|Output")
_NAMES = re.compile(r"\[(R\d+(?:, R\d+)*)\]")


def _parse_argument(text: str, parameter: Parameter, tool: str) -> Argument:
    kind = parameter.kind
    if isinstance(kind, FormulaArgument):
        return parse(text, kind.start)
    if isinstance(kind, NumberArgument):
        return parse(text, "calculation")
    if isinstance(kind, ReferencesArgument):
        match = _NAMES.fullmatch(text)
        if match:
            return tuple(match[1].split(", "))
        raise ActionError(f"{tool} expects results such as [R1, R2] as its {parameter.name}, found {text!r}")
    if isinstance(kind, ReferenceArgument) and not (text in kind.words or _NAME.fullmatch(text)):
        expected = " or ".join(["a result such as R1", *kind.words])
        raise ActionError(f"{tool} expects {expected} as its {parameter.name}, found {text!r}")
    if isinstance(kind, ChoiceArgument) and text not in kind.words:
        raise ActionError(
            f"{tool} expects one of {', '.join(kind.words)} as its {parameter.name}, found {text!r}"
        )
    if not text.strip():
        raise ActionError(f"{tool} expects words as its {parameter.name}, found nothing")
    return text


def argument_references(parameter: Parameter, argument: Argument) -> tuple[str, ...]:
    """The names of the earlier results that an argument uses."""
    if isinstance(argument, tuple):
        return argument
    if isinstance(argument, str):
        kind = parameter.kind
        return (argument,) if isinstance(kind, ReferenceArgument) and argument not in kind.words else ()
    return references(argument)


def accepted_types(kind: ArgumentKind) -> ValueTypes:
    """The types of the results that may stand in an argument of this kind."""
    if isinstance(kind, (FormulaArgument, NumberArgument)):
        return FORMULA_TYPES
    if isinstance(kind, (ReferenceArgument, ReferencesArgument)):
        return kind.types
    return frozenset()


Function: TypeAlias = Callable[..., Value | tuple[Value, ...]]


@overload
def tool(function: Function) -> Tool: ...
@overload
def tool(
    *, name: str = ..., interface: str = ..., labels: Mapping[str, str] = ..., timeout_s: float = ...
) -> Callable[[Function], Tool]: ...
def tool(
    function: Function | None = None,
    *,
    name: str = "",
    interface: str = "",
    labels: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
) -> Tool | Callable[[Function], Tool]:
    """Make a tool of a typed function; see the module's text for what annotations mean.

    `name` defaults to the function's, `interface` to its signature and the first line of its docstring; `labels`
    are written before parameters (`{"query": "Query"}`). Raises TypeError for an annotation that has no meaning.
    """

    def make(function: Function) -> Tool:
        return _make_tool(function, name or function.__name__, interface, labels or {}, timeout_s)

    return make if function is None else make(function)


def _make_tool(
    function: Function, name: str, interface: str, labels: Mapping[str, str], timeout_s: float
) -> Tool:
    hints = get_type_hints(function, include_extras=True)
    returns = hints.pop("return", None)
    many = get_origin(returns) is tuple
    resources = {parameter: hint for parameter, hint in hints.items() if _is_subclass(hint, Resource)}
    parameters = tuple(
        Parameter(parameter, labels.get(parameter, ""), _argument_kind(hint, name, parameter))
        for parameter, hint in hints.items()
        if hint is not Context and parameter not in resources
    )
    if not interface:
        documentation = (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")
        interface = f"{name}({', '.join(p.name for p in parameters)}): {documentation}"
    if any(isinstance(parameter.kind, LanguageArgument) for parameter in parameters[:-1]):
        raise TypeError(f"{name}: an argument in a language must be the last one")
    return Tool(
        name=name,
        interface=interface,
        function=function,
        parameters=parameters,
        context_name=next((key for key, hint in hints.items() if hint is Context), ""),
        resources=resources,
        returns=_value_types(get_args(returns)[0] if many else returns, name, "result"),
        many_results=many,
        timeout_s=timeout_s,
    )


def _argument_kind(hint: Any, tool: str, parameter: str) -> ArgumentKind:
    if hint == Query:
        return TextArgument(is_query=True)
    if get_origin(hint) is Annotated and get_args(hint)[0] in (Formula, OpenFormula):
        return FormulaArgument(get_args(hint)[1], is_open=get_args(hint)[0] is OpenFormula)
    if get_origin(hint) is Annotated and _is_subclass(get_args(hint)[1], Language):
        return LanguageArgument(get_args(hint)[1])
    if hint is str:
        return TextArgument()
    if hint is Number:
        return NumberArgument()
    if get_origin(hint) is Literal:
        return ChoiceArgument(get_args(hint))
    if get_origin(hint) is tuple:
        return ReferencesArgument(_value_types(get_args(hint)[0], tool, parameter))
    words = tuple(w for member in get_args(hint) if get_origin(member) is Literal for w in get_args(member))
    return ReferenceArgument(_value_types(hint, tool, parameter), words)


def _is_subclass(hint: Any, parent: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, parent)


def _value_types(hint: Any, tool: str, where: str) -> ValueTypes:
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    members = tuple(member for member in members if get_origin(member) is not Literal)
    if not all(member in VALUE_TYPES for member in members):
        expected = ", ".join(kind.__name__ for kind in VALUE_TYPES)
        raise TypeError(
            f"{tool}: the {where} is annotated {hint!r}; expected one of {expected} or their union"
        )
    return frozenset(members)


@dataclass(frozen=True)
class Call:
    """An action whose arguments were parsed and checked. `tool` is None for an alias such as `Output = R9`."""

    tool: Tool | None
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Example:
    """A solved task that shows a chat model how subgoals are set and grounded.

    `solution` has for each subgoal its text, its actions as text and the last action's result as text; `environment`
    is what the modules are told of the resources.
    """

    question: str
    solution: tuple[tuple[str, str, str], ...]
    environment: str = ""

    def steps(self, formulation: Formulation) -> tuple[Step, ...]:
        """The solution as steps: one for each subgoal, or all in one in the onetime formulation."""
        steps = tuple(
            Step((Subgoal(number, text),), (Attempt(parse_actions(actions), (Result((Text(result),)),)),))
            for number, (text, actions, result) in enumerate(self.solution, 1)
        )
        if formulation == "iterative":
            return steps
        actions = tuple(action for step in steps for action in step.attempts[0].actions)
        last = steps[-1].attempts[0].results
        return (Step(tuple(step.subgoals[0] for step in steps), (Attempt(actions, last),)),)


class Toolbox:
    """The tools of a task, by name, the examples of their packs, and the resources that the tools work on."""

    def __init__(
        self,
        tools: Iterable[Tool],
        sources: tuple[str | Path, ...] = (),
        examples: Iterable[Example] = (),
        resources: Iterable[Resource] = (),
    ) -> None:
        """Raises ToolPackError for two tools of one name, ValueError for none."""
        self.tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self.tools:
                raise ToolPackError(f"two tools are called {tool.name}: give one of them another name")
            self.tools[tool.name] = tool
        self.resources = tuple(resources)
        self.sources = sources
        self.packs = tuple(Path(source).stem for source in sources)
        self.examples = tuple(examples)
        if not self.tools:
            raise ValueError("a toolbox needs at least one tool")

    @classmethod
    def of_packs(cls, names: Iterable[str | Path], resources: Iterable[Resource] = ()) -> Toolbox:
        """The tools of these packs: names of built-in or user's packs, or paths of Python files. ToolPackError.

        Where two packs have a tool of the same name the later pack's is taken: so the Calculator of `qa`, which also
        computes with answers, stands for that of `maths`, and a tool of the user's for a built-in one.
        """
        packs = tuple(names)
        members = [member for pack in packs for member in load_pack(pack)]
        tools = {member.name: member for member in members if isinstance(member, Tool)}
        examples = [member for member in members if isinstance(member, Example)]
        return cls(tools.values(), packs, examples, resources)

    def resource(self, kind: type[R]) -> R:
        """The resource of that class; raises ToolPackError when there is none."""
        for resource in self.resources:
            if isinstance(resource, kind):
                return resource
        needing = ", ".join(tool.name for tool in self.tools.values() if kind in tool.resources.values())
        raise ToolPackError(f"{needing} needs {kind.wanted}")

    @property
    def is_changed(self) -> bool:
        """Whether a run changes one of the resources for the next."""
        return any(resource.is_changed for resource in self.resources)

    def with_resource(self, resource: Resource) -> Toolbox:
        """The same tools with this resource, in the place of another one of its class."""
        others = [known for known in self.resources if type(known) is not type(resource)]
        return Toolbox(self.tools.values(), self.sources, self.examples, [resource, *others])

    def without(self, name: str) -> Toolbox:
        """The same without a tool; with it if there is no other."""
        others = [tool for tool in self.tools.values() if tool.name != name]
        return Toolbox(others or self.tools.values(), self.sources, self.examples, self.resources)

    def needs(self, kind: type[Resource]) -> bool:
        """Whether a tool works on a resource of that class."""
        return any(kind in tool.resources.values() for tool in self.tools.values())

    def check_resources(self, later: Collection[type[Resource]] = ()) -> None:
        """Raise ToolPackError when a tool's resource is missing; those of `later` need not be there yet."""
        for tool in self.tools.values():
            for kind in tool.resources.values():
                if kind not in later:
                    self.resource(kind)

    @property
    def environment(self) -> str:
        """What the modules are told of the resources before the task."""
        return "\n".join(filter(None, (resource.describe() for resource in self.resources)))

    def check(self, action: Action, bindings: Mapping[str, ValueTypes]) -> Call:
        """Parse an action's arguments and check their types against those of the results so far.

        Raises ActionError for what does not parse or type-check, UndefinedResult for an unknown result.
        """
        if not action.tool:
            self._check_types(action, action.arguments, bindings, frozenset(VALUE_TYPES))
            return Call(None, (action.arguments,))
        tool = self.tools.get(action.tool)
        if tool is None:
            raise ActionError(f"there is no tool {action.tool}; there are {', '.join(self.tools)}")
        if len(action.targets) > 1 and not tool.many_results:
            raise ActionError(f"{tool.name} has one result, {len(action.targets)} are named: {action}")
        arguments = tool.parse_arguments(action.arguments)
        for parameter, argument in zip(tool.parameters, arguments, strict=True):
            if isinstance(parameter.kind, LanguageArgument):
                self.resource(parameter.kind.language).check(str(argument))
            for name in argument_references(parameter, argument):
                self._check_types(action, name, bindings, accepted_types(parameter.kind))
        return Call(tool, arguments)

    @staticmethod
    def _check_types(
        action: Action, name: str, bindings: Mapping[str, ValueTypes], accepted: ValueTypes
    ) -> None:
        if name not in bindings:
            known = ", ".join(bindings) or "there is none yet"
            raise UndefinedResult(f"{action} uses {name}, but the results so far are: {known}")
        if not bindings[name] & accepted:
            found, expected = _type_names(bindings[name]), _type_names(accepted)
            raise ActionError(f"{action} uses {name}, which is {found}; expected {expected}")

    def result_types(self, action: Action, bindings: Mapping[str, ValueTypes]) -> ValueTypes:
        """The types that a checked action's results can have."""
        return self.tools[action.tool].returns if action.tool else bindings[action.arguments]


def _type_names(kinds: ValueTypes) -> str:
    return " or ".join(sorted(kind.__name__ for kind in kinds))


# What running a user's file may raise; MemoryError and the like are not the file's fault.
_LOAD_ERRORS = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, NameError),
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError),
)


def load_pack(pack: str | Path) -> list[Tool | Example]:
    """The tools and examples of a pack in the order of their definition; a name, or the path of a Python file.

    Running the file is what loading means: a user's pack is the user's own program. Raises ToolPackError.
    """
    path = _pack_path(pack)
    name = f"lumos_edge_tools_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ToolPackError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except _LOAD_ERRORS as error:
        raise ToolPackError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    members = [*vars(module).values(), *vars(module).get("EXAMPLES", ())]
    if not any(isinstance(member, Tool) for member in members):
        raise ToolPackError(f"{path} defines no tool: expected functions with @tool")
    return [member for member in members if isinstance(member, (Tool, Example))]


def pack_names() -> dict[str, Path]:
    """Every installed pack's name and file; a user's pack replaces a built-in one of its name."""
    return {path.stem: path for path in content_files("tools", ".py")}


def _pack_path(pack: str | Path) -> Path:
    if isinstance(pack, Path) or pack.endswith(".py"):
        path = Path(pack)
        if not path.is_file():
            raise ToolPackError(f"there is no file {path}")
        return path
    packs = pack_names()
    if pack not in packs:
        raise ToolPackError(f"there is no tool pack {pack!r}; there are {', '.join(packs) or 'none'}")
    return packs[pack]
