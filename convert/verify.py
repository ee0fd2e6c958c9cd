"""A GGUF model against what it was made of: token ids and logits of a checkpoint, actions of a larger GGUF file."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from lumos_edge.agent import Agent
from lumos_edge.cli.convert import importing_packages, progress, run
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
from lumos_edge.engine import Completion, Engine, Grammar, Prompt, Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import BudgetExceeded, ContextWindowExceeded, ConversionError
from lumos_edge.loading import ModelChoice, of_files
from lumos_edge.trajectory import Module, Task

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
@click.option("--against", type=_FOLDER, help="The checkpoint that MODEL was made of (needs torch).")
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
    "--reference", type=_FILE, help="The GGUF file that MODEL was quantized from (no torch needed)."
)
@click.option("--actions", type=_FILE, help='Questions to ground with both, JSONL: {"question": ...}.')
@click.option("--planner-adapter", type=_FILE, help="A GGUF adapter for the planner of both.")
@click.option("--grounder-adapter", type=_FILE, help="A GGUF adapter for the grounder of both.")
@click.option(
    "--min-same-actions",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Share of grounder turns whose actions must be unchanged.",
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
    """Compare the GGUF file MODEL with its checkpoint, with the GGUF file it was quantized from, or with both.
    Prints one JSON document; exit code 1 when a bound is missed.
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
        expected, checked = (
            of_files(path, planner_adapter=planner_adapter, grounder_adapter=grounder_adapter)
            for path in (reference, model)
        )
        questions = _read_questions(actions)
        distance = _compare_with_reference(expected, checked, texts)
        outcomes.append(Outcome({"reference_logits": asdict(distance)}, _logit_rows(distance), {}))
        parity = _compare_actions(expected, checked, questions)
        outcomes.append(_action_outcome(parity, min_same_actions))
    missed = [name for outcome in outcomes for name, holds in outcome.bounds.items() if not holds]
    _report([row for outcome in outcomes for row in outcome.rows], missed)
    values = {name: value for outcome in outcomes for name, value in outcome.values.items()}
    click.echo(json.dumps({**values, "missed": missed}))
    ctx.exit(1 if missed else 0)


def _check_usage(given: dict[str, Any]) -> None:
    if given["against"] is None and given["reference"] is None:
        raise click.UsageError("give --against, --reference, or both")
    for option, other in (("adapter", "adapter_against"), ("reference", "actions")):
        if (given[option] is None) != (given[other] is None):
            raise click.UsageError(f"--{option} and --{other.replace('_', '-')} go together")
    if given["adapter"] is not None and given["against"] is None:
        raise click.UsageError("--adapter-against needs --against, the checkpoint that it was trained on")


# -- token ids and logits ----------------------------------------------------------------------------------------------


def _compare_with_source(
    found: NativeModel, checkpoint: Path, adapter: Path | None, texts: tuple[str, ...], n_texts: int
) -> tuple[TokenParity, LogitParity]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    tokens = compare_tokens(_encoder(tokenizer), found.tokenize, sample_texts(n_texts))
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


def _compare_with_reference(
    expected: ModelChoice, checked: ModelChoice, texts: tuple[str, ...]
) -> LogitParity:
    """What quantization does to the logits, as the grounder sees them. Cost: two prefills of the texts."""
    adapter = expected.adapters.get("grounder")
    with open_model(expected.base, adapter) as reference, open_model(checked.base, adapter) as found:
        if reference.n_vocab != found.n_vocab:
            raise ConversionError(
                f"{checked.base} has {found.n_vocab} tokens, {expected.base} has {reference.n_vocab}"
            )
        ids = map(reference.tokenize, texts)
        return compare_logits((reference.logits(tokens), found.logits(tokens)) for tokens in ids)


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


# -- actions -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActionParity:
    """Grounder turns with the very actions of the reference, and the first others: (expected, found)."""

    n_turns: int
    n_equal: int
    first_difference: tuple[str, str] | None


@dataclass(frozen=True)
class Turn:
    """What a grounder was asked, and the actions that it wrote."""

    prompt: Prompt
    grammar: Grammar
    max_tokens: int
    text: str


@dataclass(frozen=True)
class _TurnKeeper:
    """An `Engine` that hands everything to another, and keeps the grounder's turns with their grammars."""

    engine: Engine
    turns: list[Turn] = field(default_factory=list)

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`."""
        completion = yield from self.engine.complete(
            module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
        )
        if module == "grounder":
            self.turns.append(Turn(prompt, grammar, max_tokens, completion.text))
        return completion

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        self.engine.cancel()


def _compare_actions(expected: ModelChoice, checked: ModelChoice, questions: Sequence[str]) -> ActionParity:
    """The turns of the reference's own runs, once more with the other weights; one model in memory at a time."""
    turns = _turns(expected, questions)
    if not turns:
        raise ConversionError(f"{expected.base} answered {len(questions)} questions without a grounder turn")
    texts = _ground(checked, turns)
    differing = [(turn.text, text) for turn, text in zip(turns, texts, strict=True) if turn.text != text]
    return ActionParity(len(turns), len(turns) - len(differing), differing[0] if differing else None)


def _turns(choice: ModelChoice, questions: Sequence[str]) -> list[Turn]:
    agent = Agent.open(choice)
    assert isinstance(agent.engine, LlamaEngine)
    keeper = _TurnKeeper(agent.engine)
    asked = agent.with_engine(keeper)
    try:
        with progress(f"answering with {choice.name}", len(questions), unit_bytes=False) as advance:
            for question in questions:
                # The turns before a run reached its limit count as well.
                with suppress(BudgetExceeded, ContextWindowExceeded):
                    asked.ask(Task(question))
                advance(1)
    finally:
        agent.engine.close()
    return keeper.turns


def _ground(choice: ModelChoice, turns: Sequence[Turn]) -> list[str]:
    engine = LlamaEngine(choice.base, adapters=choice.adapters)
    try:
        with progress(f"grounding with {choice.name}", len(turns), unit_bytes=False) as advance:
            return [_text(engine, turn, advance) for turn in turns]
    finally:
        engine.close()


def _text(engine: Engine, turn: Turn, advance: Callable[[int], None]) -> str:
    pieces = engine.complete(
        "grounder", turn.prompt, turn.grammar, max_tokens=turn.max_tokens, sampling=Sampling()
    )
    text = "".join(pieces).rstrip("\n")  # as `Completion.text`
    advance(1)
    return text


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


def _action_outcome(actions: ActionParity, min_share: float) -> Outcome:
    share = actions.n_equal / actions.n_turns
    rows = [
        ("grounder turns with unchanged actions", f"{actions.n_equal} of {actions.n_turns} ({share:.2%})")
    ]
    if actions.first_difference is not None:
        rows += zip(
            ("expected in the first that differs", "found there"), actions.first_difference, strict=True
        )
    values = {"actions": {**asdict(actions), "share": share}}
    return Outcome(values, tuple(rows), {"unchanged actions": share >= min_share})


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
