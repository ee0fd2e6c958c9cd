"""How far a converted model is from its source: token ids, and the logits of every position."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from lumos_edge.conversion.tensors import Array

PROMPTS = (
    "Please provide a reasonable subgoal-based plan to solve the given task.\nTask: Natalia sold clips to 48 of her "
    "friends in April, and then she sold half as many clips in May. How many clips did she sell altogether?; "
    "Initial Environment Description: None.",
    "The executed result for Subgoal 1 is 24. Should we stop planning?",
    "No, I will keep planning. Subgoal 2: Calculate the number of clips sold in April and May.",
    "Yes, I will stop planning.",
    "Please ground the given subgoal to corresponding executable actions for solving the given task. The grounded "
    "actions must be the one in available action list.",
    "The available action list is 'Calculator', 'SetEquation', 'SolveEquation', 'Count', 'SolveInequality', 'Code', "
    "and 'Define'.",
    "Subgoal to be grounded: Subgoal 1: Find how many eggs are left after breakfast.\nR1 = Calculator(16 - 3)",
    "R1 = SetEquation(3*x + 7 = 22); R2 = SolveEquation(R1); R3 = Calculator(R2 * 4)",
    "R1 = KnowledgeQuery(Genghis Khan); R2 = ParagraphRetrieve(R1, Query: How many children did he have?)",
    "Question: Did Aristotle use a laptop?; Answer: no",
    "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. How much did she earn?",
    "The train leaves at 9:45 and arrives at 13:20; with a break of 15 minutes, how long does it drive?",
    "def fibonacci(n: int) -> int:\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    "SELECT name, COUNT(*) FROM singer JOIN concert USING (singer_id) GROUP BY name HAVING COUNT(*) > 2;",
    '{"question": "What is the capital of France?", "answer": "Paris", "evidence": [1, 2, 3]}',
    "La somme de 3/4 et de 1/8 est égale à 7/8, c'est-à-dire à 0,875.",
    "Сколько яблок осталось у Маши, если она отдала половину из двадцати четырёх?",
    "一共有一百二十个学生，其中三分之一参加了数学比赛。有多少学生没有参加？",
    "Once upon a time there was a small village at the edge of a forest, and in the village lived a clockmaker who",
    "x^2 - 5x + 6 = 0 has the roots 2 and 3, because (x - 2)(x - 3) = x^2 - 5x + 6.",
)
_FRAGMENTS = (
    *(
        "the",
        " Subgoal",
        "R12",
        " = ",
        "Calculator(",
        ")",
        "; ",
        "\n",
        "\n\n",
        "\t",
        " ",
        "  ",
        "   ",
        "    ",
        "        ",
    ),
    *(
        "3.14",
        "1,200",
        "$18",
        "50%",
        "2^10",
        "<=",
        "!=",
        "->",
        "//",
        "/* x */",
        "'s",
        "'LL",
        "don't",
        "I'VE",
        "_a_b",
        "\r\n",
    ),
    *(
        "é",
        "ß",
        "Ω",
        "Привет",
        "日本語",
        "한국어",
        "العربية",
        "עברית",
        "हिन्दी",
        "ไทย",
        "🚀",
        "👩‍👩‍👧",
        "🇫🇷",
        "\u200b",
        "\u00a0",
        "½",
        "ﬁ",
    ),
    *(
        "<|user|>",
        "<|assistant|>",
        "<s>",
        "</s>",
        "<pad>",
        "<unk>",
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
    ),
    *(
        "CamelCaseWord",
        "snake_case",
        "ALLCAPS",
        "\\frac{1}{2}",
        "https://example.org/a?b=c#d",
        "a@b.c",
        "…",
        "—",
        "“x”",
    ),
)


@dataclass(frozen=True)
class TokenParity:
    """Texts whose token ids agree, and the first one whose do not."""

    n_texts: int
    n_equal: int
    first_difference: str | None


@dataclass(frozen=True)
class LogitParity:
    """Logits against those of the source, over all positions; `kl` is the mean KL divergence in nats."""

    n_positions: int
    max_difference: float
    kl: float
    argmax_agreement: float


def passages(n_prompts: int = 4) -> tuple[str, ...]:
    """Twenty longer texts, each some of the prompts in a row: some 2,700 positions in all."""
    twice = PROMPTS + PROMPTS
    return tuple("\n".join(twice[i : i + n_prompts]) for i in range(len(PROMPTS)))


def sample_texts(n_texts: int = 1000, seed: int = 0) -> Iterator[str]:
    """Texts to compare tokenizers on: the prompts, and seeded mixtures of words, code, spaces, scripts and
    markers.
    """
    yield from PROMPTS
    rng = random.Random(seed)
    for _ in range(n_texts - len(PROMPTS)):
        yield "".join(rng.choices(_FRAGMENTS, k=rng.randint(1, 12)))


def texts_without(markers: Iterable[str], n_texts: int = 1000) -> Iterator[str]:
    """`n_texts` of the sample texts in which none of the markers stands."""
    left_out = tuple(markers)
    texts = (text for text in sample_texts(4 * n_texts) if not any(marker in text for marker in left_out))
    return islice(texts, n_texts)


def compare_tokens(
    expected: Callable[[str], Sequence[int]], found: Callable[[str], Sequence[int]], texts: Iterable[str]
) -> TokenParity:
    """Whether two tokenizers give the same ids for each text."""
    n_texts, differing = 0, []
    for text in texts:
        n_texts += 1
        if list(expected(text)) != list(found(text)):
            differing.append(text)
    return TokenParity(n_texts, n_texts - len(differing), differing[0] if differing else None)


def compare_logits(pairs: Iterable[tuple[Array, Array]]) -> LogitParity:
    """Statistics over (expected, found) logits, each of shape `(n_tokens, n_vocab)`; rows beyond the source's
    vocabulary are left out. Raises ValueError for no pair, or for different numbers of tokens.
    """
    n_positions, max_difference, kl, n_agreeing = 0, 0.0, 0.0, 0
    for expected, found in pairs:
        if len(expected) != len(found):
            raise ValueError(f"{len(found)} positions, expected {len(expected)}")
        n_vocab = min(expected.shape[1], found.shape[1])
        left, right = expected[:, :n_vocab].astype(np.float64), found[:, :n_vocab].astype(np.float64)
        n_positions += len(left)
        max_difference = max(max_difference, float(np.abs(left - right).max()))
        kl += float(_kl_divergence(left, right).sum())
        n_agreeing += int((left.argmax(1) == right.argmax(1)).sum())
    if not n_positions:
        raise ValueError("no logits to compare")
    return LogitParity(n_positions, max_difference, kl / n_positions, n_agreeing / n_positions)


def _kl_divergence(expected: Array, found: Array) -> Array:
    log_p, log_q = _log_softmax(expected), _log_softmax(found)
    divergence: Array = (np.exp(log_p) * (log_p - log_q)).sum(1)
    return divergence


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result
