"""Markup to text: what is kept, what is left out, and that no bracket bomb takes more than linear time."""

from __future__ import annotations

import pytest

from lumos_edge.knowledge.wikitext import meanings, plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Rome''' is the ''capital'' of [[Italy]].", "Rome is the capital of Italy."),
        ("The [[Roman Empire|empire]]'s end", "The empire's end"),
        ("== History ==\nOld.", "History\nOld."),
        ("* one\n** two\n# three\n: four", "one\ntwo\nthree\nfour"),
        ("A{{citation needed|date=May 2020}} b{{a|{{b|{{c}}}}}} c", "A b c"),
        (
            "It is {{convert|5|km|mi}} long, {{nowrap|9 m}} wide, {{lang|fr|déjà}}.",
            "It is 5 km long, 9 m wide, déjà.",
        ),
        ("Born {{birth date|1923|5|2|df=y}}.", "Born 1923-5-2."),
        ("Text<ref name=a>A {{cite|x}} note</ref> goes<ref name=a /> on<!-- not seen -->.", "Text goes on."),
        ("[[File:Rome.jpg|thumb|A [[view]] of it]]Rome [[Category:Cities]]", "Rome"),
        ("[https://example.org the site] and [https://example.org]", "the site and"),
        ("a &lt;b&gt; &amp;c <small>d</small><br />e", "a <b> &c d\ne"),
        ("<nowiki>[[not a link]] ''x''</nowiki>", "[[not a link]] ''x''"),
        ("__NOTOC__ [[de:Rom]] [[:Category:Rome]]", "Category:Rome"),
        (
            "{{Infobox city\n| name = Rome\n| population_total = 2,873,000\n| mayor =\n}}",
            "name: Rome\npopulation total: 2,873,000",
        ),
        ("{{unclosed and [[also", "unclosed and also"),
        ("closed }} and ]] here", "closed and here"),
    ],
)
def test_markup(markup: str, text: str) -> None:
    assert plain_text(markup) == text


def test_tables_become_rows() -> None:
    markup = """Before
{| class="wikitable" style="x"
|+ Rivers
! Name !! Length
|-
| style="a" | [[Tiber|The Tiber]] || {{convert|406|km}}
|-
| Po
| align=left | 652 km
in all
|}
After"""
    rows = ["Before", "Rivers", "Name | Length", "The Tiber | 406 km", "Po | 652 km in all", "After"]
    assert plain_text(markup).split("\n") == rows


def test_namespaces_of_other_wikis() -> None:
    assert plain_text("[[Datei:x.jpg|mini|y]]Rom", frozenset(("datei",))) == "Rom"


def test_meanings_are_the_first_links_of_a_disambiguation_page() -> None:
    page = "'''Mercury''' may be:\n* [[Mercury (planet)]], near the [[Sun]]\n* a metal [[Mercury (element)|mercury]]\n"
    assert meanings(page) == ()
    assert meanings(page + "{{disambiguation}}") == ("Mercury (planet)", "Mercury (element)")
    assert meanings(page + "{{Place name disambiguation|geo}}") == meanings(page + "{{hndis|x}}") != ()


@pytest.mark.parametrize(
    "bomb",
    [
        "{{",
        "{{a|",
        "[[",
        "[[a|",
        "\n{|\n|",
        "<ref>",
        "<nowiki>",
        "<!--",
        "=",
        "'",
        "\n",
        " ",
        "[http://a ",
        "<a ",
        "}}",
        "{{a}}",
        "a=b",
        "&",
        "{{x=\n|",
    ],
)
def test_nothing_takes_more_than_linear_time(bomb: str) -> None:
    plain_text(bomb * 60_000)
    meanings(bomb * 60_000)
