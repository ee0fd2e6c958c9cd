"""`lumos-edge convert NAME ...`: every file of the content folder `convert` is a subcommand."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from lumos_edge.cli import main
from lumos_edge.errors import ConversionError
from lumos_edge.locks import exclusive
from lumos_edge.resources import cache_folder, content_files

if TYPE_CHECKING:
    from lumos_edge.conversion.gguf_file import OutputTensor

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Which extra of the package brings what a conversion imports.
_EXTRAS = {"convert": ("gguf", "sentencepiece"), "train": ("torch", "transformers", "peft")}

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The new file; it must not exist."
)
untie_option = click.option(
    "--untie",
    is_flag=True,
    help="Write the output apart from the embedding where they are one (SmolLM2, Qwen2.5 up to 3B, Gemma): the base "
    "is larger, but adapters can change both.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")


def module_options(function: _Command) -> _Command:
    """Options that say which module the weights were trained to be; they arrive as four keyword arguments."""
    from lumos_edge.manifest import TEMPLATES
    from lumos_edge.trajectory import FORMULATIONS, MODULES

    options = (
        click.option("--module", type=click.Choice(MODULES), help="The module that these weights are."),
        click.option(
            "--formulation", type=click.Choice(FORMULATIONS), help="The formulation it was trained for."
        ),
        click.option(
            "--template", type=click.Choice(TEMPLATES), help="The prompt template it was trained with."
        ),
        click.option(
            "--tools", multiple=True, metavar="PACK", help="A tool pack it was trained on; repeatable."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


class _ContentGroup(click.Group):
    """The files of a content folder as commands, loaded by path when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = _files().get(cmd_name)
        return None if path is None else _load(path)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The first line of the file says what it does: the help runs none of them.
        summaries = [(name, _summary(path)) for name, path in sorted(_files().items())]
        with formatter.section("Commands"):
            formatter.write_dl(summaries)


@click.group("convert", cls=_ContentGroup)
def command() -> None:
    """Turn trained weights into GGUF models and adapters, and prove that they say the same."""


def run(name: str) -> NoReturn:
    """Be `lumos-edge convert NAME ...`: what a file of the folder does when it is the program itself."""
    sys.argv[1:1] = ["convert", name]
    main()


def _files() -> dict[str, Path]:
    return {path.stem: path for path in content_files("convert", ".py")}


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _load(path: Path) -> click.Command:
    name = f"lumos_edge_convert_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    with importing_packages(path.stem):
        spec.loader.exec_module(module)
    loaded = getattr(module, "command", None)
    if not isinstance(loaded, click.Command):
        raise ConversionError(f"{path} defines no click command named `command`")
    return loaded


@contextmanager
def importing_packages(conversion: str) -> Iterator[None]:
    """A block that imports what only an extra brings. Raises ConversionError with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or ""
        wanted = next(
            (f"'lumos-edge[{extra}]'" for extra, names in _EXTRAS.items() if missing in names), missing
        )
        raise ConversionError(
            f"convert {conversion} needs the Python package {missing}: pip install {wanted}"
        ) from error


@contextmanager
def progress(description: str, total: int, *, unit_bytes: bool = True) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, gone at the end; gives the function that advances it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if unit_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.advance(task, amount)


def echo_notes(notes: Sequence[str]) -> None:
    """Say on stderr what was done that a user may not expect."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


@contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """A block that writes the file, while other conversions to it on this machine wait.

    On stderr it says when it waits for one, and what was written.
    """
    # Not beside the output: a lock's file stays, and a folder of models is no place for it.
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:16] + ".lock"
    with exclusive(
        folder / lock, lambda: click.echo(f"waiting for another conversion to {output}", err=True)
    ):
        yield
    if output.exists():
        click.echo(f"{output}: {output.stat().st_size:,} bytes", err=True)


def echo_plan(tensors: Sequence[OutputTensor], buffer_bytes: int = 0) -> None:
    """Print each tensor with its type, shape and bytes, then the sum and the peak memory.

    `buffer_bytes` is what a later step, such as quantizing, needs.
    """
    for tensor in tensors:
        shape = " x ".join(str(n) for n in tensor.shape)
        click.echo(f"{tensor.name:<32} {tensor.type.name:<5} {shape:>18} {tensor.size_bytes:>14,} bytes")
    click.echo(f"{len(tensors)} tensors, {sum(tensor.size_bytes for tensor in tensors):,} bytes")
    echo_peak_memory(max(buffer_bytes, *(tensor.working_bytes for tensor in tensors)))


def echo_peak_memory(value_bytes: int) -> None:
    """Print what is in memory at most; the part of the program itself was measured (benchmarks/LOG.md, 2026-11-23)."""
    click.echo(
        f"peak memory: {value_bytes:,} bytes of values, besides some 50 MB of the program and the vocabulary; "
        "mapped files are not counted"
    )
