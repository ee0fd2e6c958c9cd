"""A GGUF model against the checkpoint that it was made of: token ids and logits; needs torch and
transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
import transformers

from lumos_edge.cli.convert import run
from lumos_edge.conversion.native_model import NativeModel, open_model
from lumos_edge.conversion.parity import (
    LogitParity,
    TokenParity,
    compare_logits,
    compare_tokens,
    passages,
    sample_texts,
)
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import ConversionError

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("verify")
@click.argument("model", type=_FILE)
@click.option("--against", type=_FOLDER, required=True, help="The checkpoint that MODEL was made of.")
@click.option("--adapter", type=_FILE, help="A GGUF adapter to put on MODEL.")
@click.option("--adapter-against", type=_FOLDER, help="The PEFT adapter that the GGUF adapter was made of.")
@click.option("--prompts", type=_FILE, help="One JSON string per line, instead of the 20 built-in prompts.")
@click.option(
    "--n-texts", type=click.IntRange(20), default=1000, show_default=True, help="Texts to tokenize."
)
@click.option(
    "--max-kl", type=float, default=1e-4, show_default=True, help="Mean KL divergence allowed, in nats."
)
@click.option(
    "--min-agreement", type=float, default=0.999, show_default=True, help="Share of equal argmax needed."
)
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    against: Path,
    adapter: Path | None,
    adapter_against: Path | None,
    prompts: Path | None,
    n_texts: int,
    max_kl: float,
    min_agreement: float,
) -> None:
    """Compare the GGUF file MODEL with its checkpoint. Prints one JSON document; exit code 1 when a bound is
    missed.
    """
    if (adapter is None) != (adapter_against is None):
        raise click.UsageError("--adapter and --adapter-against go together")
    texts = passages() if prompts is None else _read_prompts(prompts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(against)
    with open_model(model, adapter) as found:
        tokens = compare_tokens(_encoder(tokenizer), found.tokenize, sample_texts(n_texts))
        source = _load(against, adapter_against)
        logits = compare_logits(_logit_pairs(source, tokenizer, found, texts))
    missed = _missed(tokens, logits, max_kl, min_agreement)
    _report(tokens, logits, missed)
    click.echo(json.dumps({"tokens": asdict(tokens), "logits": asdict(logits), "missed": missed}))
    ctx.exit(1 if missed else 0)


def _encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    return encode


def _load(checkpoint: Path, adapter: Path | None) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    if adapter is not None:
        import peft

        model = peft.PeftModel.from_pretrained(model, adapter)
    return model.eval()


def _logit_pairs(
    source: Any, tokenizer: Any, found: NativeModel, texts: tuple[str, ...]
) -> Iterator[tuple[Array, Array]]:
    for text in texts:
        ids = tokenizer.encode(text)
        with torch.inference_mode():
            expected = source(torch.tensor([ids])).logits[0].numpy()
        yield expected, found.logits(ids)


def _read_prompts(path: Path) -> tuple[str, ...]:
    try:
        prompts = tuple(
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        )
    except ValueError as error:
        raise ConversionError(f"{path}: expected one JSON string per line: {error}") from error
    if not prompts or not all(isinstance(prompt, str) and prompt for prompt in prompts):
        raise ConversionError(f"{path}: expected one JSON string per line, none of them empty")
    return prompts


def _missed(tokens: TokenParity, logits: LogitParity, max_kl: float, min_agreement: float) -> list[str]:
    bounds = {
        "token ids": tokens.n_equal == tokens.n_texts,
        "KL divergence": logits.kl <= max_kl,
        "argmax agreement": logits.argmax_agreement >= min_agreement,
    }
    return [name for name, holds in bounds.items() if not holds]


def _report(tokens: TokenParity, logits: LogitParity, missed: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "value", box=None)
    table.add_row("texts with equal token ids", f"{tokens.n_equal} of {tokens.n_texts}")
    if tokens.first_difference is not None:
        table.add_row("first that differs", repr(tokens.first_difference))
    table.add_row("positions compared", f"{logits.n_positions}")
    table.add_row("largest difference of logits", f"{logits.max_difference:.4g}")
    table.add_row("mean KL divergence", f"{logits.kl:.3g}")
    table.add_row("argmax agreement", f"{logits.argmax_agreement:.4%}")
    table.add_row("bounds missed", ", ".join(missed) or "none")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    run("verify")
