"""Every Python example of the documentation is type-checked, and runs on the real 135M model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import runpy, sys
for file in sys.argv[1:]:
    print(file, flush=True)
    runpy.run_path(file, run_name="__main__")
"""


@pytest.fixture
def examples(tmp_path: Path) -> list[Path]:
    """The examples as files, on the small pack: its answers are weak, and are not what the examples are about."""
    files = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for number, code in enumerate(blocks, 1):
            files.append(tmp_path / f"{page.stem}_{number}.py")
            files[-1].write_text(code.replace('"base"', '"nano"'), encoding="utf-8")
    assert len(files) >= 6
    return files


def test_every_example_type_checks(examples: list[Path]) -> None:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        *map(str, examples),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.model
def test_every_example_runs(examples: list[Path], nano_path: Path) -> None:
    assert nano_path.is_file()
    command = [sys.executable, "-c", RUN, *map(str, examples)]
    environment = {**os.environ, "LUMOS_EDGE_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=examples[0].parent, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.endswith(".py")] == list(map(str, examples))
