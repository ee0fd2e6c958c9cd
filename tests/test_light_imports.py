"""What a command does not need it does not load: modules are counted in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("jinja2", "llama_cpp", "llguidance", "numpy", "platformdirs", "requests", "rich", "sympy")

_MAIN = """
import sys
from lumos_edge.__main__ import main
sys.argv = ["lumos-edge", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""

_REPORT = """
import json
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def _loaded(program: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded at the end of the program."""
    command = [sys.executable, "-c", f"import sys\n{program}{_REPORT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def _loaded_by_command(*arguments: str) -> set[str]:
    return _loaded(_MAIN.format(arguments=list(arguments)))


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = _loaded("import lumos_edge\nassert lumos_edge.__version__\n")
    assert not loaded & {*HEAVY, "click"}
    assert not loaded - _loaded("") - {"lumos_edge", "__future__"}


def test_help_loads_nothing_but_click() -> None:
    assert not _loaded_by_command("--help") & {*HEAVY}


@pytest.mark.parametrize("arguments", [("tools", "list"), ("ask", "--help"), ("completion", "bash")])
def test_what_runs_no_model_loads_none(arguments: tuple[str, ...]) -> None:
    assert not _loaded_by_command(*arguments) & {"llama_cpp", "numpy", "requests", "rich", "sympy"}


def test_listing_packs_loads_no_engine() -> None:
    assert not _loaded_by_command("models", "list") & {"llama_cpp", "llguidance", "numpy", "sympy"}
