"""The constraint of one completion: what tokens may come next (llguidance)."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Sequence

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

from lumos_edge.engine import Grammar
from lumos_edge.errors import GrammarError

_CACHED_GRAMMARS = 256

_MAX_CLOSING = 1024  # tokens; a statement of eight columns and five tables takes some 300

# What closes where no text is being written, in the order in which it is tried: a bracket, the end of a SELECT's list,
# the next argument, the other side of a relation, what a word comes after, the shortest operand.
_CLOSERS = (")", "]", " FROM", ",", "=", "<", " ", "1")

_LETTER = "\ua66e"  # one that may come in free text and nowhere else
_SEPARATOR = re.compile(r"\[lazy\]: /.*?\}\?((?:[^/\\]|\\.)+)/")


class GrammarCache:
    """Compiled grammars by their text, the least recently used dropped; a copy costs some 10 us, compiling ms."""

    def __init__(self, tokenizer: llguidance.LLTokenizer) -> None:
        self.tokenizer = tokenizer
        self.compile_s = 0.0
        self._matchers: OrderedDict[str, llguidance.LLMatcher] = OrderedDict()

    def matcher(self, lark: str) -> llguidance.LLMatcher:
        """A fresh matcher for this grammar; raises GrammarError with the line at fault."""
        if lark not in self._matchers:
            self._matchers[lark] = self._compile(lark)
            if len(self._matchers) > _CACHED_GRAMMARS:
                self._matchers.popitem(last=False)
        self._matchers.move_to_end(lark)
        return self._matchers[lark].deep_copy()

    def renewed(self, lark: str) -> llguidance.LLMatcher:
        """A fresh matcher for a grammar whose matchers gave up: copies share a lexer that only grows."""
        del self._matchers[lark]
        return self.matcher(lark)

    def _compile(self, lark: str) -> llguidance.LLMatcher:
        started = time.perf_counter()
        matcher = llguidance.LLMatcher(self.tokenizer, llguidance.LLMatcher.grammar_from_lark(lark))
        if matcher.is_error():
            raise GrammarError(f"the grammar does not compile: {matcher.get_error()}")
        self.compile_s += time.perf_counter() - started
        return matcher


class Constraint:
    """Follows one completion through its grammar; a new part of the grammar begins where the last is complete."""

    def __init__(self, cache: GrammarCache, grammar: Grammar) -> None:
        self._cache = cache
        self._grammar = grammar
        self._bytes = b""
        self._bitmask = llguidance.numpy.allocate_token_bitmask(1, cache.tokenizer.vocab_size)
        self._done = False
        self.n_parts = 0
        self.compile_s = 0.0
        """Seconds for those of its parts that were new to the cache."""
        self._enter_part()

    def _enter_part(self) -> None:
        lark = self._grammar(self._bytes.decode("utf-8", "replace"))
        if lark is None:
            self._done = True
        else:
            self.part = lark
            """The Lark text of the part that is being written, which is the `n_parts`th."""
            self.n_parts += 1
            compiled_before = self._cache.compile_s
            self._matcher = self._cache.matcher(lark)
            self.compile_s += self._cache.compile_s - compiled_before
            self._of_part: list[int] = []

    @property
    def done(self) -> bool:
        """Nothing more may follow."""
        return self._done

    def forced_tokens(self) -> list[int]:
        """Consume and return the tokens that must come next, whatever the model says."""
        forced: list[int] = []
        while not self._done and (tokens := self._matcher.compute_ff_tokens()):
            self.consume(tokens)
            forced += tokens
        return forced

    def allows(self, token: int) -> bool:
        """Whether this one token may come next; some 5 us."""
        return bool(self._matcher.validate_tokens([token]) == 1)

    def allowed_prefix(self, tokens: list[int]) -> list[int]:
        """As many of these tokens as may come next, one after the other, within the present part of the grammar."""
        return tokens[: self._matcher.validate_tokens(tokens)] if tokens else []

    def allowed_tokens(self) -> npt.NDArray[np.intp]:
        """The ids of all the tokens that may come next, ascending; some 25 to 170 us with the vocabulary's size.

        Raises GrammarError when the grammar is too much for llguidance.
        """
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bitmask)
        if self._matcher.is_error():
            self._renew()
            llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bitmask)
            if self._matcher.is_error():
                raise GrammarError(f"the constraint gave up: {_first_line(self._matcher.get_error())}")
        bits = np.unpackbits(self._bitmask.view(np.uint8)[0], bitorder="little")
        return np.flatnonzero(bits[: self._cache.tokenizer.vocab_size])

    @property
    def may_end(self) -> bool:
        """Whether the completion may end here."""
        return self._done or self._matcher.is_accepting()

    def close(self) -> list[int]:
        """Consume and return tokens with which the completion may end; some 20 us each, mostly under twenty.

        In a text, what ends it; elsewhere a closing bracket before all else, and nothing that is not required. As every
        repetition and every text in a grammar has an end, this has one, too.
        """
        closing: list[int] = []
        while not self.may_end and len(closing) < _MAX_CLOSING:
            closing += self.forced_tokens() or self._close_further()
        return closing

    def _close_further(self) -> list[int]:
        closers = self._ends_of_text() if self._fits(_LETTER) else _CLOSERS
        tokens = next((tokens for text in closers if (tokens := self._fits(text))), None)
        tokens = tokens or [min(self.allowed_tokens().tolist(), key=self._plainness)]
        self.consume(tokens)
        return tokens

    def _ends_of_text(self) -> list[str]:
        """A text's own bracket, what ends the text (and is none of its letters), or the one letter it has to have."""
        separators = [re.sub(r"\\(.)", r"\1", found) for found in _SEPARATOR.findall(self.part)]
        ends = [end for end in ("'", *separators) if not self._fits(f"{end} {_LETTER}")]
        return [")", *ends, "1"]

    def _fits(self, text: str) -> list[int]:
        """The tokens of a text that may come next; [] where it may not."""
        tokens = self._cache.tokenizer.greedy_tokenize(text)
        return tokens if self._matcher.validate_tokens(tokens) == len(tokens) else []

    def _plainness(self, token: int) -> tuple[bool, bytes]:
        """Small letters first, then capitals, as of keywords, then all else."""
        text = self._cache.tokenizer.decode_bytes([token])
        return not text[:1].isalnum(), text.swapcase()

    def consume(self, tokens: Sequence[int]) -> None:
        """Take these tokens as written; raises GrammarError when the grammar does not allow them."""
        taken = self._matcher.consume_tokens(list(tokens))
        if not taken and self._matcher.is_error():
            self._renew()
            taken = self._matcher.consume_tokens(list(tokens))
        if not taken:
            raise GrammarError(f"the constraint refused {list(tokens)}: {self._matcher.get_error()}")
        self._of_part += tokens
        self._bytes += self._cache.tokenizer.decode_bytes(list(tokens))
        if self._matcher.is_stopped():
            self._enter_part()

    def _renew(self) -> None:
        """Go on with a new matcher at the same place; raises GrammarError when that gives up, too."""
        reason = _first_line(self._matcher.get_error())
        self._matcher = self._cache.renewed(self.part)
        if not self._matcher.consume_tokens(self._of_part):
            raise GrammarError(f"the constraint gave up: {reason}")


def _first_line(message: str) -> str:
    return message.partition("\n")[0]
