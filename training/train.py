"""Training of the modules on a deployed, quantized base model: an adapter, or all weights (extra `train`).

    python -m training.train training/configs/nano.toml --annotations annotations --output run

It trains on a CUDA device where there is one, else on the processor. Stop it at any moment, also with kill -9: run
again, it goes on from its last checkpoint and the losses are the same.
The result is a PEFT adapter in `run/adapter`, for `lumos-edge convert lora`; with `rank = 0` in the config a whole
checkpoint in `run/model`, for `lumos-edge convert hf` and `convert diff`, with its base in `run/base`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from lumos_edge.conversion.base_model import read_base_model
from lumos_edge.engine.binding import Model
from lumos_edge.loading import of_pack
from lumos_edge.manifest import find_manifest
from lumos_edge.templates import CompactTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Formulation
from training.annotations import Annotation, Annotator, read_solution
from training.chains import RejectedItemError, read_lines
from training.sequences import TrainingSequence, pack, sequences, turns
from training.statements import sql_annotator
from training.warm_start import load_halves

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class TrainingConfig:
    """What a config file says; the comments in `configs/nano.toml` explain each."""

    pack: str
    formulations: tuple[Formulation, ...]
    rank: int
    alpha: int
    learning_rate: float
    n_steps: int
    n_warmup_steps: int
    n_decay_steps: int
    row_tokens: int
    n_rows: int
    seed: int
    dtype: str
    checkpoint_s: float
    start: str = ""

    @classmethod
    def read(cls, file: Path) -> TrainingConfig:
        """Raises TypeError for an unknown or a missing key."""
        entries = tomllib.loads(file.read_text("utf-8"))
        return cls(**{**entries, "formulations": tuple(entries["formulations"])})

    def learning_rate_at(self, step: int) -> float:
        """Warm-up, a plateau, and a linear decay, so that a run can be cut short by an earlier decay."""
        rising = min(1.0, (step + 1) / self.n_warmup_steps)
        falling = min(1.0, (self.n_steps - step) / self.n_decay_steps)
        return self.learning_rate * rising * falling


def read_annotations(folder: Path, formulation: Formulation) -> list[Annotation]:
    """The annotations in a folder of conversations, executed anew; bad lines are named on stderr and left out."""
    maths = Annotator(Toolbox.of_packs(["maths"]))
    annotations = []
    file = folder / f"grounder_{formulation}.jsonl"
    for number, line in enumerate(read_lines(file), 1):
        try:
            solution = read_solution(line)
            database = json.loads(line).get("db")
            annotator = sql_annotator(Path(database)) if database else maths
            annotations.append(annotator.annotate(*solution, None))
        except RejectedItemError as error:
            print(f"{file.name}, line {number}: {error}", file=sys.stderr)
    return annotations


def training_rows(config: TrainingConfig, base: Path, annotations: Path) -> list[list[TrainingSequence]]:
    """All rows of an epoch, in order; the same for the same config and files."""
    model = Model(base)
    template = CompactTemplate(model.eos)
    found = [
        sequence
        for formulation in config.formulations
        for annotation in read_annotations(annotations, formulation)
        for sequence in sequences(turns(annotation, template, formulation), model, model.eos)
    ]
    rows = pack(found, config.row_tokens, config.seed)
    n_tokens = sum(len(sequence.tokens) for sequence in found)
    n_left_out = sum(len(sequence.tokens) > config.row_tokens for sequence in found)
    n_targets = sum(sum(sequence.is_target) for sequence in found)
    print(
        f"{len(found)} sequences, {n_tokens} tokens, {n_targets} of them targets, {n_left_out} sequences too long, "
        f"{len(rows)} rows, {len(rows) / config.n_rows:.0f} steps per epoch"
    )
    return rows


@dataclass(frozen=True)
class Batch:
    """Packed rows as tensors: `(n_rows, row_tokens)` ids and positions, a mask of who sees whom, and the targets."""

    tokens: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    predicting: torch.Tensor  # flat indices of the positions whose next token is a target
    targets: torch.Tensor


def make_batch(rows: list[list[TrainingSequence]], row_tokens: int, dtype: torch.dtype) -> Batch:
    """The rows as tensors on the device; a token sees the earlier ones of its own sequence only."""
    tokens = torch.zeros(len(rows), row_tokens, dtype=torch.long)
    positions = torch.zeros_like(tokens)
    owner = torch.arange(row_tokens).neg().sub(1).repeat(len(rows), 1)  # padding sees itself
    predicting, targets = [], []
    for index, row in enumerate(rows):
        begin = 0
        for number, sequence in enumerate(row):
            size = len(sequence.tokens)
            tokens[index, begin : begin + size] = torch.tensor(sequence.tokens)
            positions[index, begin : begin + size] = torch.arange(size)
            owner[index, begin : begin + size] = number
            learned = [i for i in range(1, size) if sequence.is_target[i]]
            predicting += [index * row_tokens + begin + i - 1 for i in learned]
            targets += [sequence.tokens[i] for i in learned]
            begin += size
    sees = (owner[:, None, :] == owner[:, :, None]) & torch.ones(row_tokens, row_tokens).tril().bool()
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)[:, None]
    fields = (tokens, positions, mask, torch.tensor(predicting), torch.tensor(targets))
    return Batch(*(field.to(DEVICE) for field in fields))


def load_model(base: Path, config: TrainingConfig) -> PeftModel | PreTrainedModel:
    """The quantized base model's values in `dtype`: frozen, with an adapter on all its linear layers, fresh or the
    GGUF file that the config starts from; or, for rank 0, all of them to be trained. Raises AdapterMismatch.
    """
    torch.manual_seed(config.seed)
    model = AutoModelForCausalLM.from_pretrained(
        base.parent, gguf_file=base.name, dtype=getattr(torch, config.dtype)
    ).to(DEVICE)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if config.rank == 0:
        return model
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=_LINEAR_LAYERS, task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, lora, autocast_adapter_dtype=False)
    if config.start:
        parameters = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
        load_halves(Path(config.start), read_base_model(base), parameters, config.alpha)
    return adapted


class Trainer:
    """A run: the model, its optimizer, and how far it is."""

    def __init__(self, config: TrainingConfig, model: PeftModel | PreTrainedModel, folder: Path) -> None:
        self.config = config
        self.model = model
        self.folder = folder
        self.losses: list[float] = []
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        # Updates of a thousandth vanish in bfloat16's 8 bits, so the optimizer has its own copy.
        self._master = [p.detach().float().clone() for p in self._parameters]
        self._optimizer = torch.optim.AdamW(
            self._master, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )

    @property
    def checkpoint_file(self) -> Path:
        """Where the run's state is kept."""
        return self.folder / "checkpoint.pt"

    def step(self, batch: Batch) -> float:
        """One update; returns the mean loss of the batch's targets."""
        base: Any = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        hidden = base.model(
            input_ids=batch.tokens, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
        ).last_hidden_state
        # The output layer is a fifth of the work: only where something is learned.
        logits = base.lm_head(hidden.flatten(0, 1)[batch.predicting])
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.targets)
        loss.backward()
        self._update()
        self.losses.append(loss.item())
        return self.losses[-1]

    def _update(self) -> None:
        for master, parameter in zip(self._master, self._parameters, strict=True):
            assert parameter.grad is not None
            master.grad = parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self._master, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(len(self.losses))
        self._optimizer.step()
        self._publish()

    def _publish(self) -> None:
        with torch.no_grad():
            for master, parameter in zip(self._master, self._parameters, strict=True):
                parameter.copy_(master)

    def save(self) -> None:
        """Write a checkpoint; a kill at any moment leaves the old one or the new one whole."""
        state = {"master": self._master, "optimizer": self._optimizer.state_dict(), "losses": self.losses}
        new = self.checkpoint_file.with_suffix(".new")
        with new.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.checkpoint_file)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint_file.exists():
            return
        state = torch.load(self.checkpoint_file, map_location=DEVICE, weights_only=True)
        for master, saved in zip(self._master, state["master"], strict=True):
            master.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        self.losses = state["losses"]
        self._publish()


def train(trainer: Trainer, rows: list[list[TrainingSequence]]) -> None:
    """Take the steps that are left, with a checkpoint every `checkpoint_s` seconds and at the end."""
    config = trainer.config
    dtype = getattr(torch, config.dtype)
    started = saved = time.monotonic()
    first = len(trainer.losses)
    for step in range(first, config.n_steps):
        indices = [(step * config.n_rows + i) % len(rows) for i in range(config.n_rows)]
        loss = trainer.step(make_batch([rows[i] for i in indices], config.row_tokens, dtype))
        now = time.monotonic()
        per_step_s = (now - started) / (step + 1 - first)
        recent = trainer.losses[-20:]
        print(
            f"step {step + 1}/{config.n_steps} loss {loss:.3f} mean of {len(recent)} {sum(recent) / len(recent):.3f} "
            f"{config.n_rows * config.row_tokens / per_step_s:.0f} tokens/s "
            f"{(config.n_steps - step - 1) * per_step_s / 60:.0f} min left",
            flush=True,
        )
        if now - saved > config.checkpoint_s:
            trainer.save()
            saved = now
    trainer.save()


def write_results(trainer: Trainer) -> None:
    """The PEFT adapter or the whole model, the losses as JSON, and their plot."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    trainer.model.save_pretrained(str(trainer.folder / ("adapter" if trainer.config.rank else "model")))
    losses = trainer.losses
    (trainer.folder / "losses.json").write_text(json.dumps([round(loss, 4) for loss in losses]))
    window = max(1, math.ceil(len(losses) / 40))
    smooth = [
        sum(losses[max(0, i - window) : i + 1]) / len(losses[max(0, i - window) : i + 1])
        for i in range(len(losses))
    ]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(losses, linewidth=0.5, alpha=0.5, label="batch")
    axes.plot(smooth, label=f"mean of {window} steps")
    axes.set(
        xlabel="step",
        ylabel="loss of target tokens",
        title=f"{trainer.config.pack}: {f'rank {trainer.config.rank}' if trainer.config.rank else 'all weights'}",
    )
    axes.legend()
    figure.savefig(trainer.folder / "loss.png", dpi=120, bbox_inches="tight")


def write_base(base: Path, config: TrainingConfig, folder: Path) -> None:
    """The base model as a checkpoint in `base`, to compare with, and its tokenizer beside the trained one too."""
    load_model(base, config).save_pretrained(str(folder / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)
    for name in ("base", "model"):
        tokenizer.save_pretrained(str(folder / name))


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--annotations", type=Path, required=True, help="the folder that training.annotate wrote"
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--n-threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.n_threads)
    config = TrainingConfig.read(options.config)
    options.output.mkdir(parents=True, exist_ok=True)
    base = of_pack(find_manifest(config.pack)).base
    rows = training_rows(config, base, options.annotations)
    trainer = Trainer(config, load_model(base, config), options.output)
    trainer.resume()
    train(trainer, rows)
    write_results(trainer)
    if config.rank == 0:
        write_base(base, config, options.output)


if __name__ == "__main__":
    main()
