"""Plain typed functions of a program as tools.

    def area(width: float, height: float) -> float:
        "Area of a rectangle"

What an annotation means, beside what `toolbox` gives a meaning to:

    int, float, Fraction     a formula whose value is a number; an int is refused when it is not whole
    bool                     true or false
    list[X] as the result    several values in order

A float that is returned becomes the decimal number of its 15 certain digits (DBL_DIG of IEEE 754): 0.1 + 0.2 is 0.3.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lumos_edge.errors import ToolError
from lumos_edge.toolbox import Tool, tool
from lumos_edge.values import Boolean, Items, Number, Text

_PARAMETERS: dict[Any, Any] = {int: Number, float: Number, Fraction: Number, bool: Literal["true", "false"]}
_RESULTS: dict[Any, Any] = {int: Number, float: Number, Fraction: Number, bool: Boolean, str: Text}


def tool_of(function: Callable[..., Any] | Tool, *, timeout_s: float = 5.0) -> Tool:
    """The tool that calls a plain function; a `Tool` is its own.

    Its name is the function's, and the first line of its docstring is what the grounder reads. Whatever it raises
    becomes the action's error. Raises TypeError for what has no name, no annotations or ones without a meaning.
    """
    if isinstance(function, Tool):
        return function
    name = getattr(function, "__name__", "")
    _check(function, name)
    hints = get_type_hints(function, include_extras=True)

    def call(**arguments: Any) -> Any:
        return _to_value(function(**{key: _from_value(key, hints[key], arguments[key]) for key in arguments}))

    call.__doc__ = inspect.getdoc(function)
    call.__annotations__ = {key: _PARAMETERS.get(hint, hint) for key, hint in hints.items()}
    call.__annotations__["return"] = _result_hint(hints["return"])
    return tool(name=name, timeout_s=timeout_s)(call)


def _check(function: Callable[..., Any], name: str) -> None:
    if not name.isidentifier():
        raise TypeError(f"a tool is a function with a name, {function!r} has none")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name}: a tool is a plain function, not an async one")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{name}: an action has no place for {parameter}")
        if parameter.annotation is parameter.empty:
            raise TypeError(f"{name}: the parameter {parameter.name} has no annotation")
    if signature.return_annotation is signature.empty:
        raise TypeError(f"{name}: the result has no annotation")


def _result_hint(hint: Any) -> Any:
    if get_origin(hint) is list:
        return Items
    if get_origin(hint) is tuple:
        return types.GenericAlias(tuple, (_result_hint(get_args(hint)[0]), ...))
    return _RESULTS.get(hint, hint)


def _from_value(parameter: str, hint: Any, value: Any) -> Any:
    """What the function is given for an argument of an action."""
    if hint is bool:
        return value == "true"
    if hint not in (int, float, Fraction):
        return value
    number: Fraction = value.value
    if hint is int and number.denominator != 1:
        raise ToolError(f"{parameter} must be a whole number, it is {value}")
    return hint(number)


def _to_value(returned: Any) -> Any:
    if isinstance(returned, tuple):
        return tuple(_value(item) for item in returned)
    return _value(returned)


def _value(returned: Any) -> Any:
    if isinstance(returned, bool):
        return Boolean(returned)
    if isinstance(returned, (int, Fraction)):
        return Number(Fraction(returned))
    if isinstance(returned, float):
        if not math.isfinite(returned):
            raise ToolError(f"the result is {returned}, which is no number")
        return Number(Fraction(f"{returned:.15g}"))
    if isinstance(returned, str):
        return Text(returned)
    if isinstance(returned, list):
        return Items(tuple(_value(item) for item in returned))
    return returned
