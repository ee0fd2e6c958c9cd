"""The tokens of a prompt: each piece is tokenized by itself, and once."""

from __future__ import annotations

from lumos_edge.engine import Control, Prompt
from lumos_edge.engine.binding import Model
from lumos_edge.errors import EngineError


class PieceTokens:
    """Tokenizes the prompts of one conversation; what the last one began with keeps its tokens."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: list[tuple[str | Control, list[int]]] = []

    def of(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt; raises EngineError for a control token that the vocabulary lacks."""
        n_known = 0
        for (piece, _), new in zip(self._known, prompt, strict=False):
            if piece != new:
                break
            n_known += 1
        pieces = self._known[:n_known]
        for piece in prompt[n_known:]:
            starts_text = not pieces or isinstance(pieces[-1][0], Control)
            pieces.append((piece, self._tokens(piece, starts_text)))
        self._known = pieces
        return [token for _, tokens in pieces for token in tokens]

    def add(self, completion: str, tokens: list[int]) -> None:
        """The completion of the last prompt, whose tokens are kept as they were decoded."""
        self._known.append((completion, tokens))

    def _tokens(self, piece: str | Control, starts_text: bool) -> list[int]:
        if isinstance(piece, str):
            return self._model.tokenize(piece, starts_text=starts_text)
        tokens = self._model.tokenize(piece.text, control=True)
        if len(tokens) != 1:
            raise EngineError(f"{piece.text!r} is no control token of {self._model.path.name}")
        return tokens
