from __future__ import annotations

import pytest

from lumos_edge.maths.domain import Domain, domain_of
from lumos_edge.maths.parser import parse


@pytest.mark.parametrize(
    ("task", "domain"),
    [
        ("The sum of the squares of three consecutive positive even numbers is 12296.", "positive integer"),
        ("Find all positive integers n with n^2 = 64.", "positive integer"),
        ("What is the positive solution of x^2 = 2?", "positive"),
        ("What is the positive difference between the roots of x^2 - 5x - 6?", "real"),
        ("Find the negative real number x.", "negative"),
        ("A non-negative integer n satisfies this.", "nonnegative integer"),
        ("A nonnegative number x.", "nonnegative"),
        ("The product of a positive integer and a negative integer is -6.", "integer"),
        ("What is x to the nearest integer?", "real"),
        ("Let f be the greatest integer function.", "real"),
        ("Find a natural number.", "positive integer"),
        ("Find a whole number.", "nonnegative integer"),
        ("Two consecutive numbers add up to -7.", "integer"),
        ("How many clips did Natalia sell?", "nonnegative"),
        ("How old is Tom?", "nonnegative"),
        ("How much did the shop gain or lose?", "real"),
        ("Solve x^2 = 4.", "real"),
    ],
)
def test_only_words_about_the_unknown_promise_something(task: str, domain: str) -> None:
    assert str(domain_of(task)) == domain


@pytest.mark.parametrize(
    ("domain", "allowed"),
    [
        (Domain(), ["-2", "0", "0.5", "sqrt(2)", "-sqrt(2)", "x - 1"]),
        (Domain(positive=True), ["0.5", "sqrt(2)", "x - 1"]),
        (Domain(negative=True), ["-2", "-sqrt(2)", "x - 1"]),
        (Domain(nonnegative=True), ["0", "0.5", "sqrt(2)", "x - 1"]),
        (Domain(integer=True), ["-2", "0", "x - 1"]),
    ],
)
def test_a_domain_allows_what_it_says(domain: Domain, allowed: list[str]) -> None:
    every = ["-2", "0", "0.5", "sqrt(2)", "-sqrt(2)", "x - 1"]
    assert [text for text in every if domain.allows(parse(text, "calculation"))] == allowed
