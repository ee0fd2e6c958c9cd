"""`lumos-edge convert quantize --calibrate` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click
import gguf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from lumos_edge.cli.convert import command
from lumos_edge.engine import Completion, Control
from lumos_edge.engine.recorded import Recorded
from lumos_edge.errors import ConversionError
from tests.engine.tiny import N_LAYER, write_bpe_model

HISTORY = Recorded(
    "grounder", (Control("<s>"), "Subgoal 1: half of 48\n"), Completion("R1 = Calculator(48 / 2)")
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "model.gguf")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    records = [{"record": "run"}, {"record": "completion", **HISTORY.write_json()}, {"record": "trajectory"}]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def quantize(*arguments: str | Path) -> Result:
    given = ["quantize", *map(str, arguments), "--type", "Q4_0"]
    return CliRunner().invoke(command, given, catch_exceptions=False)


def fields(path: Path) -> dict[str, object]:
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def first_weights(path: Path) -> bytes:
    data: bytes = next(
        t.data.tobytes() for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.attn_q.weight"
    )
    return data


def test_the_histories_of_a_trace_change_the_weights_and_the_file_says_how(
    tmp_path: Path, model: Path, trace: Path
) -> None:
    assert quantize(model, "-o", tmp_path / "plain.gguf").exit_code == 0
    assert quantize(model, "-o", tmp_path / "small.gguf", "--calibrate", trace).exit_code == 0
    assert first_weights(tmp_path / "small.gguf") != first_weights(tmp_path / "plain.gguf")
    found = fields(tmp_path / "small.gguf")
    assert found["quantize.imatrix.dataset"] == "trace.jsonl"
    assert found["quantize.imatrix.entries_count"] == 7 * N_LAYER
    assert found["quantize.imatrix.chunks_count"] == 1
    assert str(found["lumos.calibration"]).startswith("activations in llama.cpp, 1 texts, ")


def test_a_history_and_its_text_count_the_same(tmp_path: Path, model: Path, trace: Path) -> None:
    text = "<s>Subgoal 1: half of 48\nR1 = Calculator(48 / 2)"
    (tmp_path / "texts.jsonl").write_text(json.dumps(text))
    for name in ("trace", "texts"):
        quantize(model, "-o", tmp_path / f"{name}.gguf", "--calibrate", tmp_path / f"{name}.jsonl")
    assert first_weights(tmp_path / "trace.gguf") == first_weights(tmp_path / "texts.gguf")


def test_an_importance_matrix_is_named_in_the_file(tmp_path: Path, model: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "imatrix.gguf", "imatrix")
    writer.add_tensor("blk.0.attn_q.weight.in_sum2", np.ones((1, 64), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.counts", np.ones((1, 1), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        step()
    writer.close()
    quantize(model, "-o", tmp_path / "small.gguf", "--imatrix", tmp_path / "imatrix.gguf")
    found = fields(tmp_path / "small.gguf")
    assert found["quantize.imatrix.file"] == "imatrix.gguf"
    assert "lumos.calibration" not in found


def test_the_help_says_what_computes_the_importance() -> None:
    shown = " ".join(CliRunner().invoke(command, ["quantize", "--help"]).output.split())
    assert "from the activations of MODEL in llama.cpp (no torch)" in shown


def test_a_dry_run_does_not_calibrate(tmp_path: Path, model: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("[]")
    arguments = ("-o", tmp_path / "small.gguf", "--calibrate", tmp_path / "texts.jsonl", "--dry-run")
    assert quantize(model, *arguments).exit_code == 0


@pytest.mark.parametrize("line", ["", "not JSON", "[]", '{"prompt": "x"}', '{"record": "completion"}', '""'])
def test_a_file_without_texts_is_refused(tmp_path: Path, model: Path, line: str) -> None:
    (tmp_path / "texts.jsonl").write_text(line)
    with pytest.raises(
        ConversionError, match=r"texts\.jsonl: expected a trace, or one JSON string per line, found"
    ):
        quantize(model, "-o", tmp_path / "small.gguf", "--calibrate", tmp_path / "texts.jsonl")


def test_one_source_of_importance_is_enough(tmp_path: Path, model: Path, trace: Path) -> None:
    arguments = ["quantize", model, "-o", tmp_path / "small.gguf", "--calibrate", trace, "--imatrix", trace]
    with pytest.raises(click.UsageError, match="not both"):
        command.main([str(argument) for argument in arguments], standalone_mode=False)
