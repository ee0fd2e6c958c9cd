"""The command line: one module per command, loaded when it is asked for."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from lumos_edge import __version__
from lumos_edge.errors import Cancelled, LumosError

# The summary stands here and not in the command's module, so that --help imports none of them.
_COMMANDS = {
    "ask": "Answer a question.",
    "batch": "Answer a file of questions.",
    "bench": "Measure how fast this machine decodes.",
    "chat": "Answer question after question.",
    "completion": "Print the completion script of a shell.",
    "convert": "Turn trained weights into GGUF models and adapters, and prove that they say the same.",
    "doctor": "Check this machine and say how to fix what is missing.",
    "eval": "Answer a file of questions and score the answers.",
    "knowledge": "Build, search and remove knowledge packs: passages that answers are found in.",
    "mcp": "Offer an agent to MCP hosts as a tool.",
    "models": "List, pull, verify and remove model packs.",
    "serve": "Answer other programs: OpenAI's HTTP interface, or JSON-RPC.",
    "tools": "List and show the tools that actions can call.",
    "trace": "Show and replay recorded runs.",
}


class _LazyGroup(click.Group):
    """A group whose commands are modules of this folder, imported when they run (click's own documented pattern)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"lumos_edge.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        # Before `Command.main` sees them: it prints an empty line for the first and exits with 1 for the second.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Cancelled("interrupted") from None
        except BrokenPipeError:
            # The reader of our stdout went away (`lumos-edge ... | head`): end as other tools do.
            _discard_stdout()
            ctx.exit(128 + getattr(signal, "SIGPIPE", 13))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lumos-edge")
@click.option("--offline", is_flag=True, help="Never open a socket (also LUMOS_EDGE_OFFLINE=1).")
@click.pass_context
def cli(context: click.Context, offline: bool) -> None:
    """Language agents on the device: plan, ground, execute; offline, without a GPU."""
    if offline:
        os.environ["LUMOS_EDGE_OFFLINE"] = "1"
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        context.color = False


def main() -> NoReturn:
    """Run the command line and exit: an error is one line on stderr and the documented exit code.

    Raises KeyboardInterrupt after Ctrl-C.
    """
    try:
        code = cli.main(prog_name="lumos-edge", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _end(f"{error.format_message()}{_usage(error)}", error.exit_code)
    except Cancelled:
        raise KeyboardInterrupt from None
    except LumosError as error:
        hint = f" ({error.hint})" if error.hint else ""
        _end(f"{error}{hint}", error.exit_code)
    except OSError as error:
        # A file that the user named: everything else that can fail on a disk has its own error.
        _discard_stdout()
        _end(f"{error.filename}: {error.strerror}" if error.filename else str(error), 3)
    sys.exit(code if isinstance(code, int) else 0)


def _discard_stdout() -> None:
    """Let what is buffered go nowhere: the interpreter would complain when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see `{context.command_path} --help`)" if context else ""


def _end(message: str, code: int) -> NoReturn:
    click.echo(f"lumos-edge: {' '.join(message.split())}", err=True)
    sys.exit(code)
