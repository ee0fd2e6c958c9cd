"""The actions of Agent Lumos on web pages: what a query describes is clicked, typed into, or chosen from.

Source of names and interface texts: allenai/lumos at 146dd9d, eval/mind2web/run_eval.py. There a page is a list of
candidates that a cross-encoder ranks; here it is a page, and the element is chosen among those that are on it.
"""

from __future__ import annotations

from typing import Literal

from lumos_edge.reader import Reader
from lumos_edge.toolbox import Example, tool
from lumos_edge.values import Page
from lumos_edge.web.site import Site

# A page has 30 s; the rest is for a user who is asked, and for a model that chooses.
_TIMEOUT_S = 600.0


@tool(
    interface="CLICK(Env, Query): Click the relevant html region in Env according to Query",
    labels={"query": "QUERY"},
    timeout_s=_TIMEOUT_S,
)
def CLICK(page: Page | Literal["Env"], query: str, site: Site, reader: Reader) -> Page:
    return site.act("CLICK", page, query, chooser=reader)


@tool(
    interface="TYPE(Env, Query, Text): Type Text into the relevant html region in Env according to Query",
    labels={"query": "QUERY", "text": "TEXT"},
    timeout_s=_TIMEOUT_S,
)
def TYPE(page: Page | Literal["Env"], query: str, text: str, site: Site, reader: Reader) -> Page:
    return site.act("TYPE", page, query, text, reader)


@tool(
    interface="SELECT(Env, Query, Text): Select the value Text of the relevant selection box in Env according to Query",
    labels={"query": "QUERY", "text": "TEXT"},
    timeout_s=_TIMEOUT_S,
)
def SELECT(page: Page | Literal["Env"], query: str, text: str, site: Site, reader: Reader) -> Page:
    return site.act("SELECT", page, query, text, reader)


EXAMPLES = (
    Example(
        "Find a train from Leeds to York on 3 May.",
        (
            (
                "Type Leeds as the departure station.",
                "R1 = TYPE(Env, QUERY: Type Leeds as the departure station, TEXT: Leeds)",
                "Trains; forms: journey: From, To, Date",
            ),
            (
                "Type York as the arrival station.",
                "R2 = TYPE(R1, QUERY: Type York as the arrival station, TEXT: York)",
                "Trains; forms: journey: From, To, Date",
            ),
            (
                "Choose 3 May as the date.",
                "R3 = SELECT(R2, QUERY: Choose 3 May as the date, TEXT: 3 May)",
                "Trains; forms: journey: From, To, Date",
            ),
            (
                "Click the search button.",
                "R4 = CLICK(R3, QUERY: Click the search button)",
                "Leeds to York; headings: 4 trains on 3 May",
            ),
        ),
    ),
)
