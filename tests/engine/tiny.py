"""Tiny GGUF files with a fixed seed, for the real llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

N_EMBD, N_HEAD, N_LAYER, N_FF = 64, 4, 2, 128
CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")

# GPT-2's printable stand-ins for the 256 bytes (openai/gpt-2, src/encoder.py, bytes_to_unicode).
_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_BYTES = [
    chr(b) if b in _PRINTABLE else chr(256 + [x for x in range(256) if x not in _PRINTABLE].index(b))
    for b in range(256)
]


def write_bpe_model(
    path: Path,
    *,
    chat_template: str | None = None,
    n_ctx: int = 512,
    metadata: Mapping[str, str] | None = None,
    seed: int = 7,
    is_tied: bool = False,
    more_control: Sequence[str] = (),
) -> Path:
    """A LLaMA with a byte-level BPE vocabulary: control tokens, 256 bytes, and a few merges.

    `is_tied`: its output is its embedding.
    """
    merges = [
        "S u",
        "Su b",
        "g o",
        "go a",
        "goa l",
        "Sub goal",
        "R 1",
        "( 1",
        *(["Ċ Ċ"] if more_control else []),
    ]
    control = [*CONTROL, *more_control]
    tokens = [*control, *_BYTES, *(merge.replace(" ", "") for merge in merges)]
    writer = _writer(path, len(tokens), n_ctx)
    for key, value in (metadata or {}).items():
        writer.add_string(key, value)
    _add_byte_vocabulary(writer, tokens, merges, len(control))
    if chat_template:
        writer.add_chat_template(chat_template)
    return _finish(writer, path, len(tokens), seed, is_tied=is_tied)


def write_recurrent_model(path: Path) -> Path:
    """A Mamba with a vocabulary of bytes."""
    tokens = [*CONTROL, *_BYTES, "go"]
    n_inner, n_state, n_rank = 128, 8, 4
    writer = gguf.GGUFWriter(path, "mamba")
    for add, value in (
        (writer.add_context_length, 4096),
        (writer.add_embedding_length, N_EMBD),
        (writer.add_feed_forward_length, 0),
        (writer.add_head_count, 0),
        (writer.add_block_count, N_LAYER),
        (writer.add_ssm_conv_kernel, 4),
        (writer.add_ssm_inner_size, n_inner),
        (writer.add_ssm_state_size, n_state),
        (writer.add_ssm_time_step_rank, n_rank),
        (writer.add_layer_norm_rms_eps, 1e-5),
    ):
        add(value)
    _add_byte_vocabulary(writer, tokens, ["g o"], len(CONTROL))
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
        ("token_embd.weight", "output.weight"), (len(tokens), N_EMBD)
    )
    ones: dict[str, tuple[int, ...]] = {"output_norm.weight": (N_EMBD,)}
    for layer in (f"blk.{index}" for index in range(N_LAYER)):
        shapes[f"{layer}.ssm_in.weight"] = (2 * n_inner, N_EMBD)
        shapes[f"{layer}.ssm_conv1d.weight"] = (n_inner, 4)
        shapes[f"{layer}.ssm_x.weight"] = (n_rank + 2 * n_state, n_inner)
        shapes[f"{layer}.ssm_dt.weight"] = (n_inner, n_rank)
        shapes[f"{layer}.ssm_out.weight"] = (N_EMBD, n_inner)
        shapes |= {f"{layer}.ssm_{name}.bias": (n_inner,) for name in ("conv1d", "dt")}
        ones |= {f"{layer}.attn_norm.weight": (N_EMBD,), f"{layer}.ssm_d": (n_inner,)}
        writer.add_tensor(f"{layer}.ssm_a", -np.ones((n_inner, n_state), np.float32))
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(0, 0.3, shape).astype(np.float32))
    for name, shape in ones.items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    _write(writer)
    return path


def write_spm_model(path: Path) -> Path:
    """The same LLaMA with a SentencePiece vocabulary: byte tokens, letters and a few pieces."""
    # A piece is found by merging two pieces, so its beginnings are pieces too.
    words = ["▁Sub", "Sub", "goal", "user", "Su", "goa", "use", "go", "us", "▁", "\n"]
    pieces = [*words, *map(chr, range(33, 127))]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *pieces]
    kinds = [2, 3, 3, *[6] * 256, *[1] * len(pieces)]
    writer = _writer(path, len(tokens), 512)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(pieces))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return _finish(writer, path, len(tokens))


def write_adapter(
    path: Path,
    seed: int,
    *,
    architecture: str = "llama",
    n_embd: int = N_EMBD,
    metadata: Mapping[str, str] | None = None,
    alpha: float = 32.0,
) -> Path:
    """A LoRA adapter of rank 4 on the query projections, with that alpha strong enough to change what is written."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for key, value in (metadata or {}).items():
        writer.add_string(key, value)
    for layer in range(N_LAYER):
        for name, n_out in (("attn_q", n_embd), ("ffn_up", N_FF)):
            tensor = f"blk.{layer}.{name}.weight"
            writer.add_tensor(f"{tensor}.lora_a", random.normal(0, 0.3, (4, n_embd)).astype(np.float32))
            writer.add_tensor(f"{tensor}.lora_b", random.normal(0, 0.3, (n_out, 4)).astype(np.float32))
    _write(writer)
    return path


def _writer(path: Path, n_vocab: int, n_ctx: int) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)
    writer.add_vocab_size(n_vocab)
    return writer


def _add_byte_vocabulary(
    writer: gguf.GGUFWriter, tokens: list[str], merges: list[str], n_control: int
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * n_control + [1] * (len(tokens) - n_control))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def _finish(
    writer: gguf.GGUFWriter, path: Path, n_vocab: int, seed: int = 7, *, is_tied: bool = False
) -> Path:
    random = np.random.default_rng(seed)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.2, shape).astype(np.float32))

    add("token_embd.weight", n_vocab, N_EMBD)
    if not is_tied:
        add("output.weight", n_vocab, N_EMBD)
    writer.add_tensor("output_norm.weight", np.ones(N_EMBD, np.float32))
    for layer in range(N_LAYER):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(N_EMBD, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}.weight", N_EMBD, N_EMBD)
        add(f"blk.{layer}.ffn_gate.weight", N_FF, N_EMBD)
        add(f"blk.{layer}.ffn_up.weight", N_FF, N_EMBD)
        add(f"blk.{layer}.ffn_down.weight", N_EMBD, N_FF)
    _write(writer)
    return path


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
