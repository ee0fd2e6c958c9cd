"""Tiny checkpoints with a fixed seed, as `save_pretrained` writes them, made without torch."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

Arrays = dict[str, npt.NDArray[np.float32]]

CORPUS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "Please provide a reasonable subgoal-based plan to solve the given task.\nTask: how many apples are left?",
    "R1 = Calculator(48 / 2); R2 = Calculator(48 + R1); Subgoal 1: count the clips sold in May.",
    "No, I will keep planning. Yes, I will stop planning. The executed result for Subgoal 1 is 24.",
    "naïve café, 東京 and Москва; def f(x):\n    return x ** 2  # a comment",
)
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}


def config(model_type: str, n_vocab: int, **changes: Any) -> dict[str, Any]:
    """A config of two layers (seven for Gemma 3, of which the sixth attends globally)."""
    base = {
        "architectures": [_ARCHITECTURES[model_type]],
        "model_type": model_type,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 7 if model_type == "gemma3_text" else 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": n_vocab,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if model_type == "gemma3_text":
        base |= {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 16,
            "rope_local_base_freq": 1000.0,
            "sliding_window": 8,
            "tie_word_embeddings": True,
        }
    return base | changes


def weights(config: Mapping[str, Any], seed: int = 0) -> Arrays:
    """Random weights of the shapes that the config asks for."""
    rng = np.random.default_rng(seed)
    n_embd, n_ff, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    n_q, n_kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    kind = config["model_type"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], n_embd)}
    for i in range(config["num_hidden_layers"]):
        layer = {
            "self_attn.q_proj.weight": (n_q, n_embd),
            "self_attn.k_proj.weight": (n_kv, n_embd),
            "self_attn.v_proj.weight": (n_kv, n_embd),
            "self_attn.o_proj.weight": (n_embd, n_q),
            "mlp.gate_proj.weight": (n_ff, n_embd),
            "mlp.up_proj.weight": (n_ff, n_embd),
            "mlp.down_proj.weight": (n_embd, n_ff),
            "input_layernorm.weight": (n_embd,),
            "post_attention_layernorm.weight": (n_embd,),
        }
        if kind == "qwen2":
            layer |= {
                f"self_attn.{n}_proj.bias": (rows,) for n, rows in (("q", n_q), ("k", n_kv), ("v", n_kv))
            }
        if kind in ("qwen3", "gemma3_text"):
            layer |= {f"self_attn.{n}_norm.weight": (head_dim,) for n in "qk"}
        if kind == "gemma3_text":
            layer |= {f"{n}_feedforward_layernorm.weight": (n_embd,) for n in ("pre", "post")}
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (n_embd,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], n_embd)
    return {name: _draw(rng, name, shape) for name, shape in shapes.items()}


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    values = rng.standard_normal(shape, dtype=np.float32)
    return 1 + 0.1 * values if name.endswith("norm.weight") else 0.2 * values


def write_checkpoint(folder: Path, config: Mapping[str, Any], tensors: Arrays, *, dtype: str = "F32") -> Path:
    """A checkpoint in one safetensors file, without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", tensors, dtype=dtype)
    return folder


def write_shards(folder: Path, config: Mapping[str, Any], tensors: Arrays, n_shards: int) -> Path:
    """A checkpoint in several safetensors files with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    places: dict[str, str] = {}
    for i in range(n_shards):
        shard = f"model-{i + 1:05d}-of-{n_shards:05d}.safetensors"
        write_safetensors(folder / shard, {name: tensors[name] for name in names[i::n_shards]})
        places |= dict.fromkeys(names[i::n_shards], shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def write_safetensors(path: Path, tensors: Arrays, *, dtype: str = "F32") -> None:
    """Write float32 arrays as "F32", "F16", or as "BF16" with the lower half of the bits cut off."""
    if dtype != "BF16":  # the package's own writer has no bfloat16 for numpy
        kind = np.float16 if dtype == "F16" else np.float32
        safetensors.numpy.save_file({name: array.astype(kind) for name, array in tensors.items()}, path)
        return
    header, data = {}, b""
    for name, array in tensors.items():
        values = stored_bytes(array, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + len(values)],
        }
        data += values
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def stored_bytes(array: npt.NDArray[np.float32], dtype: str) -> bytes:
    """The array's values as they lie in a file of that type."""
    if dtype == "BF16":
        return (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    return array.astype("<f2" if dtype == "F16" else "<f4").tobytes()


@cache
def sentencepiece_model(n_pieces: int = 400) -> bytes:
    """A SentencePiece BPE model as LLaMA's: byte fallback, `<unk>`, `<s>`, `</s>`, a space before the text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=model,
        vocab_size=n_pieces,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


def add_sentencepiece(folder: Path) -> int:
    """Put `tokenizer.model` into the folder; gives its number of pieces."""
    model = sentencepiece_model()
    (folder / "tokenizer.model").write_bytes(model)
    return len(sentencepiece.SentencePieceProcessor(model_proto=model))


SPLITTERS: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "llama-bpe": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|")), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
}


def byte_level_tokenizer(pre_tokenizer: str) -> Tokenizer:
    """A trained byte-level BPE tokenizer with three special tokens and an added one that is not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = SPLITTERS[pre_tokenizer]()
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return tokenizer


def byte_fallback_tokenizer() -> Tokenizer:
    """LLaMA's kind of tokenizer as transformers 5 saves it: merges with byte fallback, no `tokenizer.model`."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special[:3], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    learned = json.loads(tokenizer.to_str())
    rest = [text for text in learned["model"]["vocab"] if text not in special]
    learned["model"]["vocab"] = {text: i for i, text in enumerate(special + rest)}
    return Tokenizer.from_str(json.dumps(learned))


def add_tokenizer(folder: Path, tokenizer: Tokenizer) -> int:
    """Put `tokenizer.json` into the folder; gives the number of tokens."""
    tokenizer.save(str(folder / "tokenizer.json"))
    return int(tokenizer.get_vocab_size())
