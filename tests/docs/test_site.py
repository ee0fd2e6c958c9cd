"""The documentation site: built without a warning, with every command and every public name, from nothing outside."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import lumos_edge
from lumos_edge.cli import cli

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"^\$ (lumos-edge .*(?:\\\n.*)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; its generated pages are read from the code at that moment, so they cannot be stale."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield context.command_path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _commands(child, click.Context(child, info_name=name, parent=context))


def test_every_command_and_option_is_there(site: Path) -> None:
    page = (site / "cli/index.html").read_text("utf-8")
    for path, command in _commands(cli, click.Context(cli, info_name="lumos-edge")):
        assert re.search(rf"<h\d[^>]*>{re.escape(path)}<", page), path
        for option in command.params:
            assert not isinstance(option, click.Option) or option.opts[0] in page, (path, option.opts)


def test_every_public_name_is_there(site: Path) -> None:
    page = (site / "api/index.html").read_text("utf-8")
    shown = set(re.findall(r'<h2 id="lumos_edge\.([^"]+)"', page))
    # Unions stand where they are defined.
    shown |= set(re.findall(r'<h2 id="lumos_edge\.\w+\.(Event|Value)"', page))
    assert shown == set(lumos_edge.__all__)


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\s\">]+)", text)
        loaded += re.findall(r"<link [^>]*rel=\"?(?:stylesheet|preconnect)[^>]*href=\"?([^\s\">]+)", text)
        assert loaded
        assert not [address for address in loaded if "//" in address], page


def test_every_shown_command_line_is_understood() -> None:
    shown = [
        line
        for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
        for line in SHOWN.findall(page.read_text("utf-8"))
    ]
    assert len(shown) > 40
    for line in shown:
        _, *arguments = shlex.split(line, comments=True)
        _check(cli, arguments, line)


def _check(command: click.Command, arguments: list[str], line: str) -> None:
    """Parse as the command would, down to the last group, and run nothing."""
    context = click.Context(command, info_name=command.name)
    try:
        _, rest, _ = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError as error:
        pytest.fail(f"{line}: {error.format_message()}")
    if isinstance(command, click.Group):
        child = command.get_command(context, rest[0])
        assert child is not None, line
        _check(child, arguments[arguments.index(rest[0]) + 1 :], line)
