"""A GGUF model against what it was made of: token ids and logits of a checkpoint, actions of a larger GGUF file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from lumos_edge.cli.convert import echo_notes, importing_packages, progress, run
from lumos_edge.conversion.module_metadata import read_module_metadata
from lumos_edge.conversion.native_model import NativeModel, open_model
from lumos_edge.conversion.parity import (
    LogitParity,
    TokenParity,
    compare_logits,
    compare_tokens,
    passages,
    texts_without,
)
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import ConversionError
from lumos_edge.loading import ModelChoice, of_files
from lumos_edge.trajectory import Module
from lumos_edge.turns import retake, take_turns

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@dataclass(frozen=True)
class Outcome:
    """One comparison: what the document says of it, its rows of the table, and which of its bounds hold."""

    values: dict[str, dict[str, Any]]
    rows: tuple[tuple[str, str], ...]
    bounds: dict[str, bool]


@click.command("verify")
@click.argument("model", type=_FILE)
@click.option(
    "--against", type=_FOLDER, help="The checkpoint that MODEL, with --adapter, was made of (needs torch)."
)
@click.option("--adapter", type=_FILE, help="A GGUF adapter to put on MODEL.")
@click.option("--adapter-against", type=_FOLDER, help="The PEFT adapter that the GGUF adapter was made of.")
@click.option("--prompts", type=_FILE, help="One JSON string per line, instead of the 20 built-in prompts.")
@click.option(
    "--n-texts", type=click.IntRange(20), default=1000, show_default=True, help="Texts to tokenize."
)
@click.option(
    "--max-kl",
    type=float,
    default=1e-4,
    show_default=True,
    help="Mean KL divergence from the checkpoint allowed, in nats.",
)
@click.option(
    "--min-agreement", type=float, default=0.999, show_default=True, help="Share of equal argmax needed."
)
@click.option(
    "--reference",
    type=_FILE,
    help="The GGUF file that MODEL was quantized from, or a fine-tuned module (converted with --module or --template) "
    "that MODEL with adapters of `convert diff` stands for (no torch needed).",
)
@click.option("--actions", type=_FILE, help='Questions to ground with both, JSONL: {"question": ...}.')
@click.option("--planner-adapter", type=_FILE, help="A GGUF adapter for the planner of MODEL.")
@click.option(
    "--grounder-adapter",
    type=_FILE,
    help="A GGUF adapter for the grounder of MODEL. REFERENCE gets the same ones, unless it is a fine-tuned module.",
)
@click.option(
    "--min-same-actions",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Share of the module's turns that must be unchanged.",
)
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    against: Path | None,
    adapter: Path | None,
    adapter_against: Path | None,
    prompts: Path | None,
    n_texts: int,
    max_kl: float,
    min_agreement: float,
    reference: Path | None,
    actions: Path | None,
    planner_adapter: Path | None,
    grounder_adapter: Path | None,
    min_same_actions: float,
) -> None:
    """Compare the GGUF file MODEL with its checkpoint, with the GGUF file it stands for, or with both.

    Prints one JSON document, and a table on stderr; exit code 1 when a bound is missed.
    """
    _check_usage(ctx.params)
    outcomes: list[Outcome] = []
    texts = passages() if prompts is None else _read_prompts(prompts)
    if against is not None:
        with importing_packages("verify"), open_model(model, adapter) as found:
            tokens, logits = _compare_with_source(found, against, adapter_against, texts, n_texts)
        outcomes.append(_token_outcome(tokens))
        outcomes.append(_logit_outcome(logits, max_kl, min_agreement))
    if reference is not None and actions is not None:
        checked = of_files(model, planner_adapter=planner_adapter, grounder_adapter=grounder_adapter)
        pair = _pair_with(reference, checked)
        questions = _read_questions(actions)
        distance = _compare_logits(pair, texts)
        outcomes.append(Outcome({"reference_logits": asdict(distance)}, _logit_rows(distance), {}))
        outcomes.append(_turn_outcome(_compare_turns(pair, questions), min_same_actions))
    missed = [name for outcome in outcomes for name, holds in outcome.bounds.items() if not holds]
    _report([row for outcome in outcomes for row in outcome.rows], missed)
    values = {name: value for outcome in outcomes for name, value in outcome.values.items()}
    click.echo(json.dumps({**values, "missed": missed}))
    ctx.exit(1 if missed else 0)


def _check_usage(given: dict[str, Any]) -> None:
    if given["against"] is None and given["reference"] is None:
        raise click.UsageError("give --against, --reference, or both")
    if (given["reference"] is None) != (given["actions"] is None):
        raise click.UsageError("--reference and --actions go together")
    if given["adapter_against"] is not None and given["adapter"] is None:
        raise click.UsageError("--adapter-against needs --adapter, the GGUF adapter that was made of it")
    if given["adapter"] is not None and given["against"] is None:
        raise click.UsageError("--adapter needs --against, the checkpoint to compare with")


# -- token ids and logits ----------------------------------------------------------------------------------------------


def _compare_with_source(
    found: NativeModel, checkpoint: Path, adapter: Path | None, texts: tuple[str, ...], n_texts: int
) -> tuple[TokenParity, LogitParity]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    # What llama.cpp alone takes for a control token is none in the runtime's texts, which hold no control tokens.
    markers = sorted(found.control_texts() - {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens})
    tokens = compare_tokens(_encoder(tokenizer), found.tokenize, texts_without(markers, n_texts))
    if markers:
        echo_notes(
            [f"texts with {', '.join(markers)} left out: a control token in llama.cpp, not in {checkpoint}"]
        )
    return tokens, compare_logits(_logit_pairs(_load(checkpoint, adapter), tokenizer, found, texts))


def _encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    return encode


def _load(checkpoint: Path, adapter: Path | None) -> Any:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    if adapter is not None:
        import peft

        model = peft.PeftModel.from_pretrained(model, adapter)
    return model.eval()


def _logit_pairs(
    source: Any, tokenizer: Any, found: NativeModel, texts: tuple[str, ...]
) -> Iterator[tuple[Array, Array]]:
    import torch

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


# -- logits and turns of another GGUF file -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelPair:
    """What is expected and what is checked, and the module whose turns are compared; `is_whole_module` is a reference
    that has no planner or no grounder beside it.
    """

    expected: ModelChoice
    checked: ModelChoice
    module: Module
    is_whole_module: bool


@dataclass(frozen=True)
class TurnParity:
    """Turns of a module with the very text of the reference, and the first others: (expected, found)."""

    module: Module
    n_turns: int
    n_equal: int
    first_difference: tuple[str, str] | None


def _pair_with(reference: Path, checked: ModelChoice) -> ModelPair:
    trained = read_module_metadata(reference)
    adapters = {} if trained.is_set else checked.adapters
    expected = replace(checked, name=reference.name, base=reference, adapters=adapters)
    module: Module = "planner" if trained.module == "planner" else "grounder"
    return ModelPair(expected, checked, module, trained.module is not None)


def _compare_logits(pair: ModelPair, texts: tuple[str, ...]) -> LogitParity:
    """What the difference does to the logits, as the module sees them. Cost: two prefills of the texts."""
    expected, checked = (
        open_model(choice.base, choice.adapters.get(pair.module)) for choice in (pair.expected, pair.checked)
    )
    with expected as reference, checked as found:
        # A fine-tune may have rows that its base has not.
        if reference.n_vocab < found.n_vocab or (
            reference.n_vocab != found.n_vocab and pair.expected.adapters
        ):
            raise ConversionError(
                f"{pair.checked.base} has {found.n_vocab} tokens, {pair.expected.base} has {reference.n_vocab}"
            )
        ids = map(found.tokenize, texts)
        return compare_logits((reference.logits(tokens), found.logits(tokens)) for tokens in ids)


def _compare_turns(pair: ModelPair, questions: Sequence[str]) -> TurnParity:
    """The turns of whole runs, once more with the other weights; one model in memory at a time."""
    # A module alone answers no question: the pair that stands for it asks both.
    asking, other = (pair.checked, pair.expected) if pair.is_whole_module else (pair.expected, pair.checked)
    with progress(f"answering with {asking.name}", len(questions), unit_bytes=False) as advance:
        turns = [turn for turn in take_turns(asking, questions, advance) if turn.module == pair.module]
    if not turns:
        raise ConversionError(
            f"{asking.base} answered {len(questions)} questions without a {pair.module} turn"
        )
    with progress(f"asking {other.name} the same", len(turns), unit_bytes=False) as advance:
        texts = retake(other, turns, advance)
    asked = [turn.text for turn in turns]
    both = zip(texts, asked, strict=True) if pair.is_whole_module else zip(asked, texts, strict=True)
    differing = [(expected, found) for expected, found in both if expected != found]
    return TurnParity(
        pair.module, len(turns), len(turns) - len(differing), differing[0] if differing else None
    )


def _read_questions(path: Path) -> tuple[str, ...]:
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    try:
        questions = tuple(json.loads(line)["question"] for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        raise ConversionError(f'{path}: expected {{"question": ...}} in each line: {error!r}') from error
    if not questions or not all(isinstance(question, str) and question.strip() for question in questions):
        raise ConversionError(f'{path}: expected {{"question": ...}} in each line, none of them empty')
    return questions


# -- the report --------------------------------------------------------------------------------------------------------


def _token_outcome(tokens: TokenParity) -> Outcome:
    rows = [("texts with equal token ids", f"{tokens.n_equal} of {tokens.n_texts}")]
    if tokens.first_difference is not None:
        rows.append(("first that differs", repr(tokens.first_difference)))
    return Outcome({"tokens": asdict(tokens)}, tuple(rows), {"token ids": tokens.n_equal == tokens.n_texts})


def _logit_outcome(logits: LogitParity, max_kl: float, min_agreement: float) -> Outcome:
    bounds = {
        "KL divergence": logits.kl <= max_kl,
        "argmax agreement": logits.argmax_agreement >= min_agreement,
    }
    return Outcome({"logits": asdict(logits)}, _logit_rows(logits), bounds)


def _logit_rows(logits: LogitParity) -> tuple[tuple[str, str], ...]:
    return (
        ("positions compared", f"{logits.n_positions}"),
        ("largest difference of logits", f"{logits.max_difference:.4g}"),
        ("mean KL divergence", f"{logits.kl:.3g}"),
        ("argmax agreement", f"{logits.argmax_agreement:.4%}"),
    )


def _turn_outcome(turns: TurnParity, min_share: float) -> Outcome:
    share = turns.n_equal / turns.n_turns
    written = "subgoals" if turns.module == "planner" else "actions"
    rows = [
        (
            f"{turns.module} turns with unchanged {written}",
            f"{turns.n_equal} of {turns.n_turns} ({share:.2%})",
        )
    ]
    if turns.first_difference is not None:
        rows += zip(
            ("expected in the first that differs", "found there"), turns.first_difference, strict=True
        )
    values = {written: {**asdict(turns), "share": share}}
    return Outcome(values, tuple(rows), {f"unchanged {written}": share >= min_share})


def _report(rows: Sequence[tuple[str, str]], missed: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("measure", "value", box=None)
    for measure, value in rows:
        table.add_row(measure, Text(value))  # a model's text is no markup
    table.add_row("bounds missed", ", ".join(missed) or "none")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    run("verify")
