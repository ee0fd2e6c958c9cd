"""Tokenizers: from a checkpoint's files to the keys that llama.cpp's tokenizers read.

Three kinds: SentencePiece (`tokenizer.model`), the same as a `tokenizer.json` with byte fallback, and byte-
level BPE. Types, fillers and scores of added tokens are those of llama.cpp's own converter
(`conversion/base.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
from gguf import TokenType
from sentencepiece import SentencePieceProcessor

from lumos_edge.conversion.checkpoint import read_json
from lumos_edge.errors import ConversionError, VocabularyMismatch

_ADDED_SCORE = -1000.0
_FILLER_SCORE = -10000.0
_SPACE = "▁"  # SentencePiece's visible space
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# Tokens that some publishers do not mark as special (the list of llama.cpp's `does_token_look_special`).
_SPECIAL_LOOK = re.compile(r"<pad>|<mask>|<2mass>|\[@BOS@\]|<\|.*\|>|<｜.*｜>|<unused.*>", re.DOTALL)

_DIGIT_RUNS = r"\p{N}{1,3}"
_GPT_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN_SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a text is cut before the merges -> llama.cpp's name for it (`src/llama-vocab.cpp`, regex_exprs).
# llama.cpp's converter instead hashes the token ids of a probe, which knows publishers' vocabularies only and
# no trained one.
_PRE_TOKENIZERS = {
    (_GPT_SPLIT.format(digits=_DIGIT_RUNS),): "llama-bpe",
    (_GPT_SPLIT.format(digits=r"\p{N}"),): "qwen2",
    (_TEKKEN_SPLIT,): "tekken",
    ("digits", "words"): "smollm",
    ("words",): "gpt-2",
}


@dataclass(frozen=True)
class Token:
    """One row of the vocabulary."""

    text: str
    type: int
    score: float


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as llama.cpp reads it: `model` "llama" (SentencePiece) or "gpt2" (byte-level BPE)."""

    folder: Path
    model: str
    pre_tokenizer: str
    tokens: tuple[Token, ...]
    add_space_prefix: bool | None
    notes: tuple[str, ...]  # what was done that a user may not expect

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        """Write the tokenizer's keys, special tokens and chat template included."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre_tokenizer)
        writer.add_token_list([token.text.encode() for token in self.tokens])
        writer.add_token_types([token.type for token in self.tokens])
        if self.model == "llama":
            writer.add_token_scores([token.score for token in self.tokens])
        if self.add_space_prefix is not None:
            writer.add_add_space_prefix(self.add_space_prefix)
        special = gguf.SpecialVocab(self.folder, load_merges=self.model == "gpt2", n_vocab=len(self.tokens))
        special.add_to_gguf(writer, quiet=True)


def read_vocabulary(folder: Path, n_vocab: int) -> Vocabulary:
    """The tokenizer of a checkpoint whose embedding has `n_vocab` rows.

    Raises VocabularyMismatch when it has tokens without a row, ConversionError when there is no tokenizer, or
    one that llama.cpp does not have.
    """
    if (folder / "tokenizer.model").is_file():
        return _read_sentencepiece(folder, n_vocab)
    if not (folder / "tokenizer.json").is_file():
        raise ConversionError(f"{folder} holds no tokenizer, expected tokenizer.model or tokenizer.json")
    tokenizer = read_json(folder / "tokenizer.json")
    model = tokenizer.get("model")
    if (
        not isinstance(model, dict)
        or model.get("type", "BPE") != "BPE"
        or not isinstance(model.get("vocab"), dict)
    ):
        raise ConversionError(f"{folder / 'tokenizer.json'}: expected a BPE tokenizer")
    read = _read_byte_fallback if model.get("byte_fallback") else _read_byte_level
    return read(folder, tokenizer, n_vocab)


def _read_sentencepiece(folder: Path, n_vocab: int) -> Vocabulary:
    path = folder / "tokenizer.model"
    try:
        pieces = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ConversionError(f"{path} is no SentencePiece model") from error
    found = {
        i: Token(pieces.id_to_piece(i), _piece_type(pieces, i), pieces.get_score(i))
        for i in range(len(pieces))
    }
    config = _read_optional(folder / "tokenizer_config.json")
    added = dict(_added_by_file(folder)) | dict(_added_by_config(config))
    rest = {i: token for i, token in added.items() if i not in found}
    tokens, notes = _fill(path, found | added, n_vocab)
    if rest:
        names = ", ".join(f"{token.text} ({i})" for i, token in sorted(rest.items()))
        notes = (
            f"{n_vocab} rows for the {len(found)} pieces of tokenizer.model: added tokens {names} kept",
            *notes,
        )
    return Vocabulary(folder, "llama", "default", tokens, _adds_space(folder, config), notes)


def _piece_type(pieces: Any, i: int) -> int:
    if pieces.is_unknown(i):
        return int(TokenType.UNKNOWN)
    if pieces.is_control(i):
        return int(TokenType.CONTROL)
    if pieces.is_unused(i):
        return int(TokenType.UNUSED)
    return int(TokenType.BYTE if pieces.is_byte(i) else TokenType.NORMAL)


def _adds_space(folder: Path, config: Mapping[str, Any]) -> bool | None:
    """Whether a text gets a leading space; None leaves it to llama.cpp, which adds one as LLaMA's tokenizer
    does.
    """
    if config.get("add_prefix_space") is not None:
        return bool(config["add_prefix_space"])
    return False if "Gemma" in str(config.get("tokenizer_class")) else None


def _added_by_file(folder: Path) -> Iterator[tuple[int, Token]]:
    special = _special_texts(_read_optional(folder / "special_tokens_map.json"))
    for text, i in _read_optional(folder / "added_tokens.json").items():
        yield int(i), _added_token(text, text in special)


def _special_texts(special: Mapping[str, Any]) -> set[str]:
    entries = (item for entry in special.values() for item in (entry if isinstance(entry, list) else [entry]))
    return {str(entry["content"]) if isinstance(entry, dict) else str(entry) for entry in entries}


def _added_by_config(config: Mapping[str, Any]) -> Iterator[tuple[int, Token]]:
    for i, entry in config.get("added_tokens_decoder", {}).items():
        yield int(i), _added_token(str(entry["content"]), bool(entry.get("special")))


def _added_token(text: str, special: bool) -> Token:
    if special or _SPECIAL_LOOK.fullmatch(text):
        return Token(text, int(TokenType.CONTROL), _ADDED_SCORE)
    return Token(text.replace(_SPACE, " "), int(TokenType.USER_DEFINED), _ADDED_SCORE)


def _added_by_tokenizer(tokenizer: Mapping[str, Any]) -> dict[int, Token]:
    entries = tokenizer.get("added_tokens") or []
    return {int(e["id"]): _added_token(str(e["content"]), bool(e.get("special"))) for e in entries}


def _read_byte_fallback(folder: Path, tokenizer: Mapping[str, Any], n_vocab: int) -> Vocabulary:
    """A SentencePiece model that was saved as merges: the score of a piece is the rank of the merge that
    makes it.
    """
    model, path = tokenizer["model"], folder / "tokenizer.json"
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model.get("merges", [])):
        ranks.setdefault("".join(merge.split(" ", 1) if isinstance(merge, str) else merge), rank)
    found = {
        int(i): Token(text, _fallback_type(text, model), -float(ranks.get(text, len(ranks))))
        for text, i in model["vocab"].items()
    }
    tokens, notes = _fill(path, found | _added_by_tokenizer(tokenizer), n_vocab)
    return Vocabulary(folder, "llama", "default", tokens, _prepends_space(tokenizer), notes)


def _fallback_type(text: str, model: Mapping[str, Any]) -> int:
    if _BYTE.fullmatch(text):
        return int(TokenType.BYTE)
    return int(TokenType.UNKNOWN if text == model.get("unk_token") else TokenType.NORMAL)


def _prepends_space(tokenizer: Mapping[str, Any]) -> bool:
    normalizers = _parts(tokenizer.get("normalizer"), "normalizers")
    metaspaces = _parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return any(part.get("type") == "Prepend" for part in normalizers) or any(
        part.get("type") == "Metaspace" and part.get("prepend_scheme", "always") != "never"
        for part in metaspaces
    )


def _read_byte_level(folder: Path, tokenizer: Mapping[str, Any], n_vocab: int) -> Vocabulary:
    path = folder / "tokenizer.json"
    found = {
        int(i): Token(text, int(TokenType.NORMAL), 0.0) for text, i in tokenizer["model"]["vocab"].items()
    }
    tokens, notes = _fill(path, found | _added_by_tokenizer(tokenizer), n_vocab)
    return Vocabulary(folder, "gpt2", _name_pre_tokenizer(path, tokenizer), tokens, None, notes)


def _name_pre_tokenizer(path: Path, tokenizer: Mapping[str, Any]) -> str:
    steps = tuple(
        step for part in _parts(tokenizer.get("pre_tokenizer"), "pretokenizers") for step in _steps(part)
    )
    if steps not in _PRE_TOKENIZERS:
        known = ", ".join(_PRE_TOKENIZERS.values())
        raise ConversionError(
            f"{path}: unknown pre-tokenizer {' then '.join(steps)[:200]!r}, expected that of {known}"
        )
    return _PRE_TOKENIZERS[steps]


def _parts(entry: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    if entry is None:
        return []
    return list(entry[key]) if entry.get("type") == "Sequence" else [entry]


def _steps(part: Mapping[str, Any]) -> Iterator[str]:
    """What a pre-tokenizer does to the text, as words of `_PRE_TOKENIZERS`; turning bytes to letters cuts
    nothing.
    """
    if part["type"] == "ByteLevel":
        if part.get("add_prefix_space"):
            yield "prefix space"
        if part.get("use_regex", True):
            yield "words"
    elif part["type"] == "Digits":
        yield "digits" if part.get("individual_digits") else "digit runs"
    elif part["type"] == "Split" and part.get("behavior") == "Isolated" and not part.get("invert"):
        yield str(part["pattern"].get("Regex"))
    else:
        yield str(part["type"])


def _fill(path: Path, found: Mapping[int, Token], n_vocab: int) -> tuple[tuple[Token, ...], tuple[str, ...]]:
    """One token for each row of the embedding; rows that the tokenizer never makes get a filler."""
    if not found or max(found) >= n_vocab:
        raise VocabularyMismatch(
            f"{path} has tokens up to id {max(found, default=-1)}, the embedding has {n_vocab} rows"
        )
    n_missing = n_vocab - len(found)
    notes = (
        (f"{n_missing} of the embedding's {n_vocab} rows have no token: named [PADn]",) if n_missing else ()
    )
    fillers = (Token(f"[PAD{i}]", int(TokenType.UNUSED), _FILLER_SCORE) for i in range(n_vocab))
    return tuple(found.get(i, filler) for i, filler in enumerate(fillers)), notes


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
