"""A tool pack of one's own: `lumos-edge ask --tools examples/units.py "..."` (needs `pip install pint`)."""

from fractions import Fraction
from typing import Literal

import pint

from lumos_edge.toolbox import Example, tool
from lumos_edge.values import Number

UNITS = pint.UnitRegistry(non_int_type=Fraction)
Unit = Literal["mile", "kilometre", "metre", "foot", "pound", "kilogram", "hour", "minute", "litre", "gallon"]


@tool(name="Convert")
def convert(amount: Number, unit: Unit, target: Unit) -> Number:
    """Convert an amount of a unit to the target unit"""
    return Number(Fraction(UNITS.Quantity(amount.value, unit).to(target).magnitude))


SOLUTION = (("Convert 12 feet to metres.", "R1 = Convert(12, foot, metre)", "3.6576"),)
EXAMPLES = (Example("How many metres are 12 feet?", SOLUTION),)
