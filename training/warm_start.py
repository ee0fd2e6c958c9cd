"""A GGUF adapter back in PEFT's layout: a shipped one is trained on without the run that made it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from lumos_edge.conversion.base_model import BaseModel
from lumos_edge.errors import AdapterMismatch

_PARAMETER = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.default\.weight")


def load_halves(adapter: Path, base: BaseModel, parameters: dict[str, Any], alpha: float) -> None:
    """Put the adapter's halves into a PEFT model's trainable parameters, by their names.

    `alpha` is that of the PEFT model. Raises AdapterMismatch when the file lacks a half or has it in another shape.
    """
    reader = gguf.GGUFReader(adapter)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    field = reader.get_field(gguf.Keys.Adapter.LORA_ALPHA)
    # What the file's own alpha does to B beyond ours goes into B.
    factor = float(field.contents()) / alpha if field else 1.0
    names = base.architecture.tensor_names(base.n_layers)
    for name, parameter in parameters.items():
        match = _PARAMETER.fullmatch(name)
        if match is None:
            raise AdapterMismatch(f"{name} is no half of an adapter, expected *.lora_A.default.weight")
        weight = f"{match['module']}.weight"
        half = f"{names.get_name(weight, try_suffixes=('.weight',))}.lora_{match['half'].lower()}"
        if half not in stored:
            raise AdapterMismatch(f"{adapter} has no {half}, which a run with this config trains")
        values = gguf.quants.dequantize(stored[half].data, stored[half].tensor_type)
        if values.shape != tuple(parameter.shape):
            raise AdapterMismatch(
                f"{adapter}: {half} is {list(values.shape)}, the config's rank makes it {list(parameter.shape)}"
            )
        if match["half"] == "B":
            values = _checkpoint_rows(factor * values, base, weight)
        parameter.data.copy_(parameter.data.new_tensor(values))


def _checkpoint_rows(values: Any, base: BaseModel, weight: str) -> Any:
    """The rows as transformers orders them: the inverse of what converting does."""
    order = base.architecture.row_order(weight, base.heads)
    if order is None:
        return values
    rows = np.empty_like(values)
    rows[order] = values
    return rows
