"""Tiny projectors with a fixed seed, for the real mtmd, and a model that belongs to each; and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import PIL.Image

from tests.engine.tiny import N_EMBD, write_bpe_model

Family = Literal["llava", "smolvlm"]

N_WIDTH, N_HEAD, N_LAYER, N_FF = 32, 2, 3, 48
PATCH, SIDE = 14, 56  # pixels: 16 patches
N_LLAVA = 16
"""Embeddings of a picture: one for each patch."""
N_SMOLVLM = 5 * 4
"""The whole picture and its four quarters, each of 16 patches, of which 4 are one embedding."""

# What SmolVLM's processor puts round the pieces of a picture.
_SMOLVLM_CONTROL = (
    *("<fake_token_around_image>", "<global-img>"),
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)


def write_seeing_model(path: Path, family: Family, **options: Any) -> Path:
    """The language model of a family."""
    return write_bpe_model(path, more_control=_SMOLVLM_CONTROL if family == "smolvlm" else (), **options)


def write_projector(path: Path, family: Family, *, n_embd: int = N_EMBD, without: str = "") -> Path:
    """A projector into embeddings of that width; `without` a tensor."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp" if family == "llava" else "idefics3")
    for key, value in (
        ("embedding_length", N_WIDTH),
        ("feed_forward_length", N_FF),
        ("block_count", N_LAYER),
        ("attention.head_count", N_HEAD),
        ("projection_dim", n_embd),
        ("image_size", SIDE),
        ("patch_size", PATCH),
    ):
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.25, 0.25, 0.25])
    if family == "smolvlm":
        writer.add_bool("clip.use_gelu", True)
        writer.add_uint32("clip.vision.projector.scale_factor", 2)
        writer.add_uint32("clip.vision.preproc_image_size", 2 * SIDE)
    random = np.random.default_rng(7)
    for name, shape in _shapes(family, n_embd).items():
        if name == without:
            continue
        is_norm = name.split(".")[-2] in ("ln1", "ln2", "pre_ln", "post_ln")
        values = random.normal(1.0 if is_norm and name.endswith("weight") else 0.0, 0.2, shape)
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(family: Family, n_embd: int) -> dict[str, tuple[int, ...]]:
    n_class = 1 if family == "llava" else 0
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (N_WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": ((SIDE // PATCH) ** 2 + n_class, N_WIDTH),
    }
    square, wide = (N_WIDTH, N_WIDTH), (N_FF, N_WIDTH)
    matrices = {f"attn_{name}": square for name in ("q", "k", "v", "out")}
    matrices |= {"ffn_up": wide, "ffn_down": wide[::-1]}
    for layer in (f"v.blk.{index}" for index in range(N_LAYER)):
        for name, shape in {**matrices, "ln1": (N_WIDTH,), "ln2": (N_WIDTH,)}.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    if family == "llava":
        shapes |= {"v.class_embd": (N_WIDTH,)}
        shapes |= {f"v.pre_ln.{part}": (N_WIDTH,) for part in ("weight", "bias")}
        shapes |= {"mm.0.weight": (n_embd, N_WIDTH), "mm.0.bias": (n_embd,)}
        shapes |= {"mm.2.weight": (n_embd, n_embd), "mm.2.bias": (n_embd,)}
    else:
        shapes |= {f"v.post_ln.{part}": (N_WIDTH,) for part in ("weight", "bias")}
        shapes |= {"v.patch_embd.bias": (N_WIDTH,), "mm.model.fc.weight": (n_embd, 4 * N_WIDTH)}
    return shapes


def write_picture(path: Path, seed: int = 1, size: tuple[int, int] = (64, 48)) -> Path:
    """A picture of random blocks of colour; its name's ending says its format."""
    random = np.random.default_rng(seed)
    blocks = PIL.Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    blocks.resize(size, PIL.Image.Resampling.NEAREST).save(path)
    return path
