"""Numbers, dates and truths in words: what an answer such as `1,450 metres (4,757 ft)` or `May 14, 1948` computes as.

Covered: digits, English number words and magnitudes, units of length, area, mass, time, volume and speed, money,
per cent, ranges, the same amount in a second unit, years, months, days, centuries and eras, yes and no. Not covered:
several amounts in one text ("5 dogs and 3 cats"), which mean nothing certain: they read as no quantity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Final, TypeAlias

from lumos_edge.maths.formula import Constant, Formula, Truth

_SIZES: Final[Mapping[str, Mapping[str, str]]] = {
    "length": {
        "0.001": "mm millimetre millimeter",
        "0.01": "cm centimetre centimeter",
        "1": "m metre meter",
        "1000": "km kilometre kilometer",
        "0.0254": "inch inches",
        "0.3048": "ft foot feet",
        "0.9144": "yd yard",
        "1609.344": "mi mile",
        "1852": "nmi nautical_mile",
    },
    "area": {
        "1": "m2 m² square_metre square_meter sq_m",
        "1000000": "km2 km² square_kilometre square_kilometer sq_km",
        "2589988.110336": "square_mile sq_mi",
        "0.09290304": "square_foot square_feet sq_ft",
        "4046.8564224": "acre",
        "10000": "ha hectare",
    },
    "mass": {
        "0.000001": "mg milligram",
        "0.001": "g gram",
        "1": "kg kilogram kilo",
        "1000": "t tonne metric_ton",
        "907.18474": "ton short_ton",
        "0.45359237": "lb lbs pound",
        "0.028349523125": "oz ounce",
        "6.35029318": "stone",
    },
    "time": {
        "1": "s sec second",
        "60": "min minute",
        "3600": "h hr hour",
        "86400": "day",
        "604800": "week",
        "2629746": "month",  # a twelfth of the Gregorian calendar's mean year
        "31556952": "year yr",
        "315569520": "decade",
        "3155695200": "century centuries",
    },
    "volume": {
        "0.001": "ml millilitre milliliter",
        "1": "l litre liter",
        "3.785411784": "gallon gal",
        "0.473176473": "pint",
    },
    "speed": {
        "1": "km/h kmh kph",
        "1.609344": "mph miles_per_hour",
        "3.6": "m/s",
        "1.852": "knot",
    },
}

_UNITS: Final = {
    spelling.replace("_", " "): (dimension, Fraction(size))
    for dimension, sizes in _SIZES.items()
    for size, spellings in sizes.items()
    for spelling in spellings.split()
}

_MAGNITUDES: Final = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_TEENS: Final = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL: Final = {
    **{word: value for value, word in enumerate(_TEENS)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_CURRENCIES: Final = {"dollar": "$", "euro": "€", "pound sterling": "£", "yen": "¥"}


@dataclass(frozen=True)
class Amount:
    """A number from `low` to `high` (mostly equal) in a unit of `size` base units of its dimension.

    The dimension is empty for a plain number and a share, and a currency's sign for money.
    """

    low: Fraction
    high: Fraction
    dimension: str = ""
    size: Fraction = Fraction(1)

    def in_base_units(self) -> Amount:
        """The same amount in its dimension's base unit, such as metres."""
        return Amount(self.low * self.size, self.high * self.size, self.dimension)


@dataclass(frozen=True)
class Date:
    """A day, a month (`day` 0) or a year (`month` 0); years before Christ are negative, a century is its middle."""

    year: int
    month: int = 0
    day: int = 0

    @property
    def n_parts(self) -> int:
        """How exact it is: 1 for a year, 2 for a month, 3 for a day."""
        return 1 + (self.month > 0) + (self.day > 0)


Operand: TypeAlias = Amount | Date | bool


def read_operand(text: str) -> Operand | None:
    """What a short text computes as; None when that is nothing, or nothing certain."""
    plain = " ".join(text.split()).strip(" .").casefold()
    truth = re.match(r"(yes|true|no|false)(?![\w ])", plain)
    if truth:
        return truth[1] in ("yes", "true")
    return _date(plain) or _amount(plain)


# -- dates -------------------------------------------------------------------------------------------------------

_MONTH: Final = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY: Final = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR: Final = r"(?P<year>\d{1,4})(?!\d|,\d)"
_ERA: Final = r"(?P<era>b\.?c\.?(?:e\.?)?|a\.?d\.?|c\.?e\.?)(?!\w)"
_DATES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?!\d)",
        rf"{_MONTH} {_DAY},? {_YEAR}(?: {_ERA})?",
        rf"{_DAY} (?:of )?{_MONTH},? {_YEAR}(?: {_ERA})?",
        rf"{_MONTH},? (?:of )?(?P<year>\d{{4}})(?!\d)",
        rf"(?P<century>\d{{1,2}})(?:st|nd|rd|th)[ -]century(?: {_ERA})?",
        r"(?P<decade>\d{3}0)'?s(?!\w)",
        rf"{_YEAR} ?{_ERA}",
        rf"a\.?d\.? {_YEAR}",
    )
)


def _date(plain: str) -> Date | None:
    """The one date of a text without other digits."""
    for pattern in _DATES:
        match = pattern.search(plain)
        if match:
            rest = plain[: match.start()] + plain[match.end() :]
            return None if re.search(r"\d", rest) else _date_of(match.groupdict())
    return None


def _date_of(parts: Mapping[str, str | None]) -> Date:
    sign = -1 if (parts.get("era") or "").startswith("b") else 1
    if parts.get("century"):
        return Date(sign * (100 * int(parts["century"] or 0) - 50))
    if parts.get("decade"):
        return Date(int(parts["decade"] or 0) + 5)
    month = parts.get("month") or ""
    number = int(month) if month.isdigit() else 1 + _MONTHS.index(month[:3]) if month else 0
    return Date(sign * int(parts["year"] or 0), number, int(parts.get("day") or 0))


# -- amounts -----------------------------------------------------------------------------------------------------

_WORD: Final = "|".join(sorted([*_SMALL, *_MAGNITUDES, "dozen"], key=len, reverse=True))
_WORDS: Final = rf"(?:an? )?(?:{_WORD})(?:(?:[ -]| and )(?:{_WORD}))*(?![\w-])"
_DIGITS: Final = r"(?:\d{1,3}(?:[, ]\d{3})+(?![\d,])(?:\.\d+)?|\d+/\d+|\d+(?:\.\d+)?)"
_UNIT: Final = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_AMOUNT: Final = re.compile(
    rf"(?P<sign>[$€£¥] ?|(?<![\w)])[-−])?(?P<number>(?<![\w.])(?:{_WORDS}|{_DIGITS}))"
    rf"(?: ?(?P<magnitude>{'|'.join(_MAGNITUDES)}|dozen)(?!\w))?"
    rf"(?:[ -]?(?P<unit>%|per ?cent|{'|'.join(_CURRENCIES)}|{_UNIT}|in(?=\)|$))(?:s|es)?(?![\w²/]))?"
)
# What says when an amount was counted is no amount: `75,000 (2010)`, `12 as of May 2020`.
_COUNTED_IN: Final = r"(?:[a-z]+ )?(?:1\d{3}|20\d{2})"
_WHEN: Final = re.compile(
    rf"(?<=.)(?: ?\((?:(?:as of|in|since) )?{_COUNTED_IN}\)|,? (?:as of|in|since|by) {_COUNTED_IN})$"
)
_RANGE: Final = re.compile(r" ?(?:-|–|—|to|or) ?")
_SAME: Final = Fraction(1, 20)


def _amount(plain: str) -> Amount | None:
    """The one amount of a text, from all the places where it is said."""
    if plain in ("none", "nobody", "nothing"):
        return Amount(Fraction(0), Fraction(0))
    matches = list(_AMOUNT.finditer(plain))
    if len(matches) > 1:
        plain = _WHEN.sub("", plain)
        matches = list(_AMOUNT.finditer(plain))
    # "one of the rivers" counts nothing.
    if not matches or re.match(r"one of|one's", plain[matches[0].start() :]):
        return None
    amounts = [_amount_of(match) for match in matches]
    gaps = [plain[a.end() : b.start()] for a, b in pairwise(matches)]
    whole = amounts[0]
    for amount, gap in zip(amounts[1:], gaps, strict=True):
        joined = _joined(whole, amount, gap, is_between="between" in plain or "from" in plain)
        if joined is None:
            return None
        whole = joined
    return whole


def _joined(first: Amount, second: Amount, gap: str, *, is_between: bool) -> Amount | None:
    """Two amounts that are one: a range, `5 feet 9 inches`, or the same in another unit."""
    if _RANGE.fullmatch(gap) or (is_between and gap == " and "):
        size = second.size if not first.dimension else first.size
        return Amount(first.low, second.high, second.dimension, size) if first.low < second.high else None
    if not first.dimension or first.dimension != second.dimension:
        return None
    big, small = first.in_base_units(), second.in_base_units()
    if "(" in gap or gap in (" / ", "/", "; ", " or "):
        return first if abs(big.low - small.low) <= _SAME * abs(big.low) else None
    if gap in (" ", ", ", " and ", "") and second.size < first.size:
        low = first.low + small.low / first.size
        return Amount(low, low, first.dimension, first.size)
    return None


def _amount_of(match: re.Match[str]) -> Amount:
    number = match["number"]
    if number[0].isdigit():
        number = number.replace(",", "").replace(" ", "")
    value = Fraction(number) if number[0].isdigit() else Fraction(_number_of_words(number))
    if match["magnitude"]:
        value *= 12 if match["magnitude"] == "dozen" else _MAGNITUDES[match["magnitude"]]
    sign, unit = (match["sign"] or "").strip(), match["unit"] or ""
    unit = "inch" if unit == "in" else unit
    if sign in ("-", "−"):
        value = -value
    elif sign:
        return Amount(value, value, sign)
    if unit in _CURRENCIES:
        return Amount(value, value, _CURRENCIES[unit])
    if unit in _UNITS:
        return Amount(value, value, *_UNITS[unit])
    return Amount(value / 100, value / 100) if unit else Amount(value, value)


def _number_of_words(words: str) -> int:
    """`two hundred and five thousand` is 205,000; `a dozen` is 12."""
    total = part = 0
    for word in re.split(r"[ -]", words):
        if word in _SMALL:
            part += _SMALL[word]
        elif word == "hundred":
            part = 100 * max(part, 1)
        elif word == "dozen":
            part = 12 * max(part, 1)
        elif word in _MAGNITUDES:
            total, part = total + max(part, 1) * _MAGNITUDES[word], 0
    return total + part


# -- together ----------------------------------------------------------------------------------------------------


def comparable(operands: Iterable[Operand], *, exact_dates: bool) -> list[tuple[Formula, ...]] | None:
    """Formulas for operands that stand in one formula; None when they have nothing in common.

    There are several choices where an operand is a range. Units are converted where they differ. With
    `exact_dates` dates are compared to the day if all have one, else they count as their years.
    """
    known = list(operands)
    dates = [operand for operand in known if isinstance(operand, Date)]
    amounts = [operand for operand in known if isinstance(operand, Amount)]
    scaled = _in_one_unit(amounts, with_dates=bool(dates))
    days = _in_one_precision(dates) if exact_dates and len(dates) == len(known) else [d.year for d in dates]
    if scaled is None or days is None:
        return None
    rest_of_amounts, rest_of_days = iter(scaled), iter(days)
    choices: list[tuple[Formula, ...]] = []
    for operand in known:
        if isinstance(operand, bool):
            choices.append((Truth(operand),))
        elif isinstance(operand, Date):
            choices.append((Constant(Fraction(next(rest_of_days))),))
        else:
            amount = next(rest_of_amounts)
            choices.append(tuple(Constant(value) for value in dict.fromkeys((amount.low, amount.high))))
    return list(product(*choices))


def _in_one_unit(amounts: list[Amount], *, with_dates: bool) -> list[Amount] | None:
    dimensions = {amount.dimension for amount in amounts if amount.dimension}
    sizes = {amount.size for amount in amounts if amount.dimension}
    if with_dates and not sizes <= {_UNITS["year"][1]}:
        return None
    if len(sizes) <= 1 and len(dimensions) <= 1:
        return amounts
    if len(dimensions) > 1 or any(not amount.dimension for amount in amounts):
        return None
    return [amount.in_base_units() for amount in amounts]


def _in_one_precision(dates: list[Date]) -> list[int] | None:
    """Numbers in the order of the dates; None when the parts that all of them have do not tell two apart."""
    n_parts = min(date.n_parts for date in dates)
    numbers = [
        10_000 * date.year + (100 * date.month if n_parts > 1 else 0) + (date.day if n_parts > 2 else 0)
        for date in dates
    ]
    is_even = all(date.n_parts == n_parts for date in dates)
    return numbers if is_even or len(set(numbers)) == len(numbers) else None
