"""The tokens of a prompt: each piece is tokenized by itself, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lumos_edge.engine import Control, Prompt
from lumos_edge.engine.binding import Model
from lumos_edge.errors import EngineError
from lumos_edge.images import Image

if TYPE_CHECKING:
    from lumos_edge.engine.vision import Vision


class PieceTokens:
    """Tokenizes the prompts of one conversation; what the last one began with keeps its tokens."""

    def __init__(self, model: Model, vision: Vision | None = None) -> None:
        self._model = model
        self._vision = vision
        self._known: list[tuple[str | Control | Image, list[int]]] = []

    def of(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt.

        Raises EngineError for a control token that the vocabulary lacks, and for a picture that nothing can look at;
        PictureError for one that cannot be read.
        """
        n_known = 0
        for (piece, _), new in zip(self._known, prompt, strict=False):
            if piece != new:
                break
            n_known += 1
        pieces = self._known[:n_known]
        for piece in prompt[n_known:]:
            starts_text = not pieces or not isinstance(pieces[-1][0], str)
            pieces.append((piece, self._tokens(piece, starts_text)))
        self._known = pieces
        return [token for _, tokens in pieces for token in tokens]

    def add(self, completion: str, tokens: list[int]) -> None:
        """The completion of the last prompt, whose tokens are kept as they were decoded."""
        self._known.append((completion, tokens))

    def _tokens(self, piece: str | Control | Image, starts_text: bool) -> list[int]:
        if isinstance(piece, str):
            return self._model.tokenize(piece, starts_text=starts_text)
        if isinstance(piece, Image):
            if self._vision is None:
                raise EngineError(
                    f"{self._model.path.name} sees no pictures: it was loaded without a projector"
                )
            return self._vision.tokens(piece)
        tokens = self._model.tokenize(piece.text, control=True)
        if len(tokens) != 1:
            raise EngineError(f"{piece.text!r} is no control token of {self._model.path.name}")
        return tokens
