"""Converted models against their sources, and the cost of converting.

    python benchmarks/bench_convert.py parity FILE.gguf [--upstream convert_hf_to_gguf.py]
    python benchmarks/bench_convert.py make CHECKPOINT_DIR
    python benchmarks/bench_convert.py cost CHECKPOINT_DIR
    python benchmarks/bench_convert.py quantize CHECKPOINT_DIR [--file-type Q4_K_M]

`parity` makes a dense bfloat16 checkpoint of a published GGUF file with transformers, converts it, and
compares token ids and logits with transformers in float32; then three seeded PEFT adapters on it with PEFT.
With `--upstream` it also runs llama.cpp's own converter (it lies in the source distribution of llama-cpp-
python, `vendor/llama.cpp`) and compares tensor by tensor and key by key. Needs the extras `convert` and
`train`.

`make` writes a checkpoint of the shape of LLaMA-2-7B with seeded weights as the paper's are: bfloat16 `.bin`
shards of `torch.save`, 32,000 pieces in `tokenizer.model`, `<pad>` added, 32,001 rows (13.5 GB; needs torch).

`cost` converts a checkpoint to float16 and copies the same bytes, each once and synced, and samples the
converter's memory (anonymous, and resident with the mapped file's pages) and what it takes of the disk. The
checkpoint's disk needs its size free. `quantize` samples the same of a conversion to a smaller type.

The last line of stdout is one JSON document. Quote ratios: times depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from lumos_edge.conversion.native_model import NativeModel, open_model
from lumos_edge.conversion.parity import PROMPTS, compare_logits, compare_tokens, passages, texts_without

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
    "rank-stabilised": {
        "r": 8,
        "lora_alpha": 16,
        "use_rslora": True,
        "target_modules": ["q_proj", "k_proj", "down_proj"],
    },
    "patterns": {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "rank_pattern": {"k_proj": 4},
        "alpha_pattern": {"k_proj": 32, "layers.1.self_attn.v_proj": 4},
    },
}


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    parity = commands.add_parser("parity")
    parity.add_argument("model", type=Path)
    parity.add_argument("--upstream", type=Path)
    for name in ("make", "cost", "quantize"):
        commands.add_parser(name).add_argument("checkpoint", type=Path)
    commands.choices["quantize"].add_argument("--file-type", default="Q4_K_M")
    options = parser.parse_args()
    if options.command == "make":
        print(json.dumps(make_llama(options.checkpoint)))
    elif options.command == "parity":
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure_parity(options.model, options.upstream, Path(folder))))
    else:
        with tempfile.TemporaryDirectory(dir=options.checkpoint.parent) as folder:
            output = Path(folder) / "model.gguf"
            if options.command == "cost":
                print(json.dumps(measure_cost(options.checkpoint, output)))
            else:
                print(json.dumps(sample("hf", options.checkpoint, "-o", output, "--type", options.file_type)))


def measure_parity(source: Path, upstream: Path | None, folder: Path) -> dict[str, Any]:
    """Token ids, logits, adapters, and llama.cpp's own converters; one model in memory at a time."""
    checkpoint = make_checkpoint(source, folder / "checkpoint")
    result: dict[str, Any] = {"model": source.name}
    expected = reference_logits(load(checkpoint), checkpoint, passages(), folder / "logits")
    for type_name in ("f32", "f16"):
        converted = folder / f"{type_name}.gguf"
        convert("hf", checkpoint, "-o", converted, "--type", type_name)
        result[type_name] = compare(checkpoint, converted, expected)
        print(json.dumps(result), file=sys.stderr, flush=True)
    shutil.rmtree(folder / "logits")
    if upstream is not None:
        theirs = run_upstream(upstream, checkpoint, output=folder / "upstream.gguf", type_name="f16")
        result["upstream"] = compare_files(theirs, folder / "f16.gguf")
        theirs.unlink()
    print(json.dumps(result), file=sys.stderr, flush=True)
    result["adapters"] = {name: compare_adapter(checkpoint, name, upstream, folder) for name in ADAPTERS}
    return result


def make_checkpoint(source: Path, folder: Path) -> Path:
    """A dense bfloat16 checkpoint with the weights of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # transformers remembers that the weights were packed, and refuses to save them.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    return folder


def convert(*arguments: str | Path) -> None:
    """Run `lumos-edge convert`."""
    subprocess.run([sys.executable, "-m", "lumos_edge", "convert", *map(str, arguments)], check=True)


def compare(checkpoint: Path, model: Path, expected: list[Reference]) -> dict[str, Any]:
    """Token ids of 1,000 texts and the logits of every position of 20 passages, against transformers in float32."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with open_model(model) as found:
        markers = found.control_texts() - {
            *tokenizer.get_added_vocab(),
            *tokenizer.all_special_tokens,
        }  # see `convert verify`
        tokens = compare_tokens(
            lambda text: tokenizer.encode(text, add_special_tokens=False),
            found.tokenize,
            texts_without(markers),
        )
        return {"tokens": asdict(tokens), "logits": compare_with(found, expected)}


def load(checkpoint: Path) -> Any:
    """The checkpoint in transformers, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


Reference = tuple[list[int], Path]
"""Token ids, and the file of the logits that the source gives for them."""


def reference_logits(source: Any, checkpoint: Path, texts: Sequence[str], folder: Path) -> list[Reference]:
    """The logits of a torch model at every position of the texts, in files."""
    import torch
    from transformers import AutoTokenizer

    folder.mkdir()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    references = []
    for number, text in enumerate(texts):
        ids, file = tokenizer.encode(text), folder / f"{number}.npy"
        with torch.inference_mode():
            np.save(file, source(torch.tensor([ids])).logits[0].numpy())
        references.append((ids, file))
    return references


def compare_with(found: NativeModel, expected: list[Reference]) -> dict[str, Any]:
    """Our logits against those in the files."""
    return asdict(compare_logits((np.load(file), found.logits(ids)) for ids, file in expected))


def compare_adapter(checkpoint: Path, name: str, upstream: Path | None, folder: Path) -> dict[str, Any]:
    """A seeded adapter with both halves random, converted, against PEFT; and llama.cpp's own converter."""
    expected = make_adapter(checkpoint, name, folder)
    output, base = folder / f"{name}.gguf", folder / "f32.gguf"
    convert("lora", folder / name, "--base", base, "-o", output, "--type", "f32")
    with open_model(base, output) as found:
        result = compare_with(found, expected)
    if upstream is not None:
        script = upstream.with_name("convert_lora_to_gguf.py")
        arguments = ("--base", str(checkpoint), str(folder / name))
        theirs = run_upstream(script, *arguments, output=folder / f"upstream-{name}.gguf", type_name="f32")
        result["upstream"] = compare_files(theirs, output)
    return result


def make_adapter(checkpoint: Path, name: str, folder: Path) -> list[Reference]:
    """Save the adapter, and the logits that PEFT computes with it."""
    import peft
    import torch

    torch.manual_seed(0)
    adapted = peft.get_peft_model(load(checkpoint), peft.LoraConfig(task_type="CAUSAL_LM", **ADAPTERS[name]))
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.02)
    adapted.save_pretrained(folder / name)
    return reference_logits(adapted.eval(), checkpoint, PROMPTS, folder / f"{name}-logits")


def run_upstream(script: Path, *arguments: str | Path, output: Path, type_name: str) -> Path:
    """Run one of llama.cpp's own converters."""
    given = [str(script), *map(str, arguments), "--outtype", type_name, "--outfile", str(output)]
    subprocess.run([sys.executable, *given], check=True, capture_output=True)
    return output


def compare_files(theirs: Path, ours: Path) -> dict[str, Any]:
    """Names of the tensors and keys in which two GGUF files differ."""
    left, right = gguf.GGUFReader(theirs), gguf.GGUFReader(ours)
    tensors = [{tensor.name: tensor for tensor in reader.tensors} for reader in (left, right)]
    keys = [{key: field.contents() for key, field in reader.fields.items()} for reader in (left, right)]
    differing = [
        name
        for name in sorted(tensors[0].keys() | tensors[1].keys())
        if not all(name in side for side in tensors)
        or tensors[0][name].tensor_type != tensors[1][name].tensor_type
        or not np.array_equal(tensors[0][name].data, tensors[1][name].data)
    ]
    ignored = {"GGUF.kv_count"}
    other_keys = sorted(
        k for k in (keys[0].keys() | keys[1].keys()) - ignored if keys[0].get(k) != keys[1].get(k)
    )
    return {"n_tensors": len(tensors[0]), "differing_tensors": differing, "differing_keys": other_keys}


_N_LAYERS, _N_EMBD, _N_FF, _N_PIECES, _N_SHARDS = 32, 4096, 11008, 32_000, 7
_LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _N_EMBD,
    "intermediate_size": _N_FF,
    "num_hidden_layers": _N_LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "vocab_size": _N_PIECES + 1,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def make_llama(folder: Path) -> dict[str, Any]:
    """A checkpoint of the shape of LLaMA-2-7B, shard by shard: 2 GB of memory."""
    import torch

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_LLAMA_CONFIG))
    (folder / "tokenizer.model").write_bytes(_sentencepiece_model(_N_PIECES))
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": _N_PIECES}))
    shapes = _llama_shapes()
    # Draws of one normal distribution, another stretch of them for each tensor: drawing each anew takes minutes.
    pool = torch.randn(1 << 26, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    places: dict[str, str] = {}
    for shard in range(_N_SHARDS):
        names = list(shapes)[shard * len(shapes) // _N_SHARDS : (shard + 1) * len(shapes) // _N_SHARDS]
        file = f"pytorch_model-{shard + 1:05d}-of-{_N_SHARDS:05d}.bin"
        tensors = {name: _seeded(pool, 7919 * i, shapes[name]) for i, name in enumerate(names)}
        torch.save(tensors, folder / file)
        places |= dict.fromkeys(names, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return {"n_tensors": len(shapes), "n_shards": _N_SHARDS}


def _llama_shapes() -> dict[str, tuple[int, ...]]:
    square, layer = (_N_EMBD, _N_EMBD), {}
    for name in "qkvo":
        layer[f"self_attn.{name}_proj"] = square
    layer |= {
        "mlp.gate_proj": (_N_FF, _N_EMBD),
        "mlp.up_proj": (_N_FF, _N_EMBD),
        "mlp.down_proj": (_N_EMBD, _N_FF),
    }
    layer |= {"input_layernorm": (_N_EMBD,), "post_attention_layernorm": (_N_EMBD,)}
    ends = {"model.embed_tokens": (_N_PIECES + 1, _N_EMBD)}
    layers = {f"model.layers.{i}.{name}": shape for i in range(_N_LAYERS) for name, shape in layer.items()}
    ends_after = {"model.norm": (_N_EMBD,), "lm_head": (_N_PIECES + 1, _N_EMBD)}
    return {f"{name}.weight": shape for name, shape in {**ends, **layers, **ends_after}.items()}


def _seeded(pool: Any, offset: int, shape: tuple[int, ...]) -> Any:
    n_items = int(np.prod(shape))
    values = pool.roll(-offset).repeat(-(-n_items // len(pool)))[:n_items]
    return (values if len(shape) > 1 else values + 1).reshape(shape).clone()


def _sentencepiece_model(n_pieces: int) -> bytes:
    """A trained SentencePiece BPE model, and made-up pieces to the full number: repeated fields are appended."""
    import sentencepiece

    corpus, model = [*PROMPTS] * 4, io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        vocab_size=1000,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    n_trained = len(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()))
    return model.getvalue() + b"".join(_piece(i) for i in range(n_trained, n_pieces))


def _piece(number: int) -> bytes:
    """An entry `pieces` of the message ModelProto (sentencepiece_model.proto): text (1) and score (2)."""
    text = f"piece{number}".encode()
    entry = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -number)
    return b"\x0a" + bytes([len(entry)]) + entry


def measure_cost(checkpoint: Path, output: Path) -> dict[str, Any]:
    """Seconds, memory and disk of a conversion to float16, and seconds of a plain copy."""
    weights = [path for path in checkpoint.iterdir() if path.suffix in (".safetensors", ".bin")]
    copied = _synced(lambda: subprocess.run(["cp", *weights, output.parent], check=True))
    for path in weights:
        (output.parent / path.name).unlink()
    used: dict[str, int] = {}
    converted = _synced(lambda: used.update(sample("hf", checkpoint, "-o", output)))
    return {
        "source_bytes": sum(path.stat().st_size for path in weights),
        "copy_seconds": round(copied, 1),
        "convert_seconds": round(converted, 1),
        "ratio": round(converted / copied, 3),
        **used,
    }


def _synced(work: Callable[[], object]) -> float:
    """Seconds of it until the disk has everything."""
    os.sync()
    started = time.perf_counter()
    work()
    os.sync()
    return time.perf_counter() - started


def sample(*arguments: str | Path) -> dict[str, int]:
    """Run `lumos-edge convert` and read its memory, and the files in the output's folder, every 20 ms (Linux)."""
    output = Path(arguments[arguments.index("-o") + 1])
    folder = output.parent
    others = _used_bytes(folder)
    process = subprocess.Popen([sys.executable, "-m", "lumos_edge", "convert", *map(str, arguments)])
    peaks = {"RssAnon": 0, "VmHWM": 0}
    disk = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        for key in peaks:
            peaks[key] = max(peaks[key], int(fields.get(key, "0").split()[0]) * 1024)
        disk = max(disk, _used_bytes(folder) - others)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"the conversion ended with {process.returncode}")
    return {
        "output_bytes": output.stat().st_size,
        "peak_anonymous_bytes": peaks["RssAnon"],
        "peak_resident_bytes": peaks["VmHWM"],
        "peak_disk_bytes": disk,
    }


def _used_bytes(folder: Path) -> int:
    used = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # renamed or removed since
            used += path.stat().st_blocks * 512
    return used


if __name__ == "__main__":
    main()
