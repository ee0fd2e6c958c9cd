"""llama.cpp gives the token ids that the checkpoint's own tokenizer gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from gguf import TokenType
from tokenizers import Tokenizer, pre_tokenizers

from lumos_edge.conversion.checkpoint import read_checkpoint
from lumos_edge.conversion.model import plan_model, write_model
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.native_model import open_model
from lumos_edge.conversion.parity import compare_tokens, sample_texts
from lumos_edge.conversion.vocabulary import Vocabulary, read_vocabulary
from lumos_edge.errors import ConversionError, VocabularyMismatch
from tests.conversion.checkpoints import (
    SPLITTERS,
    add_sentencepiece,
    add_tokenizer,
    byte_fallback_tokenizer,
    byte_level_tokenizer,
    config,
    weights,
    write_checkpoint,
)


def convert(folder: Path, model_type: str, n_vocab: int) -> Path:
    settings = config(model_type, n_vocab, num_hidden_layers=1)
    write_checkpoint(folder, settings, weights(settings))
    output = folder / "model.gguf"
    write_model(plan_model(read_checkpoint(folder), "f32"), output, ModuleMetadata(), lambda _: None)
    return output


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("pre_tokenizer", SPLITTERS)
def test_byte_level_ids_are_those_of_the_tokenizer(tmp_path: Path, pre_tokenizer: str) -> None:
    tokenizer = byte_level_tokenizer(pre_tokenizer)
    n_vocab = add_tokenizer(tmp_path, tokenizer)
    assert read_vocabulary(tmp_path, n_vocab).pre_tokenizer == pre_tokenizer
    with open_model(convert(tmp_path, "llama", n_vocab)) as model:
        parity = compare_tokens(lambda text: encode(tokenizer, text), model.tokenize, sample_texts(1000))
    assert (parity.n_equal, parity.first_difference) == (1000, None)


def test_sentencepiece_ids_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    n_vocab = add_sentencepiece(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    texts = [
        text for text in sample_texts(1500) if not any(marker in text for marker in ("<s>", "</s>", "<unk>"))
    ]
    assert len(texts) > 1000
    with open_model(convert(tmp_path, "llama", n_vocab)) as model:
        parity = compare_tokens(pieces.encode, model.tokenize, texts)
    assert (parity.n_equal, parity.first_difference) == (len(texts), None)


def test_merges_with_byte_fallback_are_read_as_sentencepiece(tmp_path: Path) -> None:
    tokenizer = byte_fallback_tokenizer()
    n_vocab = add_tokenizer(tmp_path, tokenizer)
    texts = [
        text for text in sample_texts(1500) if not any(marker in text for marker in ("<s>", "</s>", "<unk>"))
    ]
    with open_model(convert(tmp_path, "llama", n_vocab)) as model:
        parity = compare_tokens(lambda text: encode(tokenizer, text), model.tokenize, texts)
    assert (parity.n_equal, parity.first_difference) == (len(texts), None)


def types(vocabulary: Vocabulary, *texts: str) -> list[TokenType]:
    found = {token.text: TokenType(token.type) for token in vocabulary.tokens}
    return [found[text] for text in texts]


def test_the_pad_token_that_the_pieces_lack_is_kept_and_said(tmp_path: Path) -> None:
    n_pieces = add_sentencepiece(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<pad>": n_pieces}))
    vocabulary = read_vocabulary(tmp_path, n_pieces + 1)
    assert vocabulary.notes == (
        f"{n_pieces + 1} rows for the {n_pieces} pieces of tokenizer.model: added tokens <pad> ({n_pieces}) kept",
    )
    assert types(vocabulary, "<unk>", "<s>", "<0x0A>", "<pad>", "▁the") == [
        TokenType.UNKNOWN,
        TokenType.CONTROL,
        TokenType.BYTE,
        TokenType.CONTROL,
        TokenType.NORMAL,
    ]


def test_added_tokens_of_the_config_win(tmp_path: Path) -> None:
    n_pieces = add_sentencepiece(tmp_path)
    added = {
        str(n_pieces): {"content": "<tool>", "special": False},
        str(n_pieces + 1): {"content": "<|user|>", "special": False},
        str(n_pieces + 2): {"content": "<call>", "special": True},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    vocabulary = read_vocabulary(tmp_path, n_pieces + 3)
    assert types(vocabulary, "<tool>", "<|user|>", "<call>") == [
        TokenType.USER_DEFINED,
        TokenType.CONTROL,
        TokenType.CONTROL,
    ]


@pytest.mark.parametrize(
    ("tokenizer_config", "expected"),
    [({}, None), ({"add_prefix_space": False}, False), ({"tokenizer_class": "GemmaTokenizer"}, False)],
)
def test_a_leading_space_is_added_as_the_tokenizer_does(
    tmp_path: Path, tokenizer_config: dict[str, Any], expected: bool | None
) -> None:
    n_pieces = add_sentencepiece(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    assert read_vocabulary(tmp_path, n_pieces).add_space_prefix is expected


def test_an_unknown_pre_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer("qwen2")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel()]
    )
    n_vocab = add_tokenizer(tmp_path, tokenizer)
    with pytest.raises(
        ConversionError, match=r"unknown pre-tokenizer 'Whitespace then .*expected that of llama-bpe"
    ):
        read_vocabulary(tmp_path, n_vocab)


def test_other_kinds_of_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"holds no tokenizer, expected tokenizer\.model or tokenizer\.json"
    ):
        read_vocabulary(tmp_path, 10)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": {}}}))
    with pytest.raises(ConversionError, match="expected a BPE tokenizer"):
        read_vocabulary(tmp_path, 10)
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(ConversionError, match=r"tokenizer\.model is no SentencePiece model"):
        read_vocabulary(tmp_path, 10)


def test_tokens_without_a_row_are_refused_with_both_numbers(tmp_path: Path) -> None:
    n_vocab = add_tokenizer(tmp_path, byte_level_tokenizer("qwen2"))
    with pytest.raises(
        VocabularyMismatch, match=rf"up to id {n_vocab - 1}, the embedding has {n_vocab - 1} rows"
    ):
        read_vocabulary(tmp_path, n_vocab - 1)
