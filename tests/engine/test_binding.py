"""What the binding refuses before llama.cpp, which would end the process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import gguf
import llguidance.llamacpp
import numpy as np
import pytest

from lumos_edge.engine import Sampling
from lumos_edge.engine.binding import Model
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import AdapterMismatch
from lumos_edge.resources import cache_folder
from tests.engine.tiny import N_EMBD, write_adapter, write_bpe_model, write_spm_model

RANK = 4


@contextmanager
def opened(path: Path) -> Iterator[Model]:
    model = Model(path)
    try:
        yield model
    finally:
        model.close()


def embedding_adapter(path: Path, n_vocab: int) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    for half, n_rows in (("a", n_vocab), ("b", N_EMBD)):
        writer.add_tensor(f"token_embd.weight.lora_{half}", np.ones((n_rows, RANK), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        step()
    writer.close()
    return path


def test_an_adapter_of_the_embedding_is_refused_by_a_model_that_also_writes_with_it(tmp_path: Path) -> None:
    with opened(write_bpe_model(tmp_path / "tied.gguf", is_tied=True)) as model:
        adapter = embedding_adapter(tmp_path / "adapter.gguf", model.n_vocab)
        message = r"adapter\.gguf changes the embedding \(token_embd.weight\), which tied\.gguf also uses as its output"
        with pytest.raises(AdapterMismatch, match=message):
            model.adapter(adapter)


def test_an_adapter_of_other_tensors_fits_a_tied_model(tmp_path: Path) -> None:
    with opened(write_bpe_model(tmp_path / "tied.gguf", is_tied=True)) as model:
        assert model.adapter(write_adapter(tmp_path / "adapter.gguf", 1)).handle


def test_an_adapter_of_the_embedding_runs_where_the_output_is_its_own(tmp_path: Path) -> None:
    path = write_bpe_model(tmp_path / "model.gguf")
    with opened(path) as model:
        adapter = embedding_adapter(tmp_path / "adapter.gguf", model.n_vocab)
    engine = LlamaEngine(path, adapters={"planner": adapter}, n_threads=1)
    pieces = engine.complete(
        "planner",
        ("goal",),
        lambda text: None if text else "start: /[a-z]{4}/",
        max_tokens=8,
        sampling=Sampling(),
    )
    assert len("".join(pieces)) == 4
    engine.close()


def test_a_file_that_is_cut_off_is_refused_with_the_reason_of_llama_cpp(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", 1)
    adapter.write_bytes(adapter.read_bytes()[:60])
    with (
        opened(write_bpe_model(tmp_path / "tied.gguf", is_tied=True)) as model,
        pytest.raises(AdapterMismatch, match="does not fit"),
    ):
        model.adapter(adapter)


def test_the_constraint_engine_gets_the_vocabulary_as_its_own_reader_reads_it(nano_path: Path) -> None:
    with opened(nano_path) as model, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it asks by a name that the binding has changed
        expected = llguidance.llamacpp.lltokenizer_from_vocab(model.vocab, eos_token=model.end_tokens())
        found = model.constraint_tokenizer
        assert found.vocab_size == expected.vocab_size == model.n_vocab
        assert found.eos_tokens == expected.eos_tokens
        for token in range(found.vocab_size):
            assert found.decode_bytes([token]) == expected.decode_bytes([token])
            assert found.is_special_token(token) == expected.is_special_token(token)


def test_the_vocabulary_is_read_once_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bpe_model(tmp_path / "tiny.gguf")
    with opened(path) as model:
        expected = model._read_token_texts()
        assert model._token_texts() == expected
    with opened(path) as model:
        monkeypatch.setattr(model, "_read_token_texts", mock.Mock(side_effect=AssertionError("read again")))
        assert model._token_texts() == expected


def test_a_spoilt_vocabulary_file_is_read_again(tmp_path: Path) -> None:
    path = write_bpe_model(tmp_path / "tiny.gguf")
    with opened(path) as model:
        expected = model._token_texts()
        (file,) = (cache_folder() / "prefixes").iterdir()
        whole = file.read_bytes()
        for content in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
            file.write_bytes(content)
            assert model._token_texts() == expected
        assert file.read_bytes() == whole


def test_another_model_under_the_same_name_has_its_own_vocabulary(tmp_path: Path) -> None:
    path = write_bpe_model(tmp_path / "tiny.gguf")
    with opened(path) as model:
        model._token_texts()
    write_spm_model(path)
    with opened(path) as model:
        assert model._token_texts() == model._read_token_texts()
