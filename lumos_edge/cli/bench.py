"""`lumos-edge bench`: how fast this machine decodes; the short form of benchmarks/bench_engine.py."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumos_edge.cli.interrupt import interruptible

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.engine import Grammar, Prompt
    from lumos_edge.engine.measuring import Rates
    from lumos_edge.loading import ModelChoice

_TASKS = (
    ("A shop sells 14 apples and twice as many pears.", "Calculate the number of pears, then of all fruits."),
    ("Ann reads 12 pages a day for 3 weeks.", "Calculate the number of days, then of all pages."),
    ("A bus holds 48 people and is a quarter empty.", "Calculate the free seats, then the people in it."),
    ("Eggs cost $3 a dozen, and 60 are needed.", "Calculate the number of dozens, then the cost."),
    ("A rope of 90 m is cut in 6 parts, 2 are used.", "Calculate the length of a part, then what is left."),
)


@click.command("bench")
@click.option("--pack", help="Model pack: a name, or a TOML file.", envvar="LUMOS_EDGE_PACK")
@click.option(
    "--model",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A GGUF file of your own instead of a pack.",
)
@click.option("--n-threads", type=click.IntRange(1, 512), help="Default: measured once, kept for each model.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=2, show_default=True, help="After a first one."
)
def command(pack: str | None, model: Path | None, n_threads: int | None, rounds: int) -> None:
    """Measure prompts, plain decoding, and decoding under a grammar, in turn on the same grounder turns.

    Takes some 10 seconds for a small model, a minute for the default pack. The last line is one JSON document. Other
    work on the machine disturbs the rates; the ratio much less.
    """
    from lumos_edge.cli.options import pulled
    from lumos_edge.loading import of_files, of_pack

    if model and pack:
        raise click.UsageError("--pack and --model exclude each other")
    choice = of_files(model) if model else of_pack(pulled(pack))
    found = interruptible(lambda: _measured(choice, n_threads or 0, rounds))
    for name, text in _rows(found):
        click.echo(f"{name:12} {text}")
    click.echo(json.dumps(found))


def _measured(choice: ModelChoice, n_threads: int, rounds: int) -> dict[str, Any]:
    from lumos_edge.agent import Agent
    from lumos_edge.engine.llama import LlamaEngine
    from lumos_edge.engine.measuring import RateMeter

    started = time.perf_counter()
    with Agent.open(choice, n_threads=n_threads) as agent:
        load_s = time.perf_counter() - started
        engine = agent.engine
        assert isinstance(engine, LlamaEngine)
        with closing(RateMeter(engine, "grounder")) as meter:
            measured = [[meter.measure(*turn) for turn in turns(agent)] for _ in range(1 + rounds)]
        return {
            "benchmark": "bench",
            "pack": choice.name,
            "n_threads": engine.n_threads,
            "load_s": round(load_s, 3),
            "prefill_tokens_per_s": round(meter.prefill, 1),
            **summary([rates for some in measured[1:] for rates in some]),
            "peak_resident_mb": _peak_resident_mb(),
        }


def turns(agent: Agent) -> Iterator[tuple[Prompt, Grammar]]:
    """What the grounder is asked about some maths tasks."""
    from lumos_edge.grammar import actions_grammar
    from lumos_edge.trajectory import Step, Subgoal, Task

    grammar = actions_grammar(agent.toolbox, {}, formulation=agent.formulation, max_actions=4)
    for question, subgoal in _TASKS:
        step = Step((Subgoal(1, subgoal),), ())
        prompt = agent.grounder_template.grounder(Task(question), agent.toolbox, [], step, agent.formulation)
        yield prompt, grammar


def summary(rates: Sequence[Rates]) -> dict[str, Any]:
    """Medians, the ratio pair by pair, and what the constraint cost, as JSON data."""
    made = [one.completion for one in rates]
    n_tokens = sum(completion.n_completion for completion in made)
    n_prompt = sum(completion.n_prompt for completion in made)
    constraint_s = sum(completion.constraint_s for completion in made)
    return {
        "tokens_per_s": {
            "raw": round(statistics.median(one.raw for one in rates), 1),
            "ours": round(statistics.median(one.ours for one in rates), 1),
        },
        "ours_over_raw": spread([one.ours / one.raw for one in rates]),
        "forced_share": round(sum(completion.n_forced for completion in made) / n_tokens, 3),
        "constraint_us_per_token": round(1e6 * constraint_s / n_tokens, 1),
        "reused_share_of_prompt": round(sum(completion.n_reused for completion in made) / n_prompt, 3),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, the least and the most, as JSON data."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    ratio = found["ours_over_raw"]
    yield "model", f"{found['pack']} on {found['n_threads']} threads, loaded in {found['load_s']:.1f} s"
    yield "prompt", f"{found['prefill_tokens_per_s']:.0f} tokens/s"
    yield "plain", f"{found['tokens_per_s']['raw']:.1f} tokens/s"
    yield (
        "constrained",
        f"{found['tokens_per_s']['ours']:.1f} tokens/s, {ratio['median']:.2f} of plain "
        f"({ratio['min']:.2f} to {ratio['max']:.2f})",
    )
    yield (
        "constraint",
        f"{found['constraint_us_per_token']:.0f} us a token; {found['forced_share']:.0%} of the tokens are forced",
    )
    yield "cache", f"{found['reused_share_of_prompt']:.0%} of the prompts was there already"
    if found["peak_resident_mb"]:
        yield "memory", f"{found['peak_resident_mb']:,.0f} MB resident at most, the mapped weights with it"


def _peak_resident_mb() -> float | None:
    """Of this process so far; None on Windows, where Python does not say."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
