"""lumos-edge: language agents that plan, ground and execute, on the device.

    from lumos_edge import Agent

    with Agent.open("base") as agent:
        print(agent.ask("A dozen eggs cost $3. How much are 60 eggs?").answer)

The names in `__all__` are the public API. Each is loaded when it is first used: importing the package loads nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # the one of typing, which would be loaded for it
if TYPE_CHECKING:
    from lumos_edge.agent import Agent as Agent
    from lumos_edge.agent import Budget as Budget
    from lumos_edge.asynchronous import run_async as run_async
    from lumos_edge.engine import Sampling as Sampling
    from lumos_edge.errors import BudgetExceeded as BudgetExceeded
    from lumos_edge.errors import Cancelled as Cancelled
    from lumos_edge.errors import Closed as Closed
    from lumos_edge.errors import EngineError as EngineError
    from lumos_edge.errors import LumosError as LumosError
    from lumos_edge.errors import ModelNotFound as ModelNotFound
    from lumos_edge.errors import StepError as StepError
    from lumos_edge.errors import ToolError as ToolError
    from lumos_edge.knowledge.opening import build_knowledge as build_knowledge
    from lumos_edge.knowledge.passage import Passage as Passage
    from lumos_edge.loading import ModelPack as ModelPack
    from lumos_edge.loading import model_packs as model_packs
    from lumos_edge.loading import pull as pull
    from lumos_edge.runs import Run as Run
    from lumos_edge.toolbox import Context as Context
    from lumos_edge.toolbox import tool as tool
    from lumos_edge.trajectory import Action as Action
    from lumos_edge.trajectory import Attempt as Attempt
    from lumos_edge.trajectory import Event as Event
    from lumos_edge.trajectory import Executed as Executed
    from lumos_edge.trajectory import Finished as Finished
    from lumos_edge.trajectory import Grounded as Grounded
    from lumos_edge.trajectory import Planned as Planned
    from lumos_edge.trajectory import Result as Result
    from lumos_edge.trajectory import Step as Step
    from lumos_edge.trajectory import Subgoal as Subgoal
    from lumos_edge.trajectory import Task as Task
    from lumos_edge.trajectory import TextPiece as TextPiece
    from lumos_edge.trajectory import Trajectory as Trajectory
    from lumos_edge.values import Answer as Answer
    from lumos_edge.values import Boolean as Boolean
    from lumos_edge.values import Equation as Equation
    from lumos_edge.values import Expression as Expression
    from lumos_edge.values import Interval as Interval
    from lumos_edge.values import Items as Items
    from lumos_edge.values import Number as Number
    from lumos_edge.values import Rows as Rows
    from lumos_edge.values import Text as Text
    from lumos_edge.values import Value as Value

_HOMES = {
    "agent": ("Agent", "Budget"),
    "asynchronous": ("run_async",),
    "engine": ("Sampling",),
    "errors": (
        *("BudgetExceeded", "Cancelled", "Closed", "EngineError", "LumosError"),
        *("ModelNotFound", "StepError", "ToolError"),
    ),
    "knowledge.opening": ("build_knowledge",),
    "knowledge.passage": ("Passage",),
    "loading": ("ModelPack", "model_packs", "pull"),
    "runs": ("Run",),
    "toolbox": ("Context", "tool"),
    "trajectory": (
        *("Action", "Attempt", "Event", "Executed", "Finished", "Grounded", "Planned"),
        *("Result", "Step", "Subgoal", "Task", "TextPiece", "Trajectory"),
    ),
    "values": (
        *("Answer", "Boolean", "Equation", "Expression", "Interval", "Items", "Number", "Rows", "Text"),
        "Value",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Action",
    "Agent",
    "Answer",
    "Attempt",
    "Boolean",
    "Budget",
    "BudgetExceeded",
    "Cancelled",
    "Closed",
    "Context",
    "EngineError",
    "Equation",
    "Event",
    "Executed",
    "Expression",
    "Finished",
    "Grounded",
    "Interval",
    "Items",
    "LumosError",
    "ModelNotFound",
    "ModelPack",
    "Number",
    "Passage",
    "Planned",
    "Result",
    "Rows",
    "Run",
    "Sampling",
    "Step",
    "StepError",
    "Subgoal",
    "Task",
    "Text",
    "TextPiece",
    "ToolError",
    "Trajectory",
    "Value",
    "build_knowledge",
    "model_packs",
    "pull",
    "run_async",
    "tool",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    member: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = member
    return member


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
