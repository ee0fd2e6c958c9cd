"""Converted models against their sources, and the cost of converting.

    python benchmarks/bench_convert.py parity FILE.gguf [--upstream convert_hf_to_gguf.py]
    python benchmarks/bench_convert.py cost CHECKPOINT_DIR

`parity` makes a dense bfloat16 checkpoint of a published GGUF file with transformers, converts it, and
compares token ids and logits with transformers in float32; then three seeded PEFT adapters on it with PEFT.
With `--upstream` it also runs llama.cpp's own converter (it lies in the source distribution of llama-cpp-
python, `vendor/llama.cpp`) and compares tensor by tensor and key by key. Needs the extras `convert` and
`train`.

`cost` converts a checkpoint to float16 and copies the same bytes, each once and synced, and samples the
converter's memory: anonymous, and resident with the mapped file's pages. The checkpoint's disk needs twice
its size free.

The last line of stdout is one JSON document. Quote ratios: times depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from lumos_edge.conversion.native_model import NativeModel, open_model
from lumos_edge.conversion.parity import PROMPTS, compare_logits, compare_tokens, passages, sample_texts

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
    cost = commands.add_parser("cost")
    cost.add_argument("checkpoint", type=Path)
    options = parser.parse_args()
    if options.command == "parity":
        with tempfile.TemporaryDirectory() as folder:
            result = measure_parity(options.model, options.upstream, Path(folder))
    else:
        with tempfile.TemporaryDirectory(dir=options.checkpoint.parent) as folder:
            result = measure_cost(options.checkpoint, Path(folder))
    print(json.dumps(result))


def measure_parity(source: Path, upstream: Path | None, folder: Path) -> dict[str, Any]:
    """Token ids, logits, adapters, and llama.cpp's own converter."""
    checkpoint = make_checkpoint(source, folder / "checkpoint")
    result: dict[str, Any] = {"model": source.name}
    for type_name in ("f32", "f16"):
        converted = folder / f"{type_name}.gguf"
        convert("hf", checkpoint, "-o", converted, "--type", type_name)
        result[type_name] = compare(checkpoint, converted)
    result["adapters"] = {name: compare_adapter(checkpoint, name, folder) for name in ADAPTERS}
    if upstream is not None:
        theirs = folder / "upstream.gguf"
        arguments = [str(upstream), str(checkpoint), "--outtype", "f16", "--outfile", str(theirs)]
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        result["upstream"] = compare_files(theirs, folder / "f16.gguf")
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


def compare(checkpoint: Path, model: Path) -> dict[str, Any]:
    """Token ids of 1,000 texts and the logits of every position of 20 passages, against transformers in float32."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with open_model(model) as found:
        tokens = compare_tokens(
            lambda text: tokenizer.encode(text, add_special_tokens=False), found.tokenize, sample_texts()
        )
        logits = compare_with(load(checkpoint).eval(), tokenizer, found, passages())
    return {"tokens": asdict(tokens), "logits": logits}


def load(checkpoint: Path) -> Any:
    """The checkpoint in transformers, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


def compare_with(source: Any, tokenizer: Any, found: NativeModel, texts: tuple[str, ...]) -> dict[str, Any]:
    """Logits of every position of the texts, of a torch model and of ours."""
    import torch

    def logits(text: str) -> tuple[Any, Any]:
        ids = tokenizer.encode(text)
        with torch.inference_mode():
            return source(torch.tensor([ids])).logits[0].numpy(), found.logits(ids)

    return asdict(compare_logits(map(logits, texts)))


def compare_adapter(checkpoint: Path, name: str, folder: Path) -> dict[str, Any]:
    """A seeded adapter with both halves random, converted, against PEFT."""
    import peft
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    adapted = peft.get_peft_model(load(checkpoint), peft.LoraConfig(task_type="CAUSAL_LM", **ADAPTERS[name]))
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.02)
    adapted.save_pretrained(folder / name)
    output, base = folder / f"{name}.gguf", folder / "f32.gguf"
    convert("lora", folder / name, "--base", base, "-o", output, "--type", "f32")
    with open_model(base, output) as found:
        return compare_with(adapted.eval(), AutoTokenizer.from_pretrained(checkpoint), found, PROMPTS)


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


def measure_cost(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Seconds and memory of a conversion to float16, and seconds of a plain copy."""
    weights = [path for path in checkpoint.iterdir() if path.suffix in (".safetensors", ".bin")]
    os.sync()
    started = time.perf_counter()
    for path in weights:
        shutil.copyfile(path, folder / path.name)
    os.sync()
    copied = time.perf_counter() - started
    for path in weights:
        (folder / path.name).unlink()
    os.sync()
    started = time.perf_counter()
    output = folder / "model.gguf"
    memory = sample_memory("hf", checkpoint, "-o", output)
    os.sync()
    converted = time.perf_counter() - started
    return {
        "source_bytes": sum(path.stat().st_size for path in weights),
        "output_bytes": output.stat().st_size,
        "copy_seconds": round(copied, 1),
        "convert_seconds": round(converted, 1),
        "ratio": round(converted / copied, 2),
        **memory,
    }


def sample_memory(*arguments: str | Path) -> dict[str, int]:
    """Run `lumos-edge convert` and read the process's memory every 20 ms (Linux)."""
    process = subprocess.Popen([sys.executable, "-m", "lumos_edge", "convert", *map(str, arguments)])
    peaks = {"RssAnon": 0, "VmHWM": 0}
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        for key in peaks:
            peaks[key] = max(peaks[key], int(fields.get(key, "0").split()[0]) * 1024)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"the conversion ended with {process.returncode}")
    return {"peak_anonymous_bytes": peaks["RssAnon"], "peak_resident_bytes": peaks["VmHWM"]}


if __name__ == "__main__":
    main()
