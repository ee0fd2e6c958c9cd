"""`lumos-edge bench`: a table, and one JSON document as the last line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import MODEL, Command, error_line


def test_a_table_and_a_document(run: Command, tiny: Path) -> None:
    done = run("bench", *MODEL, tiny, "--rounds", 1)
    assert (done.returncode, done.stderr) == (0, "")
    *table, last = done.stdout.splitlines()
    names = ["model", "prompt", "plain", "constrained", "constraint", "cache", "memory"]
    assert [line.split()[0] for line in table] == names
    found = json.loads(last)
    assert (found["pack"], found["n_threads"]) == ("tiny.gguf", 1)
    assert 0 < found["load_s"] < 60
    rates = found["tokens_per_s"]
    assert min(found["prefill_tokens_per_s"], rates["raw"], rates["ours"], found["peak_resident_mb"]) > 0
    ratio = found["ours_over_raw"]
    assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert 0 < found["forced_share"] < 1
    assert found["reused_share_of_prompt"] > 0.5


def test_a_pack_or_a_model(run: Command, tiny: Path) -> None:
    done = run("bench", *MODEL, tiny, "--pack", "nano")
    assert (done.returncode, done.stdout) == (2, "")
    assert "exclude each other" in error_line(done)
