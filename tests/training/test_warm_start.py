"""A converted adapter, taken back, is the one that was converted. Needs the `train` extra, as test_train.py does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lumos_edge.cli import cli

torch: Any = pytest.importorskip("torch")
peft: Any = pytest.importorskip("peft")
transformers: Any = pytest.importorskip("transformers")

from lumos_edge.conversion.base_model import read_base_model  # noqa: E402
from lumos_edge.errors import AdapterMismatch  # noqa: E402
from training.train import _LINEAR_LAYERS  # noqa: E402
from training.warm_start import load_halves  # noqa: E402

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]


def _model(rank: int, seed: int) -> Any:
    """The layers of the 135M model in shape, two of its thirty, with halves of random values."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=2,
        num_attention_heads=9,
        num_key_value_heads=3,
    )
    lora = peft.LoraConfig(
        r=rank, lora_alpha=64, target_modules=_LINEAR_LAYERS, task_type="CAUSAL_LM", init_lora_weights=False
    )
    return peft.get_peft_model(transformers.LlamaForCausalLM(config), lora)


def _trained(model: Any) -> dict[str, Any]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _converted(model: Any, base: Path, folder: Path) -> Path:
    model.save_pretrained(str(folder / "peft"))
    arguments = ["convert", "lora", str(folder / "peft"), "--base", str(base), "-o", str(folder / "a.gguf")]
    result = CliRunner().invoke(cli, [*arguments, "--type", "f32"])
    assert result.exit_code == 0, result.output
    return folder / "a.gguf"


def test_an_adapter_survives_both_ways(nano_path: Path, tmp_path: Path) -> None:
    """The rows of q and k are reordered on the way there and have to come back in place."""
    original, fresh = _model(32, seed=1), _model(32, seed=2)
    base = read_base_model(nano_path)
    load_halves(_converted(original, nano_path, tmp_path), base, _trained(fresh), 64)
    for (name, wanted), found in zip(_trained(original).items(), _trained(fresh).values(), strict=True):
        assert torch.equal(wanted, found), name


def test_another_rank_is_refused_with_both_shapes(nano_path: Path, tmp_path: Path) -> None:
    base = read_base_model(nano_path)
    with pytest.raises(AdapterMismatch, match=r"\[32, 576\].*\[16, 576\]"):
        load_halves(_converted(_model(32, 1), nano_path, tmp_path), base, _trained(_model(16, 1)), 64)
